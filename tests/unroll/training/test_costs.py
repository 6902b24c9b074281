"""What a training costs: only time between steps counts, earlier sessions do, memory is in megabytes."""

import json
import resource
import sys
from types import SimpleNamespace

import pytest

from unroll.training import costs
from unroll.training.costs import Costs, peak_memory


@pytest.fixture(autouse=True)
def memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(costs, "peak_memory", lambda: 5.0)


def two_steps(found: Costs, begin: float) -> Costs:
    found.step(at=begin, size=100.0, waited=0.5, total=1.0)  # the first has no beginning
    found.step(at=begin + 2.0, size=10.0, waited=0.25, total=2.0)
    return found


def test_the_step_after_an_evaluation_has_no_throughput() -> None:
    found = two_steps(Costs(), 1.0)
    found.interrupted()
    two_steps(found, 50.0)
    wanted = {"train/total_data_wait": 1.5 / 6.0, "train/total_per_second": 20.0 / 4.0, "train/peak_memory_mb": 5.0}
    assert found.metrics() == wanted


def test_without_steps_there_is_no_throughput() -> None:
    assert Costs().metrics() == {"train/total_data_wait": 0.0, "train/peak_memory_mb": 5.0}


def test_earlier_sessions_count(monkeypatch: pytest.MonkeyPatch) -> None:
    kept = json.loads(json.dumps(two_steps(Costs(), 1.0).state_dict()))
    monkeypatch.setattr(costs, "peak_memory", lambda: 3.0)
    again = Costs()
    again.load_state_dict(kept)
    assert two_steps(again, 90.0).metrics() == {
        "train/total_data_wait": 1.5 / 6.0, "train/total_per_second": 20.0 / 4.0, "train/peak_memory_mb": 5.0,
    }  # fmt: skip
    monkeypatch.setattr(costs, "peak_memory", lambda: 8.0)
    assert again.memory() == 8.0


@pytest.mark.parametrize(("platform", "megabytes"), [("linux", 2048.0), ("darwin", 2.0)])
def test_memory_is_in_megabytes_by_the_unit_of_the_system(
    platform: str, megabytes: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(costs.torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(resource, "getrusage", lambda who: SimpleNamespace(ru_maxrss=2_000_000))
    monkeypatch.setattr(sys, "platform", platform)
    assert peak_memory() == megabytes


@pytest.mark.parametrize(("used", "megabytes"), [(3_000_000, 3.0), (0, 1.024)])
def test_it_is_the_gpus_where_that_was_used(used: int, megabytes: float, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(costs.torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(costs.torch.cuda, "max_memory_allocated", lambda: used)
    monkeypatch.setattr(resource, "getrusage", lambda who: SimpleNamespace(ru_maxrss=1000))
    monkeypatch.setattr(sys, "platform", "linux")
    assert peak_memory() == megabytes
