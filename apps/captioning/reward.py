"""The reward of self-critical training: CIDEr, with the document frequencies of the training captions."""

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from functools import cached_property
from typing import Any

import numpy as np
from pycocoevalcap.cider.cider_scorer import CiderScorer, cook_refs, precook

Captions = Sequence[str]
"""of one picture, words separated by spaces"""


class _Scorer(CiderScorer):  # type: ignore[misc]  # pycocoevalcap has no types
    """pycocoevalcap's CIDEr with the statistics of a given corpus, instead of those of the captions scored."""

    def __init__(self, frequencies: Counter[tuple[str, ...]], pictures: int) -> None:
        super().__init__()
        self.document_frequency, self._pictures = frequencies, pictures

    @property
    def ref_len(self) -> float:
        """Logarithm of the number of pictures in the corpus; pycocoevalcap sets it to that of the pictures scored."""
        return float(np.log(self._pictures))

    @ref_len.setter
    def ref_len(self, value: Any) -> None:
        """Nothing."""


class CiderReward:
    """CIDEr (Vedantam et al. 2015) of single captions.

    The end of a caption counts as a word: otherwise captions that break off ("a man in a") would be rewarded (Rennie et
    al. 2017; ruotianluo's and other implementations do the same).

    Args:
        training: gives the captions of each training picture; called once, for the first reward.
    """

    END = "<eos>"

    def __init__(self, training: Callable[[], Iterable[Captions]]) -> None:
        self._training = training

    @cached_property
    def _corpus(self) -> tuple[Counter[tuple[str, ...]], int]:
        frequencies: Counter[tuple[str, ...]] = Counter()
        pictures = 0
        for captions in self._training():
            frequencies.update({gram for counts in cook_refs(self._ended(captions)) for gram in counts})
            pictures += 1
        return frequencies, pictures

    def __call__(self, captions: Sequence[tuple[str, bool]], references: Sequence[Captions]) -> list[float]:
        """A reward for each caption.

        Args:
            captions: (words, whether the caption ended by itself).
            references: for each caption, those of its picture.
        """
        scorer = _Scorer(*self._corpus)
        for (text, ended), wanted in zip(captions, references, strict=True):
            scorer.ctest.append(precook(f"{text} {self.END}" if ended else text))
            scorer.crefs.append(cook_refs(self._ended(wanted)))
        return [float(score) for score in scorer.compute_cider()]

    def _ended(self, captions: Captions) -> list[str]:
        return [f"{caption} {self.END}" for caption in captions]
