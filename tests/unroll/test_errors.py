"""Lines for the user name the program that the user typed, and no more names than can be read."""

import sys

import pytest

from unroll.commands import required
from unroll.errors import UsageError, few


@pytest.mark.parametrize(("program", "named"), [("unroll", "unroll"), ("/usr/bin/invoke", "invoke"), ("", "invoke")])
def test_a_line_names_the_program_that_was_typed(program: str, named: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", [program, "new-app"])
    with pytest.raises(UsageError, match=rf"^--name is missing; see {named} --help TASK$"):
        required(name=None)


def test_three_names_are_enough() -> None:
    assert few([]) == ""
    assert few(["a", "b", "c"]) == "a, b, c"
    assert few(["a", "b", "c", "d"]) == "a, b, c, ..."
    assert few("abc", 2) == "a, b, ..."
