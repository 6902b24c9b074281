"""Which code a training runs, as a digest, and on what kind of machine."""

import hashlib
import importlib.util
import os
import platform
import subprocess
from collections.abc import Iterator
from functools import lru_cache
from importlib.metadata import entry_points
from pathlib import Path

import torch

import unroll
from unroll.app import ENTRY_POINTS
from unroll.data.files import sha256

_SUFFIXES = ".py .pyx .c .h .cc .cpp .hpp .cu .cuh .so .pyd .json .toml .yaml .yml .txt .sha256"
SUFFIXES = frozenset(_SUFFIXES.split())
"""of files that decide what a training does: code, compiled or not, and what it reads beside itself; pages, pictures
and recordings do not"""
PACKAGE = Path(unroll.__file__).parent
SKIPPED = frozenset({"__pycache__", "scaffold", "tests"})
"""folders that no training reads: templates of new applications are among them"""


def code_digest(app: str) -> str:
    """SHA-256 of all of ours that a training of an application runs: the core with its kernels in C, and the
    application wherever it lies. What git calls a commit, but changes that are not committed count, and a
    change of a page does not.
    """
    total = hashlib.sha256()
    for root in (PACKAGE, *_places(app)):
        for path in sorted(_files(root)):
            status = path.stat()
            name = path.relative_to(root.parent).as_posix()
            total.update(f"{name} {_sha256(path, status.st_mtime_ns, status.st_size)}\n".encode())
    return total.hexdigest()


def machine() -> str:
    """The kind of machine, as one compares it with others; not which one it is."""
    return f"{_processor()}, {os.cpu_count()} cores, {platform.system()}, torch {torch.__version__}"


def device(setting: str) -> str:
    """What `train.device` comes to here: "cpu", "mps", "cuda: NVIDIA H200"."""
    if setting in ("auto", "gpu") and torch.cuda.is_available():
        return f"cuda: {torch.cuda.get_device_name()}"
    return "mps" if setting != "cpu" and torch.backends.mps.is_available() else "cpu"


def commit() -> dict[str, str]:
    """The commit that this code is, with a mark when it was changed since; empty outside a checkout."""

    def git(*arguments: str) -> str:
        return subprocess.run(
            ["git", *arguments], cwd=PACKAGE, capture_output=True, text=True, check=True
        ).stdout.strip()

    try:
        return {
            "mlflow.source.git.commit": git("rev-parse", "HEAD"),
            "git.dirty": str(bool(git("status", "--porcelain"))),
        }
    except (OSError, subprocess.CalledProcessError):
        return {}


def _places(app: str) -> Iterator[Path]:
    """The package, or single module, that holds an application: of `apps/`, else of an entry point."""
    own = importlib.util.find_spec(f"unroll.apps.{app}")
    if own and own.origin:
        yield Path(own.origin).parent
        return
    module = next((entry.module for entry in entry_points(group=ENTRY_POINTS) if entry.name == app), "")
    # The outermost package that is one: a namespace, such as a company's, holds things of others.
    names = module.split(".")
    for depth in range(1, len(names) + 1):
        spec = importlib.util.find_spec(".".join(names[:depth])) if module else None
        if spec and spec.origin:
            yield Path(spec.origin).parent if spec.submodule_search_locations else Path(spec.origin)
            return


def _files(root: Path) -> Iterator[Path]:
    if root.is_file():
        yield root
        return
    for path in root.rglob("*"):
        inside = path.relative_to(root).parts
        if root == PACKAGE and inside[0] == "apps":
            continue  # in a wheel: each application is counted by itself
        if path.suffix in SUFFIXES and not SKIPPED & set(inside) and path.is_file():
            yield path


@lru_cache(maxsize=4096)
def _sha256(path: Path, _changed: int, _size: int) -> str:
    return sha256(path)


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    named = next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "")
    return named or platform.processor() or platform.machine()
