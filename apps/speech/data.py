"""From recordings to batches: features are extracted once, into the store; batches are read from there.

A prepared set is one file of float16 frames, one after the other, a record per utterance, and the facts: rate, bands,
and the mean and standard deviation of each band over the training split.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset

from unroll.app import Data
from unroll.data.files import read_json, read_jsonl, write_json, write_jsonl
from unroll.data.source import SPLITS, Split
from unroll.data.store import Prepared, Store
from unroll.errors import UserError
from unroll.sequence.batching import loader, pad
from unroll.sequence.ctc import frames_needed
from unroll.sequence.text import Units, Vocabulary

from .features import HOP, LogMel
from .model import reduced
from .perturb import perturb
from .sources import Source, Utterance

NAME = "speech"
Row = tuple[dict[str, Any], list[int]]
"""the record of an utterance, and the symbols of its transcript"""


class Batch(NamedTuple):
    """Utterances of similar length."""

    features: Tensor
    """log-mel frames, [T, B, bands], zero beyond an utterance's end"""
    lengths: Tensor
    """frames of each utterance, [B]"""
    targets: Tensor
    """numbers of the symbols of all transcripts, one after the other, [S]"""
    target_lengths: Tensor
    """symbols of each transcript, [B]"""
    records: list[dict[str, Any]]
    """of each utterance: id, text, speaker, seconds"""


@dataclass
class _Statistics:
    """Sums over frames, of each band."""

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
        # A band that never changes (above the recordings' own bandwidth) is left as it is.
        deviation = np.sqrt(np.where(variance > 1e-6, variance, 1.0))
        return mean.tolist(), deviation.tolist()


def prepare(store: Store, source: Source, features: LogMel, *, copies: int = 0, seed: int = 0) -> Prepared:
    """Extract the features of all utterances, and of `copies` perturbed versions of each one of train and val.

    Raises:
        UserError: a recording that cannot be read, or a split without utterances.
    """

    def write(folder: Path) -> None:
        statistics, records = _Statistics(), []
        with (folder / "frames.f16").open("wb") as file:
            for record, frames in _extract(source, features, copies, seed):
                if record["split"] == "train":
                    statistics.add(frames.astype(np.float64))
                file.write(frames.astype(np.float16).tobytes())
                records.append(record)
        source.check_splits({record["split"] for record in records}, "utterances")
        write_jsonl(folder / "records.jsonl", records)
        mean, deviation = statistics.mean_and_deviation()
        write_json(folder / "facts.json", {"features": features.to_json(), "mean": mean, "deviation": deviation})

    perturbed = {"copies": copies, "seed": seed, "version": 1} if copies else None
    spec = {"source": source.spec, "features": features.to_json(), "perturbed": perturbed}
    return store.prepare(NAME, spec, write)


def _extract(
    source: Source, features: LogMel, copies: int, seed: int
) -> Iterator[tuple[dict[str, Any], NDArray[np.float32]]]:
    start = 0
    for number, utterance in enumerate(source.read()):
        random = np.random.default_rng([seed, number])
        for version in _versions(utterance, features.rate, copies, random):
            frames = features(version.samples)
            seconds = round(len(version.samples) / features.rate, 3)
            record = {"id": version.id, "text": version.text, "speaker": version.speaker, "split": version.split}
            yield record | {"start": start, "frames": len(frames), "seconds": seconds}, frames
            start += len(frames)


def _versions(utterance: Utterance, rate: int, copies: int, random: np.random.Generator) -> Iterator[Utterance]:
    yield utterance
    # Val as well: with few speakers, all heard in training, it would soon be too easy to tell good models from better.
    for copy in range(copies if utterance.split != "test" else 0):
        samples, done = perturb(utterance.samples, rate, random)
        yield utterance._replace(id=f"{utterance.id} (copy {copy + 1}: {done})", samples=samples)


def batches(prepared: Prepared, *, units: Units, stack: int, seconds: float, seed: int, where: str) -> Data[Batch]:
    """Loaders of the three splits.

    Utterances too short for their transcript are left out, and named in the notes: with fewer steps than symbols (and
    a blank between equal ones) the CTC loss is infinite.

    Args:
        units: of the vocabulary, which is that of the training transcripts.
        stack: frames that the model joins into one step.
        seconds: of audio in a batch, padding included.
        seed: of the order.
        where: what the errors call the data.

    Raises:
        UserError: a transcript with a symbol that no training transcript has (names the utterance and the symbol), or
            a split of which nothing is left.
    """
    records = list(read_jsonl(prepared.folder / "records.jsonl"))
    facts = read_json(prepared.folder / "facts.json")
    vocabulary = Vocabulary.fit((r["text"] for r in records if r["split"] == "train"), units, reserved=["<blank>"])
    words = _words(records, ["train"])
    frames = np.memmap(prepared.folder / "frames.f16", np.float16, "r").reshape(-1, facts["features"]["bands"])
    splits, short = {}, []
    for split in SPLITS:
        chosen = [(r, vocabulary.encode(r["text"], r["id"])) for r in records if r["split"] == split]
        rows, left_out = _fitting(chosen, stack)
        short += left_out
        if not rows:
            raise UserError(f"{where}: in the {split} split every utterance is too short for its transcript")
        lengths = [record["frames"] for record, _ in rows]
        dataset, budget = _Utterances(frames, rows), round(seconds / HOP)
        splits[split] = loader(dataset, lengths, budget, collate, seed=seed, shuffle=split == "train")
    return Data(
        **splits,
        facts=facts | {"vocabulary": vocabulary.to_json(), "words": sorted(words)},
        digest=prepared.digest,
        split=prepared.spec["source"]["split"],
        notes=(*_short_note(short), *_unheard_note(_words(records, ["val", "test"]) - words)),
    )


def _words(records: Iterable[dict[str, Any]], splits: Sequence[Split]) -> set[str]:
    return {word for record in records if record["split"] in splits for word in record["text"].split()}


def _fitting(rows: list[Row], stack: int) -> tuple[list[Row], list[str]]:
    """The utterances that CTC can align, and those that it cannot, described."""
    kept, short = [], []
    for record, symbols in rows:
        steps, needed = reduced(record["frames"], stack), frames_needed(symbols)
        if steps >= needed:
            kept.append((record, symbols))
        else:
            short.append(f"{record['id']} ({steps} steps, needs {needed})")
    return kept, short


class _Utterances(Dataset[tuple[dict[str, Any], Tensor, list[int]]]):
    """(record, frames [T, bands], symbols) of each utterance, read as they are asked for."""

    def __init__(self, frames: NDArray[np.float16], rows: list[Row]) -> None:
        self._frames, self._rows = frames, rows

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, index: int) -> tuple[dict[str, Any], Tensor, list[int]]:
        record, symbols = self._rows[index]
        frames = self._frames[record["start"] : record["start"] + record["frames"]]
        return record, torch.from_numpy(frames.astype(np.float32)), symbols


def collate(items: list[tuple[dict[str, Any], Tensor, list[int]]]) -> Batch:
    """Utterances to a batch, time first."""
    records, frames, symbols = zip(*items, strict=True)
    features, lengths = pad(frames)
    targets = torch.tensor([number for numbers in symbols for number in numbers], dtype=torch.int64)
    shown = [{key: record[key] for key in ("id", "text", "speaker", "seconds")} for record in records]
    return Batch(features, lengths, targets, torch.tensor([len(numbers) for numbers in symbols]), shown)


def _short_note(short: Sequence[str]) -> Iterator[str]:
    if short:
        yield f"left out, too short for their transcripts: {len(short)} utterances (lower model.stack): {_few(short)}"


def _unheard_note(words: set[str]) -> Iterator[str]:
    if words:
        yield (
            f"{len(words)} words of val and test are in no training transcript, so decode.lexicon=true cannot write "
            f"them: {_few(sorted(words))}"
        )


def _few(names: Sequence[str]) -> str:
    return ", ".join(names[:3]) + (", ..." if len(names) > 3 else "")
