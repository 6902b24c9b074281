"""Language modelling and text generation. Only this file and config.py know the configuration."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from unroll.app import App, Data, Score
from unroll.errors import UserError
from unroll.lazy import deferred

from .config import LanguageConfig
from .presets import PRESETS

if TYPE_CHECKING:
    from unroll.data.store import Prepared, Store
    from unroll.sequence.stream import Window

    from . import data, generate, ngrams, surprisal, train
    from . import model as network
    from .sources import Source, builtin, files, published
else:
    data, generate, network, ngrams, surprisal, train = deferred(
        __name__, "data", "generate", "model", "ngrams", "surprisal", "train"
    )
    builtin, files, published = deferred(__name__, "sources.builtin", "sources.files", "sources.published")

__all__ = ["APP"]


def prepare(config: LanguageConfig, store: Store) -> tuple[Prepared, tuple[str, ...]]:
    """Prepare the token streams of the configured source in the store; do nothing if they are there.

    Returns:
        them, and notes on the source.
    """
    source = _source(config, store)
    return data.prepare(store, source, units=config.data.units, size=config.data.vocabulary), source.notes


def batches(config: LanguageConfig, store: Store) -> Data[Window]:
    """Windows of the splits."""
    (prepared, notes), wanted = prepare(config, store), config.train
    made = data.batches(
        prepared, batch=wanted.batch, window=wanted.window, randomised=wanted.randomised, seed=wanted.seed
    )
    return replace(made, notes=(*notes, *made.notes))


def model(config: LanguageConfig, facts: dict[str, Any]) -> network.LanguageModel:
    """The network for data of these facts. Raises UserError for settings that do not fit together."""
    from unroll.sequence.tokens import Tokeniser  # not at the top: settings are known without torch

    try:
        return network.LanguageModel(
            Tokeniser.from_json(facts["tokeniser"]),
            generation=config.generate,
            adaptation=config.evaluate,
            **config.model.model_dump(),
        )
    except ValueError as error:
        raise UserError(f"model: {error}") from error


def _source(config: LanguageConfig, store: Store) -> Source:
    match config.data.source:
        case "builtin":
            return builtin.source()
        case "ptb":
            return published.ptb(store)
        case "wikitext2":
            return published.wikitext2(store)
        case "file":
            return files.source(config.data.path, config.data.held_out)


APP: App[LanguageConfig, network.LanguageModel, Window] = App(
    about="characters, words or pieces of text: how probable, and what comes next",
    presets=PRESETS,
    prepare=prepare,
    data=batches,
    model=model,
    step=train.step,
    evaluate=train.evaluate,
    predict=generate.predict,
    stream=generate.stream,
    baselines=lambda config, data: {"kneser-ney-5": ngrams.measured(data, order=5)},
    scores=surprisal.scores,
    score=Score("bits_per_character", "min"),
    examples=("The ", "A class "),
    unit="tokens",
)
