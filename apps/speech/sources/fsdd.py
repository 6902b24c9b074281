"""Free Spoken Digit Dataset: 3,000 recordings of single digits, 6 speakers, 50 of each digit and speaker, 8 kHz.

Published at github.com/Jakobovski/free-spoken-digit-dataset (CC BY-SA 4.0). `fsdd.sha256` lists its recordings.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from unroll.data.fetch import RemoteFile
from unroll.data.source import SPLITS, Split
from unroll.data.store import Store
from unroll.errors import UserError, did_you_mean

from .. import audio
from ..audio import Samples
from . import DIGITS, Source, Utterance

COMMIT = "26eb9aaf76e81b692f806f9140c2d2777410d7a1"
URL = f"https://raw.githubusercontent.com/Jakobovski/free-spoken-digit-dataset/{COMMIT}/recordings"
SPEAKERS = ("george", "jackson", "lucas", "nicolas", "theo", "yweweler")
TIMES_JOINED = 4
"""number of strings in which each training recording occurs, each time with other neighbours"""
GAP = (0.0, 0.2)
"""shortest and longest pause between two recordings of a string, in seconds"""


@dataclass(frozen=True)
class _Recording:
    path: Path
    digit: int
    speaker: str
    take: int


def source(store: Store, rate: int, *, held_out: str = "", join: int = 1, seed: int = 0) -> Source:
    """The recordings, downloaded into `store` when first read.

    Args:
        held_out: "": the publisher's split (takes 0-4 of each digit and speaker are test), with takes 5-9 as val. A
            speaker's name: that speaker is test, and takes 0-4 of the others are val.
        join: above 1: strings of this many recordings of one speaker, in random order. Each recording of val and test
            occurs once.
        seed: random seed of the strings.

    Raises:
        UserError: an unknown speaker.
    """
    if held_out and held_out not in SPEAKERS:
        raise UserError(f"data.held_out={held_out}: no such speaker; {did_you_mean(held_out, SPEAKERS)}")
    spec = {"source": "fsdd", "commit": COMMIT, "rate": rate, "held_out": held_out, "join": join}
    spec["split"] = f"by speaker, {held_out} is test" if held_out else "publisher's"
    if join > 1:
        spec |= {"seed": seed, "times_joined": TIMES_JOINED, "gap": list(GAP)}
    return Source(spec, partial(_read, store, rate, held_out, join, seed))


def _read(store: Store, rate: int, held_out: str, join: int, seed: int) -> Iterator[Utterance]:
    recordings = _fetch(store)
    for split in SPLITS:
        members = [r for r in recordings if _split(r, held_out) == split]
        if join == 1:
            for one in members:
                yield Utterance(one.path.name, DIGITS[one.digit], one.speaker, split, audio.read(one.path, rate))
        else:
            yield from _strings(members, split, rate, join, seed)


def _fetch(store: Store) -> list[_Recording]:
    lines = Path(__file__).with_suffix(".sha256").read_text().splitlines()
    files = [RemoteFile(f"fsdd/recordings/{name}", (f"{URL}/{name}",), sha) for sha, name in map(str.split, lines)]
    return [_recording(path) for path in store.fetch_all(files, label="Free Spoken Digit Dataset")]


def _recording(path: Path) -> _Recording:
    digit, speaker, take = path.stem.split("_")
    return _Recording(path, int(digit), speaker, int(take))


def _split(recording: _Recording, held_out: str) -> Split:
    if held_out:
        return "test" if recording.speaker == held_out else "val" if recording.take < 5 else "train"
    return "test" if recording.take < 5 else "val" if recording.take < 10 else "train"


def _strings(members: list[_Recording], split: Split, rate: int, join: int, seed: int) -> Iterator[Utterance]:
    random = np.random.default_rng([seed, SPLITS.index(split)])
    for time in range(TIMES_JOINED if split == "train" else 1):
        for speaker in SPEAKERS:
            own = [recording for recording in members if recording.speaker == speaker]
            random.shuffle(own)
            for start in range(0, len(own) - len(own) % join, join):
                string = own[start : start + join]
                parts = [audio.read(recording.path, rate) for recording in string]
                text = " ".join(DIGITS[recording.digit] for recording in string)
                name = f"{speaker}-{split}-{time}-{start // join:03d}"
                yield Utterance(name, text, speaker, split, _joined(parts, rate, random))


def _joined(parts: list[Samples], rate: int, random: np.random.Generator) -> Samples:
    """The recordings concatenated, with pauses of noise at the level of their quietest tenth."""
    quiet = np.mean([np.quantile(np.abs(part), 0.1) for part in parts])
    pieces = [parts[0]]
    for part in parts[1:]:
        pause = quiet * random.standard_normal(int(random.uniform(*GAP) * rate))
        pieces += [pause.astype(np.float32), part]
    return np.concatenate(pieces)
