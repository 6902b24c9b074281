import os
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from unroll.apps.speech import audio
from unroll.apps.speech.sources import DIGITS, fsdd
from unroll.data.store import Store
from unroll.errors import UserError

needs_mirror = pytest.mark.skipif(
    not (Path(os.environ.get("UNROLL_MIRROR", "")) / "fsdd" / "recordings").is_dir(),
    reason="UNROLL_MIRROR does not name a folder with fsdd/recordings",
)


@pytest.fixture
def listed(monkeypatch, tmp_path):
    """The data set's names alone: nothing is fetched, and reading gives one sample per digit and take."""
    paths = [
        tmp_path / f"{digit}_{who}_{take}.wav" for digit in range(10) for who in fsdd.SPEAKERS for take in range(50)
    ]
    monkeypatch.setattr(fsdd, "_fetch", lambda store: [fsdd._recording(path) for path in paths])
    monkeypatch.setattr(audio, "read", lambda path, rate: np.full(10, int(path.name[0]), np.float32))


def read(tmp_path, **settings):
    return list(fsdd.source(Store(tmp_path), 8000, **settings).read())


def test_the_manifest_lists_every_recording_once():
    lines = Path(fsdd.__file__).with_suffix(".sha256").read_text().splitlines()
    recordings = Counter((r.digit, r.speaker) for r in (fsdd._recording(Path(line.split()[1])) for line in lines))
    assert recordings == {(digit, speaker): 50 for digit in range(10) for speaker in fsdd.SPEAKERS}
    assert len({line.split()[1] for line in lines}) == 3000


def test_the_publishers_split(listed, tmp_path):
    utterances = read(tmp_path)
    assert Counter(u.split for u in utterances) == {"train": 2400, "val": 300, "test": 300}
    takes = {split: {int(u.id[:-4].split("_")[2]) for u in utterances if u.split == split} for split in ("val", "test")}
    assert takes == {"val": set(range(5, 10)), "test": set(range(5))}
    assert all(u.text == DIGITS[int(u.id[0])] for u in utterances)


def test_a_speaker_held_out_is_the_test_set(listed, tmp_path):
    utterances = read(tmp_path, held_out="theo")
    assert {u.speaker for u in utterances if u.split == "test"} == {"theo"}
    assert all(u.split == "test" for u in utterances if u.speaker == "theo")
    assert Counter(u.split for u in utterances) == {"train": 2250, "val": 250, "test": 500}


def test_an_unknown_speaker(tmp_path):
    with pytest.raises(UserError, match=r"data.held_out=teo: no such speaker; did you mean theo\?"):
        fsdd.source(Store(tmp_path), 8000, held_out="teo")


def test_strings_join_recordings_of_one_speaker_and_split(listed, tmp_path):
    utterances = read(tmp_path, join=5, seed=3)
    assert Counter(u.split for u in utterances) == {"train": 480 * fsdd.TIMES_JOINED, "val": 60, "test": 60}
    counts = Counter(word for u in utterances if u.split == "test" for word in u.text.split())
    assert counts == dict.fromkeys(DIGITS, 30)  # each recording once
    assert len({u.id for u in utterances}) == len(utterances)
    for utterance in utterances[::50]:
        heard = [DIGITS[int(value)] for value in utterance.samples if value in range(10)]
        said = [word for word in utterance.text.split() for _ in range(10)]
        assert [word for word in heard if word != "zero"] == [word for word in said if word != "zero"]

    texts = [u.text for u in utterances]
    assert [u.text for u in read(tmp_path, join=5, seed=3)] == texts
    assert [u.text for u in read(tmp_path, join=5, seed=4)] != texts


def test_the_specification_tells_the_settings_apart(tmp_path):
    store = Store(tmp_path)
    settings = [{}, {"held_out": "theo"}, {"join": 5}, {"join": 5, "seed": 1}]
    specs = [str(fsdd.source(store, rate, **one).spec) for one in settings for rate in (8000, 16000)]
    assert len(set(specs)) == len(specs)
    assert fsdd.source(store, 8000, seed=1).spec == fsdd.source(store, 8000, seed=2).spec


@needs_mirror
def test_the_recordings_are_what_their_names_say(tmp_path):
    utterances = fsdd.source(Store(tmp_path), 8000).read()
    first = next(utterances)
    assert first.split == "train"
    assert first.id.startswith("0_george_1")
    assert first.samples.dtype == np.float32
    assert 0.1 < len(first.samples) / 8000 < 2
    assert np.abs(first.samples).max() > 0.01
