"""Features of all recordings, computed once and kept in the store.

A prepared set is one file of float16 frames (`unroll.data.frames`), a record per utterance, and the facts: rate, bands,
and the mean and standard deviation of each band over the training split.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from unroll.data.files import write_json, write_jsonl
from unroll.data.frames import FrameWriter
from unroll.data.store import Prepared, Store

from .data import FACTS, FRAMES, RECORDS
from .features import LogMel
from .perturb import perturb
from .sources import Source, Utterance

NAME = "speech"


@dataclass
class _Statistics:
    """Sums over frames, for each band."""

    count: int = 0
    total: NDArray[np.float64] | float = 0.0
    squares: NDArray[np.float64] | float = 0.0

    def add(self, frames: NDArray[np.float64]) -> None:
        self.count += len(frames)
        self.total = self.total + frames.sum(0)
        self.squares = self.squares + np.square(frames).sum(0)

    def mean_and_deviation(self) -> tuple[list[float], list[float]]:
        mean = np.asarray(self.total) / self.count
        variance = np.asarray(self.squares) / self.count - mean**2
        # A band that is constant (above the bandwidth of the recordings) is only shifted.
        deviation = np.sqrt(np.where(variance > 1e-6, variance, 1.0))
        return mean.tolist(), deviation.tolist()


def prepare(store: Store, source: Source, features: LogMel, *, copies: int = 0, seed: int = 0) -> Prepared:
    """Compute the features of all utterances, and of `copies` perturbed versions of each in train and val.

    Raises:
        UserError: a recording that cannot be read, or a split without utterances.
    """

    def write(folder: Path) -> None:
        statistics, records = _Statistics(), []
        with FrameWriter(folder / FRAMES, np.float16) as file:
            for version in _versions(source.read(), features.rate, copies, seed):
                frames = features(version.samples)
                if version.split == "train":
                    statistics.add(frames.astype(np.float64))
                seconds = round(len(version.samples) / features.rate, 3)
                record = {"id": version.id, "text": version.text, "speaker": version.speaker, "split": version.split}
                records.append({**record, **file.add(frames), "seconds": seconds})
        source.check_splits({record["split"] for record in records}, "utterances")
        source.check_varied("text", ((record["split"], record["text"]) for record in records))
        write_jsonl(folder / RECORDS, records)
        mean, deviation = statistics.mean_and_deviation()
        write_json(folder / FACTS, {"features": features.to_json(), "mean": mean, "deviation": deviation})

    perturbed = {"copies": copies, "seed": seed, "version": 1} if copies else None
    spec = {"source": source.spec, "features": features.to_json(), "perturbed": perturbed}
    return store.prepare(NAME, spec, write)


def _versions(utterances: Iterable[Utterance], rate: int, copies: int, seed: int) -> Iterator[Utterance]:
    for number, utterance in enumerate(utterances):
        yield utterance
        random = np.random.default_rng([seed, number])
        # Val too: with few speakers, all of them heard in training, it would soon be too easy to rank good models.
        for copy in range(copies if utterance.split != "test" else 0):
            samples, done = perturb(utterance.samples, rate, random)
            yield utterance._replace(id=f"{utterance.id} (copy {copy + 1}: {done})", samples=samples)
