"""What comes from data is text on the terminal, whatever it holds."""

import io
from pathlib import Path

import pytest
from rich.console import Console

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
