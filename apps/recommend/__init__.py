"""Next-item recommendation. Only this file and config.py know the configuration."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from unroll.app import App, Data, Score
from unroll.lazy import deferred

from .catalogue import Catalogue
from .config import PRESETS, RecommendConfig
from .inputs import VALUES

if TYPE_CHECKING:
    from unroll.data.store import Prepared, Store

    from . import baselines as simple
    from . import data, figures, objective, predict, preparation, train
    from . import model as network
    from .sources import Source, builtin, movielens, table
else:
    data, figures, network, objective, predict, preparation, simple, train = deferred(
        __name__, "data", "figures", "model", "objective", "predict", "preparation", "baselines", "train"
    )
    builtin, movielens, table = deferred(__name__, "sources.builtin", "sources.movielens", "sources.table")

__all__ = ["APP"]


def prepare(config: RecommendConfig, store: Store) -> Prepared:
    """Prepare the splits of the configured source in the store; do nothing if they are there."""
    wanted = config.data
    return preparation.prepare(
        store, _source(config, store), protocol=None if wanted.split == "auto" else wanted.split, days=wanted.days,
        support=wanted.support, features=wanted.features,
    )  # fmt: skip


def batches(config: RecommendConfig, store: Store) -> Data[data.Batch]:
    """Loaders of the splits."""
    wanted = config.train
    return data.batches(
        prepare(config, store), mode=wanted.mode, rows=wanted.rows, steps=wanted.steps, seed=wanted.seed
    )


def model(config: RecommendConfig, facts: dict[str, Any]) -> network.Recommender:
    """The network for data of these facts."""
    import torch  # not at the top: the settings are known without it

    catalogue = Catalogue.from_json(facts["catalogue"])
    loss = objective.Objective(torch.from_numpy(catalogue.counts), **config.loss.model_dump())
    return network.Recommender(catalogue, loss, config.decode, **config.model.model_dump())


def baselines(config: RecommendConfig, data: Data[data.Batch]) -> dict[str, dict[str, float]]:
    """Test metrics of popularity, item-kNN and a Markov chain; seen items are excluded if the network's are."""
    catalogue = Catalogue.from_json(data.facts["catalogue"])
    return simple.baselines(data.test, catalogue, exclude_seen=config.decode.exclude_seen)


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


APP: App[RecommendConfig, network.Recommender, data.Batch] = App(
    about="what is clicked next in a session, and why",
    presets=PRESETS,
    prepare=prepare,
    data=batches,
    model=model,
    step=train.step,
    evaluate=train.evaluate,
    predict=predict.predict,
    score=Score("recall@20", "max"),
    values=VALUES,
    examples=("50,181,58", "7,12,200,41"),
    unit="clicks",
    figures=figures.figures,
    baselines=baselines,
    read=table.histories,
)
