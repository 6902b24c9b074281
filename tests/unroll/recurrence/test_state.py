"""The state protocol over any nesting, and files that refuse the wrong model."""

from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file
from torch import Tensor, nn

from unroll.recurrence import Recurrent, state


class Beam(NamedTuple):
    hidden: Tensor
    memory: Any


def leaf(rows: int = 3) -> Tensor:
    return torch.randn(2, rows, 4)


def nested(rows: int = 3) -> dict[str, Any]:
    """Every container at once."""
    return {
        "decoder": Beam(leaf(rows), [leaf(rows), None]),
        "encoder": (leaf(rows), {"a": (leaf(rows),)}),
        "none": None,
    }


def equal(a: Any, b: Any) -> bool:
    return all(torch.equal(x, y) for x, y in zip(state.tensors(a), state.tensors(b), strict=True))


nestings = st.recursive(
    st.none() | st.builds(leaf),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.lists(inner, max_size=3).map(tuple)
        | st.dictionaries(st.text(max_size=3), inner, max_size=3)
        | st.builds(Beam, st.builds(leaf), inner)
    ),
    max_leaves=6,
)


@settings(max_examples=40)
@given(given_state=nestings)
def test_containers_survive(given_state: Any) -> None:
    same = state.select(state.detach(given_state), torch.arange(3))
    assert equal(same, given_state)
    assert type(same) is type(given_state)
    if list(state.tensors(given_state)):
        assert equal(state.concatenate(state.split(given_state)), given_state)


@settings(max_examples=20)
@given(given_state=nestings)
def test_files_give_back_what_was_saved(given_state: Any, tmp_path_factory: pytest.TempPathFactory) -> None:
    path, model = tmp_path_factory.mktemp("state") / "state.safetensors", nn.Linear(2, 2)
    state.save(path, given_state, model)
    loaded = state.load(path, model)
    assert equal(loaded, given_state)
    assert list(state.tensors(given_state)) or loaded == given_state


def test_detach_cuts_the_graph() -> None:
    carried = state.apply(lambda tensor: tensor.requires_grad_() * 2, nested())
    assert all(tensor.requires_grad for tensor in state.tensors(carried))
    assert not any(tensor.requires_grad for tensor in state.tensors(state.detach(carried)))


def test_select_and_reorder_rows() -> None:
    given_state = nested()
    picked = state.select(given_state, torch.tensor([2, 0, 2, 2]))
    assert torch.equal(picked["decoder"].hidden, given_state["decoder"].hidden[:, [2, 0, 2, 2]])
    masked = state.select(given_state, torch.tensor([False, True, True]))
    assert torch.equal(masked["encoder"][0], given_state["encoder"][0][:, 1:])
    beams = state.reorder(given_state, torch.tensor([1, 1, 0]))
    assert torch.equal(beams["decoder"].memory[0], given_state["decoder"].memory[0][:, [1, 1, 0]])
    with pytest.raises(ValueError, match=r"parents must have one entry per row, \[3\], got \[2\]"):
        state.reorder(given_state, torch.tensor([0, 1]))


def test_reset_some_rows() -> None:
    given_state, fresh = nested(), nested()
    mask = torch.tensor([True, False, True])
    for after, start in ((state.reset(given_state, mask), None), (state.reset(given_state, mask, fresh), fresh)):
        hidden = after["decoder"].hidden
        assert torch.equal(hidden[:, 1], given_state["decoder"].hidden[:, 1])
        expected = torch.zeros(2, 2, 4) if start is None else start["decoder"].hidden[:, [0, 2]]
        assert torch.equal(hidden[:, [0, 2]], expected)
    for wrong in (torch.tensor([1, 0, 1]), torch.tensor([True, False])):
        with pytest.raises(ValueError, match=r"mask must be bool \[3\], got"):
            state.reset(given_state, wrong)


def test_concatenate_gathers_sessions() -> None:
    one, two = nested(1), nested(2)
    assert state.concatenate([one, two])["encoder"][1]["a"][0].shape == (2, 3, 4)
    with pytest.raises(ValueError, match="at least one state"):
        state.concatenate([])


def test_to_another_dtype() -> None:
    assert state.to(nested(), torch.float64)["decoder"].hidden.dtype == torch.float64


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ((leaf(),), [leaf()]),
        ({"a": leaf()}, {"b": leaf()}),
        ((leaf(), leaf()), (leaf(),)),
        (leaf(), None),
        (None, leaf()),
        ((leaf(), None), (leaf(), leaf())),
    ],
    ids=["tuple, list", "other keys", "more", "tensor, None", "None, tensor", "None in a tuple"],
)
def test_different_nestings_do_not_mix(one: Any, other: Any) -> None:
    with pytest.raises(ValueError, match="nested differently"):
        state.concatenate([one, other])


def test_foreign_things_are_no_state() -> None:
    with pytest.raises(TypeError, match="a state holds tensors in tuples, lists, dicts or None, got str"):
        state.detach((leaf(), "hidden"))
    for wrong, said in (((leaf(), 1), "got int"), ({1.5: leaf()}, "keys of a file are text or integers, not float")):
        with pytest.raises(TypeError, match=said):
            state.save("never.safetensors", wrong, nn.Linear(1, 1))


class TestFiles:
    """A saved state belongs to one model: weights and configuration."""

    @pytest.fixture
    def network(self) -> Recurrent:
        torch.manual_seed(0)
        return Recurrent("lstm", 3, 4, 2)

    @pytest.fixture
    def path(self, network: Recurrent, tmp_path: Path) -> Path:
        path = tmp_path / "state.safetensors"
        state.save(path, network(torch.randn(5, 2, 3))[1], network)
        return path

    def test_a_session_goes_on_where_it_stopped(self, network: Recurrent, path: Path) -> None:
        x = torch.randn(9, 2, 3)
        whole, _ = network(x)
        _, before = network(x[:4])
        state.save(path, before, network)
        rest, _ = network(x[4:], state.load(path, network))
        torch.testing.assert_close(rest, whole[4:])

    def test_changed_weights_refuse_it(self, network: Recurrent, path: Path) -> None:
        with torch.no_grad():
            network.cells[1].weight_hh[0, 0] += 1e-6
        with pytest.raises(ValueError, match=r"state.safetensors holds the state of another model: the weights or"):
            state.load(path, network)

    @pytest.mark.parametrize("options", [{"zoneout": 0.1}, {"residual": True}])
    def test_a_changed_configuration_refuses_it(self, network: Recurrent, path: Path, options: Any) -> None:
        other = Recurrent("lstm", 3, 4, 2, **options)
        other.load_state_dict(network.state_dict())
        with pytest.raises(ValueError, match="another model"):
            state.load(path, other)

    def test_training_mode_and_a_reloaded_copy_do_not_matter(self, network: Recurrent, path: Path) -> None:
        other = Recurrent("lstm", 3, 4, 2).eval()
        other.load_state_dict(network.state_dict())
        assert len(state.load(path, other)) == 2

    def test_nan_is_refused(self, network: Recurrent, path: Path) -> None:
        state.save(path, (torch.full((4, 2, 4), torch.nan), leaf()), network)
        with pytest.raises(ValueError, match="state tensor 0 holds NaN"):
            state.load(path, network)

    def test_what_is_no_state_file_is_refused(self, network: Recurrent, path: Path) -> None:
        save_file({"x": leaf()}, path)
        with pytest.raises(ValueError, match="a safetensors file, but not a saved state"):
            state.load(path, network)
        path.write_bytes(b"\x80\x04pickle")
        with pytest.raises(ValueError, match="is not a readable state file"):
            state.load(path, network)
        with pytest.raises(FileNotFoundError):
            state.load(path.with_name("missing"), network)

    def test_the_order_in_which_weights_were_set_does_not_matter(self) -> None:
        """A weight that was replaced for a while, as dropout of weights does, comes last."""
        model = nn.Linear(2, 2)
        before, weight = state.fingerprint(model), model.weight
        del model.weight
        model.weight = weight
        assert list(model.state_dict()) == ["bias", "weight"]
        assert state.fingerprint(model) == before

    def test_low_precision_weights_have_a_fingerprint(self) -> None:
        model = nn.Linear(2, 2).to(torch.bfloat16)
        assert state.fingerprint(model) != state.fingerprint(nn.Linear(2, 2).to(torch.bfloat16))
