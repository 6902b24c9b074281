"""Which runs are comparable, their order, and what differs between them."""

from dataclasses import dataclass, field

from core.training.compare import differing, rank


@dataclass
class Run:
    status: str = "FINISHED"
    params: dict[str, str] = field(default_factory=dict)
    metrics: dict[str, float] = field(default_factory=dict)


def test_unfinished_runs_and_runs_without_the_metric_are_left_out() -> None:
    good, better = Run(metrics={"m": 2.0}), Run(metrics={"m": 1.0})
    out = [Run("FAILED", metrics={"m": 0.0}), Run("RUNNING"), Run(), Run(metrics={"m": float("nan")})]
    assert rank([good, *out, better], "m", "min") == ([better, good], out)
    assert rank([better, good], "m", "max") == ([good, better], [])
    assert rank([good, better], "m", None) == ([good, better], [])


def test_only_what_differs_is_shown_in_the_configurations_order() -> None:
    runs = [
        Run(params={"model.cell": "gru", "train.seed": "1", "optimizer.lr": "0.1"}),
        Run(params={"model.cell": "lstm", "train.seed": "1", "optimizer.lr": "0.1", "new.key": "x"}),
    ]
    assert differing(runs) == ["model.cell", "new.key"]
    assert differing(runs[:1]) == []
