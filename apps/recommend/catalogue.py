"""The items that can be recommended, with their names, titles, click counts and features."""

import base64
import csv
import warnings
import zlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from typing_extensions import TypeIs

from unroll.errors import Notice, UserError

Items = Sequence[str | int] | NDArray[np.integer]
"""names, titles or numbers"""


def is_items(value: object) -> TypeIs[Items]:
    """Whether a value is a sequence of names, titles or numbers."""
    if isinstance(value, np.ndarray):
        return value.ndim == 1 and value.dtype.kind in "iu"
    return isinstance(value, list | tuple) and all(isinstance(item, str | int | np.integer) for item in value)


@dataclass(frozen=True)
class Catalogue:
    """N items, the most clicked first."""

    names: tuple[str, ...]
    titles: tuple[str, ...]
    counts: NDArray[np.int64]
    """clicks in the training split, [N]; 0: a cold item, which is known by its features only"""
    features: NDArray[np.float32]
    """[N, F]; F is 0 if they are not used"""

    def __len__(self) -> int:
        return len(self.names)

    @cached_property
    def _numbers(self) -> dict[str, int]:
        by_title = {title.casefold(): number for number, title in reversed(list(enumerate(self.titles)))}
        return by_title | {name: number for number, name in enumerate(self.names)}

    def find(self, text: str) -> int | None:
        """The number of the item with this name or title, or None."""
        return self._numbers.get(text, self._numbers.get(text.casefold()))

    def parse(self, history: str | Items) -> list[int]:
        """Numbers of the items in a history: a list, or a text of names or titles separated by commas.

        Titles may contain commas, quoted or not. Unknown items are named in a `Notice` and skipped.

        Raises:
            UserError: no item of the history is known.
        """
        words = _words(history) if isinstance(history, str) else [str(word) for word in history]
        found, unknown = list(self._longest(words)), []
        numbers = [number for number, _ in found if number is not None]
        unknown = [text for number, text in found if number is None]
        if not numbers:
            example = ", ".join(self.names[:3])
            raise UserError(f"history {history!r}: none of these items is known; known are for example {example}")
        if unknown:
            warnings.warn(f"unknown items are passed over: {', '.join(unknown)}", Notice, stacklevel=2)
        return numbers

    def _longest(self, words: list[str]) -> Iterable[tuple[int | None, str]]:
        """(number, text): the longest runs of words that are known titles."""
        start = 0
        while start < len(words):
            ends = range(min(start + 8, len(words)), start, -1)
            texts = [(end, ", ".join(words[start:end])) for end in ends]
            end, text = next(((e, t) for e, t in texts if self.find(t) is not None), (start + 1, words[start]))
            yield self.find(text), text
            start = end

    def to_json(self) -> dict[str, Any]:
        """Plain values, for `from_json`; arrays are compressed."""
        titles = None if self.titles == self.names else list(self.titles)
        return {
            "names": list(self.names),
            "titles": titles,
            "counts": self.counts.tolist(),
            "features": base64.b64encode(zlib.compress(self.features.astype("<f4").tobytes())).decode(),
        }

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> Self:
        """The catalogue that `to_json` wrote."""
        names = tuple(values["names"])
        features = np.frombuffer(zlib.decompress(base64.b64decode(values["features"])), "<f4")
        titles = names if values["titles"] is None else tuple(values["titles"])
        counts = np.array(values["counts"], dtype=np.int64)
        return cls(names, titles, counts, features.reshape(len(names), -1).astype(np.float32))


def _words(text: str) -> list[str]:
    rows = csv.reader([text], skipinitialspace=True)
    return [word.strip() for row in rows for word in row if word.strip()]
