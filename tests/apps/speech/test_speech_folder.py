import numpy as np
import pytest
import soundfile

from unroll.apps.speech.sources import folder
from unroll.errors import UserError

NOISE = np.random.default_rng(0).standard_normal(8000).astype(np.float32) / 10


@pytest.fixture
def recordings(tmp_path):
    (tmp_path / "sub").mkdir()
    for name in ("a.wav", "b.flac", "sub/c.ogg", "d, e.wav"):
        soundfile.write(tmp_path / name, NOISE, 16000)
    return tmp_path


def write(path, text, encoding="utf-8"):
    (path / "list.csv").write_bytes(text.encode(encoding))
    return path


def read(path):
    return list(folder.source(path, 8000).read())


def test_byte_order_mark_quotes_blanks_and_more_columns(recordings):
    text = 'path , text,mood\r\na.wav,  one   two ,x\r\n"d, e.wav","say ""three"", please",y\r\nsub/c.ogg,four,z\r\n'
    utterances = read(write(recordings, text, "utf-8-sig"))
    assert [(u.id, u.text) for u in utterances] == [
        ("a.wav", "one two"),
        ("d, e.wav", 'say "three", please'),
        ("sub/c.ogg", "four"),
    ]
    assert {u.split for u in utterances} == {"train", "val", "test"}
    assert all(len(u.samples) == pytest.approx(4000, abs=1) for u in utterances)


def test_a_split_column_is_followed(recordings):
    write(recordings, "path,text,split,speaker\na.wav,one,test,ann\nb.flac,two,Validation,bob\nsub/c.ogg,three,,cy\n")
    assert [(u.speaker, u.split) for u in read(recordings / "list.csv")] == [
        ("ann", "test"),
        ("bob", "val"),
        ("cy", "train"),
    ]


def test_splits_do_not_depend_on_the_order_of_the_rows(recordings):
    rows = ["a.wav,one", "b.flac,two", "sub/c.ogg,three", '"d, e.wav",four']
    forth = {u.id: u.split for u in read(write(recordings, "\n".join(["path,text", *rows])))}
    back = {u.id: u.split for u in read(write(recordings, "\n".join(["path,text", *rows[::-1]])))}
    assert forth == back
    assert sorted(forth.values()) == ["test", "train", "train", "val"]


def test_the_specification_follows_the_content(recordings):
    def spec(text="path,text\na.wav,one\n"):
        return folder.source(write(recordings, text), 8000).spec

    first = spec()
    assert spec() == first
    assert spec("path,text\na.wav,two\n") != first
    soundfile.write(recordings / "a.wav", NOISE[::-1], 16000)
    assert spec() != first


def test_recordings_in_a_folder_beside_the_table_are_found_and_those_without_a_row_are_named(recordings):
    write(recordings, "client_id\tpath\tsentence\nann\tc.ogg\tthree\nbob\tb.flac\ttwo\ncy\ta.wav\tone\n")
    assert {u.id: u.text for u in read(recordings)} == {"c.ogg": "three", "b.flac": "two", "a.wav": "one"}
    assert folder.source(recordings, 8000).notes[0].endswith("list.csv: 3 recordings; passed over: 1 .wav")


def test_accents_are_written_in_one_way(recordings):
    write(recordings, "path,text\na.wav,cafe\u0301\nb.flac,caf\u00e9\nsub/c.ogg,three\n")
    assert {u.text for u in read(recordings)} == {"caf\u00e9", "three"}


def test_one_recording_in_train_and_test_or_with_two_texts_is_told(recordings):
    write(recordings, "path,text,split\na.wav,one,train\na.wav,one,val\na.wav,two,test\n")
    leaked, twice = folder.source(recordings, 8000).notes[1:]
    assert leaked.startswith("2 of 2 in val and test are in train too, byte for byte (a.wav is a.wav, a.wav is a.wav)")
    assert twice.startswith("1 are there once more with another text, byte for byte (a.wav is a.wav)")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("path,text\na.wav,one\ngone.wav,two\n", r"list.csv, row 3: no such file: .*gone.wav"),
        ("path,text\n,one\n", r"list.csv, row 2: its path is empty"),
        ("path,text\na.wav\n", r"list.csv, row 2 has 1 value for 2 columns; correct it"),
        ("path,text\na.wav,one, two\n", r"list.csv, row 2 has 3 values for 2 columns; is a comma part of a value\?"),
        ("path,text\na.wav,\n", r"list.csv, row 2: a.wav has no text"),
        ("path,text,split\na.wav,one,mine\n", r"list.csv, row 2: split 'mine': write one of train, val, test"),
        ("sound,text\na.wav,one\n", r"list.csv: has no column path or file or .*; its columns: sound, text"),
        ("a;b\n1;2\n", r"list.csv: has no column path .*and no column text .*; its columns: a, b"),
        ("", r"list.csv: is empty; give it a header and rows"),
        ("path,text\n", r"list.csv: has no rows below its header"),
        ("path,text,text\na.wav,one,two\n", r"list.csv: has 2 columns called text \(columns 2 and 3\); rename all"),
        ('path,text\na.wav,"one\n', r"list.csv, row 2: a quotation mark opens here and does not close"),
    ],
)
def test_bad_tables_are_one_line(recordings, text, message):
    with pytest.raises(UserError, match=message) as error:
        folder.source(write(recordings, text), 8000)
    assert "\n" not in str(error.value)


def test_text_that_is_not_utf_8(recordings):
    with pytest.raises(UserError, match=r"list.csv, line 2, byte 19: is not UTF-8 text; save it as UTF-8"):
        folder.source(write(recordings, "path,text\na.wav,café\n", "latin-1"), 8000)


def test_a_recording_that_cannot_be_read_is_named(recordings):
    (recordings / "a.wav").write_bytes(b"")
    with pytest.raises(UserError, match=r"a.wav: is empty \(0 bytes\)"):
        read(write(recordings, "path,text\na.wav,one\n"))


def test_which_table(tmp_path):
    with pytest.raises(UserError, match=r"data\.source=folder: add data\.path=FOLDER"):
        folder.source(None, 8000)
    with pytest.raises(UserError, match="nowhere: no such file or folder"):
        folder.source(tmp_path / "nowhere", 8000)
    with pytest.raises(UserError, match=r"holds 0 tables \(CSV, TSV or JSON Lines\) instead of one"):
        folder.source(tmp_path, 8000)
    for name in ("a.csv", "b.csv"):
        (tmp_path / name).write_text("path,text\n")
    with pytest.raises(UserError, match=r"holds 2 tables .* instead of one: a.csv, b.csv; set data.path to the file"):
        folder.source(tmp_path, 8000)
