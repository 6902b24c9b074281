"""From pairs to tokens, once, into the store.

A prepared set holds the tokeniser, a file of records for each split with the tokens of both sentences, the range of the
scores, and, if the user brings word vectors, those of the words that occur.
"""

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from unroll.data import copies
from unroll.data.files import sha256, write_json, write_jsonl
from unroll.data.source import SPLITS
from unroll.data.store import Prepared, Store
from unroll.errors import UserError
from unroll.sequence.tokens import Tokeniser, Units

from .sources import Pair, Source, table
from .text import plain
from .vectors import VECTORS, write_vectors

NAME = "similarity"


def prepare(store: Store, source: Source, *, units: Units, vocabulary: int, vectors: Path | None = None) -> Prepared:
    """Tokenise all pairs of `source`.

    Args:
        units: characters, words or (byte-pair) pieces.
        vocabulary: maximum vocabulary size, the most frequent ones of the training pairs.
        vectors: the user's word vectors; words of val and test that have one are known as well.

    Raises:
        UserError: a row cannot be used (names it), a split has no pairs, or the file of vectors cannot be used.
    """
    if vectors and units != "words":
        raise UserError(f"data.vectors={vectors}: word vectors need data.units=words, not {units}")

    def write(folder: Path) -> None:
        pairs, left_out, drawn = _usable(source, units)
        tokeniser = Tokeniser.fit(_texts(p for p in pairs if p.split == "train"), units, vocabulary)
        facts: dict[str, Any] = {"low": source.low, "high": source.high}
        if vectors:
            words = {word for text in _texts(pairs) for word in text.split()}
            tokeniser, facts[VECTORS] = write_vectors(folder, vectors, words, tokeniser)
        for split in SPLITS:
            write_jsonl(folder / f"{split}.jsonl", (_record(p, tokeniser) for p in pairs if p.split == split))
        items = [copies.Item(p.id, p.split, f"{p.score:g}", repr(sorted((p.a, p.b)))) for p in pairs]
        alike = source.check_varied("score", [(p.split, f"{p.score:g}") for p in pairs])
        said = [*drawn, *alike, *copies.notes(items, "score")]
        notes = {"left_out": left_out, "known": _known(pairs), "notes": said}
        write_json(folder / "facts.json", facts | {"tokeniser": tokeniser.to_json()} | notes)

    spec: dict[str, Any] = {"source": source.spec, "units": units, "vocabulary": vocabulary}
    if vectors:
        spec["vectors"] = sha256(vectors)
    return store.prepare(NAME, spec, write)


def _usable(source: Source, units: Units) -> tuple[list[Pair], list[str], list[str]]:
    """(the pairs in plain text, the ids of those with an empty sentence, notes on splits that were drawn)."""
    pairs = [pair._replace(a=plain(pair.a, units), b=plain(pair.b, units)) for pair in source.read()]
    usable, drawn = table.completed([pair for pair in pairs if pair.a and pair.b])
    source.check_splits({pair.split for pair in usable}, "pairs")
    return usable, [pair.id for pair in pairs if not (pair.a and pair.b)], drawn


def _known(pairs: Sequence[Pair]) -> float:
    """Fraction of the sentences of test that occur in train."""
    train, test = ({text for p in pairs if p.split == split for text in (p.a, p.b)} for split in ("train", "test"))
    return len(train & test) / len(test)


def _texts(pairs: Iterable[Pair]) -> Iterator[str]:
    for pair in pairs:
        yield from (f"{pair.a} ", f"{pair.b} ")


def _record(pair: Pair, tokeniser: Tokeniser) -> dict[str, Any]:
    numbers = {"tokens_a": tokeniser.encode(pair.a), "tokens_b": tokeniser.encode(pair.b)}
    return {"id": pair.id, "a": pair.a, "b": pair.b, "score": pair.score, "label": pair.label} | numbers
