"""Next-item recommendation. Only this file and config.py know the configuration."""

from typing import Any

import torch

from unroll.app import App, Data, Score
from unroll.data.store import Prepared, Store

from . import baselines as simple
from . import data, predict, preparation, train
from .catalogue import Catalogue
from .config import PRESETS, RecommendConfig
from .data import Batch
from .figures import figures
from .model import Recommender
from .objective import Objective
from .sources import Source, builtin, movielens, table

__all__ = ["APP"]


def prepare(config: RecommendConfig, store: Store) -> None:
    """Prepare the splits of the configured source in the store; do nothing if they are there."""
    _prepared(config, store)


def batches(config: RecommendConfig, store: Store) -> Data[Batch]:
    """Loaders of the splits."""
    wanted = config.train
    return data.batches(
        _prepared(config, store), mode=wanted.mode, rows=wanted.rows, steps=wanted.steps, seed=wanted.seed
    )


def model(config: RecommendConfig, facts: dict[str, Any]) -> Recommender:
    """The network for data of these facts."""
    catalogue = Catalogue.from_json(facts["catalogue"])
    objective = Objective(torch.from_numpy(catalogue.counts), **config.loss.model_dump())
    return Recommender(catalogue, objective, config.decode, **config.model.model_dump())


def baselines(config: RecommendConfig, data: Data[Batch]) -> dict[str, dict[str, float]]:
    """Test metrics of popularity, item-kNN and a Markov chain; seen items are excluded if the network's are."""
    catalogue = Catalogue.from_json(data.facts["catalogue"])
    return simple.baselines(data.test, catalogue, exclude_seen=config.decode.exclude_seen)


def _prepared(config: RecommendConfig, store: Store) -> Prepared:
    wanted = config.data
    return preparation.prepare(
        store,
        _source(config, store),
        protocol=None if wanted.split == "auto" else wanted.split,
        days=wanted.days,
        support=wanted.support,
        features=wanted.features,
    )


def _source(config: RecommendConfig, store: Store) -> Source:
    wanted = config.data
    match wanted.source:
        case "builtin":
            return builtin.source(wanted.sessions, wanted.seed)
        case "ml-100k":
            return movielens.ml_100k(store)
        case "ml-1m":
            return movielens.ml_1m(wanted.path)
        case "csv":
            return table.source(wanted.path, wanted.items, wanted.columns.model_dump())


APP: App[RecommendConfig, Recommender, Batch] = App(
    about="what is clicked next in a session, and why",
    presets=PRESETS,
    prepare=prepare,
    data=batches,
    model=model,
    step=train.step,
    evaluate=train.evaluate,
    predict=predict.predict,
    score=Score("recall@20", "max"),
    values=predict.VALUES,
    examples=("50,181,58", "7,12,200,41"),
    unit="clicks",
    figures=figures,
    baselines=baselines,
    read=table.histories,
)
