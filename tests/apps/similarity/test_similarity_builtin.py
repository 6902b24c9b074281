import numpy as np
import pytest

from unroll.apps.similarity.sources import ENTAILMENT, builtin
from unroll.apps.similarity.sources.builtin import Scene, Thing, describe, entailment, facts, similarity

CUBE, BALL, STAR = Thing("cube", 0, "red"), Thing("ball", 1, "blue"), Thing("star", 0, "red")
ROW = Scene((CUBE, BALL), 0)


def test_the_score_is_the_share_of_facts_counted_by_hand():
    assert len(facts(ROW)) == 7  # two shapes, two sizes, two colours, one relation
    exchanged = Scene((CUBE._replace(colour="blue"), BALL._replace(colour="red")), 0)
    assert similarity(ROW, ROW) == 1
    assert similarity(ROW, exchanged) == pytest.approx(5 / 7)
    assert similarity(ROW, Scene((BALL, CUBE), 0)) == pytest.approx(6 / 7)
    assert similarity(ROW, Scene((CUBE, BALL, STAR), 0)) == pytest.approx(2 * 7 / (7 + 11))
    assert similarity(Scene((CUBE,), 0), Scene((BALL,), 0)) == 0


@pytest.mark.parametrize(
    ("other", "wanted"),
    [
        (ROW, "ENTAILMENT"),
        (Scene((CUBE,), 0), "ENTAILMENT"),
        (Scene((CUBE, BALL, STAR), 0), "NEUTRAL"),
        (Scene((STAR,), 0), "NEUTRAL"),
        (Scene((CUBE._replace(colour="blue"), BALL), 0), "CONTRADICTION"),
        (Scene((BALL, CUBE), 0), "CONTRADICTION"),
        (Scene((CUBE, BALL), 1), "CONTRADICTION"),
    ],
)
def test_entailment(other, wanted):
    assert entailment(ROW, other) == wanted


def test_descriptions_go_both_ways_round_and_name_everything():
    random = np.random.default_rng(0)
    texts = {describe(Scene((CUBE, BALL, STAR), 0), random) for _ in range(300)}
    assert {"left of" in text for text in texts} == {True, False}
    for text in texts:
        assert all(word in text for word in ("cube", "ball", "star", "blue", "red"))
        before, after = text.index("cube") < text.index("star"), text.index("cube") > text.index("star")
        assert ("left of" in text, "right of" in text) == (before, after)


def test_the_same_seed_gives_the_same_pairs_and_no_description_is_in_two_splits():
    pairs = list(builtin.source(200, 3).read())
    assert pairs == list(builtin.source(200, 3).read())
    assert pairs != list(builtin.source(200, 4).read())
    texts = {split: {t for p in pairs if p.split == split for t in (p.a, p.b)} for split in ("train", "val", "test")}
    assert not texts["train"] & texts["test"] and not texts["train"] & texts["val"] and not texts["val"] & texts["test"]
    assert [len([p for p in pairs if p.split == split]) for split in texts] == [200, 20, 40]
    assert len({pair.id for pair in pairs}) == 260
    assert all(0 <= pair.score <= 1 for pair in pairs)
    assert {pair.label for pair in pairs} == set(ENTAILMENT)


def test_words_alone_do_not_tell():
    size_of = {word: words[0] for words in builtin.SIZES for word in words}

    def content(text):
        known = {*size_of, *builtin.COLOURS, *builtin.SHAPES}
        return sorted(size_of.get(word, word) for word in text.split() if word in known)

    scores = [pair.score for pair in builtin.source(600, 0).read() if content(pair.a) == content(pair.b)]
    assert len(scores) > 100
    assert min(scores) < 0.6 and max(scores) == 1 and len(set(scores)) > 5
