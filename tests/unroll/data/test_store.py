import errno
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from unroll.data import store as module
from unroll.data.arrays import write_arrays
from unroll.data.fetch import RemoteFile
from unroll.data.files import write_json
from unroll.data.store import MANIFEST, Prepared, Store
from unroll.errors import UserError

SPEC = {"source": "builtin", "voices": ["a", "b"], "rate": 8000}


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "data")


def write(folder: Path) -> None:
    (folder / "train").mkdir()
    (folder / "train/rows.txt").write_text("eins\nzwei\n")
    (folder / "test.txt").write_text("drei\n")


def never(folder: Path) -> None:
    pytest.fail("write was called again")


def contents(store: Store) -> list[str]:
    """Everything in the store's folder of prepared sets, by relative name."""
    folder = store.root / "prepared"
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


def names(store: Store) -> list[str]:
    return sorted(path.name for path in (store.root / "prepared").iterdir())


# Preparing and opening


def test_prepared_once(store: Store) -> None:
    first = store.prepare("speech", SPEC, write)
    assert first.folder.parent == store.root / "prepared"
    assert (first.folder / "train/rows.txt").read_text() == "eins\nzwei\n"
    assert first.spec == SPEC
    assert store.prepare("speech", SPEC, never) == first
    assert store.open("speech", SPEC) == first
    assert names(store) == [first.folder.name]
    store.verify(first)


def test_manifest_tells_what_it_is(store: Store) -> None:
    prepared = store.prepare("speech", SPEC, write)
    manifest = json.loads((prepared.folder / MANIFEST).read_text())
    assert manifest["name"] == "speech"
    assert manifest["spec"] == SPEC
    assert manifest["digest"] == prepared.digest
    assert manifest["files"].keys() == {"train/rows.txt", "test.txt"}
    assert manifest["files"]["test.txt"]["size"] == 5
    assert manifest["seconds"] >= 0
    assert manifest["created"].endswith("+00:00")


def test_another_spec_is_another_set(store: Store) -> None:
    one, two = (store.prepare("speech", SPEC | {"rate": rate}, write) for rate in (8000, 16000))
    assert one.folder != two.folder
    assert one.digest != two.digest


def test_order_of_keys_does_not_matter(store: Store) -> None:
    one = store.prepare("speech", SPEC, write)
    assert store.prepare("speech", dict(reversed(SPEC.items())), never) == one


def test_digest_depends_on_content_alone(tmp_path: Path) -> None:
    def backwards(folder: Path) -> None:
        (folder / "test.txt").write_text("drei\n")
        (folder / "train").mkdir()
        (folder / "train/rows.txt").write_text("eins\nzwei\n")
        os.utime(folder / "test.txt", (0, 0))

    def changed(folder: Path) -> None:
        write(folder)
        (folder / "test.txt").write_text("vier\n")

    def renamed(folder: Path) -> None:
        write(folder)
        (folder / "test.txt").rename(folder / "tests.txt")

    digests = [Store(tmp_path / f.__name__).prepare("speech", SPEC, f).digest for f in (write, backwards)]
    assert digests[0] == digests[1]
    others = [Store(tmp_path / f.__name__).prepare("speech", SPEC, f).digest for f in (changed, renamed)]
    assert len({*digests, *others}) == 3


def test_digest_is_the_same_on_every_machine(store: Store) -> None:
    """A fixed value: whoever changes how it is made makes all earlier runs incomparable."""
    digest = store.prepare("speech", SPEC, write).digest
    assert digest == "7b98511b7bc0263ccd0e29970bf8a8f0ea215f1093fc67789dd8e351daa93f6c"


def test_root_from_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert Store().root == Path("data")
    monkeypatch.setenv("UNROLL_DATA", str(tmp_path / "elsewhere"))
    assert Store().downloads == tmp_path / "elsewhere/downloads"
    assert Store(tmp_path).root == tmp_path


def test_store_fetches_into_its_downloads(store: Store, site: Any) -> None:
    site.files["/a"] = b"a"
    file = RemoteFile("a.txt", (f"{site.url}/a",), "ca978112ca1bbdcafac231b39a23dc4da786eff8147c4e72b9807785afee48bb")
    assert store.fetch(file) == store.downloads / "a.txt"
    assert store.fetch_all([file, file], label="a") == [store.downloads / "a.txt"] * 2


@pytest.mark.parametrize("name", ["", "../x", "a/b", "a.b.c", "a b"])
def test_name_must_be_a_name(store: Store, name: str) -> None:
    with pytest.raises(ValueError, match="name it APP"):
        store.prepare(name, SPEC, write)


# force


def test_force_replaces(store: Store) -> None:
    old = store.prepare("speech", SPEC, write)
    new = store.prepare("speech", SPEC, lambda folder: write_json(folder / "new.json", 1), force=True)
    assert new.folder == old.folder
    assert contents(store) == [f"{new.folder.name}/{name}" for name in (MANIFEST, "new.json")]
    assert names(store) == [new.folder.name]


def test_force_that_fails_keeps_the_old_set(store: Store) -> None:
    old = store.prepare("speech", SPEC, write)
    with pytest.raises(ZeroDivisionError):
        store.prepare("speech", SPEC, lambda folder: print(1 / 0), force=True)
    store.verify(store.open("speech", SPEC))
    assert store.open("speech", SPEC) == old
    assert names(store) == [old.folder.name]


def test_killed_between_the_two_renames_of_force(store: Store) -> None:
    old = store.prepare("speech", SPEC, write)
    old.folder.rename(f"{old.folder}.old")
    assert store.prepare("speech", SPEC, never) == old
    assert names(store) == [old.folder.name]


def test_killed_after_the_two_renames_of_force(store: Store) -> None:
    old = store.prepare("speech", SPEC, write)
    (store.root / f"prepared/{old.folder.name}.old").mkdir()
    store.prepare("speech", SPEC, write, force=True)
    assert names(store) == [old.folder.name]


# What goes wrong


def test_not_prepared(store: Store) -> None:
    with pytest.raises(UserError, match=r"is not prepared; run: invoke prepare --app speech$"):
        store.open("speech.features", SPEC)


def lost(prepared: Prepared) -> Path:
    (prepared.folder / "test.txt").unlink()
    return prepared.folder / "test.txt"


def truncated(prepared: Prepared) -> Path:
    (prepared.folder / "test.txt").write_text("d")
    return prepared.folder / "test.txt"


def no_manifest(prepared: Prepared) -> Path:
    (prepared.folder / MANIFEST).unlink()
    return prepared.folder / MANIFEST


def half_a_manifest(prepared: Prepared) -> Path:
    path = prepared.folder / MANIFEST
    path.write_bytes(path.read_bytes()[:100])
    return path


def other_manifest(prepared: Prepared) -> Path:
    path = prepared.folder / MANIFEST
    path.write_text(path.read_text().replace('"sha256": "', '"sha256": "0', 1))
    return path


def senseless_manifest(prepared: Prepared) -> Path:
    (prepared.folder / MANIFEST).write_text('{"digest": 1, "files": [2]}')
    return prepared.folder / MANIFEST


DAMAGES = [lost, truncated, no_manifest, half_a_manifest, other_manifest, senseless_manifest]


@pytest.mark.parametrize("damage", DAMAGES)
def test_damage_is_seen_on_opening_and_cured_by_force(store: Store, damage: Callable[[Prepared], Path]) -> None:
    prepared = store.prepare("speech", SPEC, write)
    path = damage(prepared)
    for attempt in (lambda: store.open("speech", SPEC), lambda: store.prepare("speech", SPEC, never)):
        with pytest.raises(UserError) as caught:
            attempt()
        assert str(caught.value).startswith(f"{path}: ")
        assert str(caught.value).endswith("run: invoke prepare --app speech --force")
    assert store.prepare("speech", SPEC, write, force=True) == prepared


@pytest.mark.parametrize(
    ("name", "content", "complaint"),
    [
        ("test.txt", "vier\n", "has changed"),
        ("train/rows.txt", None, "is missing"),
        ("more.txt", "", "was not there before"),
    ],
)
def test_verify_reads_everything(store: Store, name: str, content: str | None, complaint: str) -> None:
    prepared = store.prepare("speech", SPEC, write)
    path = prepared.folder / name
    path.unlink() if content is None else path.write_text(content)
    with pytest.raises(UserError, match=f"{path}: {complaint}; run: invoke prepare --app speech --force"):
        store.verify(prepared)


def test_verify_needs_a_whole_manifest(store: Store) -> None:
    prepared = store.prepare("speech", SPEC, write)
    path = half_a_manifest(prepared)
    with pytest.raises(UserError, match=f"{path}: is missing or damaged"):
        store.verify(prepared)


@pytest.mark.parametrize("error", [KeyboardInterrupt, UserError("a.csv, line 3: no text"), OSError(errno.EACCES, "x")])
def test_failed_write_leaves_nothing(store: Store, error: Any) -> None:
    def fails(folder: Path) -> None:
        write(folder)
        raise error

    with pytest.raises(error if isinstance(error, type) else type(error)):
        store.prepare("speech", SPEC, fails)
    assert names(store) == []
    store.prepare("speech", SPEC, write)


def test_full_disk(small_disk: Path) -> None:
    store = Store(small_disk)
    kept = store.prepare("speech", {}, write)
    with pytest.raises(
        UserError, match=rf"large\.npy: the disk is full: {small_disk}/prepared/.* has [0-9,]+ bytes left"
    ):
        store.prepare("speech", SPEC, lambda folder: write_arrays(folder, {"large": np.zeros(100_000)}))
    with pytest.raises(UserError, match="the disk is full"):
        store.prepare("speech", SPEC, lambda folder: print((folder / "x").write_bytes(bytes(1_000_000))))
    assert names(store) == [kept.folder.name]
    store.verify(kept)


def test_full_disk_simulated(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(path: Path, value: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))

    monkeypatch.setattr(module, "write_json", fails)
    with pytest.raises(UserError, match="the disk is full"):
        store.prepare("speech", SPEC, write)
    assert names(store) == []


def test_read_only_store(read_only: Path) -> None:
    with pytest.raises(UserError, match="cannot be written"):
        Store(read_only / "data").prepare("speech", SPEC, write)


def test_store_that_became_read_only_still_opens(small_disk: Path) -> None:
    prepared = Store(small_disk).prepare("speech", SPEC, write)
    subprocess.run(["mount", "-o", "remount,ro", small_disk], check=True)
    assert Store(small_disk).prepare("speech", SPEC, never) == prepared
    with pytest.raises(UserError, match="cannot be written"):
        Store(small_disk).prepare("speech", {}, write)


# Many processes

SCRIPT = """
import sys, time
from pathlib import Path
from unroll.data.store import Store

root = Path(sys.argv[1])

def write(folder):
    (root / "calls").open("a").write("x")
    (folder / "half.txt").write_text("half")
    print("writing", flush=True)
    time.sleep(float(sys.argv[2]))
    (folder / "half.txt").write_text("whole")

try:
    print(Store(root).prepare("speech", {"a": 1}, write).digest)
except KeyboardInterrupt:
    sys.exit(130)
"""


@pytest.fixture
def process(start: Callable[..., subprocess.Popen[str]], store: Store) -> Callable[[float], subprocess.Popen[str]]:
    """Starts a process that prepares the set, which takes it so many seconds."""

    def begin(seconds: float) -> subprocess.Popen[str]:
        store.root.mkdir(exist_ok=True)
        return start([sys.executable, "-W", "ignore::ResourceWarning", "-c", SCRIPT, str(store.root), str(seconds)])

    return begin


def whole(folder: Path) -> None:
    (folder / "half.txt").write_text("whole")


def test_eight_processes_make_one_good_copy(store: Store, process: Callable[[float], subprocess.Popen[str]]) -> None:
    processes = [process(3) for _ in range(8)]
    answers = [one.communicate(timeout=60) for one in processes]
    assert [one.returncode for one in processes] == [0] * 8, answers
    assert (store.root / "calls").read_text() == "x"
    digests = {out.split()[-1] for out, _ in answers}
    prepared = store.open("speech", {"a": 1})
    assert digests == {prepared.digest}
    store.verify(prepared)
    assert names(store) == [prepared.folder.name]
    lines = sorted(err for _, err in answers if err)
    assert lines
    assert set(lines) == {"waiting for another process that is preparing speech ...\n"}


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_killed_while_writing(
    store: Store, process: Callable[[float], subprocess.Popen[str]], number: signal.Signals
) -> None:
    one = process(60)
    assert one.stdout is not None
    assert one.stdout.readline() == "writing\n"
    waiting = process(0)  # takes over when the first one dies
    time.sleep(0.2)
    one.send_signal(number)
    one.communicate(timeout=60)
    assert one.returncode != 0
    out, err = waiting.communicate(timeout=60)
    prepared = store.open("speech", {"a": 1})
    assert out.split()[-1] == prepared.digest, err
    assert (prepared.folder / "half.txt").read_text() == "whole"
    assert names(store) == [prepared.folder.name]


def test_leftovers_of_a_killed_process_go_and_others_stay(
    store: Store, process: Callable[[float], subprocess.Popen[str]]
) -> None:
    other = store.prepare("speech", {"b": 2}, write)
    one = process(60)
    assert one.stdout is not None
    assert one.stdout.readline() == "writing\n"
    one.kill()
    one.communicate()
    assert len(names(store)) == 3  # the other set, the half-made folder, the lock file that nobody holds
    with pytest.raises(UserError, match="is not prepared"):
        store.open("speech", {"a": 1})
    prepared = store.prepare("speech", {"a": 1}, whole)
    assert names(store) == sorted([prepared.folder.name, other.folder.name])


def test_a_prepared_set_is_on_the_disk_before_it_has_its_name(store: Store, disk: Any) -> None:
    """Every file, however it was written, with its whole content; then the name, in the folder above."""
    prepared = store.prepare("speech", SPEC, write)
    flushed = disk.flushed_before(prepared.folder)
    for file in (path for path in prepared.folder.rglob("*") if path.is_file() and path.name != MANIFEST):
        assert flushed[file.name] == file.stat().st_size > 0
    assert any(MANIFEST in name and size > 0 for name, size in flushed.items())
    assert disk.flushed_after(prepared.folder) == [str(prepared.folder.parent)]
