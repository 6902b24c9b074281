"""Sources: what they promise about their splits, and that the three splits are named in one place."""

from pathlib import Path

import pytest

import unroll
from unroll.data.source import SPLITS, Source, by_hash, content_digest, held_out, own_path
from unroll.errors import UserError

ROOT = Path(unroll.__file__).parents[2]


def test_a_missing_split_is_one_line_that_names_source_and_split():
    source = Source({"source": "folder", "split": "given"}, lambda: iter(()))
    source.check_splits({"train", "val", "test"}, "clips")
    with pytest.raises(UserError, match=r"^data\.source=folder: the val split has no clips; add some$"):
        source.check_splits(["train", "test"], "clips")


def test_a_path_that_is_not_set_is_one_line_that_says_what_to_set():
    assert own_path(Path("x"), "folder", "FOLDER, a folder of clips") == Path("x")
    with pytest.raises(UserError, match=r"^data\.source=folder: add data\.path=FOLDER, a folder of clips$"):
        own_path(None, "folder", "FOLDER, a folder of clips")


def test_the_digest_of_examples_is_of_each_and_of_their_order():
    examples = [("a", "train", 1), ("b", "test", 2)]
    assert content_digest(examples) == content_digest(iter(examples))
    others = [examples[::-1], examples[:1], [("a", "train", 2), examples[1]]]
    assert content_digest(examples) not in [content_digest(other) for other in others]


def test_examples_that_are_all_alike_teach_nothing_and_measure_nothing():
    source = Source({"source": "csv", "split": "given"}, lambda: iter(()))
    varied = [("train", "1"), ("train", "2")]
    assert source.check_varied("score", [*varied, ("val", "1"), ("val", "2"), ("test", "3"), ("test", "4")]) == []
    said = source.check_varied("score", [*varied, ("val", "1"), ("val", "1"), ("test", "3")])
    assert said == [
        "val: all 2 examples have the score '1', so its figures do not tell a good model from a bad one",
        "test: has one example, so its figures do not tell a good model from a bad one",
    ]
    assert (
        source.check_varied("score", [("train", "1"), *((split, "12"[n]) for split in SPLITS[1:] for n in (0, 1))])
        == []
    )
    with pytest.raises(UserError, match=r"^data\.source=csv: train: all 3 examples have the score '1'; there is"):
        source.check_varied("score", [("train", "1")] * 3 + [("val", "1"), ("val", "2")])


def test_the_splits_are_named_in_one_place():
    written = [
        path.relative_to(ROOT).as_posix()
        for folder in ("core", "apps", "examples")
        for path in (ROOT / folder).rglob("*.py")
        if '"train", "val", "test"]' in (text := path.read_text(encoding="utf-8")) or 'SPLITS = ("train"' in text
    ]
    assert SPLITS == ("train", "val", "test")
    assert written == ["core/unroll/data/source.py"]


def test_names_are_held_out_by_their_hashes_in_any_order():
    names = [f"picture-{number}.jpg" for number in range(40)]
    splits = held_out(names, 0.1)
    assert splits == held_out([*reversed(names), names[3]], 0.1)
    ranked = sorted(names, key=by_hash)
    assert [splits[name] for name in ranked] == ["test"] * 4 + ["val"] * 4 + ["train"] * 32
    assert by_hash("a").hex().startswith("ca978112ca1bbdca")


def test_of_few_names_one_each_is_held_out():
    assert sorted(held_out(["a", "b", "c"], 0.1).values()) == ["test", "train", "val"]
