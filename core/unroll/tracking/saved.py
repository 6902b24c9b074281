"""A trained model as a folder: weights in safetensors, everything else in JSON, and MLflow's pyfunc over it.

Loading runs no code from the folder: it names an application, which must be installed here.
"""

import json
import math
import shutil
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from pydantic import BaseModel, ConfigDict, ValidationError
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_model, save_model
from torch import nn

from unroll import app as apps
from unroll.app import App
from unroll.config import Config
from unroll.data.files import atomic_write, read_json, writing
from unroll.errors import UserError
from unroll.tracking.bounded import bounded

if TYPE_CHECKING:
    import pandas as pd

DESCRIPTION = "model.json"
WEIGHTS = "model.safetensors"


class _Description(BaseModel):
    """What `model.json` holds."""

    model_config = ConfigDict(strict=True)

    app: str
    config: dict[str, Any]
    facts: dict[str, Any]
    digest: str


@dataclass(frozen=True)
class Saved:
    """A loaded model in eval mode, with the configuration and facts that it was trained with."""

    app: App
    config: Config
    facts: dict[str, Any]
    digest: str
    """of the data it was trained on"""
    model: nn.Module

    def predict(self, inputs: Sequence[Any]) -> list[Any]:
        """One output per input, without gradients. Raises UserError for an input that the application cannot take."""
        with torch.inference_mode():
            return self.app.outputs(self.model, inputs)


def save(folder: Path, app: App, config: Config, facts: dict[str, Any], digest: str, model: nn.Module) -> None:
    """Write the model to `folder`, which is created if missing. Raises UserError if the disk is full."""
    with writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
    description = {"app": app.name, "config": config.model_dump(mode="json"), "facts": facts, "digest": digest}
    atomic_write(folder / DESCRIPTION, json.dumps(description, indent=1, ensure_ascii=False).encode())
    try:
        save_model(model, str(folder / WEIGHTS))  # keeps tied weights tied
        shutil.copymode(folder / DESCRIPTION, folder / WEIGHTS)  # safetensors makes them readable to the owner only
    except SafetensorError as error:
        raise UserError(f"{folder / WEIGHTS}: cannot be written ({error}); free some space and resume") from error


def load(folder: Path, settings: Sequence[str] = ()) -> Saved:
    """The model saved in `folder`.

    Args:
        folder: written by `save`.
        settings: `key=value` changes to its configuration that do not affect the weights, such as `decode.beam=8`.

    Raises:
        UserError: a file is missing or damaged, the application is not installed, or the weights do not fit.
    """
    described = _described(folder / DESCRIPTION)
    app = apps.load(described.app)
    config = type(app.presets["default"]).parse(described.config).chosen(settings)
    weights = folder / WEIGHTS
    try:
        with bounded(_numbers(weights)):
            model = app.network(config, described.facts)
    except UserError:
        raise
    except Exception as error:  # facts may be any JSON; whatever is wrong with them, the model cannot be built
        reason = " ".join(str(error).split()) or "no message"
        raise UserError(
            f"{folder}: damaged, or saved by another version of {app.name} ({type(error).__name__}: {reason}); "
            "train it again"
        ) from error
    try:
        load_model(model, str(weights))
    except (SafetensorError, RuntimeError, OSError) as error:
        reason = str(error).splitlines()[0]
        raise UserError(f"{weights}: does not fit the model of {app.name} with its configuration ({reason})") from None
    _refuse_nan(model, weights)
    return Saved(app.with_score_for(config), config, described.facts, described.digest, model.eval())


def within(artifacts: Path) -> list[Path]:
    """The folders with a saved model in the folder of an MLflow model: one, unless it is damaged."""
    return [path.parent for path in artifacts.glob(f"data/*/{DESCRIPTION}")]


def ensemble(models: Sequence[Saved]) -> Saved:
    """Models of one application as one. Raises UserError if they are of several, or it does not support ensembles."""
    first = models[0]
    if others := {model.app.name for model in models} - {first.app.name}:
        raise UserError(f"an ensemble needs one application, not {first.app.name} and {', '.join(sorted(others))}")
    if first.app.ensemble is None:
        raise UserError(f"{first.app.name} has no ensembles of several runs; give one")
    return replace(first, model=first.app.ensemble([model.model for model in models]).eval())


def _described(path: Path) -> _Description:
    try:
        return _Description.model_validate(read_json(path))
    except ValidationError as error:
        problem = error.errors()[0]
        place = f", {problem['loc'][0]}" if problem["loc"] else ""
        raise UserError(f"{path}{place}: not a saved model ({problem['msg']})") from None


def _numbers(weights: Path) -> int:
    """How many numbers a weights file holds, according to its header."""
    try:
        with safe_open(weights, framework="pt") as file:
            return sum(math.prod(file.get_slice(name).get_shape()) for name in file.keys())  # noqa: SIM118 (no dict)
    except (SafetensorError, OSError) as error:
        raise UserError(f"{weights}: truncated or not a model's weights ({error})") from None


def _refuse_nan(model: nn.Module, weights: Path) -> None:
    """No training writes one, and a model would answer with NaN or, in a comparison of scores, with anything."""
    for name, values in model.state_dict().items():
        if values.is_floating_point() and values.isnan().any():
            raise UserError(f"{weights}: is damaged: {name} holds NaN; copy it again, or train again")


class _Served:
    """What MLflow calls: a data frame with a column "input" -> one with a column "output", both of any values."""

    def __init__(self, saved: Saved) -> None:
        self.saved = saved

    def predict(self, frame: "pd.DataFrame", params: Any = None) -> "pd.DataFrame":
        import pandas as pd

        outputs = self.saved.predict(frame["input"].tolist())
        return pd.DataFrame({"output": pd.Series(outputs, dtype=object)})


def _load_pyfunc(path: str) -> _Served:
    """MLflow's entry point: see `loader_module` of `mlflow.pyfunc`."""
    return _Served(load(Path(path)))
