"""Captions of pictures. Only this file and config.py know the configuration."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from unroll.app import App, Data, Score
from unroll.data import images
from unroll.errors import UserError
from unroll.lazy import deferred

from .config import PRESETS, CaptioningConfig

if TYPE_CHECKING:
    from unroll.data.store import Prepared, Store

    from . import annotations as backbones
    from . import data, encoder, figures, predict, reward, train
    from . import model as network
    from .sources import Source, builtin, folder, published
else:
    backbones, data, encoder, figures, network, predict, reward, train = deferred(
        __name__, "annotations", "data", "encoder", "figures", "model", "predict", "reward", "train"
    )
    builtin, folder, published = deferred(__name__, "sources.builtin", "sources.folder", "sources.published")

__all__ = ["APP"]

RAMP = 12
"""epochs over which scheduled sampling ramps up if only a time limit is set and the number of epochs is unknown"""
EXAMPLES = Path(__file__).parent / "examples"
"""scenes with held-out combinations, named after what they show"""


def prepare(config: CaptioningConfig, store: Store) -> tuple[Prepared, Prepared | None, tuple[str, ...]]:
    """Prepare the pictures and captions of the configured source in the store; do nothing if they are there.

    Returns:
        them; a frozen backbone's annotations, None for an encoder that is trained; and notes on the source.
    """
    source, wanted = _source(config), config.model
    prepared = data.prepare(store, source, side=config.data.side, vocabulary=config.data.vocabulary)
    frozen = wanted.backbone and wanted.frozen
    return prepared, backbones.annotate(store, prepared, wanted.backbone) if frozen else None, source.notes


def batches(config: CaptioningConfig, store: Store) -> Data[data.Batch]:
    """Loaders of the splits."""
    (prepared, annotations, notes), wanted = prepare(config, store), config.train
    made = data.batches(
        prepared, size=wanted.batch, captions=wanted.captions, seed=wanted.seed, annotations=annotations
    )  # fmt: skip
    if config.model.backbone:
        made.facts["weights"] = str(backbones.backbone(store, config.model.backbone).folder)
    return replace(made, notes=(*notes, *made.notes))


def model(config: CaptioningConfig, facts: dict[str, Any]) -> network.Captioner:
    """The network for data of these facts. Raises UserError for sizes that do not fit together."""
    from unroll.sequence.tokens import Tokeniser  # not at the top: settings are known without torch

    wanted, train = config.model, config.train
    try:
        return network.Captioner(
            Tokeniser.from_json(facts["tokeniser"]),
            _encoder(config, facts),
            side=config.data.side,
            frozen=wanted.frozen and bool(wanted.backbone),
            look=None if wanted.attention == "none" else wanted.attention,
            objective=train,
            ramp=train.epochs or RAMP,
            decoding=config.decode,
            reward=reward.CiderReward(partial(data.training_captions, Path(facts["folder"]))),
            **wanted.model_dump(exclude={"attention", "width", "stages", "backbone", "frozen"}),
        )
    except ValueError as error:  # dot attention needs equal sizes, several heads a size that they divide
        raise UserError(f"model.attention={wanted.attention}: {error}; see model.hidden, model.width") from error


def _encoder(config: CaptioningConfig, facts: dict[str, Any]) -> encoder.Encoder:
    wanted = config.model
    if not wanted.backbone:
        return encoder.ResidualCNN(wanted.width, wanted.stages)
    return encoder.pretrained(wanted.backbone, Path(facts["weights"]) if "weights" in facts else None)


def score(config: CaptioningConfig) -> Score:
    """The share of true facts where they are known, CIDEr elsewhere."""
    return Score("facts_true" if config.data.source == "builtin" else "cider", "max")


def _source(config: CaptioningConfig) -> Source:
    wanted = config.data
    match wanted.source:
        case "builtin":
            return builtin.source(wanted.pictures, wanted.seed)
        case "flickr8k" | "flickr30k" | "coco":
            return published.source(wanted.source, wanted.path, wanted.images)
        case "folder":
            return folder.source(wanted.path)


APP: App[CaptioningConfig, network.Captioner, data.Batch] = App(
    about="pictures to captions",
    presets=PRESETS,
    prepare=prepare,
    data=batches,
    model=model,
    step=train.step,
    evaluate=train.evaluate,
    predict=predict.predict,
    score=Score("facts_true", "max"),
    score_of=score,
    values=images.VALUES,
    examples=tuple(str(path) for path in sorted(EXAMPLES.glob("*.png"))),
    unit="captions",
    figures=figures.figures,
)
