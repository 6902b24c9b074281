"""Any nesting of tuples, named tuples, lists and mappings around leaves: one walk for states, batches and checkpoints.

torch has similar functions (`torch.utils._pytree`), but they are private.
"""

from __future__ import annotations

from collections import namedtuple
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor


def parts(tree: Any) -> dict[Any, Any] | None:
    """key -> part of a container: its keys, the names of its fields, or numbers; None for a leaf."""
    if isinstance(tree, Mapping):
        return dict(tree)
    if isinstance(tree, list | tuple):
        return dict(zip(getattr(tree, "_fields", range(len(tree))), tree, strict=True))
    return None


def rebuilt(like: Any, values: Iterable[Any]) -> Any:
    """A container like this one around other parts."""
    if isinstance(like, Mapping):
        return dict(zip(like, values, strict=True))
    return type(like)(*values) if hasattr(like, "_fields") else type(like)(values)


def alike(one: Any, other: Any) -> bool:
    """Whether two containers have the same type and keys; named tuples are compared by name and fields."""
    named = (getattr(one, "_fields", None), type(one).__name__)
    if named[0] is not None:
        return named == (getattr(other, "_fields", None), type(other).__name__)
    return type(one) is type(other) and (list(one) == list(other) if isinstance(one, dict) else len(one) == len(other))


def leaves(tree: Any, place: str = "") -> Iterator[tuple[str, Any]]:
    """(place, leaf) of all leaves in order; places are written as in Python: `batch.x[0]`."""
    inner = parts(tree)
    if inner is None:
        yield place, tree
    else:
        for key, part in inner.items():
            yield from leaves(part, below(place, key))


def below(place: str, key: Any) -> str:
    """The path of a part."""
    return f"{place}.{key}" if isinstance(key, str) else f"{place}[{key}]"


def retyped(tree: Any, like: Any) -> Any:
    """The tree with the named tuple classes that `like` has at the same places: a file holds no classes."""
    inner, wanted = parts(tree), parts(like)
    if inner is None or wanted is None:
        return tree
    if isinstance(tree, Mapping):
        return rebuilt(tree, [retyped(part, wanted.get(key)) for key, part in inner.items()])
    if len(inner) != len(wanted) or isinstance(like, Mapping):
        return tree
    named = isinstance(tree, tuple) and hasattr(like, "_fields")
    return rebuilt(like if named else tree, map(retyped, inner.values(), wanted.values()))


def encode(tree: Any, tensors: dict[str, Tensor], place: str = "tree") -> Any:
    """JSON for a tree of tensors, NumPy arrays, numbers, text, bytes and None; `decode` undoes it.

    Values that JSON cannot hold become a mapping with a single key that begins with "$".

    Args:
        tree: its mappings have text or integers as keys.
        tensors: receives copies of the tensors on the CPU, under the names used in the JSON.
        place: path of the tree, for errors.

    Raises:
        TypeError: names the place of a value that is none of these.
    """
    if tree is None or isinstance(tree, bool | int | float | str):
        return tree
    if isinstance(tree, np.generic):
        return tree.item()
    if isinstance(tree, Tensor | np.ndarray):
        return {("$tensor" if isinstance(tree, Tensor) else "$array"): _put_aside(tree, tensors)}
    if isinstance(tree, bytes):
        return {"$bytes": tree.hex()}
    inner = parts(tree)
    if inner is None:
        raise TypeError(f"{place}: a file cannot hold a {type(tree).__name__}; give it plain values and tensors")
    items = [[_key(key, place), encode(part, tensors, below(place, key))] for key, part in inner.items()]
    if isinstance(tree, Mapping):
        return {"$dict": items}
    if hasattr(tree, "_fields"):
        return {"$named": [type(tree).__name__, items]}
    values = [value for _, value in items]
    return values if isinstance(tree, list) else {"$tuple": values}


def decode(tree: Any, tensors: Mapping[str, Tensor]) -> Any:
    """The tree that `encode` was given; a named tuple has the same name and fields, but not the same class.

    Raises:
        ValueError, KeyError, TypeError, RecursionError: the tree is malformed.
    """
    if isinstance(tree, list):
        return [decode(item, tensors) for item in tree]
    if not isinstance(tree, dict):
        return tree
    [(kind, content)] = tree.items()
    match kind:
        case "$tensor":
            return tensors[content]
        case "$array":
            return tensors[content].numpy()
        case "$bytes":
            return bytes.fromhex(content)
        case "$tuple":
            return tuple(decode(item, tensors) for item in content)
        case "$named":
            name, items = content
            return namedtuple(name, [field for field, _ in items])(*(decode(item, tensors) for _, item in items))
        case "$dict":
            return {key: decode(item, tensors) for key, item in content}
    raise ValueError(f"{kind} is no kind of value")


def apply(function: Callable[..., Any], tree: Any, *others: Any) -> Any:
    """Maps function(leaf, *leaves of the others at the same place) over `tree`, keeping its nesting.

    Raises:
        ValueError: the others are nested differently.
    """
    inner = parts(tree)
    if inner is None:
        if any(parts(other) is not None for other in others):
            raise ValueError(f"nested differently: {kinds([tree])} meets {kinds(others)}")
        return function(tree, *others)
    if not all(alike(tree, other) for other in others):
        raise ValueError(f"nested differently: {kinds([tree])} meets {kinds(others)}")
    rest = [parts(other) or {} for other in others]
    return rebuilt(tree, [apply(function, part, *(one[key] for one in rest)) for key, part in inner.items()])


def kinds(trees: Iterable[Any]) -> str:
    """The kinds of these trees, for errors."""
    return ", ".join(f"{type(t).__name__} of {len(t)}" if parts(t) is not None else type(t).__name__ for t in trees)


def _put_aside(value: Tensor | np.ndarray[Any, Any], tensors: dict[str, Tensor]) -> str:
    tensor = value.detach() if isinstance(value, Tensor) else torch.from_numpy(value.copy())
    name = str(len(tensors))
    # A copy: safetensors rejects tensors that share memory, such as tied weights.
    tensors[name] = tensor.to("cpu", copy=True).contiguous()
    return name


def _key(key: Any, place: str) -> str | int:
    if isinstance(key, str | int):
        return key
    raise TypeError(f"{place}: the keys of a file are text or integers, not {type(key).__name__}")
