"""How messages name options, settings and tasks: as typed in a shell, or as written in Python.

    shell:  --set model.cell=gru                --by model.cell     invoke train --app speech --seeds 3
    Python: settings={"model.cell": "gru"}      by="model.cell"     unroll.train("speech", seeds=3)

All errors and hints use these functions; only `unroll.api` decides which of the two forms applies.
"""

import json
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

from unroll.errors import typed

IN_PYTHON = "UNROLL_IN_PYTHON"
"""set for the processes of a grid started from Python, where their messages are read"""
_in_python: ContextVar[bool] = ContextVar("in_python", default=bool(os.environ.get(IN_PYTHON)))
_NAMES = {"run": "model", "set": "settings"}
"""options that have another name in Python"""
_FUNCTIONS = ("train", "compare", "diagnose")
"""tasks that are functions of `unroll`; all others exist only on the command line"""


@contextmanager
def in_python() -> Iterator[None]:
    """Messages in this context use the Python form."""
    before = _in_python.set(True)
    try:
        yield
    finally:
        _in_python.reset(before)


def environment() -> dict[str, str]:
    """Environment variables for a process whose messages have the same form."""
    return {IN_PYTHON: "1"} if _in_python.get() else {}


def option(name: str, value: Any = None) -> str:
    """An option, with its value if given: `--by model.cell`. True is the value of a flag."""
    if not _in_python.get():
        return f"--{name}" if value in (None, True) else f"--{name} {value}"
    known = _NAMES.get(name, name)
    return known if value is None else f"{known}={_literal(value)}"


def settings(*texts: str) -> str:
    """Settings, each as `key=value`, or only the key if its value does not matter."""
    if not _in_python.get():
        return " ".join(f"--set {text}" for text in texts)
    return f"settings={_mapping(texts)}"


def condition(text: str) -> str:
    """A condition `key=value` on runs."""
    return f"where={_mapping([text])}" if _in_python.get() else f"--where {text}"


def task(name: str, app: str = "", **options: Any) -> str:
    """A task of an application with those options that are not None, as it would be typed or written."""
    given = {key: value for key, value in options.items() if value is not None}
    if _in_python.get() and name in _FUNCTIONS:
        return f"unroll.{name}({', '.join([_literal(app), *(f'{key}={_literal(one)}' for key, one in given.items())])})"
    named = {"app": app} if app else {}
    return " ".join([typed(), name, *(f"--{key} {value}" for key, value in (named | given).items())])


def _mapping(texts: Iterable[str]) -> str:
    pairs = [text.partition("=") for text in texts]
    inner = [f"{_literal(key)}: {_meant(text) if equals else '...'}" for key, equals, text in pairs]
    return f"{{{', '.join(inner)}}}"


def _meant(text: str) -> str:
    try:
        return _literal(json.loads(text))
    except json.JSONDecodeError:
        return _literal(text)


def _literal(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False) if isinstance(value, str) else repr(value)
