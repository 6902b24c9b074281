"""What each `invoke` task does. A command prints for people and returns one JSON object for programs."""

import json
import logging
import os
import signal
import sys
import traceback
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from types import FrameType
from typing import Any, NoReturn

from unroll import app as apps
from unroll import machine
from unroll.data.mapped import bus_errors_explained
from unroll.errors import Notice, UsageError, UserError, one_line, typed
from unroll.extras import missing
from unroll.interrupt import Interrupted

__all__ = ["checked", "chosen", "note", "one", "required", "run"]

NO_CACHE = "note: matplotlib's cache cannot be written; set MPLCONFIGDIR to a folder that can, and it starts faster"


def run(command: Callable[[], dict[str, Any]], as_json: bool = False, debug: bool = False) -> None:
    """Run a command for the command line; exit the process if its exit code is not zero.

    A `UserError` is one line; so is a defect of ours, until `debug` asks for the traceback.
    """
    with _sigterm_like_ctrl_c(), bus_errors_explained(), warnings.catch_warnings():
        if not debug:
            _notices_only()
            logging.getLogger("matplotlib").addFilter(_of_its_cache)
        try:
            machine.check()
            result = command()
            if as_json:
                print(json.dumps(result))
            code = result.get("exit_code", 0)
        except BrokenPipeError:  # the reader, `head` for example, has had enough
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            code = 0
        except (Exception, KeyboardInterrupt, Interrupted) as error:
            if debug:
                traceback.print_exc()
            message, code = _explained(error)
            print(f"error: {one_line(message)}", file=sys.stderr)
            if message.startswith(machine.SHORT):
                _leave(code)
    if code:
        sys.exit(code)


def _of_its_cache(record: logging.LogRecord) -> bool:
    """What matplotlib says where it cannot keep its fonts, in one line instead of two long ones."""
    text = record.getMessage()
    if "temporary cache directory" in text:
        record.msg, record.args = NO_CACHE, ()
    return not text.startswith("mkdir -p failed")


def _explained(error: BaseException) -> tuple[str, int]:
    """(one line, exit code)."""
    if isinstance(error, KeyboardInterrupt | Interrupted):
        return "interrupted", 128 + getattr(error, "number", signal.SIGINT)
    if isinstance(error, UserError):
        return str(error), error.exit_code
    if line := machine.explained(error) or missing(error):
        return line, 1
    reason = " ".join(str(error).split()) or "no message"
    return f"internal error: {type(error).__name__}: {reason}; run again with --debug for the traceback", 1


def _leave(code: int) -> NoReturn:
    """At once: what libraries do at a process's end needs memory as well, and fails in pages of traceback."""
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


@contextmanager
def _sigterm_like_ctrl_c() -> Iterator[None]:
    """Outside the training loop, which has its own handling, SIGTERM stops the work like Ctrl-C, with a true status."""

    def stop(number: int, _: FrameType | None) -> None:
        raise Interrupted(number)

    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _notices_only() -> None:
    """Show only notices meant for the user, each once; other warnings are for developers."""
    told = set[str]()

    def tell(message: Warning | str, *_: object, **__: object) -> None:
        if str(message) not in told:
            note(str(message))
        told.add(str(message))

    warnings.simplefilter("ignore")
    warnings.simplefilter("always", Notice)
    warnings.showwarning = tell


def note(text: str) -> None:
    """Print a note beside the results."""
    print(f"note: {one_line(text)}", file=sys.stderr)


def chosen(app: str | None) -> list[str]:
    """The names in `a,b,c` or `all`. Raises UserError for an unknown one, before any work starts."""
    known = apps.names()
    if app == "all":
        return known
    wanted = [name.strip() for name in (app or "").split(",") if name.strip()]
    if not wanted:
        raise UsageError(f"--app NAME is missing; NAME is one of: {', '.join(known)}")
    for name in wanted:
        apps.check(name)
    return wanted


def one(app: str | None) -> str:
    """The single application that is meant."""
    names: Sequence[str] = chosen(app)
    if len(names) != 1:
        raise UsageError(f"--app {app}: this task takes one application")
    return names[0]


def checked(name: str, preset: str | None, settings: Sequence[str]) -> str:
    """The name of an application whose preset and settings are right; else UserError, before torch is waited for."""
    apps.load(name).config(preset or "default", settings)
    return name


def required(**options: str | None) -> dict[str, str]:
    """The options as they were given. Raises UsageError for the first one that was not."""
    given = {name: value for name, value in options.items() if value}
    for name in options:
        if name not in given:
            raise UsageError(f"--{name} is missing; see {typed()} --help TASK")
    return given
