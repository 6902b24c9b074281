import pytest

from unroll.sequence.metrics import Errors, align, confusions, corpus_errors, errors, show

REFERENCES = ["one two three", "", "four", "five six"]
PREDICTIONS = ["one three three four", "nine", "", "five six"]


def test_kinds_of_errors_per_record():
    got = [errors(pairs) for pairs in align(REFERENCES, PREDICTIONS)]
    assert got == [Errors(1, 0, 1, 3), Errors(0, 0, 1, 0), Errors(0, 1, 0, 1), Errors(0, 0, 0, 2)]
    assert [record.count for record in got] == [2, 1, 1, 0]
    assert [record.rate for record in got] == [pytest.approx(2 / 3), 1, 1, 0]


def test_a_corpus_sums_before_it_divides():
    total = corpus_errors(align(REFERENCES, PREDICTIONS))
    assert total == Errors(1, 1, 2, 6)
    assert total.rate == pytest.approx(4 / 6)


def test_characters_count_blanks_too():
    assert corpus_errors(align(["a b"], ["ab"], "characters")) == Errors(0, 1, 0, 3)


def test_no_records():
    assert corpus_errors([]).rate == 0


def test_confusions_hold_what_was_right_and_what_was_missed():
    counts = confusions(align(["one two"], ["one"]))
    assert counts == {("one", "one"): 1, ("two", ""): 1}


def test_show_puts_words_above_each_other():
    (pairs,) = align(["one two three"], ["one ten three four"])
    assert show(pairs) == "one TWO three ****\none TEN three FOUR"
