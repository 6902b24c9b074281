"""Sources: what they promise about their splits, and that the three splits are named in one place."""

from pathlib import Path

import pytest

import unroll
from unroll.data.source import SPLITS, Source
from unroll.errors import UserError

ROOT = Path(unroll.__file__).parents[2]


def test_a_missing_split_is_one_line_that_names_source_and_split():
    source = Source({"source": "folder", "split": "given"}, lambda: iter(()))
    source.check_splits({"train", "val", "test"}, "clips")
    with pytest.raises(UserError, match=r"^data\.source=folder: the val split has no clips; add some$"):
        source.check_splits(["train", "test"], "clips")


def test_the_splits_are_named_in_one_place():
    written = [
        path.relative_to(ROOT).as_posix()
        for folder in ("core", "apps", "examples")
        for path in (ROOT / folder).rglob("*.py")
        if '"train", "val", "test"]' in (text := path.read_text(encoding="utf-8")) or 'SPLITS = ("train"' in text
    ]
    assert SPLITS == ("train", "val", "test")
    assert written == ["core/unroll/data/source.py"]
