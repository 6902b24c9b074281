"""PyTorch's own tests for its recurrent modules, run on ours; torch.nn's module gives the expected result.

The samples are from `torch.testing._internal.common_modules`. All are unbatched, which hardly uses our kernels, so each
is also run with a batch, and once wider than any vector register.
"""

import copy
import functools
import io
import itertools
import pickle
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import pytest
import torch
from torch import Tensor, nn

import unroll

common = pytest.importorskip("torch.testing._internal.common_modules", reason="needs expecttest, as PyTorch's do")

INFO = {info.module_cls.__name__: info for info in common.module_db if info.module_cls in vars(nn).values()}
KINDS = ["RNN", "GRU", "LSTM", "RNNCell", "GRUCell", "LSTMCell"]
TOLERANCE = {torch.float32: 2e-5, torch.float64: 1e-12}
ROWS = 5

every_kind = pytest.mark.parametrize("kind", KINDS)
every_dtype = pytest.mark.parametrize("dtype", TOLERANCE, ids=str)
# torch says so itself, for the same module with the same arguments.
pytestmark = pytest.mark.filterwarnings("ignore:LSTM with projections is not supported with oneDNN")


class Sample(NamedTuple):
    """How a module is made, what it is called with, and torch's own reference of the result where there is one."""

    options: dict[str, Any]
    sizes: tuple[Any, ...]
    inputs: list[Tensor]
    """x, and the states if any"""
    reference: Callable[..., Any] | None = None

    def arguments(self, inputs: Sequence[Tensor]) -> tuple[Any, ...]:
        x, *states = inputs
        return (x, *([tuple(states)] if len(states) > 1 else states))

    def pair(self, kind: str, dtype: torch.dtype) -> tuple[nn.Module, nn.Module]:
        """torch's module and ours, with the same weights."""
        theirs = getattr(nn, kind)(*self.sizes, **self.options, dtype=dtype)
        ours = getattr(unroll, kind)(*self.sizes, **self.options, dtype=dtype)
        ours.load_state_dict(theirs.state_dict())
        return theirs, ours


def flat(result: Any) -> list[Tensor]:
    return [result] if isinstance(result, Tensor) else [tensor for part in result for tensor in flat(part)]


def samples(kind: str, dtype: torch.dtype, training: bool = True) -> Iterator[Sample]:
    """PyTorch's, and the same with a batch."""
    info = INFO[kind]
    torch.manual_seed(5)
    for given in info.module_inputs_func(info, device="cpu", dtype=dtype, requires_grad=True, training=training):
        made, called = given.constructor_input, given.forward_input
        sample = Sample(made.kwargs, made.args, flat(called.args), given.reference_fn)
        yield sample
        yield from batched(sample, dtype)


def some(kind: str, dtype: torch.dtype = torch.float32, every: int = 7) -> Iterator[Sample]:
    """One in seven, of every form: there are five for each set of options."""
    return itertools.islice(samples(kind, dtype), 0, None, every if "Cell" not in kind else 1)


def batched(sample: Sample, dtype: torch.dtype) -> Iterator[Sample]:
    x, *states = (tuple(one.shape) for one in sample.inputs)
    at = 0 if sample.options.get("batch_first") or len(x) == 1 else 1
    shapes = [with_rows(x, at), *(with_rows(state, len(state) - 1) for state in states)]
    yield sample._replace(inputs=[drawn(shape, dtype) for shape in shapes], reference=None)
    if not states and "hidden_size" in sample.options:  # 3 steps become 9, 2 or 3 units become 37
        wide = sample.options | {"hidden_size": 37}
        x = with_rows((9, x[1]), at)
        yield sample._replace(options=wide, inputs=[drawn(x, dtype)], reference=None)


def with_rows(shape: tuple[int, ...], at: int) -> tuple[int, ...]:
    return (*shape[:at], ROWS, *shape[at:])


def drawn(shape: tuple[int, ...], dtype: torch.dtype) -> Tensor:
    return torch.randn(shape, dtype=dtype, requires_grad=True)


def close(ours: Sequence[Tensor], theirs: Sequence[Tensor], dtype: torch.dtype, sample: Sample) -> None:
    for mine, right in zip(ours, theirs, strict=True):
        assert mine.dtype == right.dtype
        torch.testing.assert_close(
            mine, right, atol=TOLERANCE[dtype] * max(1.0, float(right.detach().abs().max())), rtol=TOLERANCE[dtype],
            msg=lambda text: f"{sample.sizes} {sample.options} {[list(one.shape) for one in sample.inputs]}\n{text}",
        )  # fmt: skip


def weighted(results: Sequence[Tensor]) -> Tensor:
    """One number to which every element counts differently."""
    parts = [(one * torch.arange(1, one.numel() + 1, dtype=one.dtype).view_as(one).sin()).sum() for one in results]
    return torch.stack(parts).sum()


def outcome(module: nn.Module, sample: Sample, inputs: Sequence[Tensor], second: bool = False) -> list[Tensor]:
    """Results and gradients; with `second`, the gradients of the sum of squares of the gradients, too."""
    results = flat(module(*sample.arguments(inputs)))
    leaves = [*inputs, *module.parameters()]
    gradients = torch.autograd.grad(weighted(results), leaves, create_graph=second)
    if not second:
        return [*results, *gradients]
    of_gradients = torch.autograd.grad(sum((one**2).sum() for one in gradients), leaves, allow_unused=True)
    return [*gradients, *(one for one in of_gradients if one is not None)]


@every_kind
@every_dtype
@pytest.mark.parametrize("training", [True, False])
def test_forward_and_gradients(kind: str, dtype: torch.dtype, training: bool) -> None:
    for sample in samples(kind, dtype, training):
        theirs, ours = (module.train(training) for module in sample.pair(kind, dtype))
        close(*(outcome(module, sample, sample.inputs) for module in (ours, theirs)), dtype, sample)
        with torch.no_grad():
            results = flat(ours(*sample.arguments(sample.inputs)))
            close(results, flat(theirs(*sample.arguments(sample.inputs))), dtype, sample)
            if sample.reference:
                close(results, flat(sample.reference(ours, *sample.arguments(sample.inputs))), dtype, sample)


@every_kind
@every_dtype
def test_second_derivatives(kind: str, dtype: torch.dtype) -> None:
    for sample in some(kind, dtype, every=3):
        theirs, ours = sample.pair(kind, dtype)
        close(*(outcome(module, sample, sample.inputs, second=True) for module in (ours, theirs)), dtype, sample)


def apart(tensor: Tensor) -> Tensor:
    """The same values, with gaps between them."""
    wider = torch.stack([tensor.detach(), torch.full_like(tensor, torch.nan)], -1)
    return wider[..., 0].requires_grad_(tensor.requires_grad)


@every_kind
@every_dtype
def test_non_contiguous_tensors(kind: str, dtype: torch.dtype) -> None:
    for sample in some(kind, dtype, every=3):
        _, ours = sample.pair(kind, dtype)
        right = outcome(ours, sample, sample.inputs)
        close(outcome(ours, sample, [apart(one) for one in sample.inputs]), right, dtype, sample)
        with torch.no_grad():
            for weight in ours.parameters():
                weight.set_(apart(weight.detach()))
        assert not any(weight.is_contiguous() for weight in ours.parameters() if weight.numel() > 1)
        close(outcome(ours, sample, sample.inputs), right, dtype, sample)


@every_kind
@every_dtype
def test_gradients_that_do_not_lie_in_one_piece(kind: str, dtype: torch.dtype) -> None:
    for sample in some(kind, dtype):
        pair = sample.pair(kind, dtype)
        found = []
        for module in pair:
            results = flat(module(*sample.arguments(sample.inputs)))
            torch.manual_seed(1)
            coming = [apart(torch.randn_like(one)) for one in results]
            found.append(torch.autograd.grad(results, [*sample.inputs, *module.parameters()], coming))
        close(found[1], found[0], dtype, sample)


def pickled(module: nn.Module) -> nn.Module:
    again: nn.Module = pickle.loads(pickle.dumps(module))
    return again


def saved(module: nn.Module) -> nn.Module:
    file = io.BytesIO()
    torch.save(module, file)
    file.seek(0)
    again: nn.Module = torch.load(file, weights_only=False)
    return again


@every_kind
@pytest.mark.parametrize("again", [pickled, saved, copy.deepcopy, copy.copy])
@pytest.mark.parametrize("used", [False, True])
def test_a_copy_is_the_same_module(kind: str, again: Callable[[nn.Module], nn.Module], used: bool) -> None:
    """Before and after it was called: what a call leaves behind does not stand in the way."""
    for sample in some(kind):
        _, ours = sample.pair(kind, torch.float32)
        right = [one.clone() for one in outcome(ours, sample, sample.inputs)] if used else None
        other = again(ours)
        assert type(other) is type(ours)
        assert other.state_dict().keys() == ours.state_dict().keys()
        right = right or outcome(ours, sample, sample.inputs)
        close(outcome(other, sample, sample.inputs), right, torch.float32, sample)
        if again is not copy.copy:
            with torch.no_grad():
                for weight in other.parameters():
                    weight.zero_()
            close(outcome(ours, sample, sample.inputs), right, torch.float32, sample)


@every_kind
def test_weights_go_to_torch_and_back(kind: str) -> None:
    for sample in some(kind):
        theirs, ours = sample.pair(kind, torch.float32)
        fresh, _ = sample.pair(kind, torch.float32)
        fresh.load_state_dict(ours.state_dict())
        assert list(ours.state_dict()) == list(theirs.state_dict())
        for name, weight in fresh.state_dict().items():
            assert torch.equal(weight, theirs.state_dict()[name]), name
        assert [name for name, _ in ours.named_parameters()] == [name for name, _ in theirs.named_parameters()]


@every_kind
def test_it_is_made_from_the_same_random_numbers(kind: str) -> None:
    for sample in some(kind):
        made = []
        for library in (nn, unroll):
            torch.manual_seed(11)
            made.append(getattr(library, kind)(*sample.sizes, **sample.options))
        for (name, a), b in zip(made[0].named_parameters(), made[1].parameters(), strict=True):
            assert torch.equal(a, b), name


@every_kind
def test_it_prints_as_torch_does(kind: str) -> None:
    for sample in some(kind):
        theirs, ours = sample.pair(kind, torch.float32)
        assert repr(ours) == repr(theirs)
        assert str(nn.Sequential(ours)) == str(nn.Sequential(theirs))


@every_kind
def test_device_and_type_at_construction(kind: str) -> None:
    for sample in some(kind):
        cls = getattr(unroll, kind)
        for options in ({"device": "meta"}, {"dtype": torch.float64}, {"device": "meta", "dtype": torch.bfloat16}):
            module = cls(*sample.sizes, **sample.options, **options)
            for weight in module.parameters():
                assert weight.device.type == options.get("device", "cpu")
                assert weight.dtype == options.get("dtype", torch.float32)


@every_kind
def test_it_moves_between_types_and_devices(kind: str) -> None:
    for sample in some(kind):
        theirs, ours = sample.pair(kind, torch.float32)
        wide = [one.detach().double().requires_grad_() for one in sample.inputs]
        outcome(ours, sample, sample.inputs)
        close(*(outcome(module.double(), sample, wide) for module in (ours, theirs)), torch.float64, sample)
        close(*(outcome(m.float(), sample, sample.inputs) for m in (ours, theirs)), torch.float32, sample)
        elsewhere = copy.deepcopy(ours).to("meta")
        shapes = [one.shape for one in flat(ours(*sample.arguments(sample.inputs)))]
        there = flat(elsewhere(*sample.arguments([one.detach().to("meta") for one in sample.inputs])))
        assert [(one.shape, one.device.type) for one in there] == [(shape, "meta") for shape in shapes]
        back = elsewhere.to_empty(device="cpu")
        back.load_state_dict(theirs.state_dict())
        close(*(outcome(module, sample, sample.inputs) for module in (back, theirs)), torch.float32, sample)


@every_kind
def test_a_memory_format_changes_nothing(kind: str) -> None:
    for sample in some(kind):
        theirs, ours = sample.pair(kind, torch.float32)
        ours, theirs = (module.to(memory_format=torch.channels_last) for module in (ours, theirs))
        results = [flat(module(*sample.arguments(sample.inputs))) for module in (ours, theirs)]
        close(*results, torch.float32, sample)
        for mine, right in zip(*results, strict=True):
            assert mine.shape == right.shape
            assert mine.is_contiguous() == right.is_contiguous()


@every_kind
def test_a_call_changes_none_of_its_inputs(kind: str) -> None:
    for sample in some(kind):
        _, ours = sample.pair(kind, torch.float32)
        before = [one.detach().clone() for one in (*sample.inputs, *ours.parameters())]
        first, second = (outcome(ours, sample, sample.inputs) for _ in range(2))
        assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))
        assert all(torch.equal(a, b) for a, b in zip(before, (*sample.inputs, *ours.parameters()), strict=True))


def wrong(kind: str, dtype: torch.dtype) -> list[Any]:
    info = INFO[kind]
    made: list[Any] = info.module_error_inputs_func(
        info, device="cpu", dtype=dtype, requires_grad=False, training=False
    )
    return made


@every_kind
@every_dtype
def test_what_torch_refuses_is_refused_in_the_same_words(kind: str, dtype: torch.dtype) -> None:
    for error in wrong(kind, dtype):
        made, called = error.module_error_input.constructor_input, error.module_error_input.forward_input
        make = functools.partial(getattr(unroll, kind), *made.args, **made.kwargs)
        if error.error_on is common.ModuleErrorEnum.CONSTRUCTION_ERROR:
            with pytest.raises(error.error_type, match=error.error_regex):
                make()
        else:
            module = make(dtype=dtype)
            with pytest.raises(error.error_type, match=error.error_regex):
                module(*called.args, **called.kwargs)
