"""The cache of compiled kernels: damaged files are rebuilt, files that others could have written are rejected."""

from __future__ import annotations

import logging
import os
import shlex
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch

from unroll.recurrence import Recurrent
from unroll.recurrence.kernels.cpu import compiled, native
from unroll.recurrence.kernels.cpu.compiled import CannotCompile, load

pytestmark = pytest.mark.skipif(native.missing() is not None, reason=f"no compiled kernels: {native.missing()}")
ONE = "int one(void) { return 1; }"


def forget() -> None:
    for function in (compiled.toolchain, native.base, native.missing):
        function.cache_clear()


@pytest.fixture(autouse=True)
def kept(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Path]:
    """A cache of the test's own."""
    monkeypatch.setenv(compiled.FOLDER, str(tmp_path / "kept"))
    monkeypatch.delenv("CC", raising=False)
    forget()
    yield tmp_path / "kept"
    forget()


@pytest.fixture
def compilations(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What was compiled."""
    made: list[str] = []
    compile_ = compiled._compile

    def counted(command: list[str], source: str, path: Path) -> object:
        made.append(source)
        return compile_(command, source, path)

    monkeypatch.setattr(compiled, "_compile", counted)
    return made


def script(path: Path, *lines: str) -> str:
    path.write_text("\n".join(["#!/bin/sh", *lines]))
    path.chmod(0o755)
    return str(path)


def test_what_was_compiled_is_kept_for_this_user_alone(kept: Path, compilations: list[str]) -> None:
    assert load(ONE).one() == load(ONE).one() == 1
    assert compilations == [ONE]
    assert sorted(path.suffix for path in kept.iterdir()) == [".sha256", ".so"]
    assert {path.stat().st_mode & 0o777 for path in kept.iterdir()} == {0o600}
    assert kept.stat().st_mode & 0o777 == 0o700


def foreign(library: Path) -> None:
    text, made = library.parent.parent / "other.c", library.parent.parent / "other.so"
    text.write_text("int two(void) { return 2; }")
    subprocess.run([*compiled.toolchain()[1], "-shared", "-fPIC", str(text), "-o", str(made)], check=True)
    library.write_bytes(made.read_bytes())


DAMAGE: dict[str, Callable[[Path], object]] = {
    "cut in half": lambda library: os.truncate(library, library.stat().st_size // 2),
    "pages of zeros": lambda library: library.write_bytes(bytes(library.stat().st_size)),
    "no bytes": lambda library: library.write_bytes(b""),
    "one bit": lambda library: library.write_bytes(bytes([library.read_bytes()[0] ^ 1]) + library.read_bytes()[1:]),
    "a foreign library": foreign,
    "no digest": lambda library: library.with_suffix(".sha256").unlink(),
    "a cut digest": lambda library: library.with_suffix(".sha256").write_bytes(b"12ab"),
    "no library": lambda library: library.unlink(),
}
AGAIN = """
import sys
from unroll.recurrence.kernels.cpu.compiled import load
print([load(source).one() for source in sys.argv[1:]])
"""


def test_what_is_damaged_is_made_anew(kept: Path) -> None:
    """In a process of its own: what was loaded before would be loaded again, whatever stands in its file."""
    sources, sound = [f"int one(void) {{ return {number}; }}" for number in range(len(DAMAGE))], {}
    for source, damage in zip(sources, DAMAGE.values(), strict=True):
        load(source)
        [library] = set(kept.glob("*.so")) - set(sound)
        sound[library], copy = library.read_bytes(), library.with_name("copy")
        copy.write_bytes(sound[library])
        copy.chmod(0o600)
        copy.replace(library)  # this process has the other one mapped
        damage(library)
    done = subprocess.run(
        [sys.executable, "-c", AGAIN, *sources], capture_output=True, text=True, timeout=120, check=False
    )
    assert (done.stdout.strip(), done.returncode) == (str(list(range(len(sources)))), 0), done.stderr
    assert {library: library.read_bytes() for library in sound} == sound


@pytest.mark.parametrize("suffix", [".so", ".sha256"])
@pytest.mark.parametrize("mode", [0o666, 0o620])
def test_a_file_that_others_can_write_is_refused(suffix: str, mode: int, kept: Path) -> None:
    load(ONE)
    [file] = kept.glob(f"*{suffix}")
    file.chmod(mode)
    with pytest.raises(
        CannotCompile, match=f"{file.name} can be written by others .mode {mode:o}.: it is not run; delete"
    ):
        load(ONE)


def test_a_link_is_refused(kept: Path, tmp_path: Path) -> None:
    load(ONE)
    [library] = kept.glob("*.so")
    library.rename(tmp_path / "elsewhere.so")
    library.symlink_to(tmp_path / "elsewhere.so")
    with pytest.raises(CannotCompile, match="it is not run"):
        load(ONE)


@pytest.mark.parametrize("mode", [0o777, 0o770, 0o1777])
def test_a_folder_that_others_can_write_is_refused_and_told_once(
    mode: int, kept: Path, caplog: pytest.LogCaptureFixture
) -> None:
    kept.mkdir()
    kept.chmod(mode)
    network = Recurrent("lstm", 3, 4)
    with caplog.at_level(logging.WARNING, "unroll.recurrence"):
        for _ in range(3):
            network(torch.randn(2, 2, 3))
    assert network.ran == "torch"
    [record] = caplog.records
    assert f"{kept} can be written by others (mode {mode:o})" in record.getMessage()
    assert f"set {compiled.FOLDER} to a folder that only you can write to" in record.getMessage()
    assert list(kept.iterdir()) == []


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="only root can give files away")
def test_what_belongs_to_somebody_else_is_refused(kept: Path) -> None:
    load(ONE)
    [library] = kept.glob("*.so")
    os.chown(library, 12345, -1)
    with pytest.raises(CannotCompile, match=r"\.so belongs to user 12345, not to you: it is not run"):
        load(ONE)
    os.chown(kept, 12345, -1)
    with pytest.raises(CannotCompile, match="kept belongs to user 12345, not to you"):
        compiled.folder()


def test_a_compiler_may_be_a_command_line(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, compilations: list[str]
) -> None:
    """As ccache wants it."""
    gcc = shlex.join(compiled.toolchain()[1])
    wrapper = script(tmp_path / "with cache", f"echo used >> {shlex.quote(str(tmp_path / 'uses'))}", 'exec "$@"')
    monkeypatch.setenv("CC", f"{shlex.quote(wrapper)} {gcc}")
    compiled.toolchain.cache_clear()
    assert load(ONE).one() == 1
    assert compilations == [ONE]
    assert len((tmp_path / "uses").read_text().split()) == 2, "once for its version, once for the kernel"


WRONG = {
    "nothing of that name": (None, "/nowhere/cc: "),
    "says yes to all": (["exit 0"], r"made no library .*: is it a C compiler\?"),
    "refuses": (
        ["[ $1 = --version ] && exit 0", "echo 'error: no -march=native' >&2; exit 1"],
        "refuses: error: no -march",
    ),
    "speaks in lines": (["printf 'no\\nnot\\nnever\\n' >&2; exit 1"], "refuses: no not never$"),
    "makes something else": (['while [ "$1" != -o ]; do shift; done', "echo text > $2"], r"made no library .*: is it"),
}


@pytest.mark.parametrize("kind", WRONG)
def test_a_wrong_compiler_is_one_line(kind: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, kept: Path) -> None:
    lines, why = WRONG[kind]
    if lines is not None and kind in ("says yes to all", "makes something else"):
        lines = ["[ $1 = --version ] && exit 0", *lines]
    monkeypatch.setenv("CC", "/nowhere/cc" if lines is None else script(tmp_path / "cc", *lines))
    with pytest.raises(CannotCompile, match=why) as told:
        load(ONE)
    assert "\n" not in str(told.value)
    assert list(kept.iterdir()) == [], "nothing is left behind"


def test_a_quote_that_does_not_end_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CC", "gcc '-O")
    with pytest.raises(CannotCompile, match="CC=gcc '-O: No closing quotation"):
        load(ONE)


@pytest.mark.parametrize("when", ["--version", "-O3"])
def test_a_compiler_that_hangs_is_ended_with_all_its_children(
    when: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    lines = [f"[ $1 = {when} ] || exit 0", f"sleep 600 & echo $! > {tmp_path / 'child'}", "wait"]
    monkeypatch.setenv("CC", script(tmp_path / "cc", *lines))
    monkeypatch.setattr(compiled, "SECONDS", 1.0)
    monkeypatch.setattr(compiled, "ANSWER", 1.0)
    with pytest.raises(CannotCompile, match="cc did not respond within 1 s"):
        load(ONE)
    child = int((tmp_path / "child").read_text())
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline and _runs(child):
        time.sleep(0.01)
    assert not _runs(child)


def _runs(process: int) -> bool:
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def test_a_library_without_its_functions_is_refused() -> None:
    with pytest.raises(CannotCompile, match="left out two: is it a C compiler"):
        load(ONE, "one", "two")


def test_many_may_compile_the_same(kept: Path) -> None:
    found: list[int] = []
    threads = [threading.Thread(target=lambda: found.append(load(ONE).one())) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [1] * 4
    [library] = kept.glob("*.so")
    assert compiled._intact(library)


def test_without_a_compiler_everything_runs_and_nobody_is_told(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert native.missing() == "no C compiler (gcc or clang) was found"
    network = Recurrent("lstm", 3, 4)
    network(torch.randn(2, 2, 3))
    assert network.ran == "torch"
    assert caplog.records == []
