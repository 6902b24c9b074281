"""Video clips: naming motions, predicting frames. Only this file and config.py know the configuration."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from unroll.app import App, Data, Score
from unroll.errors import UserError
from unroll.lazy import deferred
from unroll.recurrence import CELLS

from .config import PRESETS, VideoConfig
from .inputs import VALUES

if TYPE_CHECKING:
    from unroll.data.store import Prepared, Store

    from . import baselines, classification, data, figures, forecasting, predict, train
    from .sources import Source, builtin, folder, moving_mnist
else:
    baselines, classification, data, figures, forecasting, predict, train = deferred(
        __name__, "baselines", "classification", "data", "figures", "forecasting", "predict", "train"
    )
    builtin, folder, moving_mnist = deferred(__name__, "sources.builtin", "sources.folder", "sources.moving_mnist")

__all__ = ["APP"]

EXAMPLES = Path(__file__).parent / "examples"
"""clips of digits that are not in the training data, as folders of frames"""


def prepare(config: VideoConfig, store: Store) -> tuple[Prepared, tuple[str, ...]]:
    """Prepare the frames of the configured source in the store; do nothing if they are there.

    Returns:
        them, and notes on the source.
    """
    source = _source(config, store)
    return data.prepare(store, source), source.notes


def batches(config: VideoConfig, store: Store) -> Data[data.Batch]:
    """Loaders of the splits."""
    (prepared, notes), wanted = prepare(config, store), config.train
    made = data.batches(
        prepared, window=config.window, frames=wanted.batch, seed=wanted.seed, where=config.data.named
    )  # fmt: skip
    return replace(made, notes=(*notes, *made.notes))


def model(config: VideoConfig, facts: dict[str, Any]) -> classification.Classifier | forecasting.Forecaster:
    """The network for data of these facts. Raises UserError for a cell that does not suit the task."""
    wanted, predicts = config.model, config.train.task == "predict_frames"
    _check_cell(wanted.cell, predicts)
    shared: dict[str, Any] = {
        "channels": facts["channels"], "size": facts["size"], "every": config.data.every,
        "cell": wanted.cell, "hidden": wanted.hidden, "layers": wanted.layers,
    }  # fmt: skip
    if not predicts:
        return classification.Classifier(facts["classes"], width=wanted.width, dropout=wanted.dropout, **shared)
    return forecasting.Forecaster(
        patch=wanted.patch, reach=wanted.reach, context=config.data.context, horizon=config.data.horizon, **shared
    )


def score(config: VideoConfig) -> Score:
    """Accuracy, or the mean squared error of predicted frames."""
    return Score("mse", "min") if config.train.task == "predict_frames" else Score("accuracy", "max")


def compare(config: VideoConfig, data: Data[data.Batch]) -> dict[str, dict[str, float]]:
    """Simple methods on the test split."""
    if config.train.task == "predict_frames":
        return baselines.predicting_frames(data, config.data.context)
    return baselines.naming(data)


def _check_cell(name: str, predicts: bool) -> None:
    over_maps = getattr(CELLS[name], "extent_dims", 0) == 2
    if predicts and not over_maps:
        raise UserError(f"model.cell={name}: train.task=predict_frames needs a cell over maps: convlstm or convgru")
    if over_maps and not predicts:
        raise UserError(f"model.cell={name}: train.task=classify needs a cell over vectors, such as gru or lstm")


def _source(config: VideoConfig, store: Store) -> Source:
    wanted, classify = config.data, config.train.task == "classify"
    match wanted.source:
        case "builtin":
            longest = config.window or builtin.LONGEST
            return builtin.source(
                "motions" if classify else "bouncing", wanted.clips, wanted.seed, wanted.size, length=longest
            )
        case "moving-mnist":
            return moving_mnist.source(store, wanted.path, wanted.size)
        case "folder":
            channels = 3 if wanted.colour else 1
            return folder.source(wanted.path, wanted.size, channels, wanted.every, labelled=classify)


APP: App[VideoConfig, classification.Classifier | forecasting.Forecaster, data.Batch] = App(
    about="the motion in a clip, or its next frames",
    presets=PRESETS,
    prepare=prepare,
    data=batches,
    model=model,
    step=train.step,
    evaluate=train.evaluate,
    predict=predict.predict,
    score=Score("accuracy", "max"),
    values=VALUES,
    examples=tuple(str(path) for path in sorted(EXAMPLES.glob("*/"))),
    unit="frames",
    figures=figures.figures,
    baselines=compare,
    stream=predict.stream,
    score_of=score,
)
