"""A full disk, and folders that cannot be written: one line, existing files are unharmed, and work can continue.

The disks are small tmpfs mounts, which need root; otherwise the tests say why they are skipped.
"""

import re
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.survival.conftest import command, prepare, said
from tests.survival.driver import Server, ended
from tests.survival.remains import Remains, statuses
from unroll import app as apps
from unroll.training import checkpoint

APP = "image"
Mount = Callable[..., Path]


@pytest.fixture
def mount(tmp_path: Path) -> Iterator[Mount]:
    """Mounts a disk of memory at tmp_path/NAME."""
    mounted: list[Path] = []

    def make(name: str, options: str = "size=64m") -> Path:
        folder = tmp_path / name
        folder.mkdir(exist_ok=True)
        words = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder)]
        done = subprocess.run(words, capture_output=True, text=True, check=False)
        if done.returncode:
            pytest.skip(f"needs the right to mount a tmpfs: {done.stderr.strip()}")
        mounted.append(folder)
        return folder

    yield make
    for folder in mounted:
        subprocess.run(["umount", "-l", folder], check=True)


def remount(folder: Path, options: str) -> None:
    subprocess.run(["mount", "-o", f"remount,{options}", folder], check=True)


def fill(folder: Path) -> Path:
    """Write a file until nothing more goes in."""
    path = folder / "filler"
    with path.open("wb", buffering=0) as file:
        try:
            while True:
                file.write(bytes(4096))
        except OSError:
            return path


FULL = {
    # what is on the small disk, the place in the evaluations at which it becomes full (5: in the one on test), the line
    "checkpoint": ("runs", 3, "runs/.*safetensors: the disk is full: .* has [0-9,]+ bytes left; free some space"),
    "model": ("runs", 5, r"runs/.*/model/model\.json: the disk is full: .* has [0-9,]+ bytes left; free some space"),
    "store": (
        "store",
        3,
        r"tracking store sqlite:.*/mlflow\.db: .*full; check MLFLOW_TRACKING_URI and the disk's free",
    ),
    "temporary": ("tmp", 5, r"run/tmp: the disk is full: .*run/tmp has [0-9,]+ bytes left; free some space"),
    "artifacts": ("mlruns", 5, "mlruns/.*: the disk is full: .* has [0-9,]+ bytes left; free some space"),
}


@pytest.mark.parametrize("case", FULL)
def test_a_disk_that_becomes_full(
    case: str, server: Server, whole: Callable[[str], Remains], place: Callable[[str], Path], mount: Mount
) -> None:
    name, number, wanted = FULL[case]
    folder, data = place("run"), whole(APP).data
    disk = mount(f"run/{name}")
    if name == "store":
        shutil.move(folder / "mlflow.db", disk / "mlflow.db")
        (folder / "mlflow.db").symlink_to(disk / "mlflow.db")
    with server.paused(command(APP), folder, data, "evaluation", number) as process:
        filler = fill(disk)
        assert ended(process) == 1
    line = said(folder)
    filler.unlink()
    assert re.search(wanted, line), line
    # A store that is full cannot be told.
    assert list(statuses(folder).values()) == ["RUNNING" if name == "store" else "FAILED"]
    for path in folder.glob("runs/*/*.safetensors"):
        checkpoint.load(path)
    assert server.run(f"train --app {APP} --resume latest", folder, data) == 0, (folder / "output.txt").read_text()
    found = Remains.of(folder, data)
    found.assert_same(whole(APP))
    assert not found.leftovers()


@pytest.mark.parametrize("app", apps.names())
def test_a_disk_too_small_for_the_data(app: str, server: Server, mount: Mount, place: Callable[[str], Path]) -> None:
    """Whatever an application writes its data with: one line, no leftovers, and with more space it goes on."""
    folder, disk = place("run"), mount("data", "size=16k")
    words = prepare(app)
    assert server.run(words, folder, disk) == 1
    assert re.search(f"{disk}/prepared/{app}.*: the disk is full: .* has [0-9,]+ bytes left", said(folder))
    assert not [path for path in disk.rglob("*") if path.is_file()]
    remount(disk, "size=64m")
    assert server.run(words, folder, disk) == 0


@pytest.mark.parametrize("what", ["data", "runs", "store", "mlruns"])
def test_a_folder_that_cannot_be_written(
    what: str, server: Server, whole: Callable[[str], Remains], mount: Mount, place: Callable[[str], Path]
) -> None:
    """One line, before anything was trained; no run is left that says it was under way."""
    folder = place("run")
    disk = mount(f"run/{what}")
    if what == "store":
        (folder / "mlflow.db").unlink()
        (folder / "mlflow.db").symlink_to(disk / "mlflow.db")
    remount(disk, "ro")
    data = disk if what == "data" else whole(APP).data
    assert server.run(command(APP), folder, data) == 1
    line = said(folder)
    wanted = (
        "tracking store sqlite:.*run/mlflow.db: .*unable to open" if what == "store" else f"{disk}(/.*)?: cannot be"
    )
    assert re.search(wanted, line), line
    assert what == "store" or list(statuses(folder).values()) == (["FAILED"] if what == "mlruns" else [])
