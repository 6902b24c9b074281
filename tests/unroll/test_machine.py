"""A problem of the machine is one line, however a library reports it."""

import errno
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from unroll import machine
from unroll.commands import run
from unroll.errors import UserError


def from_a_cause() -> None:
    try:
        raise MemoryError
    except MemoryError as error:
        raise SystemError("error return without exception set") from error


def raised(error: BaseException) -> Callable[[], None]:
    def fail() -> None:
        raise error

    return fail


@pytest.mark.parametrize(
    "fail",
    [
        lambda: torch.empty(1 << 60),
        lambda: np.empty(1 << 50, np.int8),
        from_a_cause,
        raised(OSError(errno.ENOMEM, os.strerror(errno.ENOMEM))),
        raised(RuntimeError("can't start new thread")),
        raised(ImportError("libtorch_cpu.so: failed to map segment from shared object")),
        raised(RuntimeError("CUDA out of memory. Tried to allocate 2.00 GiB")),
    ],
)
def test_memory_that_has_run_out_is_known(fail: Callable[[], object]) -> None:
    with pytest.raises((MemoryError, RuntimeError, SystemError, OSError, ImportError)) as caught:
        fail()
    line = machine.explained(caught.value)
    assert line is not None and line.startswith("out of memory (") and "\n" not in line


@pytest.mark.parametrize("error", [ValueError("no memory of it"), OSError(errno.ENOENT, "nothing"), KeyError("x")])
def test_other_errors_are_not(error: Exception) -> None:
    assert machine.explained(error) is None


def test_a_limit_below_what_the_libraries_take(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "limit", lambda: 1_500_000_000)
    with pytest.raises(UserError, match=r"may use only 1,500 MB, but its libraries need 2,200: .*ulimit -v"):
        machine.check()
    monkeypatch.setattr(machine, "limit", lambda: machine.LEAST)
    machine.check()


def ended(code: str, *words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """A command of ours in a process of its own."""
    return subprocess.run(
        [*words, sys.executable, "-c", f"from unroll.commands import run\n{code}"], cwd=Path(__file__).parents[2],
        env=os.environ | environment, capture_output=True, text=True, check=False,
    )  # fmt: skip


def test_with_too_little_address_space_it_is_one_line() -> None:
    done = ended("run(lambda: __import__('torch'))", "prlimit", "--as=1000000000")
    assert done.returncode == 1 and done.stderr.startswith("error: this process may use only 1,000 MB")
    assert len(done.stderr.splitlines()) == 1


def test_out_of_memory_nothing_more_is_said_at_the_end_of_the_process() -> None:
    code = "import atexit\natexit.register(print, 'more')\n__import__('sys').stdout.write('before ')\nrun({})"
    done = ended(code.format("lambda: __import__('torch').empty(1 << 60)"))
    assert done.returncode == 1 and done.stdout == "before "
    assert done.stderr.startswith("error: out of memory (RuntimeError: ") and len(done.stderr.splitlines()) == 1


def test_a_cache_of_matplotlib_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    code = "run(lambda: __import__('matplotlib').get_cachedir() and {})"
    done = ended(code, MPLCONFIGDIR=str(tmp_path / "file" / "cache"))
    assert done.returncode == 0 and done.stderr.startswith("note: matplotlib's cache cannot be written")
    assert len(done.stderr.splitlines()) == 1


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[Errno 2] No usable temporary directory found in ['/tmp']", "no folder for temporary files can be written"),
        ("Matplotlib requires access to a writable cache directory, but", "neither matplotlib's cache nor a temporary"),
    ],
)
def test_no_place_for_temporary_files(text: str, said: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        run(raised(FileNotFoundError(text)))  # type: ignore[arg-type]
    [line] = capsys.readouterr().err.splitlines()
    assert end.value.code == 1 and line.startswith(f"error: {said}") and "TMPDIR" in line


def test_a_right_that_the_user_lacks_is_no_internal_error(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        run(raised(PermissionError(13, "Permission denied", "cats/1.png")))  # type: ignore[arg-type]
    assert end.value.code == 1
    assert capsys.readouterr().err == "error: cats/1.png: permission denied; change its permissions\n"
