"""Data is printed as plain text, whatever it contains."""

import io
import math
from pathlib import Path

import pytest
from rich.console import Console

from tests.unroll.training.toy import APP
from unroll import console
from unroll.commands import note, run
from unroll.errors import UserError, harmless, one_line

STEERING = "\x1b[2J\x1b]0;owned\x07\x9b31m\r\x08\u202eabc\x00\x7f\udc80"
WRITTEN = r"\x1b[2J\x1b]0;owned\x07\x9b31m\r\x08\u202eabc\x00\x7f\udc80"


@pytest.fixture
def printed(monkeypatch: pytest.MonkeyPatch) -> io.StringIO:
    file = io.StringIO()
    monkeypatch.setattr(console, "console", Console(file=file, highlight=False, soft_wrap=True, width=160))
    return file


def test_what_steers_a_terminal_is_written_out() -> None:
    assert harmless(STEERING) == WRITTEN
    assert harmless("tab\tand line\nند، 漢字, é, 😀") == "tab\tand line\nند، 漢字, é, 😀"
    assert one_line("two\nlines\x1b") == r"two\nlines\x1b"


def test_lines_tables_and_predictions_are_harmless(printed: io.StringIO) -> None:
    console.say(STEERING)
    console.show_table(STEERING, [{"name": STEERING}])
    console.show_metrics("test", {STEERING: {STEERING: 1.0}})
    console.show_predictions([{"id": STEERING, "reference": STEERING, "prediction": STEERING}])
    said = printed.getvalue()
    assert not set("\x1b\x07\x9b\r\x08\u202e\x00\x7f\udc80") & set(said)
    assert said.count(WRITTEN) == 8


def test_an_error_that_names_a_hostile_file_is_one_harmless_line(capfd: pytest.CaptureFixture[str]) -> None:
    def command() -> dict[str, object]:
        raise UserError(f"{Path('a' + STEERING + chr(10) + 'b')}: no such file")

    with pytest.raises(SystemExit):
        run(command)
    said = capfd.readouterr().err
    assert said == f"error: a{WRITTEN}\\nb: no such file\n"


def test_a_note_on_the_name_of_a_run_is_one_harmless_line(capfd: pytest.CaptureFixture[str]) -> None:
    note(f"run {STEERING}\nb is left out")
    assert capfd.readouterr().err == f"note: run {WRITTEN}\\nb is left out\n"


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (7, "7"), (1234567, "1,234,567"), (-1000, "-1,000"), (True, "True"), ("a", "a"), (None, "None"),
        (0.0, "0"), (5.0, "5"), (999.0, "999"), (1000.0, "1,000"), (-1000.0, "-1,000"), (12345678.0, "12,345,678"),
        (0.123456, "0.1235"), (999.96, "1000"), (1000.6, "1,001"), (-2500.7, "-2,501"), (1.23e-7, "1.23e-07"),
        (math.nan, "nan"), (math.inf, "inf"),
    ],
)  # fmt: skip
def test_numbers_have_four_digits_or_separators(value: object, shown: str) -> None:
    assert console.number(value) == shown


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [(0, "0:00"), (59.4, "0:59"), (59.6, "1:00"), (65, "1:05"), (3599, "59:59"), (3600, "1:00:00"), (7300, "2:01:40")],
)
def test_durations(seconds: float, shown: str) -> None:
    assert console.duration(seconds) == shown


@pytest.mark.parametrize(("width", "explained"), [(console.WIDE, True), (console.WIDE - 1, False)])
def test_settings_that_differ_are_marked_and_explained_where_there_is_room(
    width: int, explained: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = io.StringIO()
    terminal = Console(file=file, force_terminal=True, color_system="standard", width=width)
    monkeypatch.setattr(console, "console", terminal)
    console.show_config(APP, APP.config(settings=["model.hidden=9"]))
    lines = file.getvalue().splitlines()
    bold = [line for line in lines if "\x1b[1m" in line]
    assert len(bold) == 1 and "model.hidden" in bold[0] and "9" in bold[0]
    assert any("peak learning rate" in line for line in lines) == explained


def test_numbers_stand_to_the_right_and_texts_to_the_left(printed: io.StringIO) -> None:
    console.show_table("", [])
    assert printed.getvalue() == ""
    console.show_table("t", [{"name": "a", "n": 1.0, "mixed": ""}, {"name": "long", "n": 1000, "mixed": 2}])
    title, head, first, second = [line.rstrip() for line in printed.getvalue().splitlines()]
    assert (title, head) == ("t", "name      n  mixed")
    assert (first, second) == ("a         1", "long  1,000      2")


def test_a_metric_that_a_method_has_not_is_left_empty(printed: io.StringIO) -> None:
    console.show_metrics("t", {"test": {"a": 1.0, "b": 2.0}, "mean": {"b": 3.0, "c": 4.0}})
    rows = [line.split() for line in printed.getvalue().splitlines()]
    assert rows == [["t"], ["metric", "test", "mean"], ["a", "1"], ["b", "2", "3"], ["c", "4"]]


def test_silence_ends_with_its_block(printed: io.StringIO) -> None:
    with console.silent(False):
        console.say("one")
    with console.silent():
        console.say("two")
        with console.silent(False):
            console.say("three")
    console.say("four")
    assert printed.getvalue() == "one\nfour\n"
