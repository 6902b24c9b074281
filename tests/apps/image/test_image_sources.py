"""What each source returns, which pictures are held out, and errors for bad files."""

import gzip
import os
import struct
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from unroll.apps.image import APP, data, sources
from unroll.data.store import Store
from unroll.errors import UserError

MIRROR = Path(os.environ.get("UNROLL_MIRROR", ""))


def save(path: Path, grey: int = 100, size: tuple[int, int] = (6, 4), **options) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("L", size, grey).save(path, **options)
    return path


def pets(root: Path, count: int = 4) -> Path:
    for place, name in enumerate(("cat", "dog")):
        for number in range(count):
            save(root / name / f"{number}.png", 10 * number + 100 * place)
    return root


def idx_file(path: Path, values: np.ndarray) -> Path:
    header = bytes([0, 0, 8, values.ndim]) + struct.pack(f">{values.ndim}I", *values.shape)
    path.write_bytes(gzip.compress(header + values.astype(np.uint8).tobytes()))
    return path


def published(folder: Path, train: int = 40, test: int = 20, labels: int | None = None, top: int = 9):
    made = {}
    for split, count in (("train", train), ("t10k", test)):
        pixels = np.arange(count)[:, None, None] * np.ones((1, 3, 5))
        made[f"{split}-images-idx3-ubyte.gz"] = pixels
        made[f"{split}-labels-idx1-ubyte.gz"] = np.arange(labels or count) % (top + 1)
    return {name: idx_file(folder / name, values) for name, values in made.items()}


def test_builtin_digits_are_split_within_each_class_by_a_fixed_rule():
    source = sources.builtin()
    pictures = source.read()
    assert Counter(pictures.splits) == {"train": 1255, "val": 183, "test": 359}
    assert pictures.pixels.shape == (1797, 8, 8, 1)
    assert (pictures.pixels.max(), source.levels) == (16, 17)
    sevens = [split for split, label in zip(pictures.splits, pictures.labels, strict=True) if label == 7]
    wanted = ["train", "val", "test", "train", "train", "train", "train", "test", "train", "train"]
    assert sevens[:20] == wanted * 2
    shares = Counter(pictures.labels[np.array(pictures.splits) == "test"].tolist())
    assert set(shares.values()) <= {34, 35, 36, 37}
    assert len(set(pictures.ids)) == 1797


def test_idx_files_by_their_splits(tmp_path):
    pictures = sources.from_idx(published(tmp_path))
    assert pictures.pixels.shape == (60, 3, 5, 1)
    assert Counter(pictures.splits) == {"train": 36, "val": 4, "test": 20}
    assert pictures.splits[35:41] == ["train", "val", "val", "val", "val", "test"]
    assert (pictures.ids[37], pictures.ids[41]) == ("train 37", "t10k 1")
    assert pictures.labels[[3, 43]].tolist() == [3, 3]


def test_idx_files_that_do_not_belong_together(tmp_path):
    with pytest.raises(UserError, match=r"train-labels-idx1-ubyte.gz: 7 labels for 40 pictures"):
        sources.from_idx(published(tmp_path, labels=7))
    with pytest.raises(UserError, match="label 12, but there are ten classes"):
        sources.from_idx(published(tmp_path, top=12))
    paths = published(tmp_path)
    swapped = paths | {"train-images-idx3-ubyte.gz": paths["train-labels-idx1-ubyte.gz"]}
    with pytest.raises(UserError, match="begins with 0x00000801"):
        sources.from_idx(swapped)


@pytest.mark.skipif(not (MIRROR / "mnist").is_dir(), reason="UNROLL_MIRROR does not name a folder with mnist/")
def test_mnist_of_the_mirror(tmp_path):
    pictures = sources.published("mnist", Store(tmp_path)).read()
    assert Counter(pictures.splits) == {"train": 55000, "val": 5000, "test": 10000}
    assert pictures.pixels.shape == (70000, 28, 28, 1)
    assert pictures.labels[:5].tolist() == [5, 0, 4, 1, 9]


def test_a_published_file_that_is_nowhere_is_named(tmp_path, monkeypatch):
    monkeypatch.setenv("UNROLL_MIRROR", str(tmp_path))
    monkeypatch.setitem(sources.PUBLISHED, "mnist", ((), sources.PUBLISHED["mnist"][1]))
    with pytest.raises(UserError, match=r"mnist/.*ubyte\.gz"):
        sources.published("mnist", Store(tmp_path / "store")).read()


def test_folder_with_a_class_per_subfolder(tmp_path):
    source = sources.folder(pets(tmp_path), (4, 6), colour=False)
    pictures = source.read()
    assert source.classes == ("cat", "dog")
    assert pictures.ids[:2] == ["cat/0.png", "cat/1.png"]
    assert pictures.labels.tolist() == [0] * 4 + [1] * 4
    assert pictures.splits == ["train", "val", "test", "train"] * 2
    assert pictures.pixels[:, 0, 0, 0].tolist() == [0, 10, 20, 30, 100, 110, 120, 130]
    assert sources.folder(tmp_path, (2, 3), colour=True).read().pixels.shape == (8, 2, 3, 3)


def test_folder_with_the_users_own_splits(tmp_path):
    pets(tmp_path / "train", 3)
    pets(tmp_path / "test", 2)
    assert Counter(sources.folder(tmp_path, (4, 6), False).read().splits) == {"train": 4, "val": 2, "test": 4}
    pets(tmp_path / "val", 1)
    assert Counter(sources.folder(tmp_path, (4, 6), False).read().splits) == {"train": 6, "val": 2, "test": 4}
    save(tmp_path / "test" / "fish" / "0.png")
    with pytest.raises(UserError, match=r"test/fish: no such class in .*train"):
        sources.folder(tmp_path, (4, 6), False)


def test_train_and_val_are_splits_and_no_classes(tmp_path):
    pets(tmp_path / "train", 10)
    pets(tmp_path / "Validation", 2)
    source = sources.folder(tmp_path, (4, 6), False)
    assert source.classes == ("cat", "dog")
    said, copied = source.notes
    assert said == f"{tmp_path}: splits train (cat 10, dog 10), val (cat 2, dog 2); test drawn from train"
    assert copied.startswith(
        "4 of 8 in val and test are in train too, byte for byte (Validation/cat/0.png is train/cat"
    )
    found = source.read()
    assert Counter(found.splits) == {"train": 16, "val": 4, "test": 4}
    assert {split for id, split in zip(found.ids, found.splits, strict=True) if id.startswith("Val")} == {"val"}


def test_what_was_recognised_is_said_and_is_no_part_of_the_data(tmp_path):
    pets(tmp_path / "pets", 10)
    config, store = APP.config("smoke", ["data.source=folder", f"data.path={tmp_path / 'pets'}"]), Store(tmp_path)
    APP.prepare(config, store)
    before = APP.data(config, store)
    assert before.notes == (f"{tmp_path / 'pets'}: classes cat 10, dog 10; val and test drawn from these",)
    (tmp_path / "pets" / "cat" / "cat.heic").touch()
    after = APP.data(config, store)
    assert after.notes == (before.notes[0] + "; passed over: 1 .heic",) and after.digest == before.digest


def test_folder_reads_what_people_have(tmp_path):
    pets(tmp_path)
    exif = Image.Exif()
    exif[0x0112] = 3  # upside down
    upright = Image.fromarray(np.array([[255, 255], [0, 0]], np.uint8))
    upright.save(tmp_path / "cat" / "rotated.png", exif=exif)
    Image.new("CMYK", (5, 5), (0, 0, 0, 255)).save(tmp_path / "cat" / "inks.jpg")
    Image.fromarray(np.full((5, 5), 25700, np.uint16)).save(tmp_path / "dog" / "deep.png")
    frames = [Image.new("L", (3, 3), grey) for grey in (50, 200)]
    frames[0].save(tmp_path / "dog" / "moving.gif", save_all=True, append_images=frames[1:])
    save(tmp_path / "dog" / "one.png", 77, (1, 1))
    (tmp_path / "dog" / "notes.txt").write_text("not a picture")
    pictures = sources.folder(tmp_path, (2, 2), colour=False).read()
    found = {Path(id).name: picture[..., 0].tolist() for id, picture in zip(pictures.ids, pictures.pixels, strict=True)}
    assert found["rotated.png"] == [[0, 0], [255, 255]]
    assert np.max(found["inks.jpg"]) < 45
    assert found["deep.png"] == [[100] * 2] * 2
    assert found["moving.gif"] == [[50] * 2] * 2
    assert found["one.png"] == [[77] * 2] * 2
    assert "notes.txt" not in found


@pytest.mark.parametrize(
    ("content", "cause"),
    [(b"", "is empty"), (b"<html>", "is not a picture"), (None, "is truncated or damaged")],
)
def test_a_bad_picture_is_named_and_nothing_is_left_behind(tmp_path, content, cause):
    bad = pets(tmp_path / "pets") / "dog" / "2.png"
    noise = np.random.default_rng(0).integers(0, 256, (30, 30), dtype=np.uint8)
    Image.fromarray(noise).save(bad)
    bad.write_bytes(bad.read_bytes()[:200] if content is None else content)
    store = Store(tmp_path / "store")
    with pytest.raises(UserError, match=f"^[^\n]*dog/2.png: {cause}[^\n]*$"):
        data.prepare(store, sources.folder(tmp_path / "pets", (4, 6), False))
    assert not list((tmp_path / "store" / "prepared").iterdir())


def test_a_changed_picture_is_another_set(tmp_path):
    store, root = Store(tmp_path / "store"), pets(tmp_path / "pets")
    first = data.prepare(store, sources.folder(root, (4, 6), False))
    assert data.prepare(store, sources.folder(root, (4, 6), False)).digest == first.digest
    save(root / "cat" / "3.png", 99)
    assert data.prepare(store, sources.folder(root, (4, 6), False)).digest != first.digest


def test_folders_that_will_not_do(tmp_path):
    with pytest.raises(UserError, match=r"add data\.path=FOLDER"):
        sources.folder(None, (4, 6), False)
    with pytest.raises(UserError, match="is not a folder"):
        sources.folder(tmp_path / "none", (4, 6), False)
    save(tmp_path / "cat" / "1.png")
    with pytest.raises(UserError, match="has 1 subfolder;"):
        sources.folder(tmp_path, (4, 6), False)
    save(tmp_path / "dog" / "1.png")
    with pytest.raises(UserError, match="the val split has no pictures"):
        data.prepare(Store(tmp_path / "store"), sources.folder(tmp_path, (4, 6), False))


def test_the_folder_through_the_application(tmp_path):
    settings = ["data.source=folder", f"data.path={pets(tmp_path / 'pets')}", "data.size=[4,4]", "data.colour=true"]
    config, store = APP.config("smoke", settings), Store(tmp_path / "store")
    APP.prepare(config, store)
    made = APP.data(config, store)
    wanted = {"height": 4, "width": 4, "channels": 3, "levels": 256, "classes": ["cat", "dog"]}
    assert made.facts == wanted
    network = APP.model(config, made.facts)
    assert APP.step(network, next(iter(made.train)), None).loss.isfinite()
