"""Reports SIGBUS in one line instead of dying silently: a mapped file is truncated, or its disk fails, while in use.

Reading a page that is no longer there raises SIGBUS, which ends the process. Python's own handlers cannot help: they
run after the failed instruction, which would fail for ever. So the handler is a C one, through ctypes. It runs in the
reading thread, which holds nothing but what reading an array needs, prints what happened and ends the process; a run
can be resumed as after `kill -9`.
"""

import ctypes
import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from unroll.errors import typed

_HANDLER = ctypes.CFUNCTYPE(None, ctypes.c_int)
MAPS = Path("/proc/self/maps")


@contextmanager
def bus_errors_explained() -> Iterator[None]:
    """Around everything that reads prepared data. Does nothing without /proc (see `shrunken`)."""
    if not MAPS.exists():
        yield
        return
    register = ctypes.CDLL(None).signal
    register.argtypes, register.restype = (ctypes.c_int, ctypes.c_void_p), ctypes.c_void_p
    handler = _HANDLER(_explain)
    before = register(signal.SIGBUS, ctypes.cast(handler, ctypes.c_void_p))
    try:
        yield
    finally:
        register(signal.SIGBUS, before)


def shrunken() -> list[Path]:
    """Files mapped by this process that are now shorter than their mapping."""
    page, found = os.sysconf("SC_PAGE_SIZE"), []
    for line in MAPS.read_text(encoding="utf-8", errors="surrogateescape").splitlines():
        place, _, offset, _, _, *name = line.split(maxsplit=5)
        if name and os.path.isfile(name[0]):
            begin, end = (int(address, 16) for address in place.split("-"))
            if int(offset, 16) + end - begin >= os.stat(name[0]).st_size + page:
                found.append(Path(name[0]))
    return found


def _explain(_: int) -> None:
    sys.stdout.flush()
    name = next(iter(shrunken()), None)
    what = f"{name}: was cut off" if name else "a file was cut off, or its disk failed,"
    command = f"{typed()} prepare --app " + (_application(name) if name else "NAME")
    line = f"error: {what} while it was read; run: {command} --force, and resume a training with --resume latest\n"
    os.write(2, line.encode(errors="surrogateescape"))
    os._exit(1)


def _application(path: Path) -> str:
    """The application whose prepared data the file belongs to."""
    sets = (folder.name for folder in path.parents if folder.parent.name == "prepared")
    return next(sets, "NAME").partition("-")[0].partition(".")[0]
