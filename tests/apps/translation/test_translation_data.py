"""Preparing and batching: what is kept, left out and cut; and that nothing else is lost."""

from dataclasses import replace

import pytest
import torch

from tests.apps.translation.conftest import sentences
from unroll.apps.translation import data, text
from unroll.apps.translation.data import NOTHING
from unroll.apps.translation.sources import Pair
from unroll.data.files import read_jsonl
from unroll.errors import UserError


@pytest.mark.parametrize("units", ["pieces", "characters", "words"])
def test_sentences_come_back_as_they_were(units):
    corpus = ["Zwei Männer, am 3. März 2026!", "两个人在街上走 12", "a\u202fb  c"] if units != "words" else ["a b c"]
    tokeniser = text.fit(corpus, units, 400)
    for sentence in corpus:
        numbers = text.encode(tokeniser, sentence)
        assert text.decode(tokeniser, numbers) == sentence
        assert tokeniser.first not in numbers
    assert text.encode(tokeniser, "   ") == []


def test_line_ends_inside_a_sentence_do_not_end_it():
    tokeniser = text.fit(["a b"], "pieces", 300)
    assert text.decode(tokeniser, text.encode(tokeniser, "a\nb")) == "a b"


def test_batches_hold_every_sentence_once(loaders):
    source, target = data.tokenisers(loaders.facts)
    seen = []
    for batch in loaders.train:
        assert not batch.greedy
        for column, record in enumerate(batch.records):
            numbers = batch.source[: batch.lengths[column], column].tolist()
            assert text.decode(source, numbers) == record["source"]
            wanted = batch.targets[:, column][batch.targets[:, column] != NOTHING].tolist()
            assert wanted[-1] == target.first and text.decode(target, wanted[:-1]) == record["target"]
            assert batch.inputs[: len(wanted), column].tolist() == [target.first, *wanted[:-1]]
            seen.append(record["id"])
    assert sorted(seen) == sorted(f"p{n}" for n in range(2, 16))
    assert all(batch.greedy for batch in loaders.val) and not any(batch.greedy for batch in loaders.test)
    assert not loaders.notes


def test_empty_sentences_are_left_out_and_long_ones_cut_with_a_note(prepare):
    long = " ".join(["one"] * 100_000)
    prepared = prepare(sentences(extra=[("", "nichts"), ("nothing", ""), (long, "viele")]))
    notes = data.batches(prepared, budget=40, seed=0).notes
    assert notes[0].startswith("2 pairs have an empty sentence")
    assert notes[1].startswith("1 pairs have a sentence of more than data.longest=20")
    rows = {row["id"]: row for row in read_jsonl(prepared.folder / "train.jsonl")}
    assert len(rows["e2"]["tokens_source"]) == 20
    assert not {"e0", "e1"} & rows.keys()


def test_one_vocabulary_for_both(prepare):
    prepared = prepare(sentences(), joint=True)
    source, target = data.tokenisers(data.batches(prepared, budget=40, seed=0).facts)
    assert source is target and {"one", "eins"} <= set(source.symbols)


@pytest.mark.parametrize("joint", [False, True])
def test_the_vocabularies_are_those_of_training(prepare, joint):
    """A word that only val or test has is unknown, as it will be in use."""
    small = sentences()
    elsewhere = [Pair("v", "zebra", "Zebra", "val"), Pair("t", "yak", "Jak", "test")]
    source = replace(small, read=lambda: iter([*small.read(), *elsewhere]))
    known = data.tokenisers(data.batches(prepare(source, joint=joint), budget=40, seed=0).facts)
    for tokeniser in known:
        assert not {"zebra", "Zebra", "yak", "Jak"} & set(tokeniser.symbols)
        assert {"one", "eins"} & set(tokeniser.symbols)


def test_a_split_without_pairs_is_named(prepare):
    source = sentences()
    empty = type(source)(
        {"source": "own"},
        lambda: (pair for pair in source.read() if pair.split != "val"),
        languages=source.languages,
    )
    with pytest.raises(UserError, match=r"data\.source=own: the val split has no pairs"):
        prepare(empty)


def test_padding_is_beyond_the_ends(loaders):
    batch = data.collate(
        [
            {"id": "a", "source": "", "target": "", "tokens_source": [1, 2, 3], "tokens_target": [4]},
            {"id": "b", "source": "", "target": "", "tokens_source": [1], "tokens_target": [5, 6]},
        ],
        end=9,
    )
    assert torch.equal(batch.inputs, torch.tensor([[9, 9], [4, 5], [0, 6]]))
    assert torch.equal(batch.targets, torch.tensor([[4, 5], [9, 6], [NOTHING, 9]]))
    assert batch.lengths.tolist() == [3, 1]
