"""`invoke evaluate` and `invoke predict`: a trained model on a split, or on what the user gives."""

import json
from collections.abc import Sequence
from typing import Any

from core.app import Report
from core.console import say, show_metrics, show_predictions
from core.data.store import Store
from core.errors import UserError
from core.training import saved, tracking
from core.training.evaluation import evaluate as evaluate_model

SPLITS = ("train", "val", "test")


def evaluate(name: str, reference: str, split: str = "test", settings: Sequence[str] = ()) -> dict[str, Any]:
    """Evaluate a run's model again, with `settings` that leave the weights as they are (`decode.beam=8`).

    Raises:
        UserError: no such run or split, or the prepared data are not those that the run was trained on.
    """
    if split not in SPLITS:
        raise UserError(f"--split {split}: no such split; known: {', '.join(SPLITS)}")
    model = _load(name, reference, settings)
    store = Store()
    model.app.prepare(model.config, store)
    data = model.app.data(model.config, store)
    if data.digest != model.digest:
        say(f"note: these are not the data of that run (digest {data.digest[:12]}, was {model.digest[:12]})")
    report: Report = evaluate_model(model.app, model.model, getattr(data, split))
    metrics = {f"{split}/{metric}": value for metric, value in report.metrics.items()}
    show_metrics(f"{name}, {split} split", metrics)
    say(f"signature: {report.signature}")
    show_predictions(report.records[:3])
    return {"app": name, "run": reference, "status": "FINISHED", "metrics": metrics, "signature": report.signature}


def predict(name: str, reference: str, inputs: Sequence[str], settings: Sequence[str] = ()) -> dict[str, Any]:
    """One output line per input, in their order; without inputs, the application's own examples."""
    model = _load(name, reference, settings)
    if not inputs:
        say("no input given; the application's own examples:")
    chosen = list(inputs) or list(model.app.examples)
    outputs = model.predict(chosen)
    for output in outputs:
        say(output if isinstance(output, str) else json.dumps(output, ensure_ascii=False))
    return {"app": name, "run": reference, "outputs": outputs}


def _load(name: str, reference: str, settings: Sequence[str]) -> saved.Saved:
    model = saved.load(tracking.model_folder(tracking.connect(), name, reference), settings)
    if model.app.name != name:
        raise UserError(f"--run {reference}: that model belongs to {model.app.name}, not to {name}")
    return model
