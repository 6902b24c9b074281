"""Splits that a table does not give: drawn so that training works and the test is honest."""

import random
from collections import Counter
from pathlib import Path

import pytest

from unroll.apps.speech.sources.drawing import Row, _Draw, drawn


def row(number, text="lights on", speaker="", split="train", digest=""):
    return Row(f"{number:03}.wav", Path(f"{number:03}.wav"), text, speaker, split, digest or f"digest {number}")


def splits(rows, units="characters"):
    found, notes = drawn(rows, units)
    assert [one.name for one in found] == [one.name for one in rows]
    return {one.name: one.split for one in found}, notes


def test_a_tenth_each_whatever_the_order_of_the_rows():
    rows = [row(number) for number in range(50)]
    found, notes = splits(rows)
    assert Counter(found.values()) == {"train": 40, "val": 5, "test": 5}
    assert notes == ("val (5) and test (5) drawn from train",)
    random.Random(0).shuffle(rows)
    assert splits(rows)[0] == found


@pytest.mark.parametrize(("units", "rare"), [("characters", "lights öff"), ("words", "lights noon")])
def test_a_symbol_that_one_recording_alone_has_stays_in_train(units, rare):
    plain, _ = splits([row(number) for number in range(50)], units)
    number = next(number for number in range(50) if plain[f"{number:03}.wav"] == "test")
    rows = [row(other, rare if other == number else "lights on") for other in range(50)]
    found, notes = splits(rows, units)
    assert found[f"{number:03}.wav"] == "train" and Counter(found.values())["test"] == 5
    one = units.removesuffix("s")
    said = f"drawn, but left in train, the only ones with some {one}: 1 recordings: {number:03}.wav"
    assert notes[1:] == (said,)


def test_of_two_recordings_with_a_symbol_one_stays():
    rows = [row(number, "ö" if number < 2 else "o") for number in range(4)]
    found, _ = splits(rows)
    assert [found["000.wav"], found["001.wav"]].count("train") >= 1
    assert {found["002.wav"], found["003.wav"]} >= {"train"}


def test_speakers_are_in_one_split_where_there_are_enough():
    rows = [row(number, speaker=f"voice {number % 12}") for number in range(240)]
    found, notes = splits(rows)
    where = {one.speaker: found[one.name] for one in rows}
    assert all(found[one.name] == where[one.speaker] for one in rows)
    assert Counter(found.values()) == {"train": 160, "val": 40, "test": 40}
    assert notes == ("val (40) and test (40) drawn from train: all recordings of 4 of 12 speakers",)


def test_a_speaker_of_half_the_recordings_is_trained_on():
    rows = [row(number, speaker=f"voice {number % 8}" if number % 2 else "narrator") for number in range(200)]
    found, _ = splits(rows)
    assert {found[one.name] for one in rows if one.speaker == "narrator"} == {"train"}
    assert min(Counter(found.values()).values()) >= 20


def test_where_all_speakers_have_rare_symbols_these_recordings_alone_stay():
    rows = [row(number, chr(0x4E00 + number) if number < 10 else "a", f"voice {number % 10}") for number in range(100)]
    found, notes = splits(rows)
    assert {found[one.name] for one in rows[:10]} == {"train"}
    straddling = {one.speaker for one in rows[10:] if found[one.name] == "train"} & {
        one.speaker for one in rows[10:] if found[one.name] != "train"
    }
    assert not straddling and "left in train" in notes[1]


@pytest.mark.parametrize("speakers", [1, 4])
def test_too_few_speakers_are_said_to_be_heard_in_training(speakers):
    rows = [row(number, speaker=f"voice {number % speakers}") for number in range(50)]
    found, (note,) = splits(rows)
    assert Counter(found.values()) == {"train": 40, "val": 5, "test": 5}
    assert note.endswith(f": of {speakers} speakers none can be held out, so those of val and test are heard in train")


def test_copies_stay_together():
    rows = [row(number, digest=f"digest {number // 2}") for number in range(60)]
    found, _ = splits(rows)
    assert all(found[f"{number:03}.wav"] == found[f"{number + 1:03}.wav"] for number in range(0, 60, 2))
    assert set(found.values()) == {"train", "val", "test"}


@pytest.mark.parametrize(("given", "lacking"), [("test", "val"), ("val", "test")])
def test_a_split_that_the_table_lacks_is_drawn_from_train(given, lacking):
    rows = [row(number, split=given if number % 5 == 0 else "train") for number in range(100)]
    found, notes = splits(rows)
    assert Counter(found.values()) == {"train": 72, given: 20, lacking: 8}
    assert all(found[one.name] == given for one in rows[::5])
    assert notes == (f"{lacking} (8) drawn from train",)


def test_complete_splits_are_left_alone():
    rows = [row(number, chr(97 + number), split=("train", "val", "test")[number % 3]) for number in range(9)]
    assert drawn(rows, "characters") == (rows, ())


def test_three_recordings_of_rare_symbols_are_one_for_each_split():
    found, _ = splits([row(number, chr(97 + number), digest="the same") for number in range(3)])
    assert set(found.values()) == {"train", "val", "test"}


def filled(groups: dict[str, list[str]], wanted: int, largest: float) -> tuple[set[str], set[str]]:
    """(the recordings that are drawn; those that are kept although their turn had come)."""
    rows = {
        name: [row(f"{name}-{number}", text) for number, text in enumerate(texts)] for name, texts in groups.items()
    }
    draw = _Draw(rows.values(), "words")
    draw.fill("test", wanted, largest)
    assert set(draw.splits.values()) <= {"test"}
    left = {one.name for group in draw.free.values() for one in group}
    assert not left & {one.name for one in draw.splits}
    drawn_ones, kept = (
        {one.name.removesuffix(".wav").replace("-", "") for one in some} for some in (draw.splits, draw.kept)
    )
    return drawn_ones, kept


MANY = ["a"] * 9


@pytest.mark.parametrize(
    ("groups", "wanted", "largest", "drawn_ones", "kept"),
    [
        ({"x": ["a", "a", "a"], "y": ["a"], "z": MANY}, 1, 2, {"y0"}, set()),  # too large a group is passed over
        (
            {"x": ["a", "a"], "y": ["a"], "z": MANY},
            1,
            2,
            {"x0", "x1"},
            set(),
        ),  # as large as may be, and more than wanted
        ({"x": ["a", "b"], "y": ["a", "a"], "z": MANY}, 2, 2, {"y0", "y1"}, set()),  # whole groups first
        ({"x": ["a", "b"], "y": ["a", "a"], "z": MANY}, 3, 2, {"y0", "y1", "x0"}, {"x1"}),  # then parts of others
        ({"x": ["b"], "y": ["a"], "z": MANY}, 1, 2, {"y0"}, {"x0"}),  # a rare word stays
        ({"x": ["b", "b"], "z": MANY}, 1, 2, {"x0"}, {"x1"}),  # of two recordings of a word one can go
        ({"x": ["a"], "y": ["a"], "z": MANY}, 1, 9, {"x0"}, set()),
        ({"x": ["a"], "y": ["a"], "z": ["a"]}, 9, 9, {"x0", "y0"}, {"z0"}),  # the last one with a word stays
    ],
)
def test_groups_are_drawn_whole_and_then_in_parts(groups, wanted, largest, drawn_ones, kept):
    assert filled(groups, wanted, largest) == (drawn_ones, kept)
