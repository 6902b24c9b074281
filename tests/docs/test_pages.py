"""Pages that are programs run as written; shell completion works as its page says."""

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
CODE, FLAGS = r"^```python\n(.*?)^```$", re.DOTALL | re.MULTILINE


@pytest.mark.parametrize("page", ["core-alone", "from-torch-nn"])
def test_a_page_of_code_runs_from_top_to_bottom(page: str) -> None:
    text = (ROOT / "docs" / f"{page}.md").read_text(encoding="utf-8")
    code = "\n".join(re.findall(CODE, text, FLAGS))
    assert "assert" in code
    exec(compile(code, page, "exec"), {"__name__": page})


# MLflow warns of the types in its own interface when its pyfunc is imported, and of its own search.
@pytest.mark.filterwarnings("ignore::UserWarning", "ignore::FutureWarning")
def test_the_python_api_does_what_its_page_says(client: Any) -> None:
    test_a_page_of_code_runs_from_top_to_bottom("python")


def test_both_languages_have_the_same_code_and_table_rows() -> None:
    texts = [(ROOT / "docs" / f"{name}.md").read_text(encoding="utf-8") for name in ("python", "python.zh")]
    english, chinese = ([re.sub(r" +# .*", "", block) for block in re.findall(CODE, text, FLAGS)] for text in texts)
    assert english == chinese and len({text.count("\n|") for text in texts}) == 1


def test_the_cell_on_the_page_is_the_one_that_is_written() -> None:
    page = (ROOT / "docs" / "new-cell.md").read_text(encoding="utf-8")
    template = (ROOT / "core" / "unroll" / "scaffold" / "templates" / "cell" / "cell.py.txt").read_text(
        encoding="utf-8"
    )
    shown = page.split("```python\n")[1].split("```")[0]
    written = template.replace("${Name}", "Leaky")
    assert shown[shown.index("    def __init__") :].strip() in written


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_is_written_for_a_shell(shell: str) -> None:
    written = subprocess.run(
        [sys.executable, "-m", "invoke", "--print-completion-script", shell], cwd=ROOT, capture_output=True, text=True,
        check=True,
    ).stdout  # fmt: skip
    assert "--complete" in written


def test_bash_completes_tasks_and_their_options() -> None:
    line = "invoke train --se"
    script = f"""
    source <({sys.executable} -m invoke --print-completion-script bash)
    invoke() {{ {sys.executable} -m invoke "$@"; }}
    COMP_WORDS=({line}); COMP_CWORD=2; _complete_invoke invoke --se train; echo "${{COMPREPLY[@]}}"
    """
    done = subprocess.run(["bash", "-c", script], cwd=ROOT, capture_output=True, text=True, check=False)
    assert set(done.stdout.split()) == {"--set", "--seeds"}, done.stderr
