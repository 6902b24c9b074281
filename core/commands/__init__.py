"""What each `invoke` task does. A command prints for people and returns one JSON object for programs."""

import json
import os
import signal
import sys
import traceback
import warnings
from collections.abc import Callable, Sequence
from types import FrameType
from typing import Any

from core import app as apps
from core.errors import Notice, UsageError, UserError
from core.interrupt import Interrupted


def run(
    command: Callable[..., Any], *arguments: Any, as_json: bool = False, debug: bool = False, **options: Any
) -> None:
    """Run a command for the command line and end the process with its exit code.

    A `UserError` is one line; so is a defect of ours, until `debug` asks for the traceback.
    """
    signal.signal(signal.SIGTERM, _terminate)
    if not debug:
        _notices_only()
    try:
        result = command(*arguments, **options)
    except (KeyboardInterrupt, Interrupted) as error:
        _fail("interrupted", 128 + getattr(error, "number", signal.SIGINT), debug)
    except UserError as error:
        _fail(str(error), error.exit_code, debug)
    except BrokenPipeError:  # the reader, `head` for example, has had enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(0)
    except Exception as error:
        reason = " ".join(str(error).split()) or "no message"
        _fail(f"internal error: {type(error).__name__}: {reason}; run again with --debug for the traceback", 1, debug)
    else:
        if as_json:
            print(json.dumps(result))
        code = result.get("exit_code", 0) if isinstance(result, dict) else 0
        sys.exit(code)


def _notices_only() -> None:
    """Libraries warn their callers, which is us; the user is told what is meant for the user."""
    warnings.simplefilter("ignore")
    warnings.simplefilter("always", Notice)
    warnings.showwarning = lambda message, *_, **__: print(f"note: {message}", file=sys.stderr)


def _terminate(number: int, _: FrameType | None) -> None:
    raise Interrupted(number)


def _fail(message: str, code: int, debug: bool) -> None:
    if debug:
        traceback.print_exc()
    print(f"error: {message}", file=sys.stderr)
    sys.exit(code)


def chosen(app: str | None) -> list[str]:
    """Names in `a,b,c` or `all`. Raises UserError for an unknown one, before anything is begun."""
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
