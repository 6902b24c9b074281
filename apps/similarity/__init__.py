"""Similarity of two sentences. Only this file and config.py know the configuration."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from unroll.app import App, Data, Score
from unroll.lazy import deferred

from .config import PRESETS, SimilarityConfig
from .inputs import VALUES

if TYPE_CHECKING:
    from unroll.data.store import Prepared, Store

    from . import baselines, data, predict, preparation, train
    from . import model as network
    from .sources import Source, builtin, own, published
else:
    baselines, data, network, predict, preparation, train = deferred(
        __name__, "baselines", "data", "model", "predict", "preparation", "train"
    )
    builtin, own, published = deferred(__name__, "sources.builtin", "sources.own", "sources.published")

__all__ = ["APP"]


def prepare(config: SimilarityConfig, store: Store) -> Prepared:
    """Prepare the pairs of the configured source in the store; do nothing if they are there."""
    wanted = config.data
    source = _source(config, store)
    return preparation.prepare(store, source, units=wanted.units, vocabulary=wanted.vocabulary, vectors=wanted.vectors)


def batches(config: SimilarityConfig, store: Store) -> Data[data.Batch]:
    """Loaders of the splits."""
    return data.batches(prepare(config, store), size=config.train.batch, seed=config.train.seed)


def model(config: SimilarityConfig, facts: dict[str, Any]) -> network.Siamese:
    """The network for data of these facts."""
    from unroll.sequence.tokens import Tokeniser  # not at the top: settings are known without torch

    return network.Siamese(
        Tokeniser.from_json(facts["tokeniser"]),
        low=facts["low"],
        high=facts["high"],
        vectors=facts.get("vectors"),
        entailment=config.train.entailment,
        **config.model.model_dump(),
        **config.predict.model_dump(),
    )


def _source(config: SimilarityConfig, store: Store) -> Source:
    wanted = config.data
    match wanted.source:
        case "builtin":
            return builtin.source(wanted.pairs, wanted.seed)
        case "sick":
            return published.sick(store, wanted.path)
        case "stsb":
            return published.stsb(wanted.path)
        case "quora":
            return published.quora(wanted.path)
        case "csv":
            return own.source(wanted.path, wanted.columns, wanted.low, wanted.high)


APP: App[SimilarityConfig, network.Siamese, data.Batch] = App(
    about="how similar two sentences are",
    presets=PRESETS,
    prepare=prepare,
    data=batches,
    model=model,
    step=train.step,
    evaluate=train.evaluate,
    predict=predict.predict,
    score=Score("pearson", "max"),
    values=VALUES,
    examples=(
        "the small red cube is left of the large blue ball | there is a big blue ball right of the tiny red cube",
        "the small red cube is left of the large blue ball | the small blue cube is left of the large red ball",
    ),
    unit="pairs",
    baselines=lambda config, data: baselines.measured(data),
)
