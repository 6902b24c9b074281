"""Decoding: greedy, beam, penalties, sampling, forced scoring, order and empty lines."""

import itertools
import warnings

import pytest
import torch

from unroll.apps.translation import text
from unroll.apps.translation.config import TranslationConfig
from unroll.apps.translation.decode import decode, forced, translate
from unroll.apps.translation.ensemble import ensemble
from unroll.apps.translation.options import GREEDY, Decoding
from unroll.errors import Notice, UserError

SENTENCES = ["one two", "four", "three three one four two", "two one"]


def tokens(model, sentences):
    numbers = [torch.tensor(text.encode(model.source, sentence)) for sentence in sentences]
    return torch.nn.utils.rnn.pad_sequence(numbers), torch.tensor([len(row) for row in numbers])


def test_greedy_follows_the_best_token(make):
    model = make()
    source, lengths = tokens(model, SENTENCES)
    for row, [found] in enumerate(decode(model, source, lengths, GREEDY)):
        memory, state = model.begin(source[: lengths[row], [row]], lengths[[row]])
        last, written = torch.tensor([model.end]), []
        for _ in range(2 * int(lengths[row]) + 10):
            log_probs, state = model.advance(last, state, memory)
            last = log_probs.argmax(1)
            if last == model.end:
                break
            written.append(int(last))
        assert found.tokens == written


@pytest.mark.parametrize(
    "options", [{}, {"feeding": True}, {"coverage": True, "attention_kind": "multihead", "heads": 2}], ids=str
)
@pytest.mark.parametrize("decoding", [Decoding(n_best=3), Decoding(beam=3, coverage_penalty=0.4), GREEDY], ids=str)
def test_what_is_found_does_not_depend_on_the_neighbours(make, options, decoding):
    model = make(**options)
    together = translate(model, SENTENCES, decoding)
    for sentence, texts in zip(SENTENCES, together, strict=True):
        [alone] = translate(model, [sentence], decoding)
        assert [words for words, _ in alone] == [words for words, _ in texts]
        assert [score for _, score in alone] == pytest.approx([score for _, score in texts], abs=1e-4)


def test_n_best_are_different_and_their_scores_are_those_of_forced_scoring(make):
    model = make(decoding=Decoding(beam=6, n_best=4, length_penalty=0.7))
    source, lengths = tokens(model, SENTENCES)
    for sentence, texts in zip(SENTENCES, decode(model, source, lengths, model.decoding), strict=True):
        assert len({tuple(h.tokens) for h in texts}) == 4
        scores = [h.score for h in texts if h.ended]  # those cut at the longest length come last
        assert scores == sorted(scores, reverse=True)
        for h in texts:
            if h.ended and text.encode(model.target, text.decode(model.target, h.tokens)) == h.tokens:
                [pieces] = forced(model, [(sentence, text.decode(model.target, h.tokens))])
                total = sum(value for _, value in pieces)
                assert h.log_prob == pytest.approx(total, abs=1e-4)
                assert h.score == pytest.approx(total / len(pieces) ** 0.7, abs=1e-4)


def test_the_coverage_penalty_is_in_the_score(make):
    model = make()
    source, lengths = tokens(model, SENTENCES[:1])
    plain, penalised = (
        decode(model, source, lengths, Decoding(beam=4, n_best=4, coverage_penalty=weight))[0] for weight in (0.0, 0.5)
    )
    ended = [h for h in penalised if h.ended]
    assert ended and [h.tokens for h in plain] != []
    for h in ended:
        _, weights = model(source, lengths, torch.tensor([model.end, *h.tokens])[:, None])
        penalty = weights[:, 0].sum(0).clamp(1e-9, 1).log().sum().item()
        assert h.score == pytest.approx(h.log_prob / (len(h.tokens) + 1) + 0.5 * penalty, abs=1e-4)


def test_blocked_repetitions(make):
    model = make()
    repeats = {}
    for size in (0, 2):
        found = translate(model, SENTENCES, Decoding(no_repeat=size, beam=1, length_penalty=0.0))
        words = [texts[0][0].split() for texts in found]
        pairs = [list(itertools.pairwise(row)) for row in words]
        repeats[size] = any(len(set(row)) < len(row) for row in pairs)
    assert repeats == {0: True, 2: False}


def test_drawn_translations_follow_the_seed_and_score_what_they_are(make):
    draws = [
        translate(make(), SENTENCES, Decoding(sample=True, temperature=2.0, n_best=3, beam=1, seed=seed))
        for seed in (0, 0, 1)
    ]
    assert draws[0] == draws[1] != draws[2]
    assert all(len(texts) == 3 for texts in draws[0])
    best = translate(make(), SENTENCES, Decoding(sample=True, top_k=1, beam=1))
    greedy = translate(make(), SENTENCES, GREEDY)
    assert [texts[0][0] for texts in best] == [texts[0][0] for texts in greedy]
    assert [t[0][1] for t in best] == pytest.approx([t[0][1] for t in greedy], abs=1e-3)


def test_order_is_kept_and_empty_lines_stay_empty(make, monkeypatch):
    model = make()
    given = ["", "one two", "   ", "four", "three three one four two", ""]
    monkeypatch.setattr("unroll.apps.translation.decode.BUDGET", 6)  # several batches
    found = translate(model, given)
    assert [bool(texts) for texts in found] == [False, True, False, True, True, False]
    for sentence, texts in zip(given, found, strict=True):
        assert texts == [] or texts[0][0] == translate(model, [sentence])[0][0][0]
    assert translate(model, []) == [] and translate(model, [""]) == [[]]


def test_a_line_of_100_000_tokens_is_cut_with_one_notice_that_counts(make):
    model = make(longest=15, decoding=GREEDY)
    long = " ".join(["one", "two"] * 50_000)
    with pytest.warns(Notice) as caught:
        found = translate(model, [long, "four", long])
    assert [str(w.message) for w in caught] == ["2 of 3 sentences have more than 15 tokens and are cut there"]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        [[(short, _)]] = translate(model, [" ".join(["one", "two"] * 8)[:-4]])
    assert [texts[0][0] for texts in (found[0], found[2])] == [short] * 2


def test_forced_scoring_of_many_pairs_at_once(make):
    model = make()
    pairs = [("one two", "eins zwei"), ("", "nichts"), ("four", "vier vier vier"), ("three", "")]
    found = forced(model, pairs)
    assert [len(pieces) for pieces in found] == [3, 0, 4, 1]
    assert found == [forced(model, [pair])[0] for pair in pairs] or all(
        [value for _, value in a] == pytest.approx([value for _, value in forced(model, [pair])[0]], abs=1e-5)
        for a, pair in zip(found, pairs, strict=True)
    )
    assert [piece.strip() for piece, _ in found[0]] == ["eins", "zwei", ""]


def test_ensembles_decode_as_models_do(make):
    models = [make(seed=0), make(seed=1)]
    for decoding in (Decoding(), Decoding(coverage_penalty=0.2, beam=2), GREEDY):
        twice = translate(ensemble([models[0], models[0]]), SENTENCES, decoding)
        once = translate(models[0], SENTENCES, decoding)
        assert [texts[0][0] for texts in twice] == [texts[0][0] for texts in once]
    assert forced(ensemble(models), [("one", "eins")])[0][0][1] < 0


def test_more_translations_than_the_beam_holds_are_refused():
    with pytest.raises(UserError, match=r"decode\.n_best=6: is more than decode\.beam=5"):
        TranslationConfig().override(["decode.n_best=6"])
