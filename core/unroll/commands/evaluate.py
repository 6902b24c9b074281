"""`invoke evaluate` and `invoke predict`: a trained model on a split, or on the user's inputs."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from unroll.app import App, Report
from unroll.commands.loading import prepared, trained
from unroll.console import say, show_metrics, show_predictions
from unroll.data.files import atomic_write
from unroll.data.source import SPLITS
from unroll.data.text import read_lines
from unroll.drawing.style import as_written, pngs
from unroll.errors import UserError, harmless
from unroll.tracking import saved
from unroll.tracking.example_table import write_csv
from unroll.training.baselines import measured, unbeaten, warning
from unroll.training.evaluation import evaluate as evaluate_model
from unroll.training.evaluation import signature


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


def predict(
    name: str, references: Sequence[str], inputs: Sequence[str], file: str | None = None, settings: Sequence[str] = ()
) -> dict[str, Any]:
    """One output line per input, in their order; without inputs, the application's own examples.

    Args:
        name: application.
        references: runs or registered models; several form an ensemble, if the application supports it.
        inputs: as typed.
        file: further inputs, read as the application reads them: one per line, unless it knows better; "-": stdin.
        settings: `key=value` changes that leave the weights as they are.
    """
    model = trained(name, references, settings)
    chosen = [*inputs, *(_read(model.app, Path(file)) if file else [])]
    if not chosen:
        say("no input given; the application's own examples:")
        chosen = list(model.app.examples)
    if model.app.stream and len(chosen) == 1:
        return {"app": name, "run": ", ".join(references), "outputs": [_streamed(model, chosen[0])]}
    outputs = model.predict(chosen)
    for output in outputs:
        say(output if isinstance(output, str) else json.dumps(output, ensure_ascii=False))
    return {"app": name, "run": ", ".join(references), "outputs": outputs}


def score(name: str, references: Sequence[str], file: str, settings: Sequence[str] = ()) -> dict[str, Any]:
    """Score each token of a file under a model; writes a table and plots to the current folder.

    Raises:
        UserError: the application has no such scores, the file cannot be read, or the folder cannot be written to.
    """
    model = trained(name, references, settings)
    if model.app.scores is None:
        raise UserError(f"--score {file}: {name} has no scores for the pieces of a file")
    with torch.inference_mode(), as_written():
        rows, figures = model.app.scores(model.model, Path(file))
    written = [Path(f"{Path(file).stem}.scores.csv")]
    write_csv(written[0], rows)
    for title, content in pngs(figures).items():
        written.append(Path(f"{Path(file).stem}.{title}.png"))
        atomic_write(written[-1], content)
    say(f"{len(rows):,} rows; written: {', '.join(map(str, written))}")
    files = [str(path.resolve()) for path in written]
    return {"app": name, "run": ", ".join(references), "rows": len(rows), "files": files}


def _read(app: App, path: Path) -> list[Any]:
    return app.read(path) if app.read else read_lines(path)


def _streamed(model: saved.Saved, given: Any) -> str:
    assert model.app.stream is not None
    pieces = []
    with torch.inference_mode():
        for piece in model.app.stream(model.model, given):
            print(harmless(piece), end="", flush=True)
            pieces.append(piece)
    print()
    return "".join(pieces)
