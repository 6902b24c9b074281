"""`invoke doctor`: checks this machine, its arithmetic, the data and the tracking store."""

import os
import platform
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import takewhile
from pathlib import Path
from typing import Any

import torch

from unroll import app as apps
from unroll import places, tracking
from unroll.console import say, show_table
from unroll.data.files import read_json, sha256
from unroll.data.store import MANIFEST, Prepared, Store
from unroll.errors import UserError
from unroll.places import runs_folder
from unroll.recurrence.kernels.cpu import compiled, native
from unroll.recurrence.kernels.triton import triton_kernel
from unroll.recurrence.selfcheck import TOLERANCE, cells

SUMS = "SHA256SUMS"
LITTLE, TOO_LITTLE = 5e9, 5e8
"""bytes of free disk below which there is a warning, or a failure"""
BUDGET = 10.0
"""seconds for the checksums of data; what is left then has its size looked at only"""


@dataclass(frozen=True)
class Finding:
    """One line of the table."""

    check: str
    status: str
    """ok, note or FAILED"""
    detail: str


def doctor() -> dict[str, Any]:
    """Run all checks; the exit code is 1 if one failed."""
    began = time.monotonic()
    found = [finding for check in CHECKS for finding in _safely(check)]
    show_table("", [{"check": one.check, "": one.status, "found": one.detail} for one in found])
    failed = [one.check for one in found if one.status == "FAILED"]
    seconds = time.monotonic() - began
    say(f"{len(failed)} failed: {', '.join(failed)}" if failed else f"all is well ({seconds:.1f} s)")
    return {
        "status": "FAILED" if failed else "FINISHED", "failed": failed, "seconds": round(seconds, 2),
        "checks": [{"check": one.check, "status": one.status, "detail": one.detail} for one in found],
        "exit_code": int(bool(failed)),
    }  # fmt: skip


def _safely(check: Callable[[], Iterator[Finding]]) -> Iterator[Finding]:
    """Turn an exception in a check into a finding, so that the others continue."""
    name = check.__name__.strip("_").replace("_", " ")
    try:
        yield from check()
    except UserError as error:
        yield Finding(name, "FAILED", str(error))
    except Exception as error:
        yield Finding(name, "FAILED", f"{type(error).__name__}: {' '.join(str(error).split())}")


def _machine() -> Iterator[Finding]:
    build = "CUDA " + str(torch.version.cuda) if torch.version.cuda else "CPU build"
    yield Finding("python", "ok", f"{platform.python_version()} on {platform.system()} {platform.machine()}")
    yield Finding("torch", "ok", f"{torch.__version__}, {build}, oneDNN {torch.backends.mkldnn.is_available()}")
    yield Finding("device", "ok", _device_name())
    cores, threads = os.cpu_count() or 1, torch.get_num_threads()
    busy = os.getloadavg()[0] if hasattr(os, "getloadavg") else 0.0
    detail = f"{threads} of {cores} cores, load {busy:.1f}"
    if threads > cores:
        yield Finding("threads", "note", f"{detail}: more threads than cores; set OMP_NUM_THREADS={cores}")
    elif busy > 1.5 * cores:
        yield Finding("threads", "note", f"{detail}: others are at work; times measured now mean little")
    else:
        yield Finding("threads", "ok", detail)


def _device() -> torch.device:
    if torch.cuda.is_available():
        return torch.device("cuda")
    return torch.device("mps" if torch.backends.mps.is_available() else "cpu")


def _device_name() -> str:
    device = _device()
    return f"cuda: {torch.cuda.get_device_name()}" if device.type == "cuda" else device.type


def _cells() -> Iterator[Finding]:
    checked = list(cells(_device()))
    for dtype in dict.fromkeys(one.dtype for one in checked):
        these = [one for one in checked if one.dtype == dtype]
        name, limit = str(dtype).removeprefix("torch."), TOLERANCE[dtype]
        yield _worst(f"gradients, {name}", "finite differences", {one.cell: one.gradient for one in these}, limit)
        yield _worst(f"fast paths, {name}", "the loop over steps", {one.cell: one.fast for one in these}, limit)


def _kernels() -> Iterator[Finding]:
    why = native.missing()
    if why is not None:
        yield Finding(
            "compiled kernels", "note", f"none: {why}; recurrent layers take torch's or the loop, and more time"
        )
        return
    halves = ("no bfloat16", "bfloat16 by AVX-512", "bfloat16 by AMX")[native.base().has_bfloat16()]
    yield Finding("compiled kernels", "ok", f"{compiled.compiler()}, {halves}, in {compiled.folder()}")
    if _device().type == "cuda" and (why := triton_kernel.missing()) is not None:
        yield Finding("triton kernels", "note", f"none: {why}; cells that cuDNN does not know run step by step")


def _worst(check: str, against: str, errors: dict[str, float], limit: float) -> Finding:
    wrong = [f"{cell} is off by {error:.1e}" for cell, error in errors.items() if not error <= limit]  # NaN is wrong
    if wrong:
        return Finding(check, "FAILED", f"against {against}: {', '.join(wrong)}; at most {limit:.0e} is rounding")
    worst = max(errors, key=lambda cell: errors[cell])
    return Finding(check, "ok", f"{len(errors)} cells against {against}: {worst} is off most, by {errors[worst]:.1e}")


def _applications() -> Iterator[Finding]:
    broken = []
    for name in apps.names():
        try:
            apps.load(name)
        except UserError as error:
            broken.append(str(error))
    if broken:
        yield Finding("applications", "FAILED", "; ".join(broken))
    else:
        yield Finding("applications", "ok", ", ".join(apps.names()))


def _place() -> Iterator[Finding]:
    yield Finding("kept", "ok", f"{places.told()} (UNROLL_HOME names another place)")


def _disk() -> Iterator[Finding]:
    for name, folder in (("data", Store().root), ("runs", runs_folder())):
        place = next(path for path in (folder.absolute(), *folder.absolute().parents) if path.exists())
        free = shutil.disk_usage(place).free
        status = "FAILED" if free < TOO_LITTLE or not os.access(place, os.W_OK) else "note" if free < LITTLE else "ok"
        writable = "" if os.access(place, os.W_OK) else ", not writable"
        yield Finding(f"disk: {name}", status, f"{folder}: {free / 1e9:.1f} GB free{writable}")


def _mirror() -> Iterator[Finding]:
    root = os.environ.get("UNROLL_MIRROR")
    if not root:
        detail = "no mirror (UNROLL_MIRROR is not set); downloads are verified as they come"
        yield Finding("published data", "ok", detail)
        return
    sums = Path(root) / SUMS
    if not sums.is_file():
        yield Finding("published data", "note", f"{sums}: is missing; files are verified only when they are used")
        return
    wanted = [line.split(maxsplit=1) for line in sums.read_text(encoding="utf-8").splitlines() if line.strip()]
    files = sorted(((Path(root) / name.lstrip("*"), digest) for digest, name in wanted), key=_size)
    yield _verified("published data", files)


def _size(file: tuple[Path, str]) -> int:
    return file[0].stat().st_size if file[0].is_file() else 0


def _verified(name: str, files: Sequence[tuple[Path, str]]) -> Finding:
    """The small ones first, until the time is up: many of the files rather than a part of the largest."""
    began, read = time.monotonic(), 0
    for path, digest in files:
        if not path.is_file():
            return Finding(name, "FAILED", f"{path}: is missing")
        if time.monotonic() - began > BUDGET:
            return Finding(name, "note", f"{read:,} of {len(files):,} files have their checksums; no time for the rest")
        if sha256(path) != digest:
            return Finding(name, "FAILED", f"{path}: its checksum is not the one in {SUMS}; copy it again")
        read += 1
    return Finding(name, "ok", f"{read:,} files have their checksums")


def _prepared_data() -> Iterator[Finding]:
    store, began, read = Store(), time.monotonic(), 0
    manifests = sorted(store.root.glob(f"prepared/*/{MANIFEST}"))
    for path in takewhile(lambda _: time.monotonic() - began <= BUDGET, manifests):
        found = read_json(path)
        store.verify(Prepared(path.parent, found.get("digest", ""), found.get("spec", {})))
        read += 1
    if read < len(manifests):
        yield Finding("prepared data", "note", f"{read} of {len(manifests)} sets verified in {BUDGET:.0f} s")
    else:
        yield Finding("prepared data", "ok", f"{read} sets have their checksums" if read else "none yet")


def _tracking_store() -> Iterator[Finding]:
    client = tracking.connect()
    began = time.monotonic()
    with tracking.store_errors():
        id = client.create_run(tracking.experiment(client, "doctor")).info.run_id
        client.log_metric(id, "written", 1.0)
        client.set_terminated(id, "FINISHED")
        written = client.get_run(id).data.metrics["written"]
        client.delete_run(id)
    milliseconds = 1000 * (time.monotonic() - began)
    detail = f"{tracking.where()}: written and read in {milliseconds:.0f} ms"
    yield Finding("tracking store", "ok" if written == 1.0 else "FAILED", detail)


CHECKS: tuple[Callable[[], Iterator[Finding]], ...] = (
    _machine, _kernels, _cells, _applications, _place, _disk, _mirror, _prepared_data, _tracking_store,
)  # fmt: skip
