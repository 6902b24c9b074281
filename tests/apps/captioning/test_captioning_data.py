"""Prepared sets, batches, and errors for bad pictures and captions."""

import struct
import zlib
from functools import partial
from itertools import islice

import numpy as np
import pytest
import torch
from PIL import Image

from tests.apps.captioning.conftest import COLOURS, SIDE, colours, plain
from unroll.apps.captioning import data
from unroll.apps.captioning.decoder import IGNORE
from unroll.apps.captioning.sources import Picture, Source
from unroll.data.images import LARGEST
from unroll.errors import UserError
from unroll.sequence.tokens import Tokeniser

batches = partial(data.batches, size=5, captions=2, seed=0)


def test_batches_hold_pictures_and_their_captions(prepared):
    made = batches(prepared)
    tokeniser = Tokeniser.from_json(made.facts["tokeniser"])
    batch = next(iter(made.train))
    assert batch.pictures.shape == (5, SIDE, SIDE, 3) and batch.pictures.dtype == torch.uint8
    for number, (picture, record) in enumerate(zip(batch.pictures, batch.records, strict=True)):
        [name] = {word for text in record["captions"] for word in text.split()} & set(COLOURS)
        assert picture[3, 3].tolist() == list(COLOURS[name])
        own = [batch.tokens[:, 2 * number + k].tolist() for k in range(2)]
        texts = [tokeniser.decode(token for token in row if token not in (IGNORE, tokeniser.first)) for row in own]
        assert set(texts) <= set(record["captions"]) and len(set(texts)) == 2
        assert all(row[len(text.split())] == tokeniser.first for row, text in zip(own, texts, strict=True))
    longest = [max(len(text.split()) for text in record["captions"]) for record in batch.records]
    lengths = (batch.tokens != IGNORE).view(len(batch.tokens), 5, 2).sum(0).amax(1).tolist()
    assert lengths == sorted(lengths, reverse=True) and max(lengths) <= max(longest) + 1


def test_an_epoch_holds_every_picture_once_and_the_next_one_other_captions(prepared):
    train = batches(prepared).train
    first = list(train)
    train.batch_sampler.set_epoch(1)
    second = list(train)
    for epoch, seen in enumerate((first, second)):
        ids = [record["id"] for batch in seen for record in batch.records]
        assert sorted(ids) == sorted(f"train-{i}" for i in range(12))
        assert {batch.epoch for batch in seen} == {epoch}
    assert [b.records for b in first] != [b.records for b in second]
    assert [b.epoch for b in batches(prepared).val] == [0]


def test_more_captions_wanted_than_there_are(prepared):
    batch = next(iter(data.batches(prepared, size=2, captions=7, seed=0).train))
    rows = [tuple(row) for row in batch.tokens.T.tolist()]
    counts = sorted(rows[:7].count(row) for row in set(rows[:7]))
    assert counts == [2, 2, 3]


def test_the_order_resumes_in_the_middle_of_an_epoch(prepared):
    def tokens(loader):
        return [batch.tokens for batch in loader]

    whole, begun, resumed = (data.batches(prepared, size=3, captions=1, seed=3).train for _ in range(3))
    for loader in (whole, begun):
        loader.batch_sampler.set_epoch(2)
    wanted = tokens(whole)
    iterator = iter(begun)
    for _ in range(2):
        next(iterator)
    resumed.load_state_dict(begun.state_dict())
    rest = tokens(resumed)
    assert len(rest) == len(wanted) - 2
    assert all(torch.equal(a, b) for a, b in zip(rest, wanted[2:], strict=True))


def test_evaluation_keeps_the_order_of_the_files(prepared):
    ids = [record["id"] for batch in islice(batches(prepared).test, 1) for record in batch.records]
    assert set(ids) == {"test-0", "test-1", "test-2"}


def test_the_vocabulary_is_of_train_and_bounded(store):
    source = colours({"train": 6, "val": 2, "test": 2})
    known = batches(data.prepare(store, source, side=SIDE, vocabulary=5)).facts["tokeniser"]["symbols"]
    assert len(known) == 5 and {"<unk>", "<eos>"} <= set(known)


def file_source(paths, captions=("a thing",)):
    pictures = [
        Picture(str(path.name), split, tuple(captions), path, where=f"t.csv, row {number}")
        for number, (path, split) in enumerate(zip(paths, ("train", "val", "test"), strict=False), start=2)
    ]
    return Source({"source": "files", "split": "given", "names": [p.id for p in pictures]}, partial(iter, pictures))


def stored(store, *paths):
    made = data.prepare(store, file_source(paths), side=SIDE, vocabulary=20)
    return np.load(made.folder / "train.npy")[0]


def test_pictures_of_every_kind_are_read(store, picture, tmp_path):
    rest = [picture("b.png"), picture("c.png")]
    frames = [Image.new("RGB", (8, 8), colour) for colour in ("red", "blue")]
    frames[0].save(tmp_path / "moving.gif", save_all=True, append_images=frames[1:])
    assert stored(store, tmp_path / "moving.gif", *rest)[3, 3].tolist() == [255, 0, 0]
    Image.new("CMYK", (9, 9), (0, 255, 255, 0)).save(tmp_path / "ink.jpg")
    assert np.abs(stored(store, tmp_path / "ink.jpg", *rest)[3, 3].astype(int) - (255, 0, 0)).max() < 12
    Image.fromarray(np.full((9, 9), 128 * 257, dtype=np.uint16)).save(tmp_path / "deep.png")
    assert stored(store, tmp_path / "deep.png", *rest)[3, 3].tolist() == [128] * 3
    Image.new("RGB", (1, 1), "lime").save(tmp_path / "one.png")
    assert (stored(store, tmp_path / "one.png", *rest) == (0, 255, 0)).all()


def test_a_turned_photograph_is_turned_back(store, picture, tmp_path):
    upright = Image.new("RGB", (10, 10), "red")
    upright.paste("blue", (0, 0, 10, 5))
    exif = upright.getexif()
    exif[0x0112] = 6  # it was taken with the camera on its side
    upright.rotate(90).save(tmp_path / "turned.png", exif=exif)
    shown = stored(store, tmp_path / "turned.png", picture("b.png"), picture("c.png"))
    assert shown[2, 8].tolist() == [0, 0, 255] and shown[13, 8].tolist() == [255, 0, 0]


def bomb(path, side):
    """A PNG of a few bytes that declares side x side pixels."""

    def chunk(kind, content):
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    header = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    path.write_bytes(
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")
    )
    return path


def broken(kind, picture, tmp_path):
    path = tmp_path / "bad.png"
    if kind == "empty":
        path.touch()
    elif kind == "text":
        path.write_text("no picture")
    elif kind == "truncated":
        whole = picture("whole.png").read_bytes()
        path.write_bytes(whole[: len(whole) // 2])
    else:
        bomb(path, int(LARGEST**0.5) + 1)
    return path


@pytest.mark.parametrize(
    ("kind", "cause"),
    [("empty", "is empty"), ("text", "is not a picture"), ("truncated", "is truncated"), ("bomb", "declares")],
)
def test_a_bad_picture_is_one_line_with_its_row(store, picture, tmp_path, kind, cause):
    with pytest.raises(UserError, match=rf"^t.csv, row 2: .*bad.png: {cause}") as error:
        stored(store, broken(kind, picture, tmp_path), picture("b.png"), picture("c.png"))
    assert "\n" not in str(error.value)


def test_captions_without_words_are_left_out_and_told(store):
    def read():
        for split in ("train", "val", "test"):
            yield Picture(f"{split}-0", split, ("red", "", " . "), partial(plain, "red"))
        yield Picture("train-1", "train", ("",), partial(plain, "blue"))

    made = batches(data.prepare(store, Source({"source": "gaps", "split": "given"}, read), side=SIDE, vocabulary=10))
    assert made.notes[-1] == "7 captions have no words and are left out; pictures left without any: train-1"
    assert [r["captions"] for b in made.train for r in b.records] == [["red"]]


def test_a_split_without_pictures(store):
    with pytest.raises(UserError, match=r"data.source=colours: the val split has no pictures; add some"):
        data.prepare(store, colours({"train": 2, "val": 0, "test": 1}), side=SIDE, vocabulary=10)


def test_the_words_are_those_of_the_training_captions(store):
    def read():
        for split in ("train", "val", "test"):
            yield Picture(split, split, (f"only in {split}",), partial(plain, "red"))

    prepared = data.prepare(store, Source({"source": "words", "split": "given"}, read), side=SIDE, vocabulary=100)
    symbols = set(Tokeniser.from_json(batches(prepared).facts["tokeniser"]).symbols)
    assert {"only", "in", "train"} <= symbols
    assert not {"val", "test"} & symbols
