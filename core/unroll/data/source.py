"""What a data set is to an application: a source that can be read again and again, in three splits."""

from collections.abc import Callable, Collection
from dataclasses import dataclass
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
    """A data set that can be read any number of times. An application whose sources say more inherits from it.

    Written `Source[[], Iterator[Pair]]`: what `read` takes, and what it gives.
    """

    spec: dict[str, Any]
    """plain JSON values that determine every example; "source" names it, "split" is the rule of its splits"""
    read: Callable[P, T]
    """its examples; raises UserError naming the file or record that is at fault"""
    notes: tuple[str, ...] = ()
    """what the user should be told of it"""

    def check_splits(self, found: Collection[str], examples: str) -> None:
        """Raise UserError where a split is not among those `found`; `examples` says what it lacks, in the plural."""
        for split in SPLITS:
            if split not in found:
                raise UserError(f"data.source={self.spec['source']}: the {split} split has no {examples}; add some")
