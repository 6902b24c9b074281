"""Checkpoints: everything is restored exactly, and damage is detected."""

from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import save as to_bytes

from unroll.errors import UserError
from unroll.training.checkpoint import FORMAT, Checkpoints, _digest, load, save

leaves = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text() | st.binary(max_size=9)
trees = st.recursive(
    leaves,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.lists(inner, max_size=3).map(tuple)
        | st.dictionaries(st.text() | st.integers(), inner, max_size=3)
    ),
    max_leaves=12,
)


@settings(max_examples=60)
@given(tree=trees)
def test_any_plain_tree_comes_back(tree: Any, tmp_path_factory: pytest.TempPathFactory) -> None:
    path = tmp_path_factory.mktemp("tree") / "file"
    save(path, tree)
    assert load(path) == tree


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16, torch.int64, torch.uint8, torch.bool])
@pytest.mark.parametrize("shape", [(), (0,), (3,), (2, 3)])
def test_tensors_come_back_bit_by_bit(dtype: torch.dtype, shape: tuple[int, ...], tmp_path: Path) -> None:
    tensor = torch.randint(0, 2, shape).to(dtype)
    save(tmp_path / "file", {"nested": [(tensor, tensor)]})
    [(one, two)] = load(tmp_path / "file")["nested"]
    assert one.dtype == dtype and one.shape == shape
    assert torch.equal(one, tensor) and torch.equal(two, tensor)


def test_arrays_views_and_order_survive(tmp_path: Path) -> None:
    matrix = torch.arange(6.0).reshape(2, 3)
    save(tmp_path / "file", OrderedDict(b=matrix.t(), a=np.arange(4)[::2], c=np.float64(0.1)))
    tree = load(tmp_path / "file")
    assert list(tree) == ["b", "a", "c"]
    assert torch.equal(tree["b"], matrix.t())
    assert tree["a"].tolist() == [0, 2] and tree["c"] == 0.1


@pytest.mark.parametrize("value", [object(), {1.5: 2}, {"a": {3, 4}}, [lambda: 0]])
def test_what_cannot_be_held_is_named(value: Any, tmp_path: Path) -> None:
    with pytest.raises(TypeError, match="tree"):
        save(tmp_path / "file", value)
    assert not list(tmp_path.iterdir())


def test_every_damage_is_recognised(tmp_path: Path) -> None:
    path = tmp_path / "file"
    save(path, {"weights": torch.arange(100.0), "step": 7})
    whole = path.read_bytes()
    for damaged in (whole[:-1], whole[:50], b"", b"not a checkpoint", whole[:-9] + b"x" + whole[-8:]):
        path.write_bytes(damaged)
        with pytest.raises(UserError, match=str(path)):
            load(path)
    path.write_bytes(whole.replace(b'\\"step\\", 7', b'\\"step\\", 8'))
    with pytest.raises(UserError, match="digest"):
        load(path)


def test_a_foreign_safetensors_file_is_refused(tmp_path: Path) -> None:
    from safetensors.torch import save_file

    save_file({"a": torch.zeros(2)}, tmp_path / "file")
    with pytest.raises(UserError, match="not a checkpoint of this version"):
        load(tmp_path / "file")


def test_the_one_before_serves_when_the_last_is_damaged(tmp_path: Path) -> None:
    checkpoints = Checkpoints(tmp_path / "run")
    with pytest.raises(UserError, match="no checkpoint to resume from"):
        checkpoints.newest()
    checkpoints.save({"step": 1})
    checkpoints.save({"step": 2})
    assert checkpoints.newest()[1:] == ({"step": 2}, None)
    checkpoints.last.write_bytes(checkpoints.last.read_bytes()[:-3])
    path, tree, warning = checkpoints.newest()
    assert (path, tree) == (checkpoints.previous, {"step": 1})
    assert warning is not None and "last.safetensors" in warning and "using previous.safetensors" in warning


def test_leftovers_of_a_killed_write_are_cleared(tmp_path: Path) -> None:
    leftover = tmp_path / ".new.safetensors.1234abcd.tmp"
    leftover.write_bytes(b"half")
    Checkpoints(tmp_path).save({"step": 1})
    assert not leftover.exists()


@pytest.mark.parametrize("done", [0, 1])
def test_killed_between_the_renames_the_newest_is_used(done: int, tmp_path: Path) -> None:
    checkpoints = Checkpoints(tmp_path)
    for step in (1, 2):
        checkpoints.save({"step": step})
    save(tmp_path / "new.safetensors", {"step": 3})
    if done:
        checkpoints.last.replace(checkpoints.previous)
    assert checkpoints.exist() and checkpoints.newest() == (checkpoints.last, {"step": 3}, None)
    assert load(checkpoints.previous) == {"step": 2}
    assert not (tmp_path / "new.safetensors").exists()


TREES = [
    '{"$tensor": "7"}', '{"$tensor": [1]}', '{"$bytes": "xy"}', '{"$tuple": 3}', '{"$dict": [[1]]}', "{}", "[" * 9999,
    '{"a": 1, "b": 2}', '{"$dict": [[[1], 2]]}', '{"$array": null}', "", "nothing", '{"$bytes": 7}',
    '{"$named": ["Pair", [["x"]]]}', '{"$named": ["a b", [["x", 1]]]}',
    '{"$named": ["Pair", [["_x", 1]]]}', '{"$set": []}',
]  # fmt: skip


@pytest.mark.parametrize("header", TREES)
def test_a_malformed_tree_of_a_right_digest_is_one_line(header: str, tmp_path: Path) -> None:
    tensors = {"0": torch.ones(1)}
    metadata = {"format": FORMAT, "tree": header, "digest": _digest(header, tensors)}
    (tmp_path / "file").write_bytes(to_bytes(tensors, metadata))
    with pytest.raises(UserError, match="malformed") as error:
        load(tmp_path / "file")
    assert "\n" not in str(error.value)


def test_a_tree_without_the_keys_that_are_wanted_is_refused(tmp_path: Path) -> None:
    save(tmp_path / "file", {"weights": 1})
    assert load(tmp_path / "file", "weights") == {"weights": 1}
    with pytest.raises(UserError, match="a tree with weights, score is wanted"):
        load(tmp_path / "file", "weights", "score")
