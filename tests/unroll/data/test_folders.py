"""Folders of classes and splits, as people have them: read correctly, or one line."""

import os
import re
from pathlib import Path

import pytest

from unroll.data import folders
from unroll.errors import UserError

PICTURES = frozenset({".png", ".jpg"})


def made(root: Path, *names: str) -> Path:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        if name.endswith("/"):
            (root / name).mkdir(exist_ok=True)
        else:
            (root / name).touch()
    return root


def read(root: Path, labelled: bool = True) -> dict[str | None, list[str]]:
    splits = folders.layout(root, PICTURES, labelled=labelled)
    return {split: [f"{member.path.name} {member.label}".strip() for member in some] for split, some in splits.items()}


def refused(root: Path) -> str:
    with pytest.raises(UserError) as caught:
        folders.layout(root, PICTURES)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_files_in_order(tmp_path: Path) -> None:
    made(tmp_path, "b/2.png", "a/3.JPG", "1.png", ".hidden.png", ".git/a.png", "b/notes.txt", "a/e\u0301 \u00fc.png")
    names = [str(path.relative_to(tmp_path)) for path in folders.files(tmp_path, PICTURES)]
    assert names == ["1.png", "a/3.JPG", "a/e\u0301 \u00fc.png", "b/2.png"]
    assert [path.name for path in folders.files(tmp_path, {".txt"})] == ["notes.txt"]
    with pytest.raises(UserError, match=r"b: holds no file that ends in \.webm"):
        folders.files(tmp_path / "b", {".webm"})
    with pytest.raises(UserError, match=r"1\.png: is not a folder"):
        folders.files(tmp_path / "1.png", PICTURES)
    with pytest.raises(UserError, match="none: is not a folder; check the path"):
        folders.files(tmp_path / "none", PICTURES)


def test_a_folder_for_each_class(tmp_path: Path) -> None:
    made(tmp_path, "dog/1.png", "cat/2.png", "cat/more/1.PNG", "a cat/ü.jpg", "notes.txt")
    assert read(tmp_path) == {None: ["ü.jpg a cat", "2.png cat", "1.PNG cat", "1.png dog"]}


def test_leftovers_of_machines_are_passed_over(tmp_path: Path) -> None:
    made(tmp_path, "dog/1.png", "cat/2.png", "__MACOSX/cat/._1.png", "@eaDir/1.png", "cat/@eaDir/2.png", ".cache/1.png")
    made(tmp_path, "dog/._1.png", "$RECYCLE.BIN/1.png", "cat/Thumbs.db", "Desktop.ini", "lost+found/")
    splits = folders.layout(tmp_path, PICTURES)
    assert read(tmp_path) == {None: ["2.png cat", "1.png dog"]}
    said = folders.described(tmp_path, splits, PICTURES)
    assert said == f"{tmp_path}: classes cat 1, dog 1; val and test drawn from these"


@pytest.mark.parametrize(
    ("train", "val", "test"),
    [
        ("train", "val", "test"),
        ("Training", "VALIDATION", "Testing"),
        ("training_set", "dev_set", "test_set"),
        ("train2017", "val2017", "eval"),
        ("Train", "valid", "evaluation"),
    ],
)
def test_splits_by_any_of_their_names(tmp_path: Path, train: str, val: str, test: str) -> None:
    for split, name in (("train", train), ("val", val), ("test", test)):
        made(tmp_path, f"{name}/cat/{split}.png", f"{name}/dog/{split}.png")
    assert read(tmp_path) == {split: [f"{split}.png cat", f"{split}.png dog"] for split in ("train", "val", "test")}


def test_tables_name_splits_in_the_same_words() -> None:
    assert [folders.split_in("row 2", name) for name in ("Validation", "dev", "TEST", "training", "")] == [
        "val", "val", "test", "train", "train",
    ]  # fmt: skip
    with pytest.raises(UserError, match="row 2: split 'holdout': write one of train, val, test"):
        folders.split_in("row 2", "holdout")


@pytest.mark.parametrize(
    ("given", "drawn"), [(["train"], "val and test drawn from train"), (["train", "dev"], "test drawn"), (["test"], "")]
)
def test_a_split_that_is_missing_is_drawn_and_said(tmp_path: Path, given: list[str], drawn: str) -> None:
    made(tmp_path, *(f"{split}/{label}/1.png" for split in given for label in ("cat", "dog")))
    if drawn:
        splits = folders.layout(tmp_path, PICTURES)
        assert len(splits) == len(given) and drawn in folders.described(tmp_path, splits, PICTURES)
    else:
        assert f"{tmp_path}: has test and no folder train" in refused(tmp_path)


def test_a_split_beside_train_may_have_one_class(tmp_path: Path) -> None:
    made(tmp_path, "train/cat/1.png", "train/dog/1.png", "test/dog/2.png")
    assert read(tmp_path)["test"] == ["2.png dog"]


def test_what_was_recognised_is_said_in_a_line(tmp_path: Path) -> None:
    made(tmp_path, *(f"train/{n:02}/{m}.png" for n in range(12) for m in range(2)), "val/00/1.png", "val/01/1.heic.jpg")
    made(tmp_path, "train/00/a.heic", "train/00/b.HEIC", "labels.csv")
    said = folders.described(tmp_path, folders.layout(tmp_path, PICTURES), PICTURES)
    shown = ", ".join(f"{n:02} 2" for n in range(9))
    found = f"splits train ({shown} and 3 more), val (00 1, 01 1); test drawn from train"
    assert said == f"{tmp_path}: {found}; passed over: 2 .heic, 1 .csv"


@pytest.mark.parametrize(
    ("names", "said"),
    [
        (["train/a/1.png", "train/b/1.png", "holdout/a/1.png"], "holdout: lies beside train, by name a split"),
        (["car/1.png", "bus/1.png", "train/1.png"], "bus: lies beside train, .*if train is a class, give"),
        (["train/a/1.png", "train/b/1.png", "1.png"], "1.png: lies beside train, by name a split"),
        (["train/a/1.png", "train/b/1.png", "val/a/1.png", "dev/a/1.png"], "val: is a second folder for val"),
        (["train/a/1.png", "train/b/1.png", "test/1.png"], r"test: has 0 subfolders and files without a class \(1.png"),
        (["train/1.png", "val/1.png"], "train: has 0 subfolders and files without a class"),
        (["train/a/1.png", "val/a/1.png"], "train: has 1 subfolder;"),
        (["train/a/1.png", "train/b/1.png", "test/"], "test: has 0 subfolders"),
        (["train/a/1.png", "train/b/1.png", "test/a/1.png", "test/b/"], "test/b: holds no file that ends in"),
        (["train/cat/1.png", "train/dog/1.png", "val/cat/1.png", "val/Dog/1.png"],
         "val/Dog: no such class in .*train; did you mean dog"),
        (["cat/train/1.png", "cat/test/1.png", "dog/train/1.png"], "cat/test: is a split within a class; .*: test/cat"),
        (["cat/1.png"], "has 1 subfolder; give each class its own, two classes at least; or is .*/cat meant"),
        (["archive/cat/1.png", "archive/dog/1.png"], "has 1 subfolder; .*or is .*/archive meant"),
        (["1.png"], r"has 0 subfolders and files without a class \(1.png"),
        (["cat/1.png", "dog/1.png", "stray.png"], "stray.png: lies beside the classes"),
        (["cat/1.png", "dog/"], "dog: holds no file that ends in"),
        ([], "has 0 subfolders"),
    ],
)  # fmt: skip
def test_half_a_layout_is_named(tmp_path: Path, names: list[str], said: str) -> None:
    assert re.search(said, refused(made(tmp_path, *names)))


def test_an_accent_is_the_same_class_however_it_is_written(tmp_path: Path) -> None:
    made(tmp_path, "train/caf\u00e9/1.png", "train/bar/1.png", "val/cafe\u0301/2.png")
    assert read(tmp_path)["val"] == ["2.png caf\u00e9"]


def test_links_are_followed(tmp_path: Path) -> None:
    made(tmp_path / "elsewhere", "cats/1.png", "more/2.png")
    made(tmp_path / "own", "dog/1.png", "cat/")
    (tmp_path / "own" / "cat" / "linked.png").symlink_to(tmp_path / "elsewhere/cats/1.png")
    (tmp_path / "own" / "cat" / "folder").symlink_to(tmp_path / "elsewhere/more")
    assert read(tmp_path / "own") == {None: ["2.png cat", "linked.png cat", "1.png dog"]}
    (tmp_path / "own" / "cat" / "gone.png").symlink_to(tmp_path / "nowhere.png")
    assert "cat/gone.png: is a link to nothing (" in refused(tmp_path / "own")
    (tmp_path / "own" / "cat" / "gone.png").unlink()
    (tmp_path / "own" / "dog" / "round").symlink_to(tmp_path / "own" / "dog")
    assert "dog/round: is a link to a folder that it lies in" in refused(tmp_path / "own")


def test_a_folder_that_cannot_be_listed_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made(tmp_path, "cat/1.png", "dog/1.png", "dog/locked/2.png")
    listing = Path.iterdir

    def iterdir(path: Path) -> object:
        if path.name == "locked":
            raise PermissionError(13, os.strerror(13))
        return listing(path)

    monkeypatch.setattr(Path, "iterdir", iterdir)
    assert "dog/locked: cannot be listed (Permission denied)" in refused(tmp_path)


def test_without_classes_files_lie_anywhere(tmp_path: Path) -> None:
    made(tmp_path, "1.png", "deep/er/2.png", "3.txt")
    assert read(tmp_path, labelled=False) == {None: ["1.png", "2.png"]}
    splits = folders.layout(tmp_path, PICTURES, labelled=False)
    assert "files 2; val and test drawn from these; passed over: 1 .txt" in folders.described(
        tmp_path, splits, PICTURES
    )


@pytest.mark.parametrize(
    ("there", "written"),
    [
        ("1.png", "1.png"), ("sub/1.png", "1.png"), ("cafe\u0301.png", "caf\u00e9.png"),
        ("caf\u00e9.png", "cafe\u0301.png"),
        ("a/b/1.png", "a\\b\\1.png"), ("a/b/1.png", "b/1.png"),
    ],
)  # fmt: skip
def test_a_file_that_a_row_names(tmp_path: Path, there: str, written: str) -> None:
    made(tmp_path, there)
    assert folders.located("row 2", folders.places(tmp_path), written) == tmp_path / there


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("", "row 2: its path is empty"),
        ("x.png", "row 2: no such file: .*x.png"),
        ("1.png", "row 2: 1.png is in .*a and"),
    ],
)
def test_a_file_that_a_row_names_and_nobody_finds(tmp_path: Path, name: str, said: str) -> None:
    made(tmp_path, "a/1.png", "b/1.png")
    with pytest.raises(UserError, match=said):
        folders.located("row 2", folders.places(tmp_path), name)


def test_what_lies_beside_and_is_not_used(tmp_path: Path) -> None:
    made(tmp_path, "a/1.png", "a/2.png", "a/.3.png", "a/~$t.csv", "b/4.png")
    assert folders.left_out([tmp_path / "b" / ".." / "a" / "1.png"]) == "; passed over: 1 .png"
    assert folders.left_out([tmp_path / "b" / "4.png"]) == ""


@pytest.mark.parametrize("name", [b"cat/caf\xe9.png", b"ch\xe9t/1.png"])
def test_a_name_of_an_old_archive_is_one_line(tmp_path: Path, name: bytes) -> None:
    made(tmp_path, os.fsdecode(name), "cat/1.png", "dog/1.png")
    assert "has a name that is not UTF-8; rename it" in refused(tmp_path)
