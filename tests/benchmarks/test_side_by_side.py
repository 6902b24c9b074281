"""Taking turns, ratios and intervals, with a fake clock."""

from collections.abc import Callable

import numpy as np
import pytest

from benchmarks.side_by_side import (
    Case,
    Limit,
    Pair,
    Result,
    Run,
    geometric_mean,
    measure,
    measure_limit,
    products,
    race,
    ratio,
)


class Clock:
    """Stands still unless work is done; the machine is `slowness` times as slow, which changes from call to call."""

    def __init__(self) -> None:
        self.now, self.calls = 0.0, list[str]()

    def __call__(self) -> float:
        return self.now

    def run(self, name: str, seconds: float, slowness: Callable[[int], float] = lambda _: 1.0) -> Callable[[], None]:
        def work() -> None:
            self.now += seconds * slowness(len(self.calls))
            self.calls.append(name)

        return work


def test_runs_take_turns_and_the_order_rotates() -> None:
    clock = Clock()
    runs = {name: clock.run(name, 1.0) for name in "abc"}
    times = race(runs, 9.5, least=2, warm=1, clock=clock)
    assert "".join(clock.calls) == "abc" + "abc" + "bca" + "cab" + "abc"  # the warm-up and four rounds, of 3 s each
    assert times == {name: [1.0] * 4 for name in "abc"}


def test_there_are_as_many_rounds_as_wanted_at_least() -> None:
    clock = Clock()
    assert len(race({"a": clock.run("a", 5.0)}, 1.0, least=3, clock=clock)["a"]) == 3


def test_a_machine_that_becomes_slower_leaves_the_ratio_as_it_is() -> None:
    clock = Clock()
    slower = lambda call: 1.0 + call // 6  # noqa: E731
    times = race(
        {"ours": clock.run("ours", 1.0, slower), "peer": clock.run("peer", 2.0, slower)}, 0, least=30, clock=clock
    )
    assert max(times["ours"]) / min(times["ours"]) > 10
    found = ratio([peer / ours for ours, peer in zip(times["ours"], times["peer"], strict=True)])
    assert found.middle == pytest.approx(2.0)
    assert found.low <= 2.0 <= found.high


def test_the_interval_covers_the_truth_as_often_as_it_says() -> None:
    generator = np.random.default_rng(1)
    found = [ratio(np.exp(generator.normal(np.log(1.5), 0.2, 25))) for _ in range(200)]
    assert 0.88 < np.mean([one.low <= 1.5 <= one.high for one in found]) < 1.0
    assert all(one.low < one.middle < one.high for one in found)


def test_the_geometric_mean_is_over_cases_and_sharper_than_one() -> None:
    generator = np.random.default_rng(1)
    cases = [np.exp(generator.normal(np.log(truth), 0.1, 25)) for truth in (1.0, 2.0, 4.0)]
    found = geometric_mean(cases)
    assert found.low < 2.0 < found.high
    assert found.high / found.low < min(ratio(case).high / ratio(case).low for case in cases)
    exact = geometric_mean([[1.0] * 5, [4.0] * 5])
    assert exact == pytest.approx((2.0, 2.0, 2.0))


def result() -> Result:
    runs = {
        "ours": Run(lambda: None, 8e9),
        "half as much": Run(lambda: None, 4e9),
        "bfloat16": Run(lambda: None, 8e9, "bfloat16"),
    }
    times = {"ours": [1.0, 3.0, 2.0], "half as much": [2.0, 6.0, 4.0], "bfloat16": [1.0, 1.0, 1.0]}
    return Result(Case("g", "c", runs, (), 10), times, {"float32": [8e9, 16e9, 8e9], "bfloat16": [16e9] * 3})


def test_figures_of_a_case() -> None:
    found = result()
    assert (found.seconds("ours"), found.rate("ours"), found.share("ours")) == (
        2.0,
        4e9,
        0.5,
    )  # 1, 1/6 and 1/2 of the limit
    assert found.share("bfloat16") == 0.5
    assert found.rounds(Pair("ours", "half as much")) == [2.0, 2.0, 2.0]
    assert found.rounds(Pair("ours", "half as much", per_work=True)) == [4.0, 4.0, 4.0]


def test_the_limit_is_the_best_of_all_engines() -> None:
    limit = Limit(10, {"float32": {"a": 1.0, "b": 3.0}})
    assert (limit.best("float32"), limit.work) == (("b", 3.0), 2000.0)
    found = measure_limit(32, 0.0)
    assert all(set(found.rates[dtype]) == set(products(dtype, 32)) for dtype in ("float32", "bfloat16"))
    assert all(rate > 0 for rates in found.rates.values() for rate in rates.values())


def test_the_limit_takes_turns_with_the_runs() -> None:
    limit = Limit(32, {"float32": {"torch.mm": 1.0}})  # one operation a second: any measurement beats it
    case = Case("g", "c", {"float32": Run(lambda: None, 1e5)}, (), 1)
    found = measure(case, limit, 0.0)
    assert list(found.times) == ["float32"]
    assert len(found.limits["float32"]) == len(found.times["float32"]) and min(found.limits["float32"]) > 1.0
