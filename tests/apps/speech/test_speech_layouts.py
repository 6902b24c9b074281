"""Common folder layouts of speech data sets: recognised and described, or rejected with one line."""

import numpy as np
import pytest
import soundfile

from unroll.apps.speech import APP
from unroll.apps.speech.sources import folder
from unroll.data.store import Store
from unroll.errors import UserError

NOISE = np.random.default_rng(0).standard_normal(8000).astype(np.float32) / 10


def recorded(root, *names):
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(root / name, NOISE, 16000)
    return root


def texts(path):
    return {one.id: one.text for one in folder.source(path, 8000).read()}


@pytest.fixture
def ljspeech(tmp_path):
    root = recorded(tmp_path / "LJSpeech-1.1", *(f"wavs/LJ001-{n:04}.wav" for n in range(4)))
    rows = ["LJ001-0000|Printing, in 1455.|printing, in fourteen fifty-five", 'LJ001-0001|He said "Lo.|he said "lo']
    rows += [f"LJ001-000{n}|No. {n}|number {n}" for n in (2, 3)]
    (root / "metadata.csv").write_text("\n".join(rows) + "\n", encoding="utf-8")
    (root / "README").write_text("LJ Speech")
    return root


@pytest.mark.parametrize("text", ['"all of it"', '"yes", he said', '"not closed', 'two "" marks'])
def test_ljspeech_has_quotation_marks_as_characters(ljspeech, text):
    rows = [f"LJ001-000{n}|{text}|{text}" for n in range(4)]
    (ljspeech / "metadata.csv").write_text("\n".join(rows) + "\n", encoding="utf-8")
    assert set(texts(ljspeech).values()) == {text}


def test_ljspeech(ljspeech):
    assert texts(ljspeech) == {
        "wavs/LJ001-0000.wav": "printing, in fourteen fifty-five",
        "wavs/LJ001-0001.wav": 'he said "lo',
        "wavs/LJ001-0002.wav": "number 2",
        "wavs/LJ001-0003.wav": "number 3",
    }
    source = folder.source(ljspeech, 8000)
    assert {one.split for one in source.read()} == {"train", "val", "test"}
    assert source.notes[0] == f"{ljspeech}: LJSpeech's layout: 4 recordings in wavs, column 3 of metadata.csv"


def test_what_was_recognised_is_said_with_the_data(ljspeech):
    (ljspeech / "metadata.csv").write_text(
        "".join(f"LJ001-000{n}|Lights on.|lights on {'ab'[n % 2]}\n" for n in range(4))
    )
    config, store = APP.config("smoke", ["data.source=folder", f"data.path={ljspeech}"]), Store(ljspeech / "store")
    APP.prepare(config, store)
    assert "LJSpeech's layout: 4 recordings" in APP.data(config, store).notes[0]


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("LJ001-0009|Gone|gone", r"metadata.csv, row 5: no such recording: .*wavs/LJ001-0009.wav"),
        ("LJ001-0001|one", r"metadata.csv, row 5 has 2 values for 3 columns"),
        ("LJ001-0001|one|", r"metadata.csv, row 5: wavs/LJ001-0001.wav has no text"),
    ],
)
def test_what_is_wrong_in_ljspeech_is_one_line(ljspeech, row, message):
    with (ljspeech / "metadata.csv").open("a") as file:
        file.write(row + "\n")
    with pytest.raises(UserError, match=message):
        folder.source(ljspeech, 8000)


def test_a_table_named_metadata_is_a_table(tmp_path):
    root = recorded(tmp_path, "wavs/a.wav", "wavs/b.wav", "wavs/c.wav")
    (root / "metadata.csv").write_text("path,text\nwavs/a.wav,a|b\nwavs/b.wav,two\nwavs/c.wav,three\n")
    assert texts(root)["wavs/a.wav"] == "a|b"
    assert folder.source(root, 8000).notes[0] == f"{root / 'metadata.csv'}: 3 recordings"


def librispeech(root, *parts):
    for part in parts:
        names = [f"{part}/84/12/84-12-{n:04}.flac" for n in range(3)]
        recorded(root, *names)
        lines = "".join(f"84-12-{n:04} {part.upper()} {n}\n" for n in range(3))
        (root / part / "84" / "12" / "84-12.trans.txt").write_text(lines)
    return root


def test_librispeech(tmp_path):
    root = librispeech(tmp_path, "train-clean-100", "dev-clean", "test-other")
    found = list(folder.source(root, 8000).read())
    assert {one.id.split("-")[0]: one.split for one in found} == {"train": "train", "dev": "val", "test": "test"}
    assert {one.speaker for one in found} == {"84"} and "DEV-CLEAN 1" in {one.text for one in found}
    assert "LibriSpeech's layout: 9 recordings, 3 files of transcripts" in folder.source(root, 8000).notes[0]


def test_a_part_of_librispeech_is_divided(tmp_path):
    found = list(folder.source(librispeech(tmp_path, "train-clean-100"), 8000).read())
    assert {one.split for one in found} == {"train", "val", "test"}


def test_librispeech_without_dev_keeps_its_test_split(tmp_path):
    found = list(folder.source(librispeech(tmp_path, "train-clean-100", "test-other"), 8000).read())
    assert {one.split for one in found if "test-other" in one.id} == {"test"}
    assert {one.split for one in found if "train-clean" in one.id} == {"train", "val"}


def test_texts_beside_the_recordings(tmp_path):
    root = recorded(tmp_path, "ann/a.wav", "ann/b 2.WAV", "bob/ü.flac", "@eaDir/a.wav", "._x.wav")
    for name in ("ann/a", "ann/b 2", "bob/ü"):
        (root / f"{name}.txt").write_text(f"\ufeffsay {name[0]}\n", encoding="utf-8")
    assert texts(root) == {"ann/a.wav": "say a", "ann/b 2.WAV": "say a", "bob/ü.flac": "say b"}
    assert folder.source(root, 8000).notes[0] == f"{root}: 3 recordings, each with its text beside it"
    (root / "ann" / "c.m4a").touch()
    (root / "ann" / "c.txt").touch()
    assert folder.source(root, 8000).notes[0].endswith("beside it; passed over: 1 .m4a, 1 .txt")
    (root / "ann" / "a.txt").unlink()
    with pytest.raises(UserError, match=r"ann/a.wav: has no a.txt beside it, as the other recordings have; add it"):
        folder.source(root, 8000)


def test_an_empty_table_beside_wavs_is_one_line(ljspeech):
    (ljspeech / "metadata.csv").write_text("")
    with pytest.raises(UserError, match=r"metadata\.csv: is empty"):
        folder.source(ljspeech, 8000)


def test_recordings_of_ljspeech_without_a_row_are_named(ljspeech):
    soundfile.write(ljspeech / "wavs" / "LJ001-0004.wav", NOISE, 16000)
    assert folder.source(ljspeech, 8000).notes[0].endswith("of metadata.csv; passed over: 1 .wav")
