"""The contract of an application, as checks that any application can run, ours or yours.

    from unroll.conformance import check_app

    def test_conformance(tmp_path):
        check_app("my-app", tmp_path)

They use the preset "smoke" and need no network.
"""

import json
import math
import os
import signal
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from lightning.fabric import seed_everything
from torch import nn

from unroll import app as apps
from unroll.app import App, Data
from unroll.config import Config, flat
from unroll.data.store import Store
from unroll.errors import UserError
from unroll.interrupt import Interrupted
from unroll.recurrence.state import detach
from unroll.tracking import saved
from unroll.training.baselines import measured
from unroll.training.evaluation import evaluate, mean_loss
from unroll.training.loop import fit
from unroll.training.progress import Fitted, Observer, Position


@dataclass(frozen=True)
class Subject:
    """An application with its smoke data prepared in a separate folder."""

    app: App
    config: Config
    store: Store
    folder: Path

    @classmethod
    def of(cls, name: str, folder: Path) -> "Subject":
        """Load and prepare the application of that name."""
        app = apps.load(name)
        config = app.config("smoke")
        subject = cls(app.with_score_for(config), config, Store(folder / "data"), folder)
        app.prepare(subject.config, subject.store)
        return subject

    def data(self) -> Data:
        """Fresh loaders, as a new process would have them."""
        return self.app.data(self.config, self.store)

    def model(self, data: Data) -> nn.Module:
        """A fresh model, the same every time."""
        seed_everything(0, verbose=False)
        network: nn.Module = self.app.network(self.config, data.facts)
        return network


def presets_round_trip(subject: Subject) -> None:
    """Every preset survives a round trip through JSON, and default and smoke use built-in data."""
    for name, preset in subject.app.presets.items():
        assert type(preset).parse(json.loads(preset.model_dump_json())) == preset, name
    assert {subject.app.presets[name].data.source for name in ("default", "smoke")} == {"builtin"}


def prepare_is_idempotent(subject: Subject) -> None:
    """A second preparation changes no file."""
    before = _files(subject.store.root)
    subject.app.prepare(subject.config, subject.store)
    assert _files(subject.store.root) == before


def prepare_is_deterministic(subject: Subject) -> None:
    """Data prepared in another folder have the same digest."""
    place = subject.folder / "prepared-again"
    assert not place.exists(), "this check needs a folder without prepared data"
    store = Store(place)
    subject.app.prepare(subject.config, store)
    assert subject.app.data(subject.config, store).digest == subject.data().digest


def facts_rebuild_the_model(subject: Subject) -> None:
    """The facts are plain JSON, and a loaded model evaluates to the same results as the one that was saved."""
    data = subject.data()
    assert json.loads(json.dumps(data.facts)) == data.facts
    model = subject.model(data)
    saved.save(subject.folder / "model", subject.app, subject.config, data.facts, data.digest, model)
    loaded = saved.load(subject.folder / "model")
    wanted, got = (evaluate(subject.app, m, islice(data.val, 2)) for m in (model, loaded.model))
    assert got.metrics == wanted.metrics
    assert got.records == wanted.records


def a_step_reaches_every_parameter(subject: Subject) -> None:
    """A finite loss, a positive size, and a gradient for every parameter within three batches."""
    data = subject.data()
    model, state = subject.model(data).train(), None
    for batch in islice(data.train, 3):
        step = subject.app.step(model, batch, state)
        assert step.loss.ndim == 0 and torch.isfinite(step.loss) and step.size > 0
        step.loss.backward()
        state = detach(step.state)
    without = [name for name, p in model.named_parameters() if p.requires_grad and p.grad is None]
    assert not without, f"no gradient for {without}"


def evaluation_tells_what_and_how(subject: Subject) -> None:
    """The score and the signature are there, record ids are unique, and the results are repeatable."""
    data = subject.data()
    model = subject.model(data)
    first, second = (evaluate(subject.app, model, data.val) for _ in range(2))
    assert subject.app.score.name in first.metrics
    assert first.signature and first.records
    assert data.split and len(data.split) <= 80 and not set(data.split) & set("|\n"), (
        "Data.split is a rule in a few words"
    )
    assert len({record["id"] for record in first.records}) == len(first.records)
    assert first == second


def records_give_the_metrics(subject: Subject) -> None:
    """The metrics can be computed from the records as the report says; groups are names."""
    data = subject.data()
    report = evaluate(subject.app, subject.model(data), data.val)
    for name, mean in report.means.items():
        parts = [float(row[mean.numerator]) for row in report.records]
        weights = [float(row[mean.weight]) if mean.weight else 1.0 for row in report.records]
        value, stated = sum(parts) / sum(weights), report.metrics[name]
        assert math.isclose(stated, value, rel_tol=1e-5, abs_tol=1e-8), (name, stated, value)
        if mean.share:
            assert all(0 <= part <= weight for part, weight in zip(parts, weights, strict=True)), f"{name} is no share"
    groups = {type(row.get("group")) for row in report.records}
    assert groups <= {str, type(None)}, f"groups are names, not {groups}"


def validation_has_a_loss(subject: Subject) -> None:
    """The step works on validation batches: if scores are equal, the lower loss decides."""
    data = subject.data()
    loss, again = (mean_loss(subject.app, subject.model(data), islice(data.val, 2)) for _ in range(2))
    assert math.isfinite(loss) and loss == again


def baselines_have_the_score(subject: Subject) -> None:
    """Every baseline has the application's score, so that models can be compared with it."""
    for method, row in measured(subject.app, subject.config, subject.data()).items():
        assert subject.app.score.name in row, f"{method} has {', '.join(row)}"


def splits_are_disjoint(subject: Subject) -> None:
    """No example is in both val and test."""
    data = subject.data()
    model = subject.model(data)
    val, test = (evaluate(subject.app, model, batches).records for batches in (data.val, data.test))

    def names(records: list[dict[str, Any]]) -> set[str]:  # in a stream, ids are only positions
        return {json.dumps([record["id"], record.get("reference")]) for record in records}

    assert not names(val) & names(test)


def evaluation_ignores_the_batch_size(subject: Subject) -> None:
    """Batches of half the size give the same metrics, up to rounding."""
    if "train.batch" not in flat(subject.config):
        return
    size = flat(subject.config)["train.batch"]
    halved = replace(subject, config=subject.config.override([f"train.batch={max(size // 2, 1)}"]))
    data = subject.data()
    model = subject.model(data)
    whole, half = (evaluate(subject.app, model, some.val).metrics for some in (data, halved.data()))
    assert whole.keys() == half.keys()
    for name, value in whole.items():
        assert math.isclose(value, half[name], rel_tol=1e-3, abs_tol=1e-3), (name, value, half[name])


def errors_are_one_line(subject: Subject) -> None:
    """Invalid settings, sources and inputs raise a UserError of one line."""
    app, model = subject.app, subject.model(subject.data()).eval()

    def elsewhere() -> None:
        app.prepare(subject.config.override(["data.source=nowhere"]), subject.store)

    def odd_inputs() -> None:
        with torch.inference_mode():
            app.predict(model, ["\x00", ""])

    for refused in (lambda: app.config("smoke", ["model.cel=gru"]), lambda: app.config("smok"), elsewhere):
        message = _refusal(refused)
        assert message is not None and "\n" not in message, message
    message = _refusal(odd_inputs)
    assert message is None or "\n" not in message, message


def _refusal(call: Callable[[], object]) -> str | None:
    try:
        call()
    except UserError as error:
        return str(error)
    return None


def predict_works_on_the_examples(subject: Subject) -> None:
    """One output per example, serialisable as JSON."""
    data = subject.data()
    model = subject.model(data).eval()
    examples = list(subject.app.examples)
    with torch.inference_mode():
        outputs = subject.app.predict(model, examples)
    assert examples and len(outputs) == len(examples)
    json.dumps(outputs)


def predict_takes_the_values_that_it_names(subject: Subject) -> None:
    """An example gives the same output as a Python value and as text; other values are rejected, naming these."""
    app, model = subject.app, subject.model(subject.data()).eval()
    texts = [example for example in app.examples if isinstance(example, str)]
    with torch.inference_mode():
        wanted = app.outputs(model, texts)
        for value in app.values:
            made = [value.of(text) for text in texts]
            assert all(value.fits(one) for one in made), f"{value.about}: `of` makes what does not fit"
            got = app.outputs(model, made)
            json.dumps(got)
            assert list(map(_unnamed, texts, wanted, got)) == [None] * len(texts), value.about
    message = _refusal(lambda: app.outputs(model, [object()]))
    assert message is not None and "\n" not in message, message
    assert all(value.about in message for value in app.values), message


def _unnamed(text: str, wanted: Any, got: Any) -> Any:
    """None if the outputs are equal apart from the input's name repeated in them; else both."""
    if isinstance(wanted, dict) and isinstance(got, dict):
        own = [key for key, value in wanted.items() if value != text]
        wanted, got = ({key: one.get(key) for key in own} for one in (wanted, got))
    return None if wanted == got else (wanted, got)


def loss_falls(subject: Subject) -> None:
    """Training on smoke reduces the training loss."""
    _, _, losses = _train(subject, "falls", 0)
    quarter = max(len(losses) // 4, 1)
    values = [losses[step] for step in sorted(losses)]
    assert sum(values[-quarter:]) < sum(values[:quarter])


def resume_is_exact(subject: Subject) -> None:
    """A run stopped by a signal and resumed gives exactly the same losses and weights."""
    short = replace(subject, config=subject.config.override(["train.epochs=2"]))
    whole, model, losses = _train(short, "whole", 0)
    stop = whole.position.step * 2 // 3
    try:
        _train(short, "stopped", stop)
    except Interrupted:
        again, resumed, rest = _train(short, "stopped", 0, resume=True)
    else:
        raise AssertionError(f"the signal at step {stop} did not stop the training")
    assert rest == {step: loss for step, loss in losses.items() if step > stop}
    assert again.best == whole.best
    for (name, a), b in zip(model.state_dict().items(), resumed.state_dict().values(), strict=True):
        assert torch.equal(a, b), name


CHECKS: tuple[Callable[[Subject], None], ...] = (
    presets_round_trip,
    prepare_is_idempotent,
    prepare_is_deterministic,
    facts_rebuild_the_model,
    a_step_reaches_every_parameter,
    evaluation_tells_what_and_how,
    records_give_the_metrics,
    validation_has_a_loss,
    baselines_have_the_score,
    splits_are_disjoint,
    evaluation_ignores_the_batch_size,
    errors_are_one_line,
    predict_works_on_the_examples,
    predict_takes_the_values_that_it_names,
    loss_falls,
    resume_is_exact,
)


def check_app(name: str, folder: Path) -> None:
    """Checks an application against the whole contract; raises AssertionError at the first check that fails.

    Args:
        name: a folder of `apps/` or an installed entry point.
        folder: an empty folder, for data and checkpoints.
    """
    subject = Subject.of(name, folder)
    for check in CHECKS:
        check(subject)


class _Losses(Observer):
    """Records the losses and sends a signal at a given step."""

    def __init__(self, stop_at: int) -> None:
        self.stop_at = stop_at
        self.losses: dict[int, float] = {}

    def step(self, at: Position, size: float, metrics: Mapping[str, float]) -> None:
        self.losses[at.step] = metrics["train/loss"]
        if at.step == self.stop_at:
            os.kill(os.getpid(), signal.SIGINT)


def _train(
    subject: Subject, name: str, stop_at: int, resume: bool = False
) -> tuple[Fitted, nn.Module, dict[int, float]]:
    data, log = subject.data(), _Losses(stop_at)
    model = subject.model(data)
    fitted = fit(subject.app, subject.config, data, model, subject.folder / name, [log], resume=resume)
    return fitted, model, log.losses


def _files(folder: Path) -> dict[str, Any]:
    return {str(path): path.stat().st_mtime_ns for path in folder.rglob("*") if path.is_file()}
