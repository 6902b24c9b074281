"""Texts to streams: published texts, the user's own, too large ones, and files that are not text."""

import hashlib
import os
import tracemalloc
import zipfile
from itertools import pairwise

import numpy as np
import pytest

from tests.apps.language.conftest import TEXT, configured
from unroll.apps.language import APP, batches, prepare
from unroll.apps.language.config import LanguageConfig
from unroll.apps.language.sources import builtin, files, published
from unroll.apps.language.train import evaluate
from unroll.data.fetch import RemoteFile
from unroll.data.source import SPLITS
from unroll.data.store import Store
from unroll.errors import UserError
from unroll.sequence.stream import open_tokens, stream_loader
from unroll.sequence.tokens import Tokeniser


def streams(config, store):
    prepare(config, store)
    data = batches(config, store)
    tokeniser = Tokeniser.from_json(data.facts["tokeniser"])
    return tokeniser, {split: getattr(data, split).dataset.tokens for split in SPLITS}


@pytest.mark.parametrize("units", ["characters", "words"])
def test_the_splits_of_a_file_are_the_whole_text_cut_at_lines(text_file, tmp_path, units):
    tokeniser, found = streams(configured(text_file, f"data.units={units}"), Store(tmp_path / "store"))
    texts = [tokeniser.decode(found[split].tolist()) for split in SPLITS]
    assert "".join(texts) == TEXT
    assert all(text.endswith("\n") for text in texts)
    assert len(texts[0]) / len(TEXT) == pytest.approx(0.9, abs=0.01)
    assert isinstance(found["train"], np.memmap)


def test_a_folder_is_read_in_the_order_of_its_names(tmp_path):
    cut = TEXT.index("\n", 1000) + 1
    for name, part in (("b", TEXT[cut:]), ("a", TEXT[:cut])):
        (tmp_path / f"{name}.txt").write_text(part)
    (tmp_path / "c.png").write_bytes(b"not this")
    source = files.source(tmp_path, 0.2)
    assert "".join(piece for split in SPLITS for piece in source.read(split)) == TEXT


def test_a_folder_of_texts_of_any_kind(tmp_path):
    root = tmp_path / "wiki"
    texts = {"a.md": "# One", "b/day two.HTML": "<p>Two</p>\n", "c.rst": "Three\n", "d.py": "", "é.txt": "Four"}
    left = {".git/config.txt": "no", "__MACOSX/._a.md": "no", "b/photo.jpg": "no", "z.pdf": "no"}
    for name, text in (texts | left).items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text, encoding="utf-8")
    source = files.source(root, 0.5)
    # No word of one text goes on in the next.
    assert "".join(p for split in SPLITS for p in source.read(split)) == "# One\n<p>Two</p>\nThree\nFour"
    said = f"{root}: 4 text files (1 .md, 1 .html, 1 .rst, 1 other); passed over: 1 .jpg, 1 .py, 1 .pdf"
    assert source.notes == (said,)


def written(root, texts):
    root.mkdir()
    for name, text in texts.items():
        (root / name).write_text(text, encoding="utf-8")
    return root


@pytest.mark.parametrize("units", ["characters", "words", "pieces"])
def test_a_window_of_val_and_test_knows_the_file_that_it_is_of(tmp_path, units):
    texts = {f"{letter}.txt": "\n".join([f"{letter}{letter} {letter}" * 9] * 12) for letter in "abcdefghij"}
    config = configured(written(tmp_path / "own", texts), f"data.units={units}", "data.held_out=0.7")
    prepare(config, Store(tmp_path / "store"))
    data = batches(config, Store(tmp_path / "store"))
    tokeniser = Tokeniser.from_json(data.facts["tokeniser"])
    for split, names in (("val", "defg"), ("test", "ghij")):
        rows = getattr(data, split).dataset
        assert rows.names == [f"{name}.txt" for name in names]
        got = np.diff([*rows.starts, len(rows.tokens)]).tolist()
        whole = [len(tokeniser.encode(texts[name] + "\n" * (name != "j.txt"))) for name in rows.names]
        # The splits are cut in the middle of d and g; what follows there is whole.
        assert rows.starts[0] == 0 and 0 < got[0] < whole[0] and got[1:-1] == whole[1:-1]
        assert got[-1] == whole[-1] if split == "test" else 0 < got[-1] < whole[-1]


def test_the_records_of_an_evaluation_are_grouped_by_document(tmp_path):
    letters = "abcdefghijklmnopqrst"
    texts = {"0.txt": letters} | {f"{letter}.txt": letter * 700 for letter in letters}
    config = configured(written(tmp_path / "own", texts), "data.held_out=0.4")
    prepare(config, Store(tmp_path / "store"))
    data = batches(config, Store(tmp_path / "store"))
    records = evaluate(APP.model(config, data.facts).eval(), data.test).records
    assert [record["group"] for record in records] == [f"{record['reference'][0]}.txt" for record in records]
    assert len({record["group"] for record in records}) == 4
    assert all(not window.document for window in data.train)


def test_a_text_without_documents_has_none(text_file, tmp_path):
    prepare(configured(text_file), Store(tmp_path / "store"))
    data = batches(configured(text_file), Store(tmp_path / "store"))
    assert {window.document for window in data.test} == {""}


def test_files_that_are_there_twice_are_read_once_and_named(tmp_path):
    texts = {"a.txt": TEXT, "b.txt": TEXT[:-1] + "!", "c.txt": "more\n", "z.txt": TEXT, "z2.txt": TEXT}
    source = files.source(written(tmp_path / "own", texts), 0.1)
    assert "".join(piece for split in SPLITS for piece in source.read(split)) == TEXT + TEXT[:-1] + "!\nmore\n"
    said = "2 files are copies and are passed over, byte for byte: z.txt is a.txt, z2.txt is a.txt"
    assert source.notes[1:] == (said,)


def test_other_names_of_the_same_texts_are_another_set(tmp_path):
    one, two = (files.source(written(tmp_path / name, {f"{name}.txt": "x\n", "z.txt": TEXT}), 0.1) for name in "ab")
    assert one.spec != two.spec


@pytest.mark.parametrize("name", ["own.csv", "own.TSV", "own.jsonl", "own.json"])
def test_a_table_that_is_read_as_a_text_is_named(tmp_path, name):
    (tmp_path / name).write_text(TEXT)
    (note,) = files.source(tmp_path / name, 0.1).notes
    assert note.startswith(f"{tmp_path / name}: is read as it stands") and "\n" not in note


def test_kinds_that_are_passed_over_are_all_counted(tmp_path):
    names = ["a.txt", "b.csv", "c.json", "d.jsonl", "e.tsv", "f.tsv"]
    (note,) = files.source(written(tmp_path / "own", {name: f"{name}\n" * 30 for name in names}), 0.1).notes
    assert note.endswith("1 text files (1 .txt); passed over: 2 .tsv, 1 .csv, 1 .json, 1 other")


def test_what_was_read_is_said_with_the_data(tmp_path):
    (tmp_path / "own").mkdir()
    (tmp_path / "own" / "a.md").write_text(TEXT)
    config, store = configured(tmp_path / "own"), Store(tmp_path / "store")
    assert batches(config, store).notes[0] == f"{tmp_path / 'own'}: 1 text files (1 .md)"


def test_a_folder_without_text_says_what_is_there(tmp_path):
    (tmp_path / "a.docx").write_bytes(b"PK")
    with pytest.raises(UserError, match=r"holds no text file \(.*\.md.*\); it holds 1 \.docx; name one file"):
        files.source(tmp_path, 0.1)


def test_the_vocabulary_is_the_training_splits(tmp_path):
    path = tmp_path / "text.txt"
    path.write_text("aaaa bb\n" * 400 + "zzzz yy\n" * 30)
    config = configured(path)
    tokeniser, found = streams(config, Store(tmp_path / "store"))
    assert "z" not in tokeniser.symbols
    assert "<unk>" in tokeniser.decode(found["test"].tolist())
    [note] = [n for n in batches(config, Store(tmp_path / "store")).notes if "unknown" in n]
    assert '"test": "' in note


def test_builtin_splits_share_no_topic_and_no_paragraph():
    source = builtin.source()
    texts = {split: "".join(source.read(split)) for split in SPLITS}
    total = sum(map(len, texts.values()))
    assert total > 300_000
    assert all(0.03 < len(texts[split]) / total < 0.08 for split in ("val", "test"))
    for split in SPLITS:
        begun = [(name, texts[split][start - 3 : start]) for name, start in source.documents(split)]
        assert begun[0][1] == "" and {before for _, before in begun[1:]} == {"\n\n\n"}
    assert "lambda" in {name for split in SPLITS for name, _ in source.documents(split)}
    paragraphs = [{p for p in text.split("\n\n") if p.strip()} for text in texts.values()]
    assert all(not a & b for a, b in (*pairwise(paragraphs), (paragraphs[0], paragraphs[2])))
    assert builtin.source().spec == source.spec


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"some text \xff\xfe\n" * 3, "byte 10: is not UTF-8"),
        (b"some\0text", "byte 4: is a NUL byte"),
        (b"", "is empty"),
        (b"short", "the test split has no tokens"),
        (b"x" * 50, "has 45 tokens, but one window of 16 steps in 4 rows needs 64"),
    ],
)
def test_a_file_that_cannot_be_trained_on_is_one_line(tmp_path, content, message):
    path = tmp_path / "bad.txt"
    path.write_bytes(content)
    config = configured(path)
    with pytest.raises(UserError) as error:
        streams(config, Store(tmp_path / "store"))
    assert message in str(error.value) and "\n" not in str(error.value)


def test_no_path_no_file_and_an_empty_folder_are_one_line(tmp_path):
    empty = (tmp_path, "holds no text file .* it holds nothing")
    for path, message in ((None, "add data.path"), (tmp_path / "none", "no such file"), empty):
        with pytest.raises(UserError, match=message):
            files.source(path, 0.1)


@pytest.fixture(scope="module")
def one_line(tmp_path_factory):
    """200 MB without a line end."""
    path = tmp_path_factory.mktemp("large") / "line.txt"
    block = b"abcde fghij klmno " * 58_000
    with path.open("wb") as file:
        for _ in range(-(-200_000_000 // len(block))):
            file.write(block)
    yield path
    path.unlink()


@pytest.mark.slow
@pytest.mark.parametrize("units", ["characters", "words"])
def test_a_line_of_200_mb_is_trained_on_in_little_memory(one_line, tmp_path, units):
    config = configured(one_line, f"data.units={units}")
    store = Store(tmp_path / "store")
    tracemalloc.start()
    prepare(config, store)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 150_000_000
    window = next(iter(batches(config, store).train))
    assert window.tokens.shape == (16, 4)


def test_a_word_without_end_is_one_line(tmp_path):
    path = tmp_path / "line.txt"
    path.write_text("x" * 300_000)
    with pytest.raises(UserError, match=r"no space in the 100,000 characters that follow; .* data.units=characters"):
        prepare(configured(path, "data.units=words"), Store(tmp_path / "store"))


def test_training_reads_only_what_it_needs_of_a_stream(tmp_path):
    path = tmp_path / "sparse.tokens"
    with path.open("wb") as file:
        file.truncate(64 << 30)  # 64 GB, more than this machine's memory; nothing of it is on the disk
    tokens = open_tokens(path, 1000)
    window = next(iter(stream_loader(tokens, batch=20, steps=35, first=1, name="a text")))
    assert window.tokens.shape == (35, 20) and window.tokens[0, 0] == 1


@pytest.mark.skipif(
    not os.path.exists(os.path.join(os.environ.get("UNROLL_MIRROR", ""), "ptb/ptb.train.txt")),
    reason="UNROLL_MIRROR is unset or has no ptb/",
)
def test_penn_treebank_has_its_published_sizes(tmp_path):
    config = LanguageConfig().override(["data.source=ptb", "data.units=words", "train.window=20"])
    tokeniser, found = streams(config, Store(tmp_path / "store"))
    assert len(tokeniser) == 10_000
    assert [len(found[split]) for split in SPLITS] == [929_589, 73_760, 82_430]
    assert tokeniser.symbols[0] == "the"


def wikitext(tmp_path, members):
    path = tmp_path / "mirror/wikitext2/wikitext-2-v1.zip"
    path.parent.mkdir(parents=True)
    with zipfile.ZipFile(path, "w") as archive:
        for split, text in members.items():
            archive.writestr(published.MEMBERS[split], text)
    return path


def test_wikitext_is_read_from_its_archive(tmp_path, monkeypatch):
    path = wikitext(tmp_path, {split: f" = {split} = \n" + TEXT for split in SPLITS})
    sha = hashlib.sha256(path.read_bytes()).hexdigest()
    monkeypatch.setattr(published, "WIKITEXT2", RemoteFile("wikitext2/wikitext-2-v1.zip", (), sha))
    monkeypatch.setenv("UNROLL_MIRROR", str(tmp_path / "mirror"))
    config = LanguageConfig().override(["data.source=wikitext2", "data.units=words", "train.window=20"])
    tokeniser, found = streams(config, Store(tmp_path / "store"))
    assert tokeniser.decode(found["val"][:4].tolist()) == "= <unk> =\n"


def test_the_documents_of_wikitext_are_its_articles(tmp_path, monkeypatch):
    text = " \n = One = \n \n = = History = = \n words \n = Two Three = \n more \n"
    path = wikitext(tmp_path, dict.fromkeys(SPLITS, text))
    sha = hashlib.sha256(path.read_bytes()).hexdigest()
    monkeypatch.setattr(published, "WIKITEXT2", RemoteFile("wikitext2/wikitext-2-v1.zip", (), sha))
    monkeypatch.setenv("UNROLL_MIRROR", str(tmp_path / "mirror"))
    found = published.wikitext2(Store(tmp_path / "store")).documents("test")
    assert found == [("One", 0), ("Two Three", text.index(" = Two"))]


def test_an_archive_without_the_texts_is_one_line(tmp_path, monkeypatch):
    path = wikitext(tmp_path, {"train": TEXT})
    sha = hashlib.sha256(path.read_bytes()).hexdigest()
    monkeypatch.setattr(published, "WIKITEXT2", RemoteFile("wikitext2/wikitext-2-v1.zip", (), sha))
    monkeypatch.setenv("UNROLL_MIRROR", str(tmp_path / "mirror"))
    with pytest.raises(UserError, match=r"wikitext-2-v1\.zip: has no wikitext-2/wiki\.valid\.tokens"):
        list(published.wikitext2(Store(tmp_path / "store")).read("val"))
