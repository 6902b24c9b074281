"""Speech to text. Only this file and config.py know the configuration."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from unroll.app import App, Data, Score
from unroll.lazy import deferred

from .config import PRESETS, SpeechConfig
from .inputs import VALUES

if TYPE_CHECKING:
    from unroll.data.store import Prepared, Store

    from . import augment, data, features, figures, predict, preparation, train
    from . import model as network
    from .sources import Source, builtin, folder, fsdd
else:
    augment, data, features, figures, network, predict, preparation, train = deferred(
        __name__, "augment", "data", "features", "figures", "model", "predict", "preparation", "train"
    )
    builtin, folder, fsdd = deferred(__name__, "sources.builtin", "sources.folder", "sources.fsdd")

__all__ = ["APP"]

EXAMPLES = Path(__file__).parent / "examples"
"""recordings whose names say what is said in them, in voices that training does not hear"""


def prepare(config: SpeechConfig, store: Store) -> tuple[Prepared, tuple[str, ...]]:
    """Prepare the features of the configured source in the store; do nothing if they are there.

    Returns:
        them, and notes on the source.
    """
    source, wanted = _source(config, store), config.data
    log_mel = features.LogMel(wanted.rate, wanted.bands, wanted.level)
    return preparation.prepare(store, source, log_mel, copies=wanted.perturb, seed=wanted.seed), source.notes


def batches(config: SpeechConfig, store: Store) -> Data[data.Batch]:
    """Loaders of the splits."""
    prepared, notes = prepare(config, store)
    made = data.batches(
        prepared,
        units=config.data.units,
        stack=config.model.stack,
        seconds=config.train.batch,
        seed=config.train.seed,
        where=config.data.named,
    )
    return replace(made, notes=(*notes, *made.notes))


def model(config: SpeechConfig, facts: dict[str, Any]) -> network.Recogniser:
    """The network for data of these facts."""
    from unroll.sequence.text import Vocabulary  # not at the top: settings are known without torch

    return network.Recogniser(
        Vocabulary.from_json(facts["vocabulary"]),
        features.LogMel(**facts["features"]),
        facts["mean"],
        facts["deviation"],
        augment=augment.Augment(**config.augment.model_dump()),
        beam=config.decode.beam,
        words=facts["words"] if config.decode.lexicon else (),
        **config.model.model_dump(),
    )


def _source(config: SpeechConfig, store: Store) -> Source:
    wanted = config.data
    match wanted.source:
        case "builtin":
            return builtin.source(wanted.utterances, wanted.seed, wanted.rate)
        case "fsdd":
            return fsdd.source(store, wanted.rate, held_out=wanted.held_out, join=wanted.join, seed=wanted.seed)
        case "folder":
            return folder.source(wanted.path, wanted.rate, wanted.units)


APP: App[SpeechConfig, network.Recogniser, data.Batch] = App(
    about="spoken digits and commands to text",
    presets=PRESETS,
    prepare=prepare,
    data=batches,
    model=model,
    step=train.step,
    evaluate=train.evaluate,
    predict=predict.predict,
    score=Score("wer", "min"),
    values=VALUES,
    examples=tuple(str(path) for path in sorted(EXAMPLES.glob("*.flac"))),
    unit="seconds of audio",
    figures=figures.figures,
)
