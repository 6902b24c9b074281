"""The applications, one folder each; see `unroll.app` for how they are found.

In a checkout they lie at the top of the repository, in a wheel here: either way they are found from this file's own
place, never from the current folder.
"""

from pathlib import Path

__all__: list[str] = []

_checkout = Path(__file__).parents[3]
if Path(__file__).parents[2].name == "core" and (_checkout / "pyproject.toml").is_file():
    __path__ = [str(_checkout / "apps")]
