"""From prepared features to batches. What is prepared, and how: see `preparation`."""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from unroll.app import Data
from unroll.data.files import read_json, read_jsonl
from unroll.data.frames import FrameSequences, Record, open_frames
from unroll.data.source import SPLITS
from unroll.data.store import Prepared
from unroll.errors import UserError, few
from unroll.sequence.batching import loader, pad
from unroll.sequence.ctc import frames_needed
from unroll.sequence.text import Units, Vocabulary

from .features import HOP
from .model import reduced

FRAMES, RECORDS, FACTS = "frames.f16", "records.jsonl", "facts.json"
"""the files of a prepared set"""


class Batch(NamedTuple):
    """Utterances of similar length."""

    features: Tensor
    """log-mel frames, [T, B, bands], zero beyond an utterance's end"""
    lengths: Tensor
    """number of frames of each utterance, [B]"""
    targets: Tensor
    """numbers of the symbols of all transcripts, concatenated, [S]"""
    target_lengths: Tensor
    """number of symbols of each transcript, [B]"""
    records: list[dict[str, Any]]
    """of each utterance: id, text, speaker, seconds"""


def batches(prepared: Prepared, *, units: Units, stack: int, seconds: float, seed: int, where: str) -> Data[Batch]:
    """Loaders of the three splits.

    Utterances that are too short for their transcript are left out, and named in the notes: the CTC loss is infinite if
    there are fewer steps than symbols (and blanks between equal ones).

    Args:
        units: of the vocabulary, which is built from the training transcripts.
        stack: frames that the model joins into one step.
        seconds: audio per batch, padding included.
        seed: random seed of the order.
        where: name of the data in errors.

    Raises:
        UserError: a transcript with a symbol that is in no training transcript (names the utterance and the symbol), or
            a split in which nothing is left.
    """
    facts = read_json(prepared.folder / FACTS)
    records = list(read_jsonl(prepared.folder / RECORDS))
    splits = {split: [record for record in records if record["split"] == split] for split in SPLITS}
    vocabulary = Vocabulary.fit((record["text"] for record in splits["train"]), units, reserved=["<blank>"])
    words = _words(splits["train"])
    frames = open_frames(prepared.folder / FRAMES, np.float16, [facts["features"]["bands"]])
    loaders, short = {}, []
    for split, members in splits.items():
        rows, left_out = _fitting(members, vocabulary, stack)
        if not rows:
            raise UserError(f"{where}: in the {split} split every utterance is too short for its transcript")
        short += left_out
        utterances, budget = FrameSequences(frames, rows), round(seconds / HOP)
        loaders[split] = loader(utterances, utterances.lengths, budget, collate, seed=seed, shuffle=split == "train")
    return Data(
        **loaders,
        facts=facts | {"vocabulary": vocabulary.to_json(), "words": sorted(words)},
        digest=prepared.digest,
        split=prepared.spec["source"]["split"],
        notes=(*_short_note(short), *_unheard_note(_words(splits["val"] + splits["test"]) - words)),
    )


def _words(records: Iterable[Record]) -> set[str]:
    return {word for record in records for word in record["text"].split()}


def _fitting(records: Iterable[Record], vocabulary: Vocabulary, stack: int) -> tuple[list[Record], list[str]]:
    """(the utterances that CTC can align, with the symbols of their transcripts; descriptions of the others)."""
    kept, short = [], []
    for record in records:
        symbols = vocabulary.encode(record["text"], record["id"])
        steps, needed = reduced(record["frames"], stack), frames_needed(symbols)
        if steps >= needed:
            kept.append(record | {"symbols": symbols})
        else:
            short.append(f"{record['id']} ({steps} steps, needs {needed})")
    return kept, short


def collate(utterances: Sequence[tuple[Record, NDArray[np.float16]]]) -> Batch:
    """A batch of utterances, time first."""
    records = [record for record, _ in utterances]
    features, lengths = pad([torch.from_numpy(frames) for _, frames in utterances])
    targets = torch.tensor([number for record in records for number in record["symbols"]], dtype=torch.int64)
    target_lengths = torch.tensor([len(record["symbols"]) for record in records])
    shown = [{key: record[key] for key in ("id", "text", "speaker", "seconds")} for record in records]
    return Batch(features.float(), lengths, targets, target_lengths, shown)


def _short_note(short: Sequence[str]) -> Iterator[str]:
    if short:
        yield f"left out, too short for their transcripts: {len(short)} utterances (lower model.stack): {few(short)}"


def _unheard_note(words: set[str]) -> Iterator[str]:
    if words:
        yield (
            f"{len(words)} words of val and test are in no training transcript, so decode.lexicon=true cannot write "
            f"them: {few(sorted(words))}"
        )
