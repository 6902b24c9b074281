"""Sampling under restrictions, whole texts, ensembles, and stop strings."""

import itertools

import pytest
import torch

from unroll.sequence.decoding import Sampling, _draw, mean_probability, restrict, sample, sample_texts, until_stop

WORDS, END = 5, 0
TABLE = torch.randn(WORDS, WORDS, WORDS, generator=torch.Generator().manual_seed(3)).mul(1.5).log_softmax(-1)


def step(tokens, state):
    """p(next | last two): the state is the token before the last, [1, R, 1]."""
    before = state[0, :, 0]
    return TABLE[before, tokens], tokens[None, :, None]


def start(rows=1, token=1):
    return torch.full((rows,), token), torch.zeros(1, rows, 1, dtype=torch.int64)


def probabilities(*values):
    return torch.tensor([values]).log()


def test_nothing_is_restricted_by_default():
    p = probabilities(0.5, 0.3, 0.2)
    torch.testing.assert_close(restrict(p, Sampling()), p)


@pytest.mark.parametrize(
    ("options", "wanted"),
    [
        ({"temperature": 2.0}, [0.5**0.5 / 1.7020, 0.3**0.5 / 1.7020, 0.2**0.5 / 1.7020]),
        ({"temperature": 0.5}, [0.25 / 0.38, 0.09 / 0.38, 0.04 / 0.38]),
        ({"top_k": 1}, [1, 0, 0]),
        ({"top_k": 2}, [0.625, 0.375, 0]),
        ({"top_k": 9}, [0.5, 0.3, 0.2]),
        ({"top_p": 0.49}, [1, 0, 0]),
        ({"top_p": 0.6}, [0.625, 0.375, 0]),
        ({"top_p": 0.81}, [0.5, 0.3, 0.2]),
        ({"min_p": 0.5}, [0.625, 0.375, 0]),
        ({"min_p": 0.7}, [1, 0, 0]),
        ({"repetition_penalty": 2.0}, [0.25 / 0.75, 0.3 / 0.75, 0.2 / 0.75]),
    ],
)
def test_each_restriction(options, wanted):
    seen = torch.tensor([[True, False, False]])
    got = restrict(probabilities(0.5, 0.3, 0.2), Sampling(**options), seen).exp()
    torch.testing.assert_close(got, torch.tensor([wanted], dtype=got.dtype))


@pytest.mark.parametrize(
    "options", [{"temperature": 0.5}, {"top_k": 2}, {"top_p": 0.6}, {"min_p": 0.5}, {"repetition_penalty": 2.0}]
)
def test_each_row_is_restricted_by_itself(options):
    generator = torch.Generator().manual_seed(0)
    log_probs = torch.randn(3, WORDS, generator=generator).log_softmax(-1)
    seen = torch.rand(3, WORDS, generator=generator) < 0.4
    together = restrict(log_probs, Sampling(**options), seen)
    for row in range(3):
        alone = restrict(log_probs[row : row + 1], Sampling(**options), seen[row : row + 1])
        torch.testing.assert_close(together[row : row + 1], alone)


def test_the_whole_probability_leaves_no_word_out_however_many_there_are():
    """Although rounded probabilities add up to more than one."""
    many = torch.randn(1, 20_000, generator=torch.Generator().manual_seed(0)).mul(3).log_softmax(-1)
    assert restrict(many, Sampling(top_p=1.0)).isfinite().all()


@pytest.mark.parametrize("number", [0.0, 0.24, 0.26, 0.49, 0.51, 1 - 2**-53])
def test_a_number_between_0_and_1_stands_for_a_word_in_proportion_to_its_weight(monkeypatch, number):
    """Whatever the weights add up to; and no number for a word of weight zero."""
    monkeypatch.setattr(torch, "rand", lambda *shape, dtype, **options: torch.full(shape, number, dtype=dtype))
    weights = torch.tensor([[0.0, 1.0, 0.0, 1.0, 2.0, 0.0], [3.0, 0.0, 1.0, 0.0, 0.0, 0.0]])
    wanted = [1 if number < 0.25 else 3 if number < 0.5 else 4, 0 if number < 0.75 else 2]
    assert _draw(weights, None).tolist() == wanted


@pytest.mark.parametrize(
    "options",
    [{"temperature": 0}, {"temperature": -1}, {"top_k": -1}, {"top_p": 0}, {"top_p": 1.1}, {"min_p": 1},
     {"repetition_penalty": 0.5}],
)  # fmt: skip
def test_values_out_of_range_are_named(options):
    [name] = options
    with pytest.raises(ValueError, match=f"^{name}="):
        Sampling(**options)


def test_drawn_tokens_follow_the_model_and_the_seed():
    last, state = start(rows=4000)
    drawn = [
        next(sample(step, last, state, Sampling(), torch.Generator().manual_seed(seed))) for seed in (0, 0, 1)
    ]  # fmt: skip
    assert torch.equal(drawn[0], drawn[1]) and not torch.equal(drawn[0], drawn[2])
    share = torch.bincount(drawn[0], minlength=WORDS) / 4000
    torch.testing.assert_close(share, TABLE[0, 1].exp(), atol=0.03, rtol=0)


def test_the_state_moves_on_and_seen_tokens_are_penalised():
    greedy = Sampling(top_k=1)
    last, state = start()
    path = [int(t) for t in itertools.islice(sample(step, last, state, greedy), 6)]
    before, now, wanted = 0, 1, []
    for _ in range(6):
        before, now = now, int(TABLE[before, now].argmax())
        wanted.append(now)
    assert path == wanted
    strong = Sampling(top_k=1, repetition_penalty=1e9)
    every = [int(t) for t in itertools.islice(sample(step, last, state, strong, seen=[2]), 3)]
    assert len({*every, 1, 2}) == 5  # neither the prompt's tokens nor one of its own twice


def test_sampled_texts_end_by_themselves_or_at_their_own_maximum():
    last, state = start(rows=200)
    limits = [1 + row % 6 for row in range(200)]
    own = torch.Generator().manual_seed(1)
    texts = sample_texts(step, last, state, Sampling(), longest=limits, end=END, generator=own)
    assert {text.ended for text in texts} == {True, False}
    for text, limit in zip(texts, limits, strict=True):
        tokens = [*text.tokens, END] if text.ended else text.tokens
        assert END not in text.tokens and (len(tokens) <= limit if text.ended else len(tokens) == limit)
        before = [0, 1, *tokens]
        wanted = sum(TABLE[a, b, c].item() for a, b, c in zip(before, before[1:], tokens, strict=False))
        assert text.log_prob == text.score == pytest.approx(wanted, abs=1e-4)


def test_the_log_probability_of_a_sampled_text_is_without_the_restrictions():
    last, state = start()
    [text] = sample_texts(step, last, state, Sampling(top_k=1), longest=3, end=END)
    path = [int(t) for t in itertools.islice(sample(step, last, state, Sampling(top_k=1)), 3)]
    wanted = path[: path.index(END)] if END in path else path
    assert text.tokens == wanted and text.log_prob < -0.1


def test_the_random_numbers_of_a_row_do_not_depend_on_when_the_others_end():
    texts = [
        sample_texts(
            step, *start(rows=3), Sampling(), longest=[limit, 6, limit], end=END,
            generator=torch.Generator().manual_seed(2),
        )
        for limit in (1, 6)
    ]  # fmt: skip
    assert texts[0][1] == texts[1][1]


@pytest.mark.parametrize(("longest", "asked"), [(9, 3), ([1, 2], 2), ([2, 9], 3)])
def test_the_model_is_asked_until_all_texts_have_ended(longest, asked):
    """Every text ends with its third token, or at its longest."""
    calls = []

    def step(tokens, state):
        calls.append(len(tokens))
        return probabilities(
            *[1.0 if token == (END if len(calls) == 3 else 2) else 0.0 for token in range(WORDS)]
        ).expand(2, -1), state

    sample_texts(step, *start(rows=2), Sampling(), longest=longest, end=END)
    assert calls == [2] * asked


def test_of_no_rows_no_text_is_sampled():
    assert sample_texts(step, *start(rows=0), Sampling(), longest=3, end=END) == []


def test_an_ensemble_gives_the_mean_of_the_probabilities():
    parts = [probabilities(0.5, 0.3, 0.2), probabilities(0.1, 0.1, 0.8)]
    torch.testing.assert_close(mean_probability(parts).exp(), torch.tensor([[0.3, 0.2, 0.5]]))


@pytest.mark.parametrize(
    ("pieces", "stops", "wanted"),
    [
        (["ab", "cd", "ef"], ["de"], "abc"),
        (["ab", "cd", "ef"], ["xx"], "abcdef"),
        (["a", "b", "a", "b", "c"], ["abc"], "ab"),
        (["a", "a", "a", "b"], ["aab"], "a"),
        (["stop"], ["stop"], ""),
        (["one two three"], ["three", "two"], "one "),
        (["x", "EN"], ["END"], "xEN"),
        (["abc"], ["", "c"], "ab"),
    ],
)
def test_stop_strings_end_the_text_wherever_pieces_are_cut(pieces, stops, wanted):
    assert "".join(until_stop(pieces, stops)) == wanted
    assert "".join(until_stop("".join(pieces), stops)) == wanted


def test_text_is_given_out_as_soon_as_it_is_sure():
    given = until_stop(iter(["a", "b", "E", "N", "x", "c"]), ["END"])
    assert list(given) == ["a", "b", "ENx", "c"]
