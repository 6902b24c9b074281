import pytest
import torch

from unroll.apps.speech.augment import Augment
from unroll.apps.speech.features import LogMel
from unroll.apps.speech.model import Recogniser, reduced
from unroll.sequence.text import Vocabulary

VOCABULARY = Vocabulary.fit(["abc"], reserved=["<blank>"])
BANDS = 10
FEATURES = torch.randn(23, 3, BANDS, generator=torch.Generator().manual_seed(0))
LENGTHS = torch.tensor([23, 8, 1])


def make(**settings):
    torch.manual_seed(0)
    mean, deviation = [0.5] * BANDS, [2.0] * BANDS
    return Recogniser(VOCABULARY, LogMel(8000, BANDS), mean, deviation, **{"hidden": 12, **settings}).eval()


@pytest.mark.parametrize("bidirectional", [True, False])
@pytest.mark.parametrize("stack", [1, 3, 4])
def test_a_row_alone_gives_what_it_gives_in_a_batch(stack, bidirectional):
    model = make(stack=stack, bidirectional=bidirectional)
    log_probs, lengths, _ = model(FEATURES, LENGTHS)
    assert lengths.tolist() == [reduced(frames, stack) for frames in LENGTHS.tolist()]
    torch.testing.assert_close(log_probs.exp().sum(-1), torch.ones(log_probs.shape[:2]))
    for row, frames in enumerate(LENGTHS.tolist()):
        alone, steps, _ = model(FEATURES[:frames, [row]], LENGTHS[[row]])
        torch.testing.assert_close(alone[:, 0], log_probs[: int(steps), row])


def test_what_lies_beyond_the_end_has_no_effect():
    model = make()
    other = FEATURES.clone()
    other[8:, 1], other[1:, 2] = 1e6, -1e6
    (first, lengths, _), (second, _, _) = model(FEATURES, LENGTHS), model(other, LENGTHS)
    for row, steps in enumerate(lengths.tolist()):
        torch.testing.assert_close(first[:steps, row], second[:steps, row])


def test_one_direction_streams():
    model = make(bidirectional=False, stack=3)
    whole, _, final = model(FEATURES[:, :1], LENGTHS[:1])
    pieces, state = [], None
    for piece in FEATURES[:, :1].split([3, 12, 6, 2]):
        log_probs, _, state = model(piece, torch.tensor([len(piece)]), state)
        pieces.append(log_probs)
    torch.testing.assert_close(torch.cat(pieces), whole)
    torch.testing.assert_close(state, final)


def test_two_directions_see_the_future_and_one_does_not():
    changed = FEATURES.clone()
    changed[20:] += 1
    for bidirectional in (True, False):
        model = make(bidirectional=bidirectional, stack=1)
        before, after = (model(x[:, :1], LENGTHS[:1])[0][:20] for x in (FEATURES, changed))
        assert torch.equal(before, after) is not bidirectional


@pytest.mark.parametrize("beam", [0, 4])
def test_decoding_gives_text(beam):
    model = make(beam=beam)
    numbers = torch.tensor([[1, 1, 0, 1, 3], [0, 0, 2, 2, 2]])
    log_probs = (10 * torch.nn.functional.one_hot(numbers.T, 4).float()).log_softmax(-1)
    assert model.decode(log_probs, torch.tensor([5, 2])) == ["aac", ""]
    assert model.decoding == ("beam4" if beam else "greedy")


def test_masks_hide_whole_bands_and_stretches_of_time_in_training_alone():
    augment = Augment(band_masks=2, band_width=3, time_masks=1, time_width=0.2)
    ones = torch.ones(100, 50, BANDS)
    lengths = torch.full((50,), 100)
    torch.manual_seed(0)
    masked = augment(ones, lengths).eq(0)
    bands, stretches = masked.all(0), masked.all(2)
    assert torch.equal(masked, bands | stretches.unsqueeze(2))
    assert 1 < bands.sum(1).float().mean() < 4
    assert bands.sum(1).max() <= 6
    assert 5 < stretches.sum(0).float().mean() < 15
    assert stretches.sum(0).max() <= 20
    torch.manual_seed(0)
    assert torch.equal(augment(ones, lengths).eq(0), masked)
    assert not torch.equal(augment(ones, lengths).eq(0), masked)

    model = make(augment=augment)
    assert torch.equal(model(FEATURES, LENGTHS)[0], model(FEATURES, LENGTHS)[0])
    model.train()
    assert not torch.equal(model(FEATURES, LENGTHS)[0], model(FEATURES, LENGTHS)[0])


def test_masks_lie_inside_the_utterance():
    augment = Augment(band_masks=0, band_width=5, time_masks=1, time_width=1.0)
    torch.manual_seed(0)
    masked = augment(torch.ones(100, 200, 2), torch.full((200,), 10)).eq(0)
    assert masked[:10].any()
    assert not masked[10:].any()


def test_a_warp_moves_a_ridge_along_the_bands():
    ridge = torch.zeros(5, 300, 20)
    ridge[:, :, 10] = 1
    torch.manual_seed(0)
    warped = Augment(warp=0.2)(ridge, torch.full((300,), 5))
    places = (warped * torch.arange(20)).sum(2) / warped.sum(2)
    assert torch.equal(places, places[:1].expand(places.shape))  # one factor per utterance
    assert places.min() == pytest.approx(10 / 1.2, abs=0.3)
    assert places.max() == pytest.approx(10 / 0.8, abs=0.3)


def test_a_colour_is_constant_in_time_and_smooth_over_the_bands():
    zeros = torch.zeros(5, 4000, 20)
    torch.manual_seed(0)
    coloured = Augment(colour=0.5)(zeros, torch.full((4000,), 5))
    assert torch.equal(coloured, coloured[:1].expand(coloured.shape))
    assert 0.3 < coloured[0].std() < 0.5
    assert coloured[0].diff(dim=1).std() < 0.3 * coloured[0].std()


def test_no_masks_change_nothing():
    assert torch.equal(Augment()(FEATURES, LENGTHS), FEATURES)


def test_a_lexicon_keeps_to_its_words():
    vocabulary = Vocabulary.fit(["ab ba"], reserved=["<blank>"])
    symbols = vocabulary.symbols
    log_probs = torch.full((3, 1, len(symbols)), 0.05)
    for frame, symbol in enumerate("aab"):
        log_probs[frame, 0, symbols.index(symbol)] = 0.85
    log_probs[1, 0, symbols.index("b")] = 0.2
    log_probs = log_probs.log().log_softmax(-1)

    def decode(words):
        model = Recogniser(vocabulary, LogMel(8000, BANDS), [0.0] * BANDS, [1.0] * BANDS, hidden=4, words=words, beam=4)
        return model.decoding, model.decode(log_probs, torch.tensor([3]))

    assert decode(()) == ("beam4", ["ab"])
    assert decode(["ba", "aba"]) == ("beam4+lexicon", ["aba"])
