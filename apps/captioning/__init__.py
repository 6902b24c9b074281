"""Captions of pictures. This file and config.py are the only ones that know the configuration."""

from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from unroll.app import App, Data, Score
from unroll.data import images
from unroll.data.store import Prepared, Store
from unroll.errors import UserError
from unroll.sequence.tokens import Tokeniser

from . import data, train
from .config import PRESETS, RAMP, CaptioningConfig
from .data import Batch
from .figures import figures
from .model import Captioner, Decoding, Objective, build, pretrained
from .reward import CiderReward
from .sources import Source, builtin, folder, published

__all__ = ["APP"]

EXAMPLES = Path(__file__).parent / "examples"
"""scenes with held-out combinations; the names say what they show"""


def prepare(config: CaptioningConfig, store: Store) -> None:
    """Prepare the pictures and captions of the configured source in the store; do nothing if they are there."""
    _annotations(config, store, _prepared(config, store, _source(config)))


def batches(config: CaptioningConfig, store: Store) -> Data[Batch]:
    """Loaders of the splits."""
    source, wanted = _source(config), config.train
    prepared = _prepared(config, store, source)
    annotations = _annotations(config, store, prepared)
    made = data.batches(
        prepared, size=wanted.batch, captions=wanted.captions, seed=wanted.seed, annotations=annotations
    )  # fmt: skip
    if config.model.backbone:
        made.facts["weights"] = str(data.backbone(store, config.model.backbone).folder)
    return replace(made, notes=(*source.notes, *made.notes))


def model(config: CaptioningConfig, facts: dict[str, Any]) -> Captioner:
    """The network for data of these facts. Raises UserError for sizes that do not fit together."""
    wanted, train = config.model.model_dump(), config.train
    if wanted["attention"] == "none":
        wanted["attention"] = None
    try:
        return build(
            Tokeniser.from_json(facts["tokeniser"]),
            side=config.data.side,
            weights=Path(facts["weights"]) if "weights" in facts else None,
            objective=Objective(
                train.coverage, train.forget, train.epochs or RAMP, train.self_critical_from, train.rollouts
            ),
            decoding=Decoding(**config.decode.model_dump()),
            reward=CiderReward(partial(data.training_captions, Path(facts["folder"]))),
            **wanted,
        )
    except ValueError as error:  # dot attention wants equal sizes, several heads one that they divide
        raise UserError(f"model.attention={config.model.attention}: {error}; see model.hidden, model.width") from error


def score(config: CaptioningConfig) -> Score:
    """The facts where they are known, CIDEr elsewhere."""
    return Score("facts_true" if config.data.source == "builtin" else "cider", "max")


def _prepared(config: CaptioningConfig, store: Store, source: Source) -> Prepared:
    return data.prepare(store, source, side=config.data.side, vocabulary=config.data.vocabulary)


def _annotations(config: CaptioningConfig, store: Store, prepared: Prepared) -> Prepared | None:
    """Of a frozen backbone; None for an encoder that is trained."""
    name = config.model.backbone
    if not name or not config.model.frozen:
        return None
    weights = data.backbone(store, name)
    return data.annotate(
        store, prepared, partial(pretrained, name, weights.folder), {"name": name, "digest": weights.digest}
    )


def _source(config: CaptioningConfig) -> Source:
    wanted = config.data
    match wanted.source:
        case "builtin":
            return builtin.source(wanted.pictures, wanted.seed)
        case "flickr8k" | "flickr30k" | "coco":
            return published.source(wanted.source, wanted.path, wanted.images)
        case "folder":
            return folder.source(wanted.path)


APP: App[CaptioningConfig, Captioner, Batch] = App(
    about="pictures to captions",
    presets=PRESETS,
    prepare=prepare,
    data=batches,
    model=model,
    step=train.step,
    evaluate=train.evaluate,
    predict=train.predict,
    score=Score("facts_true", "max"),
    score_of=score,
    values=images.VALUES,
    examples=tuple(str(path) for path in sorted(EXAMPLES.glob("*.png"))),
    unit="captions",
    figures=figures,
)
