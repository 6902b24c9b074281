"""Compiles C to a library at first use, caches it on disk, and loads it only if it is intact.

What is loaded runs as code, so the folder and each file in it must belong to this user, and a library must match the
SHA-256 stored beside it: a file truncated by a crash or a full disk is compiled again.
"""

from __future__ import annotations

import ctypes
import functools
import hashlib
import os
import platform
import shlex
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import torch

FOLDER = "UNROLL_KERNELS"
"""environment variable: folder of compiled kernels, by default ~/.cache/unroll/kernels; "off" compiles nothing"""
HERE = Path(__file__).parent
FLAGS = (
    "-O3", "-march=native", "-ffp-contract=fast", "-fno-math-errno", "-fno-trapping-math",
    "-fopenmp", "-shared", "-fPIC",
)  # fmt: skip
SECONDS = 120.0
"""seconds that a compiler may take for one kernel; one is usual"""
ANSWER = 20.0
"""seconds within which it must report its version"""


class CannotCompile(Exception):  # noqa: N818
    """Compiled kernels are not available; the message says what was tried."""


class Without(CannotCompile):
    """The same in an expected case: no compiler, or kernels are turned off."""


def load(source: str, *functions: str) -> ctypes.CDLL:
    """The library compiled from this C source; from the cache if source, compiler and machine are the same.

    Raises:
        CannotCompile: no compiler, or it fails, or omits a function; or the cache is writable by others.
    """
    kept, command, identity = toolchain()
    text = "\0".join([*(header.read_text() for header in sorted(HERE.glob("*.h"))), source, identity])
    path = kept / f"{hashlib.sha256(text.encode()).hexdigest()[:32]}.so"
    try:
        library = ctypes.CDLL(str(path)) if _intact(path) else _compile(command, source, path)
    except OSError as error:
        raise CannotCompile(f"{path}: {error}") from error
    if left_out := [name for name in functions if not hasattr(library, name)]:
        raise CannotCompile(f"{shlex.join(command)} left out {', '.join(left_out)}: is it a C compiler?")
    return library


def _intact(path: Path) -> bool:
    """Whether the library exists and is intact."""
    digest = path.with_suffix(".sha256")
    if not (path.is_symlink() or path.exists()) or not (digest.is_symlink() or digest.exists()):
        return False
    for file in (path, digest):
        if (why := _not_ours(file.lstat())) is not None or not stat.S_ISREG(file.lstat().st_mode):
            raise CannotCompile(f"{file} {why or 'is not a file'}: it is not run; delete it, and it is compiled again")
    return digest.read_bytes().strip() == _sha256(path)


def _not_ours(found: os.stat_result) -> str | None:
    """Why others could have written it; None if they could not."""
    if found.st_uid != os.geteuid():
        return f"belongs to user {found.st_uid}, not to you"
    if found.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        return f"can be written by others (mode {stat.S_IMODE(found.st_mode):o})"
    return None


def _sha256(path: Path) -> bytes:
    return hashlib.sha256(path.read_bytes()).hexdigest().encode()


def _compile(command: Sequence[str], source: str, path: Path) -> ctypes.CDLL:
    """Compiles the library and caches it.

    Two processes may compile the same source; each writes its own files, and the last rename wins.
    """
    cc = shlex.join(command)
    with tempfile.TemporaryDirectory(dir=path.parent) as scratch:
        text, made, digest = (Path(scratch) / f"kernel.{suffix}" for suffix in ("c", "so", "sha256"))
        text.write_text(source)
        done = _run([*command, *FLAGS, f"-I{HERE}", str(text), "-o", str(made), "-lm"], SECONDS)
        if done.returncode:
            said = next((line for line in done.stderr.splitlines() if "error" in line), done.stderr)
            raise CannotCompile(f"{cc} refuses: {' '.join(said.split())[:300]}")
        try:
            made.chmod(0o600)
            library = ctypes.CDLL(str(made))
        except OSError as error:
            raise CannotCompile(
                f"{cc} made no library ({' '.join(str(error).split())}): is it a C compiler?"
            ) from error
        digest.write_bytes(_sha256(made))
        digest.chmod(0o600)
        for file, final in ((digest, path.with_suffix(".sha256")), (made, path)):
            _flush(file)
            os.replace(file, final)
        _flush(path.parent)
    return library


def _flush(path: Path) -> None:
    """Flushes to the disk: the target of a rename must survive a power failure."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _run(command: Sequence[str], seconds: float) -> subprocess.CompletedProcess[str]:
    """Runs a compiler; kills it and its children when its time is over.

    Raises:
        CannotCompile: it cannot be started, or takes too long.
    """
    try:
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            text=True, errors="replace", start_new_session=True,
        )  # fmt: skip
    except OSError as error:
        raise CannotCompile(f"{command[0]}: {error}") from error
    try:
        out, said = process.communicate(timeout=seconds)
    except BaseException as error:
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
        if isinstance(error, subprocess.TimeoutExpired):
            raise CannotCompile(f"{command[0]} did not respond within {seconds:g} s") from None
        raise
    return subprocess.CompletedProcess(command, process.returncode, out, said)


def compiler() -> str:
    """The compiler's name and version, as it reports them."""
    return toolchain()[2].splitlines()[0]


def folder() -> Path:
    """The folder of compiled kernels.

    Raises:
        CannotCompile: there is none, or others can write there, or kernels are turned off.
    """
    wanted = os.environ.get(FOLDER, "")
    if wanted == "off":
        raise Without(f"{FOLDER} is off")
    try:
        kept = Path(wanted) if wanted else Path.home() / ".cache" / "unroll" / "kernels"
        kept.mkdir(parents=True, exist_ok=True, mode=0o700)
        why = _not_ours(kept.stat())
    except (OSError, RuntimeError) as error:
        raise CannotCompile(f"no folder for compiled kernels: {error}; set {FOLDER} to a folder") from error
    if why is not None:
        raise CannotCompile(
            f"{kept} {why}; compiled code is run from there: set {FOLDER} to a folder that only you can write to"
        )
    if not os.access(kept, os.W_OK):
        raise CannotCompile(f"{kept} cannot be written to; set {FOLDER} to a writable folder")
    return kept


@functools.cache
def toolchain() -> tuple[Path, list[str], str]:
    """(cache folder, compiler, what a compiled file depends on: compiler, processor, libraries).

    Raises:
        CannotCompile: one of them is missing.
    """
    if sys.platform not in ("linux", "darwin"):
        raise Without(f"compiled kernels are not built on {sys.platform}")
    kept, command = folder(), _command()
    version = _run([*command, "--version"], ANSWER).stdout
    return kept, command, "\0".join([version, shlex.join(command), _processor(), torch.__version__, *FLAGS])


def _command() -> list[str]:
    """CC, which may be a command line ("ccache gcc"), or the first compiler found."""
    try:
        command = shlex.split(os.environ.get("CC", ""))
    except ValueError as error:
        raise CannotCompile(f"CC={os.environ['CC']}: {error}") from error
    found = command or [name for name in map(shutil.which, ("gcc", "cc", "clang")) if name is not None][:1]
    if not found:
        raise Without("no C compiler (gcc or clang) was found")
    return found


def _processor() -> str:
    """The parts of the instruction set that decide whether compiled code runs here."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.platform()
    return next((line for line in lines if line.startswith(("flags", "Features"))), platform.platform())
