"""Splits that the user's data lack: drawn from train, whole groups at a time, whatever the order."""

import random

from unroll.data.source import SPLITS, Split
from unroll.data.splits import completed, drawn

NAMES = [f"example {number}" for number in range(60)]


def by_name(given: list[Split], names: list[str], share: float = 0.1) -> dict[str, Split]:
    return dict(zip(names, completed(given, names, names, share), strict=True))


def test_nothing_is_drawn_where_nothing_is_missing() -> None:
    given: list[Split] = ["train", "val", "test"]
    assert completed(given, given, given) == given and list(drawn(given, given)) == []


def test_what_is_missing_is_a_tenth_of_train_and_what_is_given_stays() -> None:
    given: list[Split] = ["train"] * 50 + ["val"] * 10
    found = completed(given, NAMES, NAMES)
    assert found[50:] == ["val"] * 10 and [found[:50].count(split) for split in SPLITS] == [45, 0, 5]
    assert list(drawn(given, found)) == ["the data have no such split: test (5) drawn from train"]
    both = completed(["train"] * 60, NAMES, NAMES)
    assert [both.count(split) for split in SPLITS] == [48, 6, 6]
    assert list(drawn(["train"] * 60, both)) == ["the data have no such split: val (6) and test (6) drawn from train"]


def test_the_order_of_the_examples_changes_nothing() -> None:
    mixed = random.Random(0).sample(NAMES, len(NAMES))
    assert by_name(["train"] * 60, NAMES) == by_name(["train"] * 60, mixed)


def test_a_group_stays_together_and_one_too_large_stays_in_train() -> None:
    groups = [min(number // 3, 10) for number in range(60)]  # ten of three, and one of thirty
    found = completed(["train"] * 60, groups, NAMES)
    assert {split for split, group in zip(found, groups, strict=True) if group == 10} == {"train"}
    assert all(len({found[3 * group + place] for place in range(3)}) == 1 for group in range(10))
    assert [found.count(split) for split in SPLITS] == [48, 6, 6]


def test_without_train_nothing_is_drawn() -> None:
    assert completed(["test", "test"], ["a", "b"], ["a", "b"]) == ["test", "test"]
    assert completed(["train"], ["a"], ["a"]) == ["test"]
