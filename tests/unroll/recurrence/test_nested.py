"""The one walk over nested structures: places, types, and files."""

import json
from collections import OrderedDict
from typing import Any, NamedTuple

import pytest
import torch

from unroll.recurrence import nested


class Pair(NamedTuple):
    x: Any
    y: Any


def test_leaves_have_places_as_one_writes_them() -> None:
    tree = Pair(1, [2, {"a": (3,), 4: None}])
    assert list(nested.leaves(tree, "batch")) == [
        ("batch.x", 1), ("batch.y[0]", 2), ("batch.y[1].a[0]", 3), ("batch.y[1][4]", None),
    ]  # fmt: skip
    assert list(nested.leaves(5, "it")) == [("it", 5)]


def test_every_container_is_kept() -> None:
    tree = Pair(1, [2, {"a": (3, Pair(4, 5))}])
    found = nested.apply(lambda a, b: a + b, tree, tree)
    assert found == Pair(2, [4, {"a": (6, Pair(8, 10))}])
    assert type(found) is Pair and type(found.y) is list and type(found.y[1]["a"][1]) is Pair


@pytest.mark.parametrize(
    ("tree", "other", "said"),
    [
        ([1], (1,), "list of 1 meets tuple of 1"),
        ({"a": 1}, {"b": 1}, "dict of 1 meets dict of 1"),
        ((1, 2), (1,), "tuple of 2 meets tuple of 1"),
        (1, [1], "int meets list of 1"),
        ([1], 1, "list of 1 meets int"),
        (Pair(1, 2), (1, 2), "Pair of 2 meets tuple of 2"),
    ],
)
def test_other_nestings_are_told(tree: Any, other: Any, said: str) -> None:
    with pytest.raises(ValueError, match=f"^nested differently: {said}$"):
        nested.apply(lambda a, b: a, tree, other)


def test_classes_come_back_from_an_example() -> None:
    like = [Pair(0, [0, Pair(0, 0)]), {"one": Pair(0, 0)}]
    found = nested.retyped([(1, [2, (3, 4)]), {"one": (5, 6)}], like)
    assert found == [Pair(1, [2, Pair(3, 4)]), {"one": Pair(5, 6)}]
    assert type(found[0]) is type(found[0].y[1]) is type(found[1]["one"]) is Pair
    assert nested.retyped((1, 2, 3), Pair(0, 0)) == (1, 2, 3)
    assert nested.retyped([1, 2], Pair(0, 0)) == [1, 2] and nested.retyped(1, Pair(0, 0)) == 1


def test_a_named_tuple_has_its_fields_when_it_comes_from_a_file() -> None:
    tensors: dict[str, torch.Tensor] = {}
    tree = OrderedDict(carried=Pair(torch.ones(2), (None, b"\0")))
    text = json.dumps(nested.encode(tree, tensors))
    carried = nested.decode(json.loads(text), tensors)["carried"]
    assert torch.equal(carried.x, torch.ones(2)) and carried.y == (None, b"\0")
    # What is computed next of it and of one of its class is one of its class.
    assert type(nested.apply(lambda a, b: a, Pair(1, (2, 3)), carried)) is Pair


def test_what_a_file_cannot_hold_is_named() -> None:
    with pytest.raises(TypeError, match=r"^tree\.a\[1\]: a file cannot hold a set; give it plain values and tensors$"):
        nested.encode({"a": [1, {2}]}, {})
    with pytest.raises(TypeError, match=r"^tree\[0\]: the keys of a file are text or integers, not float$"):
        nested.encode([{1.5: 2}], {})
