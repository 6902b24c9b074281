"""The tasks do what they promise, and a cell that remembers reaches further than one that cannot."""

from dataclasses import replace
from typing import cast

import pytest
import torch

from unroll.recurrence.memory_tasks import SYMBOLS, TASKS, Batch, Measured, Task, measure, vector_cells


@pytest.mark.parametrize("task", list(TASKS))
@pytest.mark.parametrize("lag", [2, 7])
def test_the_answer_depends_on_an_input_that_many_steps_before(task: str, lag: int) -> None:
    one = TASKS[task].draw(lag, 500, torch.Generator().manual_seed(0))
    answers = len(one.answer)
    assert one.x.shape == (lag + answers, 500, TASKS[task].width)
    assert not torch.equal(one.answer[0, :-1], one.answer[0, 1:])


def test_copy_asks_for_each_symbol_after_the_lag() -> None:
    one = TASKS["copy"].draw(5, 9, torch.Generator().manual_seed(0))
    assert torch.equal(one.x[:3, :, :SYMBOLS].argmax(2), one.answer)
    assert one.x[:, 0, SYMBOLS].tolist() == [0.0] * 5 + [1.0] * 3


def test_adding_parity_and_flip_flop_compute_what_they_are_named_for() -> None:
    adding = TASKS["adding"].draw(6, 9, torch.Generator().manual_seed(0))
    torch.testing.assert_close(adding.answer[0], (adding.x[..., 0] * adding.x[..., 1]).sum(0))
    parity = TASKS["parity"].draw(6, 9, torch.Generator().manual_seed(0))
    marked = (parity.x[..., 0] > 0) & (parity.x[..., 1] == 1)
    assert torch.equal(parity.answer[0], marked.sum(0) % 2) and int(parity.x[..., 1].sum()) == 3 * 9
    flip = TASKS["flip-flop"].draw(6, 9, torch.Generator().manual_seed(0))
    assert torch.equal(flip.answer[0], (flip.x[0, :, 0] > 0).long()) and float(flip.x[-1, :, 0].abs().max()) == 0


@pytest.mark.parametrize("task", list(TASKS))
def test_perfection_is_one_and_guessing_is_nothing(task: str) -> None:
    wanted = TASKS[task]
    one = wanted.draw(8, 4000, torch.Generator().manual_seed(0))
    if wanted.classes:
        right = torch.nn.functional.one_hot(one.answer, wanted.classes).float()
        blind = torch.randn(right.shape, generator=torch.Generator().manual_seed(1))
    else:
        right, blind = one.answer[..., None], (one.x[-1:, :, 0] + 0.5)[..., None]
    assert wanted.solved(right, one) == 1 and wanted.solved(blind, one) < 0.05


def test_reach_ends_at_the_first_lag_that_is_not_solved() -> None:
    measured = Measured("lstm", "copy", (2, 4, 8), (1.0, 0.95, 0.5), 1.0)
    assert measured.reach == 4
    assert replace(measured, solved=(0.5, 1.0, 1.0)).reach == 0


def test_no_lag_is_tried_beyond_one_that_is_not_solved() -> None:
    measured = measure("elman", "copy", lags=(2, 4, 8), steps=1, hidden=4)
    assert measured.lags == (2,) and len(measured.solved) == 1 and measured.reach == 0


def test_a_cell_with_memory_measures_longer_than_one_without() -> None:
    budget = {"lags": (2, 4, 8), "steps": 150, "hidden": 16, "rows": 32}
    assert measure("gru", "flip-flop", **budget).reach >= 4
    assert measure("mingru", "parity", **budget).reach == 0  # one layer of it cannot combine what it has stored


def test_the_same_seed_gives_the_same_measurement_and_leaves_the_generator_alone() -> None:
    before = torch.get_rng_state()
    a, b = (measure("elman", "copy", lags=(2,), steps=20, hidden=8) for _ in range(2))
    assert a.solved == b.solved and torch.equal(before, torch.get_rng_state())


def test_cells_over_maps_are_left_out() -> None:
    assert "convlstm" not in vector_cells() and "lstm" in vector_cells()


def test_what_is_measured_on_was_not_trained_on(monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither the same random numbers, nor a batch of training again; and every step has a batch of its own."""
    drawn: list[tuple[int, torch.Tensor]] = []

    def draw(lag: int, rows: int, generator: torch.Generator) -> Batch:
        batch = TASKS["adding"].draw(lag, rows, generator)
        drawn.append((generator.initial_seed(), batch.x[:, :, 0].T))
        return batch

    monkeypatch.setitem(cast(dict[str, Task], TASKS), "watched", replace(TASKS["adding"], draw=draw))
    measure("elman", "watched", lags=(2,), steps=5, hidden=4, rows=16, seed=7)
    tests = [rows for seed, rows in drawn if len(rows) != 16]
    trained = [rows for seed, rows in drawn if len(rows) == 16]
    assert len(tests) == 1
    assert len(trained) == 5
    assert len({seed for seed, _ in drawn}) == 2
    together = torch.cat([*tests, *trained])
    assert len(together.unique(dim=0)) == len(together)
