"""The applications, one folder each; see `unroll.app` for how they are found.

In a checkout they lie at the top of the repository, in a wheel here: either way they are found from this file's own
place, never from the current folder.
"""

from unroll.places import checkout

__all__: list[str] = []

if _root := checkout():
    __path__ = [str(_root / "apps")]
