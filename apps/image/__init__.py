"""Pictures read as sequences. Only this file and config.py know the configuration."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from unroll.app import App, Data, Score
from unroll.data import images
from unroll.errors import UserError
from unroll.lazy import deferred

from .config import PRESETS, ImageConfig

if TYPE_CHECKING:
    from unroll.data.store import Prepared, Store

    from . import baselines, classification, completion, data, denoising, figures, predict, sources, train
    from . import model as network
else:
    baselines, classification, completion, data, denoising = deferred(
        __name__, "baselines", "classification", "completion", "data", "denoising"
    )
    figures, network, predict, sources, train = deferred(__name__, "figures", "model", "predict", "sources", "train")

__all__ = ["APP"]

EXAMPLES = Path(__file__).parent / "examples"
"""three digits of the built-in test split, as PNG files"""
SCORES = {
    "classify": Score("accuracy", "max"),
    "complete": Score("bits_per_pixel", "min"),
    "denoise": Score("mse", "min"),
}


def prepare(config: ImageConfig, store: Store) -> tuple[Prepared, tuple[str, ...]]:
    """Prepare the pictures of the configured source in the store; do nothing if they are there.

    Returns:
        them, and notes on the source.
    """
    source = _source(config, store)
    return data.prepare(store, source, config.data.levels), source.notes


def batches(config: ImageConfig, store: Store) -> Data[data.Batch]:
    """Loaders of the splits."""
    (prepared, notes), wanted = prepare(config, store), config.train
    made = data.batches(prepared, size=wanted.batch, seed=wanted.seed, limit=config.data.limit)
    return replace(made, notes=notes)


def model(config: ImageConfig, facts: dict[str, Any]) -> network.Network:
    """The network of the configured task for pictures of these facts.

    Raises:
        UserError: an unknown or unsuitable initialisation.
    """
    wanted = config.model
    try:
        return _network(config, facts)
    except ValueError as error:
        raise UserError(f"model.init={wanted.init}, model.cell={wanted.cell}: {error}") from error


def _network(config: ImageConfig, facts: dict[str, Any]) -> network.Network:
    wanted = config.model
    shape = network.Shape(facts["height"], facts["width"], facts["channels"], facts["levels"], tuple(facts["classes"]))
    shared = {name: getattr(wanted, name) for name in ("cell", "hidden", "layers", "init", "dropout")}
    match config.train.task:
        case "classify":
            options = wanted.model_dump(exclude={"maps"})
            return classification.Classifier(shape, distort=config.train.distort, asked=config.predict, **options)
        case "complete":
            return completion.PixelRNN(shape, maps=wanted.maps, asked=config.predict, **shared)
        case "denoise":
            return denoising.Denoiser(shape, noise=config.train.noise, asked=config.predict, **shared)


def compare(config: ImageConfig, data: Data[data.Batch]) -> dict[str, dict[str, float]]:
    """Simple methods for the configured task, on the test split."""
    match config.train.task:
        case "classify":
            return baselines.classes(data)
        case "complete":
            return baselines.bits(data, round(config.predict.keep * data.facts["height"]))
        case "denoise":
            return baselines.denoised(data, config.train.noise)


def _source(config: ImageConfig, store: Store) -> sources.Source:
    wanted = config.data
    match wanted.source:
        case "builtin":
            return sources.builtin()
        case "folder":
            return sources.folder(wanted.path, wanted.size, wanted.colour)
        case "mnist" | "fashion-mnist":
            return sources.published(wanted.source, store)


APP: App[ImageConfig, network.Network, data.Batch] = App(
    about="pictures read as sequences: their class, their missing part, or the same without noise",
    presets=PRESETS,
    prepare=prepare,
    data=batches,
    model=model,
    step=train.step,
    evaluate=train.evaluate,
    predict=predict.predict,
    score=SCORES["classify"],
    score_of=lambda config: SCORES[config.train.task],
    values=images.VALUES,
    examples=tuple(str(path) for path in sorted(EXAMPLES.glob("*.png"))),
    unit="pictures",
    figures=figures.figures,
    baselines=compare,
)
