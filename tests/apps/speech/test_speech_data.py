import numpy as np
import pytest
import torch

from unroll.apps.speech import preparation
from unroll.apps.speech.features import LogMel
from unroll.errors import UserError

from .conftest import TEXTS, tones


def test_a_batch_holds_what_was_said(prepared, batches):
    made = batches(prepared)
    vocabulary = made.facts["vocabulary"]["symbols"]
    assert vocabulary == ["<blank>", " ", "e", "h", "n", "o", "r", "t", "w"]
    original = {u.id: LogMel()(u.samples) for u in tones(TEXTS).read()}
    seen = []
    for batch in made.train:
        ends = batch.target_lengths.cumsum(0).tolist()
        assert batch.features.shape == (batch.lengths.max(), len(batch.records), 40)
        assert len(batch.records) * batch.features.shape[0] * 0.01 <= 4.0
        for row, record in enumerate(batch.records):
            start, end = ends[row] - int(batch.target_lengths[row]), ends[row]
            assert "".join(vocabulary[number] for number in batch.targets[start:end]) == record["text"]
            length = int(batch.lengths[row])
            np.testing.assert_allclose(batch.features[:length, row], original[record["id"]], atol=0.01)
            assert batch.features[length:, row].eq(0).all()
            seen.append(record["id"])
    assert sorted(seen) == sorted(u.id for u in tones(TEXTS).read() if u.split == "train")


def test_training_order_changes_and_the_other_splits_do_not(prepared, batches):
    made = batches(prepared)

    def order(loader, epoch):
        loader.batch_sampler.set_epoch(epoch)
        return [record["id"] for batch in loader for record in batch.records]

    assert order(made.train, 0) != order(made.train, 1)
    assert order(made.test, 0) == order(made.test, 1)


def test_too_short_for_ctc_is_left_out_named_and_counted(store, batches):
    # 0.5 s a word are 48 frames, so 6 steps of 8; "bookkeeper" needs 10 steps and 3 blanks, "aab" 3 and one.
    texts = [
        ("train", "aab"),
        ("train", "bookkeeper"),
        ("train", "aaaa"),
        ("val", "aab"),
        ("test", "aab"),
        ("test", "bookkeeper"),
    ]
    made = batches(preparation.prepare(store, tones(texts), LogMel()), stack=8)
    assert [record["id"] for batch in made.train for record in batch.records] == ["u0"]
    assert [record["id"] for batch in made.test for record in batch.records] == ["u4"]
    (note,) = made.notes
    assert note.startswith("left out, too short for their transcripts: 3 utterances (lower model.stack): ")
    assert "u1 (6 steps, needs 13), u2 (6 steps, needs 7), u5 (6 steps, needs 13)" in note


def test_the_shortest_that_fits_has_a_finite_loss(store, batches):
    texts = [("train", "aabb"), ("val", "aabb"), ("test", "aabb")]  # needs exactly 6 steps
    made = batches(preparation.prepare(store, tones(texts), LogMel()), stack=8)
    (batch,) = made.train
    log_probs = torch.zeros(6, 1, 3).log_softmax(-1)
    loss = torch.nn.functional.ctc_loss(log_probs, batch.targets, torch.tensor([6]), batch.target_lengths)
    assert torch.isfinite(loss)
    assert not made.notes


def test_a_symbol_that_training_never_saw(store, batches):
    prepared = preparation.prepare(store, tones([("train", "one"), ("val", "one"), ("test", "ome")]), LogMel())
    with pytest.raises(UserError, match="u2: the character 'm' of its text 'ome' is not among the 3 characters"):
        batches(prepared)
    with pytest.raises(UserError, match="u2: the word 'ome' of its text 'ome' is not among the 1 words"):
        batches(prepared, units="words")


def test_a_split_of_which_nothing_is_left(store, batches):
    prepared = preparation.prepare(store, tones([("train", "a"), ("val", "abcdefgh"), ("test", "a")]), LogMel())
    with pytest.raises(UserError, match="'b'"):
        batches(prepared)
    texts = [("train", "a"), ("val", "aaaaaaaa"), ("test", "a")]
    with pytest.raises(UserError, match=r"^data\.source=tones: in the val split every utterance is too short for"):
        batches(preparation.prepare(store, tones(texts), LogMel()), stack=8)


def test_words_that_training_never_heard_are_noted(store, batches):
    texts = [("train", "one two"), ("val", "two"), ("test", "two wont"), ("test", "new")]
    made = batches(preparation.prepare(store, tones(texts), LogMel()))
    assert made.facts["words"] == ["one", "two"]
    assert made.notes == (
        "2 words of val and test are in no training transcript, so decode.lexicon=true cannot write them: new, wont",
    )
