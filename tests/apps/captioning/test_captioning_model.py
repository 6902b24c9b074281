"""The network: encoder, both decoders, and decoding."""

import pytest
import torch

from unroll.apps.captioning import decode
from unroll.apps.captioning.decode import write
from unroll.apps.captioning.decoder import IGNORE, Decoder
from unroll.apps.captioning.encoder import WAVES, ResidualCNN
from unroll.apps.captioning.model import Captioner
from unroll.apps.captioning.options import Decoding
from unroll.sequence.decoding import Sampling
from unroll.sequence.tokens import Tokeniser

WORDS, FEATURES, END = 9, 8, 0
KINDS = [(None, False), ("additive", True), ("general", True), ("general", False), ("multihead", True)]


def decoder(look="general", feedback=True, cell="lstm", layers=1, **options):
    torch.manual_seed(1)
    return Decoder(
        WORDS,
        FEATURES,
        embedding=8,
        cell=cell,
        hidden=8,
        layers=layers,
        look=look,
        feedback=feedback,
        dropout=0.0,
        **options,
    )


def annotations(pictures=3, places=4):
    return torch.randn(places, pictures, FEATURES, generator=torch.Generator().manual_seed(2))


def captions(*lengths):
    """Captions of these lengths, ends included: [T, R]."""
    random = torch.Generator().manual_seed(4)
    tokens = torch.randint(1, WORDS, (max(lengths), len(lengths)), generator=random)
    for row, length in enumerate(lengths):
        tokens[length - 1, row] = END
        tokens[length:, row] = IGNORE
    return tokens


def by_hand(model, seen, tokens):
    """log p of each word of one caption, step by step from `step` alone."""
    state, last, total = model.begin(seen, 1), torch.tensor([END]), []
    for token in tokens:
        hidden, state, _ = model.step(last, state, seen)
        total.append(model.log_probs(hidden)[0, token])
        last = torch.tensor([token])
    return torch.stack(total)


@pytest.mark.parametrize(("look", "feedback"), KINDS)
def test_all_words_at_once_are_the_words_one_by_one(look, feedback):
    model, places = decoder(look, feedback), annotations()
    tokens = captions(7, 5, 4, 6, 2, 3)  # two captions of each picture; the last picture is over first
    told = model(tokens, model.annotated(places), END)
    log_probs = model.log_probs(told.hidden)
    for row in range(6):
        seen = model.annotated(places[:, [row // 2]])
        own = (told.rows == row) & (told.targets != IGNORE)
        wanted = by_hand(model, seen, told.targets[own].tolist())
        got = log_probs[own].gather(1, told.targets[own, None])[:, 0]
        torch.testing.assert_close(got, wanted)
    if look:
        lengths = torch.tensor([7.0, 5, 4, 6, 2, 3])
        torch.testing.assert_close(told.looked.sum(1), lengths)  # a whole look for each word
    else:
        assert told.looked is None


@pytest.mark.parametrize(("look", "feedback"), [*KINDS, (None, True)])
def test_the_next_input_holds_what_was_looked_at_only_where_something_is(look, feedback):
    """Without attention there is no context that could be fed back."""
    model, seen = decoder(look, feedback), None
    assert model.recurrent.input_size == 8 + FEATURES * bool(look and feedback)
    places = annotations()
    seen = model.annotated(places)
    told = model(captions(3, 3, 3), seen, END)
    assert told.hidden.isfinite().all() and len(told.hidden) == 9


@pytest.mark.parametrize(("look", "feedback"), KINDS)
def test_pictures_whose_captions_are_over_cost_nothing_and_change_nothing(look, feedback):
    model, places = decoder(look, feedback), annotations()
    told = model(captions(9, 2, 2), model.annotated(places), END)
    assert len(told.hidden) == 3 + 3 + 7
    mixed = model(captions(2, 9, 2), model.annotated(places[:, [1, 0, 2]]), END)
    assert len(mixed.hidden) == 3 + 3 + 2 * 7  # in another order it is only slower
    loss, again = (model.softmax.loss(one.hidden, one.targets) for one in (told, mixed))
    assert loss.isfinite() and again.isfinite()


@pytest.mark.parametrize("cell", ["gru", "elman", "mingru", "slstm"])
def test_any_cell(cell):
    model = decoder(cell=cell, layers=2)
    told = model(captions(4, 3, 2), model.annotated(annotations()), END)
    model.softmax.loss(told.hidden, told.targets).backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters())


def test_the_decoder_sees_the_picture():
    for look, feedback in KINDS:
        model, places = decoder(look, feedback), annotations()
        one, other = (model(captions(5, 5, 5), model.annotated(p), END).hidden for p in (places, places.flip(1)))
        assert not torch.allclose(one, other, atol=1e-3)


def test_scheduled_sampling_reads_the_models_own_words():
    model, places, tokens = decoder("general"), annotations(), captions(6, 6, 6)
    seen = model.annotated(places)
    taught, mixed, own = (model(tokens, seen, END, forget=p).hidden for p in (0.0, 0.5, 1.0))
    torch.testing.assert_close(own[:3], taught[:3])  # before the first word there is nothing to forget
    assert not torch.allclose(own[3:], taught[3:]) and not torch.allclose(mixed[3:], own[3:])


def test_word_dropout_hides_words_in_training_only():
    model, tokens = decoder("general", word_dropout=0.9, unknown=1), captions(8, 8, 8)
    seen = model.annotated(annotations())
    trained = model(tokens, seen, END).hidden
    used = model.eval()(tokens, seen, END).hidden
    torch.testing.assert_close(used, decoder("general")(tokens, seen, END).hidden)
    assert not torch.allclose(trained[3:], used[3:])


def test_annotations_are_a_grid_that_knows_its_places():
    torch.manual_seed(0)
    encoder = ResidualCNN(4, stages=2).eval()
    dark = torch.zeros(2, 48, 32, 3, dtype=torch.uint8)
    places = encoder(dark)
    assert places.shape == (6 * 4, 2, encoder.features) and encoder.features == 16 + 2 * WAVES
    assert len({tuple(place[0, 16:].tolist()) for place in places}) == 24
    lit = dark.clone()
    lit[1, :8, 24:] = 255  # the upper right corner of the second picture
    change = (encoder(lit) - places).abs().sum(2)
    assert change[:, 0].sum() == 0 and change[:, 1].argmax() in (2, 3, 7)


def captioner(**decoding):
    torch.manual_seed(3)
    tokeniser = Tokeniser("words", ("<eos>", "<unk>", *"abcdefg"))
    return Captioner(
        tokeniser, ResidualCNN(4, 1), side=16, embedding=8, cell="lstm", hidden=8, layers=1, look="general",
        feedback=True, dropout=0.0, word_dropout=0.0, decoding=Decoding(longest=7, **decoding),
    ).eval()  # fmt: skip


def pictures(count=4):
    return torch.randint(0, 256, (count, 16, 16, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))


@torch.no_grad()
def probability(model, picture, text):
    tokens = [*model.tokeniser.encode(text), model.end]
    return by_hand(model.decoder, model.decoder.annotated(model.annotations(picture[None])), tokens).sum().item()


@torch.no_grad()
def test_a_beam_over_pictures_is_the_beam_over_each_alone():
    model = captioner(beam=4, n_best=3)
    together = write(model, pictures())
    assert together == [write(model, one[None])[0] for one in pictures()]
    assert all(len(texts) == len(set(texts)) == 3 for texts in together)
    assert "<unk>" not in " ".join(text for texts in together for text in texts)


@torch.no_grad()
def test_a_wider_beam_finds_likelier_captions():
    narrow, wide = captioner(beam=1), captioner(beam=60)
    gains = []
    for picture in pictures():
        texts = [write(model, picture[None])[0][0] for model in (narrow, wide)]
        complete = [len(text.split()) < 7 for text in texts]
        if all(complete):
            gains.append(probability(wide, picture, texts[1]) - probability(narrow, picture, texts[0]))
    assert gains and min(gains) > -1e-5


@torch.no_grad()
def test_diverse_captions_differ_more():
    def overlap(texts):
        words = [text.split() for text in texts]
        return sum(a == b for one in words for other in words if one != other for a, b in zip(one, other, strict=False))

    plain, diverse = (captioner(beam=6, n_best=3, **more) for more in ({}, {"method": "diverse", "diversity": 3.0}))
    both = [sum(map(overlap, write(model, pictures(8)))) for model in (plain, diverse)]
    assert both[1] < both[0]


@torch.no_grad()
def test_drawn_captions_follow_the_seed_and_the_model():
    model = captioner(method="sample", n_best=2, seed=5)
    assert write(model, pictures()) == write(model, pictures())
    assert write(model, pictures()) != write(captioner(method="sample", n_best=2, seed=6), pictures())
    seen = model.see(pictures(1))
    drawn = decode.sample(model, seen, 3000, Sampling(), torch.Generator().manual_seed(0))
    hidden, _, _ = model.decoder.step(torch.tensor([END]), model.decoder.begin(seen, 1), seen)
    wanted = model.decoder.log_probs(hidden)[0].exp()
    wanted[model.tokeniser.unknown] = 0
    first = torch.tensor([(*caption.tokens, END)[0] for caption in drawn])
    share = torch.bincount(first, minlength=WORDS) / 3000
    torch.testing.assert_close(share, wanted / wanted.sum(), atol=0.03, rtol=0)
    assert {len(caption.tokens) + caption.ended for caption in drawn} == set(range(1, 8))
    assert not any({END, model.tokeniser.unknown} & set(caption.tokens) for caption in drawn)
