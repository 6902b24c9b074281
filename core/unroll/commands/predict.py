"""`invoke predict`: a trained model on the user's inputs. Imports no trainer, and MLflow only for models elsewhere."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from unroll.app import App
from unroll.commands.loading import trained
from unroll.console import say
from unroll.data.files import atomic_write
from unroll.data.text import called, read_lines
from unroll.errors import UserError, harmless
from unroll.tracking import saved


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

    Raises:
        UserError: no such run; a file that cannot be read or holds nothing; an input that the application cannot take.
    """
    model = trained(name, references, settings)
    chosen = [*inputs, *(_read(model.app, file) if file is not None else [])]
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
    from unroll.drawing.style import as_written, pngs
    from unroll.tracking.example_table import write_csv

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


def _read(app: App, file: str) -> list[Any]:
    """The inputs in a file: at least one, for whoever names a file does not want the application's examples."""
    if not file:
        raise UserError("--file: no name is given; name a file, or - for standard input")
    path = Path(file)
    if found := app.read(path) if app.read else read_lines(path):
        return list(found)
    raise UserError(f"{called(path)}: holds no input; write one on each line")


def _streamed(model: saved.Saved, given: Any) -> str:
    assert model.app.stream is not None
    pieces = []
    with torch.inference_mode():
        for piece in model.app.stream(model.model, given):
            print(harmless(piece), end="", flush=True)
            pieces.append(piece)
    print()
    return "".join(pieces)
