"""Published annotation files and the user's own table, on small generated files."""

import json

import pytest
from PIL import Image

from unroll.apps.captioning import APP
from unroll.apps.captioning.sources import folder, published
from unroll.errors import Notice, UserError


def write(path, lines):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def pictures(root, *names):
    root.mkdir(parents=True, exist_ok=True)
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (30, 20), (10, 200, 30)).save(root / name)
    return root


def flickr8k(root):
    lines = [f"{name}.jpg#{i}\tA {name} runs , {i} times ." for name in ("dog", "cat", "cow") for i in range(5)]
    # The publisher's own slip: a name that no list has.
    write(root / "Flickr8k.token.txt", [*lines, "lost.jpg.1#0\tNobody knows ."])
    for split, name in (("train", "dog"), ("dev", "cat"), ("test", "cow")):
        write(root / f"Flickr_8k.{split}Images.txt", [f"{name}.jpg"])
    return root


def read(source):
    return {picture.id: picture for picture in source.read()}


def test_flickr8k(tmp_path):
    images = pictures(tmp_path / "Flicker8k_Dataset", "dog.jpg", "cat.jpg", "cow.jpg")
    found = read(published.source("flickr8k", flickr8k(tmp_path / "text"), images))
    assert {name: one.split for name, one in found.items()} == {"dog.jpg": "train", "cat.jpg": "val", "cow.jpg": "test"}
    assert found["cow.jpg"].captions == tuple(f"A cow runs , {i} times ." for i in range(5))
    assert found["cow.jpg"].load().size == (30, 20)


def test_flickr30k_whose_lists_leave_the_ending_out(tmp_path):
    lines = [f"{number}.jpg#{i}\tTwo men {i}" for number in (11, 12, 13) for i in range(5)]
    write(tmp_path / "results_20130124.token", lines)
    for split, number in (("train", 11), ("val", 12), ("test", 13)):
        write(tmp_path / f"{split}.txt", [str(number)])
    pictures(tmp_path, "11.jpg", "12.jpg", "13.jpg")
    found = read(published.source("flickr30k", tmp_path, None))
    assert [found[f"{n}.jpg"].split for n in (11, 12, 13)] == ["train", "val", "test"]


@pytest.mark.parametrize("name", ["flickr8k", "flickr30k", "coco"])
def test_karpathys_splits_come_first(tmp_path, name):
    def image(file, split, folder=""):
        sentences = [{"raw": f"about {file}"}, {"raw": "again"}]
        return {"filename": file, "filepath": folder, "split": split, "sentences": sentences}

    images = [
        image("a.jpg", "train"),
        image("b.jpg", "restval", "val2014"),
        image("c.jpg", "val"),
        image("d.jpg", "test"),
    ]
    write(tmp_path / f"dataset_{name}.json", [json.dumps({"images": images})])
    pictures(tmp_path, "a.jpg", "val2014/b.jpg", "c.jpg", "d.jpg")
    found = read(published.source(name, tmp_path, None))
    assert [one.split for one in found.values()] == ["train", "train", "val", "test"]
    assert found["b.jpg"].captions == ("about b.jpg", "again")


def coco(root, year=2017, count=20):
    for split, first in (("train", 0), ("val", 1000)):
        ids = range(first, first + count)
        entries = [{"id": i, "file_name": f"{i:012d}.jpg"} for i in ids]
        captions = [{"image_id": i, "id": 2 * i + k, "caption": f"number {i}"} for i in ids for k in range(2)]
        write(root / f"captions_{split}{year}.json", [json.dumps({"images": entries, "annotations": captions})])
        pictures(root, *(f"{i:012d}.jpg" for i in ids))
    return root


@pytest.mark.parametrize("place", ["", "annotations"])
def test_cocos_own_files(tmp_path, place):
    root = coco(tmp_path / place)
    found = read(published.source("coco", tmp_path, root))
    splits = [one.split for one in found.values()]
    assert [splits.count(split) for split in ("train", "val", "test")] == [18, 2, 20]
    assert all(one.split == "test" for name, one in found.items() if int(name[:12]) >= 1000)
    assert found["000000001003.jpg"].captions == ("number 1003",) * 2
    assert splits == [one.split for one in read(published.source("coco", tmp_path, root)).values()]


def test_a_missing_picture_is_named(tmp_path):
    images = pictures(tmp_path / "images", "dog.jpg", "cat.jpg")
    with pytest.raises(UserError, match=r"Flickr8k.token.txt: its picture cow.jpg is not in .*images; complete it"):
        read(published.source("flickr8k", flickr8k(tmp_path), images))


def test_what_is_missing_is_said(tmp_path):
    with pytest.raises(UserError, match=r"data.path=None: no such folder; data.source=coco needs"):
        published.source("coco", None, None)
    with pytest.raises(UserError, match=r"has neither dataset_coco.json nor captions_train2017.json"):
        published.source("coco", tmp_path, None)
    with pytest.raises(UserError, match=r"has neither dataset_flickr8k.json nor Flickr8k.token.txt"):
        published.source("flickr8k", tmp_path, None)
    with pytest.raises(UserError, match=r"data.images=.*nowhere: no such folder"):
        published.source("flickr8k", tmp_path, tmp_path / "nowhere")


def test_damaged_annotation_files(tmp_path):
    flickr8k(tmp_path)
    pictures(tmp_path, "dog.jpg", "cat.jpg", "cow.jpg")
    source = published.source("flickr8k", tmp_path, None)
    write(tmp_path / "Flickr_8k.devImages.txt", ["cat.jpg", "bird.jpg"])
    with pytest.raises(UserError, match=r"Flickr_8k.devImages.txt, line 2: bird.jpg has no caption"):
        read(source)
    write(tmp_path / "Flickr8k.token.txt", ["dog.jpg#0 no tab"])
    with pytest.raises(UserError, match=r"Flickr8k.token.txt, line 1: has no tab"):
        read(source)
    write(tmp_path / "dataset_coco.json", ['{"images": [{"filename": "x.jpg"}]}'])
    with pytest.raises(UserError, match=r"dataset_coco.json: entry 0 of 'images' has no 'split'"):
        read(published.source("coco", tmp_path, None))
    write(tmp_path / "dataset_coco.json", ['{"info": 1}'])
    with pytest.raises(UserError, match=r"dataset_coco.json: has no list 'images'"):
        read(published.source("coco", tmp_path, None))


def table(root, *rows, header="path,caption"):
    return write(root / "captions.csv", [header, *rows])


@pytest.mark.parametrize("name", ["captions.txt", "Captions.txt"])
def test_flickr8k_as_it_is_handed_around_today(tmp_path, name):
    pictures(tmp_path / "Images", *(f"{n}.jpg" for n in range(4)))
    rows = [f'{n}.jpg,"A dog runs, and {i} cats rest ."' for n in range(4) for i in range(5)]
    write(tmp_path / name, ["image,caption", *rows])
    source = folder.source(tmp_path)
    found = read(source)
    assert found["2.jpg"].captions == tuple(f"A dog runs, and {i} cats rest ." for i in range(5))
    assert found["2.jpg"].image == tmp_path / "Images" / "2.jpg"
    assert {picture.split for picture in found.values()} == {"train", "val", "test"}
    said, drawn, copied = source.notes
    assert drawn == "the data have no such split: val (1) and test (1) drawn from train"
    assert said == f"{tmp_path / name}: 20 captions of 4 pictures"
    assert copied.startswith("2 of 2 in val and test are in train too, byte for byte")
    pictures(tmp_path / "Images", "left.jpg")
    assert folder.source(tmp_path).notes[0] == f"{said}; passed over: 1 .jpg"
    with pytest.warns(Notice, match="read as data.source=folder"):
        assert APP.config("smoke", [f"data.path={tmp_path}"]).data.source == "folder"
    pictures(tmp_path / "thumbnails", "0.jpg")
    with pytest.raises(UserError, match=r"row 2: 0.jpg is in .*Images and in .*thumbnails; keep one of them"):
        folder.source(tmp_path)


def test_flickr8k_without_its_lists_says_what_would_do(tmp_path):
    write(tmp_path / "captions.txt", ["image,caption"])
    with pytest.raises(UserError, match=r"neither dataset_flickr8k.json nor .*; with captions.txt alone, set data.sou"):
        published.source("flickr8k", tmp_path, None)


def test_a_folder_of_the_users_own(tmp_path):
    pictures(tmp_path, *(f"p/{i}.png" for i in range(12)))
    table(tmp_path, *(f"p/{i}.png,number {i} the {k}th" for i in range(12) for k in range(2)))
    found = list(read(folder.source(tmp_path)).values())
    splits = [picture.split for picture in found]
    assert len(found) == 12 and [splits.count(split) for split in ("train", "val", "test")] == [10, 1, 1]
    assert found[3].captions == ("number 3 the 0th", "number 3 the 1th")
    shuffled = table(tmp_path, *(f"p/{i}.png,number {i} the {k}th" for i in reversed(range(12)) for k in range(2)))
    again = read(folder.source(shuffled))
    assert {picture.id: picture.split for picture in found} == {name: one.split for name, one in again.items()}


def test_a_column_of_splits_is_kept_to(tmp_path):
    pictures(tmp_path, "a.png", "b.png", "c.png")
    rows = ("a.png,one,train", "b.png,two,val", "c.png,three,test", '"a.png","four, with comma",train')
    found = read(folder.source(table(tmp_path, *rows, header="path,caption,split")))
    assert [one.split for one in found.values()] == ["train", "val", "test"]
    assert found["a.png"].captions == ("one", "four, with comma")


def test_a_split_that_no_row_is_in_is_drawn_and_said(tmp_path):
    pictures(tmp_path, *(f"{n}.png" for n in range(22)))
    rows = [f"{n}.png,one,{'train' if n < 20 else 'val'}" for n in range(22)]
    source = folder.source(table(tmp_path, *rows, header="path,caption,split"))
    splits = {name: picture.split for name, picture in read(source).items()}
    assert {name for name, split in splits.items() if split == "val"} == {"20.png", "21.png"}
    assert sum(split == "test" for split in splits.values()) == 2
    assert source.notes[1] == "the data have no such split: test (2) drawn from train"


@pytest.mark.parametrize(
    ("rows", "header", "message"),
    [
        (["a.png,one", "gone.png,two"], "path,caption", r"captions.csv, row 3: no such file: .*gone.png"),
        ([",one"], "path,caption", r"row 2: its path is empty"),
        (["a.png,one,mine"], "path,caption,split", r"row 2: split 'mine': write one of train, val, test"),
        (["a.png,one,train", "a.png,two,test"], "path,caption,split", r"row 3: a.png is in test here and in train"),
        (["a.png,one,two"], "path,caption", r"row 2 has 3 values for 2 columns"),
        (["a.png,one"], "sketch,caption", r"has no column path or image or .*; its columns: sketch, caption"),
        ([], "path,caption", r"has no rows below its header"),
        (["a.png,one,two"], "path,caption,caption", r"csv: has 2 columns called caption \(columns 2 and 3\)"),
        (["a.png,one,two,test"], "path,caption,split,split", r"csv: has 2 columns called split \(columns 3 and 4\)"),
    ],
)
def test_rows_at_fault_are_named(tmp_path, rows, header, message):
    pictures(tmp_path, "a.png")
    with pytest.raises(UserError, match=message):
        folder.source(table(tmp_path, *rows, header=header))


def test_no_table(tmp_path):
    with pytest.raises(UserError, match=r"add data\.path=FOLDER"):
        folder.source(None)
    with pytest.raises(UserError, match=r"holds 0 tables \(CSV, TSV or JSON Lines\) instead of one"):
        folder.source(tmp_path)
    (tmp_path / "x.csv").write_bytes(b"path,caption\n\xff,a\n")
    with pytest.raises(UserError, match=r"line 2, byte 13: is not UTF-8 text"):
        folder.source(tmp_path)


def test_the_sources_by_their_names_in_the_configuration(tmp_path, store):
    pictures(tmp_path / "own", *(f"{i}.png" for i in range(5)))
    table(tmp_path / "own", *(f"{i}.png,a green field of {i}" for i in range(5)))
    flickr8k(tmp_path / "f8k")
    pictures(tmp_path / "f8k", "dog.jpg", "cat.jpg", "cow.jpg")
    for settings in (
        ["data.source=folder", f"data.path={tmp_path}/own"],
        ["data.source=flickr8k", f"data.path={tmp_path}/f8k"],
    ):
        config = APP.config("smoke", settings)
        APP.prepare(config, store)
        assert APP.with_score_for(config).score.name == "cider"
        assert next(iter(APP.data(config, store).train)).pictures.shape[1:] == (48, 48, 3)
