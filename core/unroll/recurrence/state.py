"""The state protocol: what training, beam search, session batches, streaming and serving do to a state.

A state is any nesting of tuples, named tuples, lists, dicts and None around tensors [layers x directions, B, ...]:
the batch is always dim 1, so nothing here depends on the model. No function changes its argument.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from unroll.recurrence import nested
from unroll.recurrence.cell import expand_right

BATCH = 1
"""The batch dimension of every state tensor."""


def apply(function: Callable[..., Any], state: Any, *others: Any) -> Any:
    """Maps function(tensor, *tensors of the others at the same place) over `state`, keeping its nesting.

    Raises:
        ValueError: the others are nested differently.
        TypeError: an element is neither a tensor nor one of the known containers.
    """

    def checked(tensor: Any, *rest: Any) -> Any:
        if tensor is not None and not isinstance(tensor, Tensor):
            raise TypeError(f"a state holds tensors in tuples, lists, dicts or None, got {type(tensor).__name__}")
        kind = type(None) if tensor is None else Tensor
        if not all(isinstance(other, kind) for other in rest):
            raise ValueError(f"nested differently: {nested.kinds([tensor])} meets {nested.kinds(rest)}")
        return None if tensor is None else function(tensor, *rest)

    return nested.apply(checked, state, *others)


def tensors(state: Any) -> Iterator[Tensor]:
    """All tensors of a state, in order."""
    return (leaf for _, leaf in nested.leaves(state) if leaf is not None)


def detach(state: Any) -> Any:
    """The state detached from the graph that computed it: the boundary of truncated BPTT."""
    return apply(lambda tensor: tensor.detach(), state)


def to(state: Any, *args: Any, **kwargs: Any) -> Any:
    """The state on another device or in another dtype; arguments as for torch.Tensor.to."""
    return apply(lambda tensor: tensor.to(*args, **kwargs), state)


def select(state: Any, rows: Tensor) -> Any:
    """The given rows only: rows is an index tensor (repetitions allowed) or a bool mask [B]."""
    index = rows.nonzero().squeeze(1) if rows.dtype == torch.bool else rows
    return apply(lambda tensor: tensor.index_select(BATCH, index.to(tensor.device)), state)


def reorder(state: Any, parents: Tensor) -> Any:
    """Beam search: row i of the result continues row parents[i]; parents [B] of whole numbers.

    Raises:
        ValueError: parents does not have one entry per row of the state.
    """
    batch = next((tensor.shape[BATCH] for tensor in tensors(state)), len(parents))
    if parents.shape != (batch,):
        raise ValueError(f"parents must have one entry per row, [{batch}], got {list(parents.shape)}")
    return select(state, parents)


def reset(state: Any, mask: Tensor, initial: Any = None) -> Any:
    """Resets the rows where the bool mask [B] is true: to `initial` (a state of the same batch), or to zeros."""
    if initial is None:
        return apply(lambda old: old.masked_fill(_rows(mask, old), 0), state)
    return apply(lambda old, new: torch.where(_rows(mask, old), new.to(old.dtype), old), state, initial)


def concatenate(states: Sequence[Any]) -> Any:
    """One state with the rows of all of them, in order: sessions gathered into a batch.

    Raises:
        ValueError: no state is given, or they are nested differently.
    """
    if not states:
        raise ValueError("concatenate needs at least one state")
    return apply(lambda *parts: torch.cat(parts, dim=BATCH), states[0], *states[1:])


def split(state: Any) -> list[Any]:
    """A list of single-row states, one per row: a batch split into sessions. `concatenate` undoes it."""
    batch = next((tensor.shape[BATCH] for tensor in tensors(state)), 0)
    return [apply(lambda tensor, row=row: tensor.narrow(BATCH, row, 1), state) for row in range(batch)]


def fingerprint(model: nn.Module) -> str:
    """SHA-256 over the model's configuration (its printed form) and every parameter and buffer, name by name."""
    digest = hashlib.sha256(repr(model).encode())
    for name, tensor in sorted(model.state_dict().items()):
        digest.update(f"{name} {tensor.dtype} {list(tensor.shape)}".encode())
        digest.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def save(path: str | Path, state: Any, model: nn.Module) -> None:
    """Writes a state as safetensors, with the fingerprint of its model. Never pickled."""
    arrays: dict[str, Tensor] = {}
    apply(lambda tensor: tensor, state)  # rejects anything that is not a state
    metadata = {"nesting": json.dumps(nested.encode(state, arrays, "state")), "fingerprint": fingerprint(model)}
    save_file(arrays, path, metadata=metadata)


def load(path: str | Path, model: nn.Module, device: str | torch.device = "cpu") -> Any:
    """Reads a state that `save` wrote.

    Raises:
        ValueError: the file is not a saved state, holds NaN, or is from a model with other weights or configuration.
    """
    try:
        with safe_open(path, framework="pt", device=str(device)) as file:
            metadata = file.metadata() or {}
            arrays = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 (safe_open is no dict)
    except SafetensorError as error:
        raise ValueError(f"{path} is not a readable state file: {error}") from None
    if not {"nesting", "fingerprint"} <= metadata.keys():
        raise ValueError(f"{path} is a safetensors file, but not a saved state")
    if metadata["fingerprint"] != fingerprint(model):
        raise ValueError(f"{path} holds the state of another model: the weights or the configuration differ")
    for key, tensor in arrays.items():
        if tensor.isnan().any():
            raise ValueError(f"{path}: state tensor {key} holds NaN")
    try:
        return nested.decode(json.loads(metadata["nesting"]), arrays)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise ValueError(f"{path} is damaged: the nesting of its state cannot be read ({error!r})") from None


def _rows(mask: Tensor, like: Tensor) -> Tensor:
    if mask.dtype != torch.bool or mask.shape != (like.shape[BATCH],):
        raise ValueError(f"mask must be bool [{like.shape[BATCH]}], got {mask.dtype} {list(mask.shape)}")
    return expand_right(mask.to(like.device), like[0])
