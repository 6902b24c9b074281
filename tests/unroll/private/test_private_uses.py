"""No private name of another package is used that no canary test watches."""

import textwrap
from pathlib import Path

import unroll
from tests.unroll.private import test_private_lightning, test_private_mlflow, test_private_torch
from tests.unroll.private.uses import foreign, is_private, mentioned
from unroll import apps

ROOTS = [Path(unroll.__path__[0]), Path(apps.__path__[0])]
WATCHED = {
    name
    for canary in (test_private_lightning, test_private_mlflow, test_private_torch)
    for name in canary.NAMES
    if is_private(name)
}


def sources() -> list[str]:
    files = [file for root in ROOTS for file in sorted(root.rglob("*.py"))]
    return [file.read_text(encoding="utf-8") for file in [*files, ROOTS[0].parents[1] / "tasks.py"]]


def test_every_private_name_of_others_is_watched() -> None:
    assert foreign(sources()) - WATCHED == set(), "add a canary in tests/unroll/private, or do without"


def test_what_is_watched_is_used() -> None:
    assert WATCHED - mentioned(sources()) == set(), "no longer used: take it out of its canary test"


def test_our_own_are_told_from_those_of_others() -> None:
    ours = """
        from unroll.rooms import _helper
        from . import _neighbour
        class Mine:
            _kept: int
            def _method(self, other):
                self._set = 1
                other._kept, other._method, other._set, other._replace(a=1)
    """
    theirs = """
        import torch, os
        import torch._dynamo as dynamo
        from torch.utils._device import DeviceContext, _hidden
        torch._C._is_tracing, dynamo.x
        os._set
        def f(module):
            module._children["_kept"]
            return getattr(module, "_by_text"), module.__dict__["_in_a_table"], "_parameters", "_some_text"
    """
    found = foreign([textwrap.dedent(ours), textwrap.dedent(theirs)])
    assert found == {
        "_dynamo", "_device", "_hidden", "_C", "_is_tracing", "_set", "_children", "_by_text", "_in_a_table",
        "_parameters",
    }  # fmt: skip
