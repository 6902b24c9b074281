"""`invoke evaluate`: a trained model on a split."""

from collections.abc import Sequence
from typing import Any

from unroll.app import Report
from unroll.commands.loading import prepared, trained
from unroll.console import say, show_metrics, show_predictions
from unroll.data.source import SPLITS
from unroll.errors import UserError
from unroll.training.baselines import measured, unbeaten, warning
from unroll.training.evaluation import evaluate as evaluate_model
from unroll.training.signatures import signature


def evaluate(name: str, references: Sequence[str], split: str = "test", settings: Sequence[str] = ()) -> dict[str, Any]:
    """Evaluate a run's model again, with `settings` that leave the weights as they are (`decode.beam=8`).

    Raises:
        UserError: no such run or split.
    """
    if split not in SPLITS:
        raise UserError(f"--split {split}: no such split; known: {', '.join(SPLITS)}")
    model = trained(name, references, settings)
    data = prepared(model.app, model.config)
    if data.digest != model.digest:
        say(f"note: these are not the data of that run (digest {data.digest[:12]}, was {model.digest[:12]})")
    report: Report = evaluate_model(model.app, model.model, getattr(data, split))
    metrics = {f"{split}/{metric}": value for metric, value in report.metrics.items()}
    show_metrics(name, {split: report.metrics})
    how = signature(report, split, data)
    say(f"signature: {how}")
    show_predictions(report.records[:3])
    simple = measured(model.app, model.config, data) if split == "test" else {}
    if text := warning(model.app.score, report.metrics, simple):
        say(f"note: {text}")
    return {
        "app": name, "run": ", ".join(references), "status": "FINISHED", "metrics": metrics, "signature": how,
        "unbeaten": list(unbeaten(model.app.score, report.metrics, simple)),
    }  # fmt: skip
