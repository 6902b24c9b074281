"""Errors caused by this machine, as one line: out of memory, no folder for temporary files, missing permissions."""

import errno
import re
import resource
from collections.abc import Iterator
from pathlib import Path

from unroll.errors import UserError

SAID = re.compile(
    r"can(no|')t allocate memory|out of memory|can't start new thread|failed to map segment|std::bad_alloc"
    r"|cannot create thread|pthread_create|failed to create thread",
    re.IGNORECASE,
)
SHORT = "out of memory"
NEAR = 0.9
"""fraction of its memory limit that a process uses when a failure is attributed to a lack of memory"""
LEAST = 2_200_000_000
"""bytes of address space that torch, Lightning and MLflow take when they are loaded (2.1e9 on x86-64 with one thread);
with less, some of them end the process silently"""
NO_FOLDER = {
    "No usable temporary directory found": "no folder for temporary files can be written",
    "Matplotlib requires access to a writable cache": "neither matplotlib's cache nor a temporary one can be written",
}
"""libraries' messages, and ours"""


def lacking(error: BaseException) -> bool:
    """Whether an error is due to a lack of memory, by itself or by its cause."""
    return any(
        isinstance(one, MemoryError) or getattr(one, "errno", None) == errno.ENOMEM or SAID.search(str(one)) is not None
        for one in _chain(error)
    )


def exhausted() -> bool:
    """Whether this process has used nearly all the address space that its limit allows (`ulimit -v`, `prlimit --as`).

    Libraries that then fail while loading raise errors that do not mention memory.
    """
    allowed = limit()
    try:
        status = Path("/proc/self/status").read_text(encoding="ascii")
    except (OSError, MemoryError):
        return False
    peak = re.search(r"VmPeak:\s*(\d+) kB", status)
    return allowed is not None and peak is not None and 1024 * int(peak[1]) > NEAR * allowed


def limit() -> int | None:
    """Bytes that this process may use; None if unlimited."""
    allowed = resource.getrlimit(resource.RLIMIT_AS)[0]
    return None if allowed == resource.RLIM_INFINITY else allowed


def check() -> None:
    """Raise UserError if this process may use less memory than its libraries need."""
    allowed = limit()
    if allowed is not None and allowed < LEAST:
        raise UserError(
            f"this process may use only {allowed / 1e6:,.0f} MB, but its libraries need {LEAST / 1e6:,.0f}: raise the "
            "limit (ulimit -v, prlimit --as)"
        )


def explained(error: BaseException) -> str | None:
    """The line for an error caused by this machine; None for others."""
    if lacking(error) or exhausted():
        return _out_of_memory(error)
    if isinstance(error, PermissionError) and error.filename is not None:
        return f"{error.filename}: {(error.strerror or 'permission denied').lower()}; change its permissions"
    for said, line in NO_FOLDER.items():
        if isinstance(error, OSError) and said in str(error):
            return f"{line} ({_words(error)}); free some space, or set TMPDIR and MPLCONFIGDIR to writable folders"
    return None


def _out_of_memory(error: BaseException) -> str:
    allowed = limit()
    raised = "" if allowed is None else f", or raise its limit of {allowed / 1e6:,.0f} MB (ulimit -v)"
    reason = _words(error)
    name = type(error).__name__
    return (
        f"{SHORT} ({f'{name}: {reason}' if reason else name}); make train.batch or the model smaller, "
        f"run fewer other programs{raised}"
    )


def _words(error: BaseException) -> str:
    return " ".join(str(error).split())[:200]


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__
