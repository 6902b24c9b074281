"""Digit strings spoken by espeak-ng in many voices, with noise. No download; the same bytes for the same seed.

A voice is an accent and a timbre (espeak-ng's "variant"). The timbres of val and test occur in no other split; the
accents are shared.
"""

from collections.abc import Iterator
from functools import partial

import numpy as np

from unroll.data.source import Split
from unroll.errors import UserError

from ..audio import Samples
from ..perturb import add_noise
from ..synthesis import Saying, SynthesisError, speak
from . import DIGITS, Source, Utterance

VERSION = 1
"""part of the specification: raise it when the same settings give other samples"""
ACCENTS = (
    "en-us", "en", "en-gb-scotland", "en-gb-x-gbclan", "en-gb-x-gbcwmd", "en-gb-x-rp", "en-029", "en-us-nyc",
)  # fmt: skip
# Left out: robots and whispers, and the Klatt voices, whose noise comes from the C library and differs between systems.
TIMBRES: dict[Split, tuple[str, ...]] = {
    "train": (
        "Alex", "Alicia", "Andrea", "Annie", "Denis", "Diogo", "Gene", "Henrique", "Hugo", "Jacky", "Lee", "Marco",
        "Mario", "Michael", "Mike", "Nguyen", "RicishayMax", "Storm", "Tweaky", "adam", "anika", "announcer", "antonio",
        "aunty", "belinda", "boris", "caleb", "david", "ed", "edward", "f1", "f3", "f4", "grandma", "gustave", "ian",
        "iven", "iven3", "john", "linda", "m1", "m3", "m4", "m6", "m8", "marcelo", "max", "michel", "norbert", "pablo",
        "paul", "quincy", "robert", "sandro", "steph", "steph3", "travis", "zac",
    ),
    "val": ("Reed", "benjamin", "f5", "m5", "miguel", "shelby"),
    "test": ("Andy", "f2", "grandpa", "m2", "m7", "pedro", "rob", "steph2", "victor"),
}  # fmt: skip
SHARES: dict[Split, float] = {"train": 1.0, "val": 0.1, "test": 0.2}
"""size of each split, relative to train"""


def source(count: int, seed: int, rate: int) -> Source:
    """`count` training utterances, and a tenth and a fifth as many, in other voices, for val and test."""
    spec = {
        "source": "builtin", "version": VERSION, "utterances": count, "seed": seed, "rate": rate, "split": "by voice",
    }  # fmt: skip
    return Source(spec, partial(_read, count, seed, rate))


def _read(count: int, seed: int, rate: int) -> Iterator[Utterance]:
    for number, (split, share) in enumerate(SHARES.items()):
        keys = [(seed, number, index) for index in range(max(1, round(share * count)))]
        sayings = [_saying(split, np.random.default_rng((*key, 0))) for key in keys]
        try:
            for key, saying, spoken in zip(keys, sayings, speak(sayings, rate), strict=True):
                samples = _record(spoken, rate, np.random.default_rng((*key, 1)))
                yield Utterance(f"{split}-{key[-1]:05d}", saying.text.replace(",", ""), saying.voice, split, samples)
        except SynthesisError as error:
            raise UserError(f"data.source=builtin: {error}; reinstall espeakng-loader") from error


def _saying(split: Split, random: np.random.Generator) -> Saying:
    """One to seven digits, sometimes with a pause between two."""
    digits = random.choice(DIGITS, size=random.integers(1, 8)).tolist()
    pauses = ["," if random.random() < 0.15 else "" for _ in digits[1:]] + [""]
    return Saying(
        text=" ".join(digit + pause for digit, pause in zip(digits, pauses, strict=True)),
        voice=f"{random.choice(ACCENTS)}+{random.choice(TIMBRES[split])}",
        speed=int(random.integers(120, 240)),
        pitch=int(random.integers(25, 80)),
        range=int(random.integers(20, 85)),
    )


def _record(speech: Samples, rate: int, random: np.random.Generator) -> Samples:
    """As a microphone might record it: silence around it, coloured noise, a random level."""
    around = random.uniform(0.05, 0.3, size=2) * rate
    speech = np.pad(speech, tuple(around.astype(int)))
    noisy = add_noise(speech, random.uniform(8, 40), random)
    level = 10 ** (random.uniform(-30, -12) / 20) / np.sqrt(np.square(noisy).mean() + 1e-10)
    return np.asarray(np.clip(noisy * level, -1, 1), dtype=np.float32)
