"""Errors for users: one line that names the file, record or key, and what to do.

Everything that the user can cause and fix is raised as `UserError`; the tasks print its text and exit with its code.
Any other exception is a bug of ours. `unroll.recurrence`, which is used as a library, raises Python's own errors.
"""

import difflib
import re
import sys
import warnings
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager

_STEERING = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")


class UserError(Exception):
    """Bad input of any kind. The message is one line: which file, record or key, what is wrong, what to do."""

    exit_code = 1


class UsageError(UserError):
    """The command line is wrong (a missing or contradictory option)."""

    exit_code = 2


class Notice(UserWarning):
    """Something to tell the user while work continues; the tasks print it as `note: ...`."""


@contextmanager
def noted(what: str) -> Iterator[None]:
    """Around optional parts of a run: an error in one becomes a note, and the work continues."""
    try:
        yield
    except Exception as error:
        reason = " ".join(str(error).split())
        # Matplotlib adds lines that point at the position in a text; the first sentence is enough.
        warnings.warn(f"{what}: left out ({type(error).__name__}: {reason[:200]})", Notice, stacklevel=3)


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """A hint for an unknown `name`: the nearest known ones, or all of them if none is near."""
    known = sorted(known)
    near = difflib.get_close_matches(name, known, n=3, cutoff=0.6)
    return f"did you mean {' or '.join(near)}?" if near else f"known: {', '.join(known)}"


def few(names: Sequence[str], most: int = 3) -> str:
    """At most `most` of the `names`, with an ellipsis if there are more."""
    return ", ".join(names[:most]) + (", ..." if len(names) > most else "")


def typed() -> str:
    """The program to name in messages: `unroll` if that was typed, else `invoke`."""
    return "unroll" if sys.argv[:1] == ["unroll"] else "invoke"


def harmless(text: str) -> str:
    r"""The text with everything that could control a terminal escaped, as `\x1b`: file names and data may be hostile.

    These are control characters except line feeds and tabs, text direction overrides, and lone surrogates, which stand
    for bytes of a file name that are not UTF-8.
    """
    return _STEERING.sub(lambda found: found[0].encode("unicode_escape").decode("ascii"), text)


def one_line(text: str) -> str:
    """`harmless`, with line feeds escaped as well."""
    return harmless(text).replace("\n", "\\n")
