"""Speech to text. This file and config.py are the only ones that know the configuration."""

from dataclasses import replace
from pathlib import Path
from typing import Any

from unroll.app import App, Data, Score
from unroll.data.store import Prepared, Store
from unroll.sequence.text import Vocabulary

from . import data, predict, preparation, train
from .augment import Augment
from .config import PRESETS, SpeechConfig
from .data import Batch
from .features import LogMel
from .figures import figures
from .model import Recogniser
from .sources import Source, builtin, folder, fsdd

__all__ = ["APP"]

EXAMPLES = Path(__file__).parent / "examples"
"""recordings whose names say what is said in them, in voices that training does not hear"""


def prepare(config: SpeechConfig, store: Store) -> None:
    """Prepare the features of the configured source in the store; do nothing if they are there."""
    _prepared(config, store, _source(config, store))


def batches(config: SpeechConfig, store: Store) -> Data[Batch]:
    """Loaders of the splits."""
    source = _source(config, store)
    made = data.batches(
        _prepared(config, store, source),
        units=config.data.units,
        stack=config.model.stack,
        seconds=config.train.batch,
        seed=config.train.seed,
        where=config.data.named,
    )
    return replace(made, notes=(*source.notes, *made.notes))


def model(config: SpeechConfig, facts: dict[str, Any]) -> Recogniser:
    """The network for data of these facts."""
    return Recogniser(
        Vocabulary.from_json(facts["vocabulary"]),
        LogMel(**facts["features"]),
        facts["mean"],
        facts["deviation"],
        augment=Augment(**config.augment.model_dump()),
        beam=config.decode.beam,
        words=facts["words"] if config.decode.lexicon else (),
        **config.model.model_dump(),
    )


def _prepared(config: SpeechConfig, store: Store, source: Source) -> Prepared:
    features = LogMel(config.data.rate, config.data.bands, config.data.level)
    return preparation.prepare(store, source, features, copies=config.data.perturb, seed=config.data.seed)


def _source(config: SpeechConfig, store: Store) -> Source:
    wanted = config.data
    match wanted.source:
        case "builtin":
            return builtin.source(wanted.utterances, wanted.seed, wanted.rate)
        case "fsdd":
            return fsdd.source(store, wanted.rate, held_out=wanted.held_out, join=wanted.join, seed=wanted.seed)
        case "folder":
            return folder.source(wanted.path, wanted.rate, wanted.units)


APP: App[SpeechConfig, Recogniser, Batch] = App(
    about="spoken digits and commands to text",
    presets=PRESETS,
    prepare=prepare,
    data=batches,
    model=model,
    step=train.step,
    evaluate=train.evaluate,
    predict=predict.predict,
    score=Score("wer", "min"),
    values=predict.VALUES,
    examples=tuple(str(path) for path in sorted(EXAMPLES.glob("*.flac"))),
    unit="seconds of audio",
    figures=figures,
)
