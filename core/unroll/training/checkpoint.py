"""Checkpoints: any nested structure of tensors and plain values in one safetensors file, without pickle.

The tensors are the file's payload; the tree around them is JSON in its header, with a digest over both. A file is
written to a temporary name, flushed and renamed, so that a reader sees the old one or the new one, never a half.
"""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save as to_bytes
from torch import Tensor

from unroll.data.files import atomic_write, sync_folder, writing
from unroll.errors import UserError
from unroll.recurrence.nested import decode, encode

FORMAT = "unroll.checkpoint.3"


def save(path: Path, tree: Any) -> None:
    """Write `tree` to `path`, replacing it atomically.

    Args:
        path: the file; its folder exists.
        tree: dicts (keys: text or integers), lists and tuples of tensors, NumPy arrays, numbers, text, bytes, None.

    Raises:
        TypeError: names the place of a value that is none of these.
        UserError: the disk is full or the folder cannot be written to.
    """
    tensors: dict[str, Tensor] = {}
    header = json.dumps(encode(tree, tensors))
    metadata = {"format": FORMAT, "tree": header, "digest": _digest(header, tensors)}
    atomic_write(path, to_bytes(tensors, metadata))


def load(path: Path, *keys: str) -> Any:
    """Load the tree that was saved at `path`, which must have all of `keys`; tensors are loaded to the CPU.

    Raises:
        UserError: the file is missing, truncated, corrupt or not a checkpoint, or the tree is not what is wanted.
    """
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  (not a dict)
    except FileNotFoundError:
        raise UserError(f"{path}: there is no such checkpoint") from None
    except (SafetensorError, OSError) as error:
        raise UserError(f"{path}: truncated or not a checkpoint ({error})") from None
    if metadata.get("format") != FORMAT:
        raise UserError(f"{path}: not a checkpoint of this version ({FORMAT})")
    header = metadata.get("tree", "")
    if metadata.get("digest") != _digest(header, tensors):
        raise UserError(f"{path}: corrupt: its digest does not match its content")
    try:
        tree = decode(json.loads(header), tensors)
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise UserError(f"{path}: malformed: its tree cannot be read ({type(error).__name__}: {error})") from None
    if keys and not (isinstance(tree, dict) and all(tree.get(key) is not None for key in keys)):
        raise UserError(f"{path}: malformed: a tree with {', '.join(keys)} is wanted here")
    return tree


def _digest(header: str, tensors: Mapping[str, Tensor]) -> str:
    digest = hashlib.sha256(header.encode())
    for name in sorted(tensors):
        digest.update(name.encode())
        if tensors[name].numel():
            digest.update(tensors[name].contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


class Checkpoints:
    """The checkpoints of one run: the last two, to resume from, and the best weights.

    Args:
        folder: made when it is missing.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.last = folder / "last.safetensors"
        self.previous = folder / "previous.safetensors"
        self.best = folder / "best.safetensors"
        self._new = folder / "new.safetensors"

    def save(self, tree: Any) -> None:
        """Save `tree` as the latest checkpoint, and keep the previous one.

        Raises:
            UserError: the disk is full or the folder cannot be written to; the checkpoints are as they were.
        """
        self._tidy()
        save(self._new, tree)
        self._shift()

    def save_best(self, tree: Any) -> None:
        """Save the best weights so far. Raises UserError like `save`."""
        self._tidy()
        save(self.best, tree)

    def exist(self) -> bool:
        """Whether there is a checkpoint to resume from, intact or not."""
        return any(path.exists() for path in (self._new, self.last, self.previous))

    def newest(self, *keys: str) -> tuple[Path, Any, str | None]:
        """(path, tree, warning) of the newest intact checkpoint that has these keys; the warning names those skipped.

        Raises:
            UserError: there is none.
        """
        self._tidy()
        problems: list[str] = []
        for path in (self.last, self.previous):
            try:
                return path, load(path, *keys), (f"{problems[0]}; using {path.name}" if problems else None)
            except UserError as error:
                problems.append(str(error))
        raise UserError(f"{self.folder}: no checkpoint to resume from ({'; '.join(problems)})")

    def _tidy(self) -> None:
        """Create the folder, and finish what a killed process left undone. The run's lock excludes other processes."""
        with writing(self.folder):
            self.folder.mkdir(parents=True, exist_ok=True)
            for leftover in self.folder.glob(".*.tmp"):
                leftover.unlink()
        if self._new.exists():  # it is whole: that name is given when everything is written
            self._shift()

    def _shift(self) -> None:
        with writing(self.last):
            if self.last.exists():
                self.last.replace(self.previous)
            self._new.replace(self.last)
            sync_folder(self.folder)
