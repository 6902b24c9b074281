"""Lines for the user name the program that the user typed."""

import sys

import pytest

from unroll.commands import required
from unroll.errors import UsageError


@pytest.mark.parametrize(("program", "named"), [("unroll", "unroll"), ("/usr/bin/invoke", "invoke"), ("", "invoke")])
def test_a_line_names_the_program_that_was_typed(program: str, named: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", [program, "new-app"])
    with pytest.raises(UsageError, match=rf"^--name is missing; see {named} --help TASK$"):
        required(name=None)
