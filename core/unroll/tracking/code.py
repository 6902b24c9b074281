"""Which code a training run uses, as a digest, and on what kind of machine it runs."""

import hashlib
import importlib.util
import os
import platform
import subprocess
from collections.abc import Iterator
from functools import lru_cache
from importlib.metadata import entry_points
from pathlib import Path

import unroll
from unroll.app import ENTRY_POINTS
from unroll.data.files import sha256

_SUFFIXES = ".py .pyx .c .h .cc .cpp .hpp .cu .cuh .so .pyd .json .toml .yaml .yml .txt .sha256"
SUFFIXES = frozenset(_SUFFIXES.split())
"""endings of files that affect training: code, compiled or not, and what it reads beside itself; not pages, pictures
or recordings"""
PACKAGE = Path(unroll.__file__).parent
SKIPPED = frozenset({"__pycache__", "scaffold", "tests"})
"""folders that no training reads, such as the templates of new applications"""


def code_digest(app: str) -> str:
    """SHA-256 of all code of ours that training an application runs: the core with its C kernels, and the application,
    wherever it is. Like a git commit, except that uncommitted changes count and changes to pages do not.
    """
    total = hashlib.sha256()
    for root in (PACKAGE, *_places(app)):
        for path in sorted(_files(root)):
            status = path.stat()
            name = path.relative_to(root.parent).as_posix()
            total.update(f"{name} {_sha256(path, status.st_mtime_ns, status.st_size)}\n".encode())
    return total.hexdigest()


def machine() -> str:
    """The kind of machine, for comparison with others; it does not identify one."""
    import torch  # not at the top: a comparison needs the digest of the code alone

    return f"{_processor()}, {os.cpu_count()} cores, {platform.system()}, torch {torch.__version__}"


def device(setting: str) -> str:
    """What `train.device` means on this machine: "cpu", "mps", "cuda: NVIDIA H200"."""
    import torch

    if setting in ("auto", "gpu") and torch.cuda.is_available():
        return f"cuda: {torch.cuda.get_device_name()}"
    return "mps" if setting != "cpu" and torch.backends.mps.is_available() else "cpu"


def commit() -> dict[str, str]:
    """The commit of this code, marked if it has been changed since; empty outside a checkout."""

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
    """The package, or single module, of an application: in `apps/`, else from an entry point."""
    own = importlib.util.find_spec(f"unroll.apps.{app}")
    if own and own.origin:
        yield Path(own.origin).parent
        return
    module = next((entry.module for entry in entry_points(group=ENTRY_POINTS) if entry.name == app), "")
    # The outermost regular package: a namespace package, such as a company's, also holds other code.
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
            continue  # in a wheel: each application has its own digest
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
