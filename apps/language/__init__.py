"""Language modelling and text generation. This file and config.py are the only ones that know the configuration."""

from dataclasses import replace
from typing import Any

from unroll.app import App, Data, Score
from unroll.data.store import Prepared, Store
from unroll.errors import UserError
from unroll.sequence.decoding import Sampling
from unroll.sequence.stream import Window
from unroll.sequence.tokens import Tokeniser

from . import data, generate, surprisal, train
from .config import PRESETS, LanguageConfig
from .model import LanguageModel
from .options import Adaptation, Generation
from .sources import Source, builtin, files, published

__all__ = ["APP"]


def prepare(config: LanguageConfig, store: Store) -> None:
    """Prepare the token streams of the configured source in the store; do nothing if they are there."""
    _prepared(config, store, _source(config, store))


def batches(config: LanguageConfig, store: Store) -> Data[Window]:
    """Windows of the splits."""
    wanted, source = config.train, _source(config, store)
    made = data.batches(
        _prepared(config, store, source),
        batch=wanted.batch,
        window=wanted.window,
        randomised=wanted.randomised,
        seed=wanted.seed,
    )
    return replace(made, notes=(*source.notes, *made.notes))


def model(config: LanguageConfig, facts: dict[str, Any]) -> LanguageModel:
    """The network for data of these facts. Raises UserError for settings that make none."""
    try:
        return LanguageModel(
            Tokeniser.from_json(facts["tokeniser"]),
            generation=_generation(config),
            adaptation=Adaptation(**config.evaluate.model_dump()),
            **config.model.model_dump(),
        )
    except ValueError as error:
        raise UserError(f"model: {error}") from error


def _generation(config: LanguageConfig) -> Generation:
    options = config.generate.model_dump()
    names = ("temperature", "top_k", "top_p", "min_p", "repetition_penalty")
    sampling = {"temperature": 0.8} | {name: value for name in names if (value := options.pop(name)) is not None}
    return Generation(sampling=Sampling(**sampling), **options)


def _prepared(config: LanguageConfig, store: Store, source: Source) -> Prepared:
    return data.prepare(store, source, units=config.data.units, size=config.data.vocabulary)


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


def baselines(config: LanguageConfig, data: Data[Window]) -> dict[str, dict[str, float]]:
    """Test figures of a Kneser-Ney model of five tokens, on the same streams."""
    return {"kneser-ney-5": train.count_baseline(data, order=5)}


APP: App[LanguageConfig, LanguageModel, Window] = App(
    about="characters, words or pieces of text: how probable, and what comes next",
    presets=PRESETS,
    prepare=prepare,
    data=batches,
    model=model,
    step=train.step,
    evaluate=train.evaluate,
    predict=generate.predict,
    stream=generate.stream,
    baselines=baselines,
    scores=surprisal.scores,
    score=Score("bits_per_character", "min"),
    examples=("The ", "A class "),
    unit="tokens",
)
