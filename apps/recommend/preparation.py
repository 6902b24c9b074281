"""From a log to a prepared set: split, filtered and numbered once, as flat arrays.

A prepared set has for each split the items, times and sessions of its events, which of them are targets, and (built-in
data) their rank under the best possible predictor; and the catalogue of items.
"""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from unroll.data.arrays import write_arrays
from unroll.data.files import write_json
from unroll.data.store import Prepared, Store
from unroll.errors import UserError, few

from . import events
from .catalogue import Catalogue
from .data import FACTS, buckets
from .events import Log, Protocol, Sessions
from .metrics import DEEPEST
from .sources import Source, Table

NAME = "recommend"


def prepare(
    store: Store, source: Source, *, protocol: Protocol | None, days: float, support: int, features: bool
) -> Prepared:
    """Split and filter the log of a source.

    Args:
        store: the store.
        source: the log.
        protocol: how to split; None: the default of the source.
        days: see `events.split`.
        support: minimum number of training clicks for an item to be recommended.
        features: use the item features of the source, and also recommend items without a click.

    Raises:
        UserError: as the source; a split without targets; features that the source does not have.
    """
    protocol = protocol or source.protocol

    def write(folder: Path) -> None:
        log = events.ordered(source.read())
        splits = events.split(log, protocol, days)
        how = f"data.split={protocol}" + (f", data.days={days:g}" if protocol == "time" else "")
        events.check(splits, how, "it needs a longer log, or another split")
        described = source.table() if source.table else Table([], [], np.zeros((0, 0), np.float32))
        unknown = _undescribed(log.items, described)
        catalogue, kept, numbers = _catalogue(splits, log.items, described, support, features)
        splits, notes = events.filtered(splits, kept)
        events.check(splits, f"data.support={support}", "lower it")
        for name, part in splits.items():
            write_arrays(folder / name, _arrays(replace(part, item=numbers[part.item]), log))
        notes = [*log.notes, *unknown, *notes, *_too_few(catalogue)]
        write_json(folder / FACTS, {"catalogue": catalogue.to_json(), "notes": notes})

    options = {"protocol": protocol, "days": days if protocol == "time" else None, "split": events.rule(protocol, days)}
    return store.prepare(NAME, {**source.spec, **options, "support": support, "features": features}, write)


def _undescribed(names: NDArray[np.str_], described: Table) -> list[str]:
    """A note on items of the log that the table of items lacks. Raises UserError when it lacks all of them."""
    missing = np.setdiff1d(names, np.array(described.items, dtype=np.str_)).tolist() if described.items else []
    if not missing:
        return []
    if len(missing) == len(names):
        there = few(described.items)
        raise UserError(f"data.items: describes none of the items of the log ({few(missing)}), but others ({there})")
    return [f"data.items lacks {len(missing):,} of the {len(names):,} items of the log: {few(missing)}"]


def _too_few(catalogue: Catalogue) -> list[str]:
    if len(catalogue) > DEEPEST:
        return []
    return [f"of {len(catalogue)} items {DEEPEST} are recommended: recall@{DEEPEST} is 1 whatever the model does"]


def _catalogue(
    splits: dict[str, Sessions], names: NDArray[np.str_], described: Table, support: int, features: bool
) -> tuple[Catalogue, NDArray[np.bool_], NDArray[np.int32]]:
    """(catalogue, which items of the log are in it, their numbers in it): sorted by training clicks, then by name."""
    if features and not described.features.shape[1]:
        raise UserError("data.features=true: the source says nothing of its items; set data.items to a table of them")
    if features:
        names = np.append(names, np.setdiff1d(np.array(described.items, dtype=np.str_), names))
    place = {name: row for row, name in enumerate(described.items)}
    rows = np.array([place.get(name, -1) for name in names.tolist()])
    cold = (rows >= 0) & features
    kept = events.known(splits, len(names), support, cold)
    splits, _ = events.filtered({"train": splits["train"]}, kept)
    counts = np.bincount(splits["train"].item, minlength=len(names))
    order = np.lexsort((names, -counts))
    order = order[kept[order]]
    numbers = np.full(len(names), -1, dtype=np.int32)
    numbers[order] = np.arange(len(order))
    padded = np.concatenate([described.features, np.zeros((1, described.features.shape[1]), np.float32)])
    titles = [described.titles[row] if row >= 0 else str(name) for row, name in zip(rows, names, strict=True)]
    catalogue = Catalogue(
        tuple(names[order].tolist()), tuple(titles[index] for index in order), counts[order],
        padded[rows[order]] if features else np.zeros((len(order), 0), np.float32),
    )  # fmt: skip
    return catalogue, kept, numbers


def _arrays(part: Sessions, log: Log) -> dict[str, NDArray[Any]]:
    first = events.firsts(part.session)
    gaps = np.where(first, 0, buckets(np.diff(part.time, prepend=part.time[:1])))
    own = part.session[part.offsets[:-1]]
    return {
        "items": part.item, "gaps": gaps.astype(np.uint8), "target": part.target, "best": part.best,
        "offsets": part.offsets, "names": log.sessions[own], **({} if log.users is None else {"users": log.users[own]}),
    }  # fmt: skip
