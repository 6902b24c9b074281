"""Data sets as applications use them: a source that can be read any number of times, in three splits."""

import hashlib
from collections import Counter
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, Literal, ParamSpec, TypeVar, get_args

from unroll.errors import UserError

Split = Literal["train", "val", "test"]
"""the name of a split"""
SPLITS: tuple[Split, ...] = get_args(Split)
"""all of them, in the order in which they are reported"""
P = ParamSpec("P")
T = TypeVar("T")


@dataclass(frozen=True)
class Source(Generic[P, T]):
    """A data set that can be read any number of times. Applications that need more fields inherit from it.

    Written `Source[[], Iterator[Pair]]`: the arguments of `read`, and what it returns.
    """

    spec: dict[str, Any]
    """plain JSON values that determine every example; "source" names it, "split" is the rule of its splits"""
    read: Callable[P, T]
    """returns its examples; raises UserError naming the faulty file or record"""
    notes: tuple[str, ...] = ()
    """what to tell the user about it"""

    def check_splits(self, found: Collection[str], examples: str) -> None:
        """Raise UserError if a split is not among those `found`; `examples` names what it lacks, in the plural."""
        for split in SPLITS:
            if split not in found:
                raise UserError(f"data.source={self.spec['source']}: the {split} split has no {examples}; add some")

    def check_varied(self, what: str, said: Iterable[tuple[Split, str]]) -> list[str]:
        """Notes on val and test, where all of their examples are alike in what is to be predicted.

        Args:
            what: what is to be predicted, in the singular.
            said: (split, what is to be predicted) of every example.

        Raises:
            UserError: all examples of train are alike: there is nothing to learn from them.
        """
        counts: dict[Split, Counter[str]] = {split: Counter() for split in SPLITS}
        for split, value in said:
            counts[split][value] += 1
        notes = []
        for split, found in counts.items():
            value, count = found.most_common(1)[0] if len(found) == 1 else ("", 0)
            if count > 1 and split == "train":
                where = f"data.source={self.spec['source']}: train"
                raise UserError(f"{where}: all {count:,} examples have the {what} {value!r}; there is nothing to learn")
            if count and split != "train":
                alike = f"all {count:,} examples have the {what} {value!r}" if count > 1 else "has one example"
                notes.append(f"{split}: {alike}, so its figures do not tell a good model from a bad one")
        return notes


def by_hash(name: str) -> bytes:
    """A sort key for a pseudo-random order of names, the same on every machine and whatever the other names."""
    return hashlib.sha256(name.encode()).digest()


def held_out(names: Iterable[str], share: float) -> dict[str, Split]:
    """The split of each name: this share (at least one) is test, and as many val, by the smallest hashes.

    A name's split does not depend on the order of the names; most keep it when others are added.
    """
    ranked = sorted(set(names), key=by_hash)
    count = max(1, round(share * len(ranked)))
    splits: dict[str, Split] = dict.fromkeys(ranked, "train")
    return splits | dict.fromkeys(ranked[:count], "test") | dict.fromkeys(ranked[count : 2 * count], "val")


def own_path(path: Path | None, source: str, wanted: str) -> Path:
    """The path that the user has set for a source of their own data.

    Args:
        path: data.path.
        source: its name.
        wanted: what to set, for example "FOLDER, a folder with a subfolder for each class".

    Raises:
        UserError: it is not set.
    """
    if path is None:
        raise UserError(f"data.source={source}: add data.path={wanted}")
    return path


def content_digest(examples: Iterable[object]) -> str:
    """SHA-256 over what determines each example (plain values), in their order: for `Source.spec`."""
    content = hashlib.sha256()
    for example in examples:
        content.update(repr(example).encode())
    return content.hexdigest()
