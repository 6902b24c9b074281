"""The tutorial's pages are executed, and print the output shown."""

import re
import runpy
from pathlib import Path

import pytest

TUTORIAL = Path(__file__).parents[2] / "docs" / "tutorial"
runner = runpy.run_path(str(TUTORIAL / "run.py"))
PAGES = runner["PAGES"]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_a_page_prints_what_it_states_and_draws_what_it_shows(page, tmp_path, monkeypatch):
    pytest.importorskip("matplotlib").use("Agg")
    monkeypatch.chdir(tmp_path)
    outputs = runner["run"](page)
    assert len(outputs) == page.read_text(encoding="utf-8").count("```python\n")
    for printed, stated in outputs:
        assert printed == stated
    shown = set(re.findall(r"\]\((figures/.*?)\)", page.read_text(encoding="utf-8")))
    assert shown == {path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*.png")}
    for figure in shown:
        assert 1000 < (TUTORIAL / figure).stat().st_size < 60_000


def test_both_languages_have_the_same_code_and_equations():
    english, chinese = (
        re.findall(r"^```(?:python|text|math)\n.*?^```$", page.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)
        for page in PAGES
    )
    assert english == chinese


def test_a_page_that_states_something_else_is_noticed(tmp_path):
    page = tmp_path / "page.md"
    page.write_text("```python\nx = 1\n```\n\ntext\n\n```python\nprint(x + 1)\n```\n\n```text\n3\n```\n")
    assert runner["run"](page) == [("", ""), ("2\n", "3\n")]
