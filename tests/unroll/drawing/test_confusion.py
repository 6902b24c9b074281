"""The confusion matrix shows the counts in the right cells."""

import pytest

from unroll.drawing.confusion import MOST, confusion, confusions

PAIRS = [("cat", "cat")] * 3 + [("cat", "dog")] + [("dog", "dog")] * 2


def test_counts_stand_in_the_row_of_the_right_class_and_the_column_of_the_given_one(tmp_path):
    axes = confusion(PAIRS, ["cat", "dog", "fish"], "animals").axes[0]
    assert {(text.get_position(), text.get_text()) for text in axes.texts} == {
        ((0, 0), "3"),
        ((1, 0), "1"),
        ((1, 1), "2"),
    }
    assert axes.get_title() == "accuracy 83.33% (1 of 6 animals wrong)"
    assert [label.get_text() for label in axes.get_yticklabels()] == ["cat", "dog", "fish"]
    assert axes.images[0].get_array().tolist() == [[0.75, 0.25, 0], [0, 1, 0], [0, 0, 0]]


def test_nothing_and_unknown_names():
    assert "0.00%" in confusion([], ["a", "b"]).axes[0].get_title()
    with pytest.raises(KeyError, match="fish"):
        confusion([("fish", "cat")], ["cat", "dog"])


def test_of_records_as_far_as_it_can_be_read():
    records = [
        {"id": "a", "reference": "cat", "prediction": "dog"},
        {"id": "b", "reference": "dog", "prediction": "dog"},
    ]
    classes = [*(f"breed {number}" for number in range(MOST - 2)), "cat", "dog"]
    drawn = confusions(records, classes, "animals")
    assert drawn["confusion"].axes[0].get_title() == "accuracy 50.00% (1 of 2 animals wrong)"
    assert confusions(records, [*classes, "fish"], "animals") == {}
