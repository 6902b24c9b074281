"""How many arguments a task with FILE ... takes: every word that is no option and no option's value."""

import sys

import pytest
from invoke.tasks import task

from unroll.task_options import Inputs, _flags, after_double_dash, helps, quoted


@task(klass=Inputs, auto_shortflags=False)
def read(c, inputs=(), run="latest", dry_run=False, n=0):
    """Read."""


@pytest.mark.parametrize(
    ("line", "inputs"),
    [
        ("invoke read", 0),
        ("invoke read a b c", 3),
        ("invoke read --run first a", 1),
        ("invoke read a --run first b -n 3 c", 3),
        ("invoke read --run=first a", 1),
        ("invoke read --dry-run a b", 2),
        ("invoke read a -- b c", 1),
        ("invoke read -- a", 0),
        ("invoke other a", 0),
        ("invoke --debug read a", 1),
    ],
)
def test_words_that_are_no_options_are_inputs(line: str, inputs: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", line.split())
    found = read.get_arguments()
    assert [argument.name for argument in found if argument.positional] == [f"input{i}" for i in range(inputs)]
    assert [argument.name for argument in found if not argument.positional] == ["run", "dry_run", "n"]


def test_options_are_written_as_invoke_reads_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", [])
    flags = {option.name: _flags(option) for option in read.get_arguments()}
    assert flags == {"run": ["--run"], "dry_run": ["--dry-run"], "n": ["-n"]}


def test_words_after_two_dashes_are_handed_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["invoke", "test", "--", "-k", "a b", "--", "c"])
    assert after_double_dash() == ["-k", "a b", "--", "c"] and quoted(["-k", "a b"]) == "-k 'a b'"
    monkeypatch.setattr(sys, "argv", ["invoke", "test"])
    assert after_double_dash() == []


def test_help_is_of_the_options_that_a_task_has() -> None:
    assert set(helps("run", more="x")) == {"run", "json", "debug", "more"}
    one, several = helps("app"), helps("apps")
    assert set(one) == {"app", "json", "debug"} == set(several) and one["app"] != several["app"]
