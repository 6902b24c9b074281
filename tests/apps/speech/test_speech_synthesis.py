import os
import re
import time
from itertools import islice

import numpy as np
import pytest

from unroll.apps.speech import synthesis
from unroll.apps.speech.sources import DIGITS, builtin
from unroll.apps.speech.synthesis import Saying, SynthesisError, speak
from unroll.errors import UserError

SAYINGS = [Saying(f"{a} {b}", voice) for a in DIGITS[:3] for b in DIGITS[3:5] for voice in ("en-us+f3", "en+sandro")]


def test_the_same_sayings_sound_the_same_whatever_the_clock_and_the_cores(monkeypatch):
    # f3 and sandro are breathy: their noise is seeded from the clock unless we seed it.
    monkeypatch.setattr(synthesis, "PER_PROCESS", 5)
    first = list(speak(SAYINGS, 8000))
    monkeypatch.setattr(os, "cpu_count", lambda: 1)
    time.sleep(1.1)
    second = list(speak(SAYINGS, 8000))
    assert [x.tobytes() for x in first] == [x.tobytes() for x in second]
    assert all(0.3 < len(samples) / 8000 < 3 for samples in first)
    assert all(np.abs(samples).max() > 0.05 for samples in first)


def test_settings_are_heard():
    slow, fast = speak([Saying("one two three", "en", speed=100), Saying("one two three", "en", speed=300)], 8000)
    assert len(slow) > 1.5 * len(fast)


def test_an_unknown_voice_is_one_line():
    for voice in ("xx", "en-us+nobody"):
        with pytest.raises(SynthesisError, match=f"espeak-ng: has no voice '{re.escape(voice)}'") as error:
            list(speak([Saying("one", voice)], 8000))
        assert "\n" not in str(error.value)


def test_every_voice_exists_and_each_timbre_is_in_one_split():
    timbres = [timbre for members in builtin.TIMBRES.values() for timbre in members]
    assert len(timbres) == len(set(timbres))
    voices = [f"en+{timbre}" for timbre in timbres] + [f"{accent}+m1" for accent in builtin.ACCENTS]
    spoken = {samples.tobytes() for samples in speak([Saying("seven", voice) for voice in voices], 8000)}
    assert len(spoken) == len(voices)


def test_builtin_is_a_function_of_its_seed():
    def first(seed):
        return list(islice(builtin.source(12, seed, 8000).read(), 12))

    one, again, other = first(1), first(1), first(2)
    assert [u.samples.tobytes() for u in one] == [u.samples.tobytes() for u in again]
    assert [(u.id, u.text) for u in one] == [(u.id, u.text) for u in again]
    assert [u.text for u in one] != [u.text for u in other]


def test_builtin_utterances_are_digit_strings_in_voices_of_their_split():
    utterances = list(builtin.source(40, 0, 8000).read())
    assert [u.split for u in utterances].count("train") == 40
    heard = {
        split: {u.speaker.partition("+")[2] for u in utterances if u.split == split}
        for split in ("train", "val", "test")
    }
    for split, timbres in heard.items():
        assert timbres <= set(builtin.TIMBRES[split])
    for utterance in utterances:
        words = utterance.text.split(" ")
        assert 1 <= len(words) <= 7
        assert set(words) <= set(DIGITS)
        assert np.abs(utterance.samples).max() <= 1
        assert np.isfinite(utterance.samples).all()


def test_a_missing_library_is_a_user_error(monkeypatch):
    monkeypatch.setattr(builtin, "ACCENTS", ("xx",))
    with pytest.raises(
        UserError, match=r"data.source=builtin: espeak-ng: has no voice 'xx\+.*; reinstall espeakng-loader"
    ):
        list(builtin.source(10, 0, 8000).read())
