"""How a message names what its reader can change: as typed in a shell, or as written in Python.

    shell:  --set model.cell=gru                --by model.cell     invoke train --app speech --seeds 3
    Python: settings={"model.cell": "gru"}      by="model.cell"     unroll.train("speech", seeds=3)

Whoever words an error or an advice asks here; which of the two it is, only `unroll.api` says.
"""

import json
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

from unroll.errors import typed

IN_PYTHON = "UNROLL_IN_PYTHON"
"""set for the processes of a grid that was started from Python: what they say is read there"""
_in_python: ContextVar[bool] = ContextVar("in_python", default=bool(os.environ.get(IN_PYTHON)))
_NAMES = {"run": "model", "set": "settings"}
"""options that are called otherwise in Python"""
_FUNCTIONS = ("train", "compare", "diagnose")
"""tasks that are functions of `unroll`; the others are tasks of the command line for everyone"""


@contextmanager
def in_python() -> Iterator[None]:
    """What is said in this context is said to a program, or to whoever writes it."""
    before = _in_python.set(True)
    try:
        yield
    finally:
        _in_python.reset(before)


def environment() -> dict[str, str]:
    """For a process whose messages have the same reader."""
    return {IN_PYTHON: "1"} if _in_python.get() else {}


def option(name: str, value: Any = None) -> str:
    """An option, or what is asked of it: `--by model.cell`. A value that is True is that of a flag."""
    if not _in_python.get():
        return f"--{name}" if value in (None, True) else f"--{name} {value}"
    known = _NAMES.get(name, name)
    return known if value is None else f"{known}={_literal(value)}"


def settings(*texts: str) -> str:
    """Settings, each as `key=value`, or a key alone where its value is not what matters."""
    if not _in_python.get():
        return " ".join(f"--set {text}" for text in texts)
    return f"settings={_mapping(texts)}"


def condition(text: str) -> str:
    """A condition `key=value` on runs."""
    return f"where={_mapping([text])}" if _in_python.get() else f"--where {text}"


def task(name: str, app: str = "", **options: Any) -> str:
    """A task of an application with options, those that are not None: what one would type or write."""
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
