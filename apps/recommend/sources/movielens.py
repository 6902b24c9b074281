"""MovieLens 100K and 1M: every rating is a click of a user on a film.

Published by GroupLens (Harper and Konstan, The MovieLens Datasets, 2015), at files.grouplens.org.
"""

from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd

from unroll.data.fetch import RemoteFile
from unroll.data.files import sha256
from unroll.data.store import Store
from unroll.data.text import lines
from unroll.errors import UserError

from ..events import Log
from . import Source, Table
from .features import encode

SITE = "https://files.grouplens.org/datasets/movielens"
RATINGS_100K = RemoteFile(
    "ml-100k/u.data", (f"{SITE}/ml-100k/u.data",), "df3b7a707b24a5dd4fdd0607d35468f7f843d6852eb8cf76edc31d26a05d0587"
)
ITEMS_100K = RemoteFile(
    "ml-100k/u.item", (f"{SITE}/ml-100k/u.item",), "553841ebc7de3a0fd0d6b62a204ea30c1e651aacfb2814c7a6584ac52f2c5701"
)
GENRES_100K = (
    "unknown", "Action", "Adventure", "Animation", "Children's", "Comedy", "Crime", "Documentary", "Drama", "Fantasy",
    "Film-Noir", "Horror", "Musical", "Mystery", "Romance", "Sci-Fi", "Thriller", "War", "Western",
)  # fmt: skip
FILES_1M = ("ratings.dat", "movies.dat")


def ml_100k(store: Store) -> Source:
    """943 users, 1,682 films, 100,000 ratings; the files are downloaded when first read."""

    def read() -> Log:
        return _log(pd.read_csv(store.fetch(RATINGS_100K), sep="\t", names=["user", "item", "rating", "time"]))

    spec = {"source": "ml-100k", "ratings": RATINGS_100K.sha256, "items": ITEMS_100K.sha256}
    return Source(spec, read, protocol="leave-one-out", table=lambda: _items_100k(store.fetch(ITEMS_100K)))


def ml_1m(path: Path | None) -> Source:
    """6,040 users, 3,883 films, 1,000,209 ratings, from the folder `path` with the unpacked `ml-1m.zip`.

    Raises:
        UserError: there is no such folder, or a file of it is missing.
    """
    if path is None or not path.is_dir():
        raise UserError(
            f"data.path={path}: no such folder; unpack {SITE}/ml-1m.zip and set data.path to its folder ml-1m"
        )
    for name in FILES_1M:
        if not (path / name).is_file():
            raise UserError(f"{path / name}: no such file; data.path must hold {' and '.join(FILES_1M)} of ml-1m.zip")
    ratings, movies = (path / name for name in FILES_1M)
    spec = {"source": "ml-1m", "ratings": sha256(ratings), "items": sha256(movies)}
    return Source(spec, partial(_ratings_1m, ratings), protocol="leave-one-out", table=partial(_items_1m, movies))


def _log(ratings: pd.DataFrame) -> Log:
    session, sessions = pd.factorize(ratings["user"])
    item, items = pd.factorize(ratings["item"])
    return Log(
        session.astype(np.int32), item.astype(np.int32), ratings["time"].to_numpy(np.float64),
        np.asarray(sessions.astype(str), dtype=np.str_), np.asarray(items.astype(str), dtype=np.str_),
    )  # fmt: skip


def _items_100k(path: Path) -> Table:
    rows = pd.read_csv(path, sep="|", header=None, encoding="latin-1", dtype={0: str, 1: str})
    flags = rows.iloc[:, 5:24].to_numpy()
    genres = ["|".join(np.array(GENRES_100K)[row == 1]) for row in flags]
    return Table(rows[0].tolist(), rows[1].str.strip().tolist(), encode({"genre": genres}))


def _ratings_1m(path: Path) -> Log:
    return _log(_double_colons(path, ["user", "item", "rating", "time"]).astype(np.int64))


def _items_1m(path: Path) -> Table:
    rows = _double_colons(path, ["item", "title", "genres"])
    return Table(rows["item"].tolist(), rows["title"].tolist(), encode({"genre": rows["genres"].tolist()}))


def _double_colons(path: Path, columns: list[str]) -> pd.DataFrame:
    rows = [line.split("::") for line in lines(path.read_text(encoding="latin-1")) if line]
    wrong = next((number for number, row in enumerate(rows, start=1) if len(row) != len(columns)), None)
    if wrong:
        got = len(rows[wrong - 1])
        raise UserError(f"{path}, line {wrong}: expected {len(columns)} fields divided by ::, got {got}")
    return pd.DataFrame(rows, columns=columns)
