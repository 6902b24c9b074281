"""What the command line makes of a command: its lines, its exit code, and what is said of errors and notices."""

import json
import logging
import warnings
from typing import Any

import pytest

from unroll import app as apps
from unroll.commands import _of_its_cache, chosen, one, required, run
from unroll.errors import Notice, UsageError, UserError
from unroll.interrupt import Interrupted


def ended(command: Any, **options: Any) -> int | None:
    """The exit code; None: the process goes on."""
    try:
        run(command, **options)
    except SystemExit as end:
        return int(end.code or 0)
    return None


def failing(error: BaseException) -> Any:
    def command() -> dict[str, Any]:
        raise error

    return command


@pytest.mark.parametrize(("result", "code"), [({}, None), ({"exit_code": 0}, None), ({"exit_code": 3}, 3)])
@pytest.mark.parametrize("as_json", [False, True])
def test_the_result_is_the_last_line_for_programs(result: Any, code: int | None, as_json: bool, capsys: Any) -> None:
    def command() -> dict[str, Any]:
        print("for people")
        return result

    assert ended(command, as_json=as_json) == code
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "for people" and [json.loads(line) for line in lines[1:]] == [result] * as_json


@pytest.mark.parametrize(
    ("error", "code", "said"),
    [
        (UserError("a.csv: is empty"), 1, "error: a.csv: is empty\n"),
        (UsageError("--app is missing"), 2, "error: --app is missing\n"),
        (KeyboardInterrupt(), 130, "error: interrupted\n"),
        (Interrupted(15), 143, "error: interrupted\n"),
        (ValueError("a\n  b"), 1, "error: internal error: ValueError: a b; run again with --debug for the traceback\n"),
        (ValueError(), 1, "error: internal error: ValueError: no message; run again with --debug for the traceback\n"),
    ],
)
def test_an_error_is_one_line_and_an_exit_code(error: BaseException, code: int, said: str, capsys: Any) -> None:
    assert ended(failing(error)) == code
    assert capsys.readouterr().err == said
    assert ended(failing(error), debug=True) == code
    shown = capsys.readouterr().err
    assert shown.startswith("Traceback") and shown.endswith(said)


def test_notices_are_said_once_and_other_warnings_are_for_developers(capsys: pytest.CaptureFixture[str]) -> None:
    def command() -> dict[str, Any]:
        for text in ("one", "one", "two"):
            warnings.warn(text, Notice, stacklevel=1)
        warnings.warn("three", DeprecationWarning, stacklevel=1)
        return {}

    assert ended(command) is None
    assert capsys.readouterr().err == "note: one\nnote: two\n"


@pytest.mark.parametrize(
    ("text", "kept", "shown"),
    [
        ("Matplotlib created a temporary cache directory at /x because", True, "note: matplotlib's cache"),
        ("mkdir -p failed for path /x", False, ""),
        ("another %s", True, "another thing"),
    ],
)
def test_a_cache_that_cannot_be_written_is_one_line(text: str, kept: bool, shown: str) -> None:
    record = logging.LogRecord("matplotlib", logging.WARNING, "f", 1, text, ("thing",) if "%s" in text else (), None)
    assert _of_its_cache(record) == kept
    assert not kept or record.getMessage().startswith(shown)


def test_names_of_applications() -> None:
    assert chosen("all") == apps.names() and chosen("speech, image,") == ["speech", "image"]
    assert one("speech") == "speech"
    for nothing in (None, "", " , "):
        with pytest.raises(UsageError, match=r"--app NAME is missing; NAME is one of: captioning, image, "):
            chosen(nothing)
    with pytest.raises(UserError, match="speach"):
        chosen("image,speach")
    for several in ("speech,image", "all"):
        with pytest.raises(UsageError, match=f"--app {several}: this task takes one application"):
            one(several)


def test_options_that_a_task_needs() -> None:
    assert required(app="a", run="b") == {"app": "a", "run": "b"}
    for missing in (None, ""):
        with pytest.raises(UsageError, match=r"^--run is missing; see invoke --help TASK$"):
            required(app="a", run=missing, name=None)
