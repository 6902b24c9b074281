"""The user's own pairs: a table (CSV, TSV or JSON Lines) whose columns are known, or named in the configuration."""

from collections.abc import Iterator
from functools import partial
from pathlib import Path

from unroll.data import folders, tables
from unroll.data.files import sha256
from unroll.errors import UserError

from . import Pair, Source, table

COLUMNS = ("a", "b", "score")
KNOWN = {
    "a": ("sentence1", "sentence_a", "sent1", "text1", "text_a", "question1", "#1 String", "premise", "first"),
    "b": ("sentence2", "sentence_b", "sent2", "text2", "text_b", "question2", "#2 String", "hypothesis", "second"),
    "score": (
        "similarity", "similarity_score", "relatedness_score", "relatedness", "is_duplicate", "gold", "quality",
        "label",
    ),
}  # fmt: skip
"""names of the columns elsewhere: GLUE (STS-B, QQP, MRPC), the Hugging Face hub, SICK, Quora"""
MORE = {"split": (), "label": ("entailment_label",), "id": ("index", "idx", "pair_id")}


def source(path: Path | None, columns: tuple[str, str, str], low: float, high: float) -> Source:
    """The pairs in the file at `path`.

    Args:
        path: see `tables.read_table`. Optional columns: `split` (train, val, test), `label` (see ENTAILMENT) and `id`.
        columns: names of the columns of the two sentences and of their score; COLUMNS: also those in KNOWN.
        low: smallest possible score.
        high: largest possible score.

    Raises:
        UserError: no path, or no such file. The rest is found as the pairs are read.
    """
    if path is None or not path.is_file():
        raise UserError(f"data.path={path}: no such file; data.source=csv needs data.path=FILE, a table of pairs")
    spec = {"source": "csv", "sha256": sha256(path), "columns": list(columns), "low": low, "high": high}
    spec["reader"] = tables.VERSION
    spec["split"] = "by its column split, else by hash of the sentence, or of the pair where all are linked"
    return Source(spec, partial(_read, path, columns, low, high), low=low, high=high)


def _read(path: Path, columns: tuple[str, str, str], low: float, high: float) -> Iterator[Pair]:
    content = tables.read_table(path)
    wanted = KNOWN if columns == COLUMNS else dict.fromkeys(columns, ())
    found = content.find(wanted, "name yours with data.columns")
    # A column "label" may hold the score, as on the hub, or the entailment.
    more = {ours: others for ours, others in MORE.items() if content.place(ours, others) not in found.values()}
    pairs = [_pair(where, row, columns, low, high) for where, row in content.pick(wanted, more)]
    yield from pairs if content.place("split") is not None else table.split_by_sentence(pairs)


def _pair(where: str, row: dict[str, str], columns: tuple[str, str, str], low: float, high: float) -> Pair:
    a, b, score = (row[column] for column in columns)
    return Pair(
        row.get("id") or f"row {where.rpartition(' ')[2]}",
        table.sentence(where, a),
        table.sentence(where, b),
        table.score(where, score, low, high, "correct it, or set data.low and data.high"),
        folders.split_in(where, row.get("split", "")),
        table.label(where, row.get("label", "")),
    )
