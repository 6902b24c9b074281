"""What a prepared set holds, and what is told of it."""

import pytest

from tests.apps.similarity.conftest import ROWS, prepared
from unroll.apps.similarity import APP
from unroll.apps.similarity.text import plain
from unroll.data.store import Store
from unroll.errors import UserError


def test_a_sentence_is_cut_into_words():
    assert plain("A man's dog,  RUNS (fast).", "words") == "a man's dog , runs ( fast ) ."
    assert plain(" ﬁne\tDay ", "characters") == "fine day"


def test_sentences_of_test_that_training_knows_are_noted(tmp_path):
    _, data = prepared(tmp_path)
    few = data.notes
    assert [note.partition(",")[0] for note in few] == ["val: has one example", "test: has one example"]
    again = [*ROWS, ("train", "two men", "A man", 5, "")]
    _, data = prepared(tmp_path, rows=again)
    assert data.notes[3:] == (
        "100% of the sentences of test are in train as well: its figures say little about new sentences; "
        "a column split divides them as you want",
    )


def test_a_pair_in_train_and_test_in_either_order_or_with_two_scores_is_told(tmp_path):
    more = [("train", "A man", "two men", 5, ""), ("train", "Two", "one", 2, ""), ("train", "five", "six", 2, "")]
    _, data = prepared(tmp_path, rows=[*ROWS, *more, *(("test", f"x {n}", f"y {n}", 2, "") for n in range(5))])
    _, leaked, twice = data.notes
    assert leaked.startswith("1 of 7 in val and test are in train too") and "(row 6 is row 7)" in leaked
    assert twice.startswith("1 are there once more with another score") and "(row 8 is row 3)" in twice


def test_scores_that_never_differ_are_one_line(tmp_path):
    same = [(split, a, b, 4, label) for split, a, b, _, label in ROWS]
    with pytest.raises(UserError, match=r"^data\.source=csv: train: all 3 examples have the score '4'; there is"):
        prepared(tmp_path, rows=same)


def test_a_split_that_no_row_is_in_is_drawn_and_said(tmp_path):
    rows = [("train", f"one {n}", f"two {n}", 1 + n % 5, "") for n in range(30)]
    _, data = prepared(tmp_path, rows=[*rows, ("val", "a", "b", 1, ""), ("val", "c", "d", 3, "")])
    assert data.notes == ("the data have no such split: test (3) drawn from train",)
    train, val, test = (
        {record["id"] for batch in part for record in batch.records} for part in (data.train, data.val, data.test)
    )
    assert (len(train), len(val), len(test)) == (27, 2, 3) and not train & test
    with pytest.raises(UserError, match=r"data\.source=csv: the train split has no pairs; add some"):
        prepared(tmp_path, rows=[("test", a, b, score, label) for _, a, b, score, label in ROWS])


def test_only_training_words_are_known(tmp_path):
    _, data = prepared(tmp_path)
    assert "zebra" not in data.facts["tokeniser"]["symbols"] and "rider" in data.facts["tokeniser"]["symbols"]


def test_unusable_word_vectors(tmp_path):
    vectors = tmp_path / "v.txt"
    vectors.write_text("Mann 1 2\nZebra 3 4\n")
    with pytest.raises(UserError, match=r"v.txt: has none of the \d+ words of the data"):
        prepared(tmp_path, f"data.vectors={vectors}")
    with pytest.raises(UserError, match=r"word vectors need data\.units=words, not characters"):
        prepared(tmp_path, f"data.vectors={vectors}", "data.units=characters")


def test_an_empty_question_of_quoras_is_left_out_with_a_note(tmp_path):
    header = "id\tqid1\tqid2\tquestion1\tquestion2\tis_duplicate\n"
    rows = "".join(f"{i}\t{i}\t{i}\twhat is {i}?\twhy {i}?\t{i % 2}\n" for i in range(30))
    path = tmp_path / "quora_duplicate_questions.tsv"
    path.write_text(f"{header}{rows}77\t1\t2\tthis one?\t\t0\n")
    config, store = APP.config("smoke", ["data.source=quora", f"data.path={path}"]), Store(tmp_path / "store")
    APP.prepare(config, store)
    assert APP.data(config, store).notes == ("1 pairs have an empty sentence and are left out: 77",)
