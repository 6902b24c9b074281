import itertools
import math

import pytest
import torch

from unroll.sequence import ctc


def collapse(path):
    merged = [label for label, _ in itertools.groupby(path)]
    return tuple(label for label in merged if label != ctc.BLANK)


def all_labellings(log_probs):
    """Log probability of every labelling, by enumerating all paths: the definition itself."""
    frames, symbols = log_probs.shape
    table, sums = log_probs.tolist(), {}
    for path in itertools.product(range(symbols), repeat=frames):
        score = sum(table[t][label] for t, label in enumerate(path))
        sums.setdefault(collapse(path), []).append(score)
    return {labels: torch.tensor(scores).logsumexp(0).item() for labels, scores in sums.items()}


def random_log_probs(*shape, seed, sharpness=2.0):
    generator = torch.Generator().manual_seed(seed)
    return (sharpness * torch.randn(*shape, generator=generator, dtype=torch.float64)).log_softmax(-1)


def test_greedy_merges_repeats_before_it_drops_blanks():
    paths = torch.tensor([[1, 1, 0, 1, 2, 2], [0, 0, 0, 0, 0, 0], [2, 2, 1, 1, 1, 1]])
    log_probs = torch.nn.functional.one_hot(paths.T, 3).float()
    assert ctc.greedy(log_probs, torch.tensor([6, 6, 2])) == [[1, 1, 2], [], [2]]


@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize(("frames", "symbols"), [(1, 3), (4, 2), (5, 3), (6, 3)])
def test_beam_that_holds_every_prefix_is_exact(frames, symbols, seed):
    log_probs = random_log_probs(frames, 1, symbols, seed=seed)
    exact = all_labellings(log_probs[:, 0])
    best = max(exact, key=exact.__getitem__)
    found = tuple(ctc.beam(log_probs, torch.tensor([frames]), width=2 ** (frames + 1))[0])
    assert exact[found] == pytest.approx(exact[best], abs=1e-9)


def test_beam_adds_up_paths_where_greedy_follows_one():
    # Blank leads in both frames (0.4 * 0.4 = 0.16), yet the paths of [1] sum to 0.3 * 0.4 * 2 + 0.3 * 0.3 = 0.33.
    frame = torch.tensor([0.4, 0.3, 0.3]).log()
    log_probs = torch.stack((frame, frame))[:, None]
    assert ctc.greedy(log_probs, torch.tensor([2])) == [[]]
    assert ctc.beam(log_probs, torch.tensor([2]), width=4)[0] in ([1], [2])


def test_beam_needs_a_blank_between_equal_labels():
    certain = torch.tensor([[0.001, 0.999], [0.999, 0.001], [0.001, 0.999]]).log()[:, None]
    assert ctc.beam(certain, torch.tensor([3]), width=3) == [[1, 1]]
    assert ctc.beam(certain[[0, 2]], torch.tensor([2]), width=3) == [[1]]


def test_beam_merges_a_prefix_that_is_reached_in_two_ways():
    # The scores of the beam are those of the labellings: none is split over two places.
    log_probs = random_log_probs(6, 1, 3, seed=3)
    exact = sorted(all_labellings(log_probs[:, 0]).values(), reverse=True)
    state = ctc._Beam.initial(1, 128, log_probs)
    for frame in log_probs:
        state, _, _ = ctc._advance(state, frame, ctc.Lexicon.open(3))
    got = torch.logaddexp(state.blank, state.label)[0]
    torch.testing.assert_close(got[: len(exact)], torch.tensor(exact, dtype=got.dtype))
    assert torch.isneginf(got[len(exact) :]).all()


def test_a_row_alone_is_decoded_as_in_a_batch():
    lengths = torch.tensor([9, 4, 1, 12])
    log_probs = random_log_probs(12, 4, 5, seed=1)
    together = ctc.beam(log_probs, lengths, width=4)
    alone = [ctc.beam(log_probs[:n, [i]], lengths[[i]], width=4)[0] for i, n in enumerate(lengths.tolist())]
    assert together == alone
    assert ctc.greedy(log_probs, lengths) == [
        ctc.greedy(log_probs[:n, [i]], lengths[[i]])[0] for i, n in enumerate(lengths.tolist())
    ]


def test_wider_beams_find_more_probable_labels_on_average():
    log_probs = random_log_probs(8, 64, 4, seed=5, sharpness=1.0)
    lengths = torch.full((64,), 8)

    def score(rows):
        loss = torch.nn.CTCLoss(reduction="none")
        targets = torch.tensor([label for row in rows for label in row])
        return -loss(log_probs, targets, lengths, torch.tensor([len(row) for row in rows])).mean().item()

    scores = [score(ctc.beam(log_probs, lengths, width)) for width in (1, 4, 16)]
    assert score(ctc.greedy(log_probs, lengths)) < scores[1] < scores[2]


@pytest.mark.parametrize("seed", range(20))
def test_a_lexicon_gives_the_most_probable_text_of_its_words(seed):
    words, separator = [(1,), (2, 1), (2, 2)], 3
    joined = [list(itertools.product(words, repeat=count)) for count in range(4)]
    texts = {tuple(itertools.chain(*((separator, *word) for word in text)))[1:] for some in joined for text in some}
    log_probs = random_log_probs(6, 1, 4, seed=seed)
    lexicon = ctc.Lexicon.of(words, separator, symbols=4)
    exact = {labels: score for labels, score in all_labellings(log_probs[:, 0]).items() if labels in texts}
    best = max(exact, key=exact.__getitem__)
    found = tuple(ctc.beam(log_probs, torch.tensor([6]), width=128, lexicon=lexicon)[0])
    assert exact[found] == pytest.approx(exact[best], abs=1e-9)


def test_half_a_word_is_not_written_when_a_whole_one_is_left():
    lexicon = ctc.Lexicon.of([(1, 2)], separator=3, symbols=4)
    frames = torch.tensor([[0.01, 0.97, 0.01, 0.01], [0.6, 0.01, 0.38, 0.01]]).log()[:, None]
    assert ctc.beam(frames, torch.tensor([2]), width=4) == [[1]]
    assert ctc.beam(frames, torch.tensor([2]), width=4, lexicon=lexicon) == [[1, 2]]


def test_a_lexicon_has_a_place_for_every_beginning_of_a_word_and_one_if_all_is_allowed():
    """Before the first word, behind a separator, and behind 1, 1 2 and 2."""
    for lexicon, places in ((ctc.Lexicon.of([(1, 2), (2,)], None, 3), 5), (ctc.Lexicon.open(3), 1)):
        assert lexicon.next.shape == (places, 3) and lexicon.complete.shape == (places,)


def test_beam_on_no_frames():
    assert ctc.beam(torch.zeros(0, 2, 3), torch.tensor([0, 0]), width=2) == [[], []]


@pytest.mark.parametrize("seed", range(10))
@pytest.mark.parametrize("labels", [[1], [1, 1], [1, 2], [2, 2, 1], []])
def test_alignment_is_the_most_probable_path(labels, seed):
    log_probs = random_log_probs(6, 3, seed=seed)
    spans = ctc.align(log_probs, labels)
    path = [ctc.BLANK] * 6
    for label, (start, end) in zip(labels, spans, strict=True):
        assert start < end
        path[start:end] = [label] * (end - start)
    assert collapse(path) == tuple(labels)
    table = log_probs.tolist()
    best = max(
        sum(table[t][label] for t, label in enumerate(candidate))
        for candidate in itertools.product(range(3), repeat=6)
        if collapse(candidate) == tuple(labels)
    )
    got = sum(table[t][label] for t, label in enumerate(path))
    assert math.isclose(got, best, abs_tol=1e-9)


def test_alignment_refuses_too_few_frames():
    assert ctc.frames_needed([1, 1, 2, 2, 2]) == 8
    with pytest.raises(ValueError, match="2 labels need 3 frames, got 2"):
        ctc.align(random_log_probs(2, 3, seed=0), [1, 1])
