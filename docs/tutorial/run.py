"""Run the code of the tutorial's pages, and compare its output with the output shown on the page.

    python docs/tutorial/run.py            both pages; the figures are written to docs/tutorial/figures

A page's ```python blocks run from top to bottom in one namespace; a ```text block is the output of the one before it.
"""

import contextlib
import io
import os
import re
from pathlib import Path

HERE = Path(__file__).resolve().parent
PAGES = [HERE / "backpropagation-through-time.md", HERE / "backpropagation-through-time.zh.md"]
BLOCK = re.compile(r"^```python\n(.*?)^```$(?:\n+^```text\n(.*?)^```$)?", re.DOTALL | re.MULTILINE)


def run(page: Path) -> list[tuple[str, str]]:
    """Run a page in the current folder. Returns each block's output and the output shown on the page."""
    text = page.read_text(encoding="utf-8")
    namespace: dict[str, object] = {"__name__": "__main__"}
    outputs = []
    for block in BLOCK.finditer(text):
        # Empty lines in front, so that a traceback shows the page's own line numbers.
        lines_before = text.count("\n", 0, block.start(1))
        printed = io.StringIO()
        with contextlib.redirect_stdout(printed):
            exec(compile("\n" * lines_before + block[1], str(page), "exec"), namespace)
        outputs.append((printed.getvalue(), block[2] or ""))
    return outputs


if __name__ == "__main__":
    os.environ.setdefault("MPLBACKEND", "Agg")
    os.chdir(HERE)
    for page in PAGES:
        wrong = [(printed, stated) for printed, stated in run(page) if printed != stated]
        for printed, stated in wrong:
            print(f"{page.name} states:\n{stated}\nbut its code printed:\n{printed}")
        print(f"{page.name}: {'as stated' if not wrong else 'differs'}")
