"""Beam search against exhaustive enumeration."""

import itertools
import math

import pytest
import torch

from tests.unroll.sequence.test_decoding import END, TABLE, WORDS, start, step
from unroll.sequence.beam import beam_search, no_repeats
from unroll.sequence.decoding import Sampling, sample


def every_text(longest, penalty, first=1):
    """(score, tokens, ended) of all texts that end within `longest` tokens or are cut there."""
    found = []

    def grow(tokens, before, now, total):
        if len(tokens) == longest:
            found.append((total / longest**penalty, tokens, False))
            return
        for word in range(WORDS):
            after = total + TABLE[before, now, word].item()
            if word == END:
                found.append((after / (len(tokens) + 1) ** penalty, tokens, True))
            else:
                grow([*tokens, word], now, word, after)

    grow([], 0, first, 0.0)
    return sorted(found, key=lambda text: -text[0])


@pytest.mark.parametrize("penalty", [0.0, 0.7, 1.0])
@pytest.mark.parametrize("first", [1, 2, 3, 4])
def test_with_room_for_all_texts_the_best_are_found(penalty, first):
    last, state = start(token=first)
    [found] = beam_search(step, last, state, width=5**4, longest=4, end=END, length_penalty=penalty, n_best=10)
    wanted = [text for text in every_text(4, penalty, first) if text[2]][:10]
    assert [h.tokens for h in found] == [tokens for _, tokens, _ in wanted]
    assert [h.score for h in found] == pytest.approx([score for score, _, _ in wanted], abs=1e-5)
    assert all(h.ended for h in found)


def test_width_one_is_greedy_and_without_an_end_texts_have_the_full_length():
    last, state = start()
    [[found]] = beam_search(step, last, state, width=1, longest=6, end=None)
    greedy = [int(t) for t in itertools.islice(sample(step, last, state, Sampling(top_k=1)), 6)]
    assert found.tokens == greedy and not found.ended


@pytest.mark.parametrize(
    "options",
    [{"width": 3, "length_penalty": 0.6, "n_best": 2}, {"width": 6, "groups": 3, "diversity": 0.7, "n_best": 4}],
    ids=["one group", "three groups"],
)
def test_a_row_alone_is_the_row_in_a_batch(options):
    firsts = torch.tensor([1, 2, 3, 4, 1])
    options = {"longest": 7, "end": END, **options}
    together = beam_search(step, firsts, torch.zeros(1, 5, 1, dtype=torch.int64), **options)
    for row, first in enumerate(firsts.tolist()):
        last, state = start(token=first)
        assert beam_search(step, last, state, **options)[0] == together[row]


def by_the_table(text):
    """The log-probability of a text that began with token 1, as `start` does."""
    before, now, total = 0, 1, 0.0
    for word in [*text.tokens, *([END] if text.ended else [])]:
        total += TABLE[before, now, word].item()
        before, now = now, word
    return total


def test_a_wider_beam_is_not_worse_and_what_is_found_has_the_score_that_it_says():
    last, state = start()
    scores = []
    for width in (1, 2, 4, 16, 64):
        [[best]] = beam_search(step, last, state, width=width, longest=5, end=END)
        scores.append(best.log_prob)
        assert best.log_prob == pytest.approx(by_the_table(best), abs=1e-5)
    assert scores[-1] >= max(scores) - 1e-6


def hamming_by_hand(first, longest, diversity, groups):
    """Diverse beam search with one text per group, from its definition: greedy, at a cost for tokens taken before."""
    taken = [dict.fromkeys(range(WORDS), 0) for _ in range(longest)]
    texts = []
    for _ in range(groups):
        before, now, tokens = 0, first, []
        for t in range(longest):
            worth = [TABLE[before, now, word].item() - diversity * taken[t][word] for word in range(WORDS)]
            before, now = now, max(range(WORDS), key=lambda word: worth[word])
            taken[t][now] += 1
            tokens.append(now)
        texts.append(tokens)
    return texts


@pytest.mark.parametrize("diversity", [0.0, 0.4, 3.0])
def test_each_group_avoids_what_those_before_it_have_taken(diversity):
    last, state = start(rows=2)
    options = {"width": 3, "n_best": 3, "groups": 3, "diversity": diversity, "longest": 6, "end": None}
    found = beam_search(step, last, state, **options)
    wanted = {tuple(tokens) for tokens in hamming_by_hand(1, 6, diversity, 3)}
    for row in found:
        assert {tuple(h.tokens) for h in row} == wanted
        assert [h.score for h in row] == sorted((h.score for h in row), reverse=True)
    assert (len(wanted) > 1) == (diversity > 0)


def test_the_scores_of_diverse_texts_are_the_models():
    last, state = start()
    [found] = beam_search(step, last, state, width=8, n_best=8, groups=4, diversity=2.0, longest=5, end=END)
    for text in found:
        assert text.log_prob == pytest.approx(by_the_table(text), abs=1e-5)
    assert len({tuple(text.tokens) for text in found}) == len(found)


def test_groups_that_do_not_divide_the_width():
    last, state = start()
    with pytest.raises(ValueError, match="groups that divide the width of 4, got 3"):
        beam_search(step, last, state, width=4, longest=5, end=END, groups=3)


def test_longer_texts_win_with_a_length_penalty():
    last, state = start()
    lengths = [
        len(beam_search(step, last, state, width=8, longest=8, end=END, length_penalty=p)[0][0].tokens)
        for p in (0.0, 3.0)
    ]
    assert lengths[0] < lengths[1]


def test_no_sequence_occurs_twice():
    last, state = start()
    plain, blocked = (
        beam_search(step, last, state, width=4, longest=14, end=None, adjust=adjust)[0][0].tokens
        for adjust in ([], [no_repeats(2)])
    )
    pairs = [list(itertools.pairwise(tokens)) for tokens in (plain, blocked)]
    assert len(set(pairs[0])) < len(pairs[0])
    assert len(set(pairs[1])) == len(pairs[1])


@pytest.mark.parametrize("size", [1, 2, 3])
@pytest.mark.parametrize("length", [0, 1, 2, 3, 4, 9])
def test_exactly_what_would_repeat_is_forbidden(size, length):
    """For texts shorter than, as long as and longer than what must not repeat."""
    tokens = torch.randint(3, (20, length), generator=torch.Generator().manual_seed(length))
    allowed = no_repeats(size)(torch.zeros(20, 3), tokens)
    for row, text in zip(allowed.tolist(), tokens.tolist(), strict=True):
        for token in range(3):
            longer = [*text, token]
            grams = [tuple(longer[at : at + size]) for at in range(len(longer) - size + 1)]
            assert (row[token] == -math.inf) == (bool(grams) and grams[-1] in grams[:-1])


def test_hooks_see_what_was_written():
    def only_ever_one_more(log_probs, tokens):
        expected = (tokens[:, -1] + 1) % WORDS if tokens.shape[1] else torch.full((len(log_probs),), 3)
        mask = torch.full_like(log_probs, -math.inf)
        return mask.scatter(1, expected[:, None], 0.0)

    last, state = start()
    [[found]] = beam_search(step, last, state, width=2, longest=9, end=END, adjust=[only_ever_one_more])
    assert found.tokens == [3, 4] and found.ended


def test_no_text_at_all_is_no_hypothesis():
    def nothing(log_probs, tokens):
        return torch.full_like(log_probs, -math.inf)

    last, state = start()
    assert beam_search(step, last, state, width=2, longest=3, end=END, adjust=[nothing]) == [[]]


def test_a_row_goes_on_until_no_open_text_can_be_among_the_wanted():
    """[END] and [1, END] have ended while [1, 1] is open: it is worse than the best, and better than the second."""
    ends = torch.tensor([0.6, 0.01, 0.98, 0.5, 0.5])

    def step(tokens, state):
        p = ends[state[0, :, 0]]
        return torch.stack([p, 1 - p], -1).log(), state + 1

    last, state = start()
    [found] = beam_search(step, last, state, width=2, longest=5, end=END, n_best=2)
    assert [h.log_prob for h in found] == pytest.approx([math.log(0.6), math.log(0.4 * 0.99 * 0.98)])


@pytest.mark.parametrize(
    ("ends", "width", "n_best", "steps"),
    [
        ([0.9] * 9, 1, 1, 1),
        ([0.5] * 9, 1, 1, 1),  # what is still open can draw level, and not overtake
        ([0.9] * 9, 2, 2, 2),
        ([0.0, 0.0, 0.9, 0.9], 2, 1, 3),
        ([0.4, 0.5, 0.9], 2, 1, 2),
    ],
)
def test_the_search_ends_as_soon_as_nothing_open_can_overtake(ends, width, n_best, steps):
    asked = []

    def step(tokens, state):
        p = torch.tensor(ends)[state[0, :, 0]]
        asked.append(len(tokens))
        return torch.stack([p, 1 - p], -1).log(), state + 1

    last, state = start()
    beam_search(step, last, state, width=width, longest=9, end=END, n_best=n_best)
    assert asked == [width] * steps


def test_no_row_at_all():
    assert beam_search(step, *start(rows=0), width=2, longest=3, end=END) == []


@pytest.mark.parametrize(("width", "longest", "n_best"), [(0, 5, 1), (2, 0, 1), (2, 5, 3), (2, 5, 0)])
def test_arguments_that_make_no_sense(width, longest, n_best):
    last, state = start()
    with pytest.raises(ValueError, match="expected 1 <= n_best <= width"):
        beam_search(step, last, state, width=width, longest=longest, end=END, n_best=n_best)


def test_rows_have_their_own_longest_text():
    last, state = start(rows=3)
    together = beam_search(step, last, state, width=3, longest=[2, 6, 4], end=None, length_penalty=0.5, n_best=2)
    for longest, found in zip([2, 6, 4], together, strict=True):
        last, state = start()
        alone = beam_search(step, last, state, width=3, longest=longest, end=None, length_penalty=0.5, n_best=2)
        assert [h.tokens for h in alone[0]] == [h.tokens for h in found]
        assert all(len(h.tokens) == longest for h in found)
        assert [h.score for h in found] == pytest.approx([h.log_prob / longest**0.5 for h in found])
    with pytest.raises(ValueError, match=r"\[2, 0\]"):
        beam_search(step, *start(rows=2), width=3, longest=[2, 0], end=None)
    with pytest.raises(ValueError, match=r"\[2\]"):
        beam_search(step, *start(rows=2), width=3, longest=[2], end=None)


def test_what_an_ending_costs_decides_among_the_texts():
    """Half a nat for each token 2 that a text holds: counted in the state, exhaustively compared."""

    def counting(tokens, state):
        log_probs, before = step(tokens, state[0])
        return log_probs, (before, state[1] + (tokens == 2)[None, :, None])

    last, state = start()
    counted = (state, torch.zeros(1, 1, 1))
    cost = lambda state: -0.5 * state[1][0, :, 0]  # noqa: E731
    [found] = beam_search(counting, last, counted, width=5**4, longest=4, end=END, n_best=10, ending=cost)
    wanted = [(s - 0.5 * tokens.count(2), tokens) for s, tokens, ended in every_text(4, 0.0) if ended]
    wanted = sorted(wanted, key=lambda text: -text[0])[:10]
    assert [h.score for h in found] == pytest.approx([score for score, _ in wanted], abs=1e-5)
    assert [h.tokens for h in found] == [tokens for _, tokens in wanted]
