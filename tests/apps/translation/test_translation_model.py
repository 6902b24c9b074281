"""The network: one call over all steps equals step by step, whatever else is in the batch."""

import pytest
import torch
from torch.nn import functional as F

from unroll.apps.translation.data import NOTHING
from unroll.apps.translation.ensemble import ensemble
from unroll.errors import UserError
from unroll.recurrence import CELLS

VARIANTS = [
    {"attention_kind": kind, "feeding": feeding, "coverage": coverage}
    for kind in ("general", "dot", "additive", "multihead")
    for feeding, coverage in ((False, False), (True, False), (False, True), (True, True))
]
NAMES = ["-".join(str(value) for value in variant.values()) for variant in VARIANTS]


@pytest.fixture
def batch(loaders):
    return next(iter(loaders.train))


def given(batch):
    return batch.source, batch.lengths, batch.inputs, batch.targets


@pytest.mark.parametrize("options", VARIANTS, ids=NAMES)
def test_step_by_step_gives_what_all_steps_at_once_give(make, batch, options):
    model = make(heads=2, layers=2, **options)
    log_probs = model.forced(*given(batch))
    memory, state = model.begin(batch.source, batch.lengths)
    for step in range(len(batch.inputs)):
        found, state = model.advance(batch.inputs[step], state, memory)
        inside = batch.targets[step] != NOTHING
        wanted = found.gather(1, batch.targets[step].clamp(min=0)[:, None])[:, 0]
        torch.testing.assert_close(log_probs[step][inside], wanted[inside])
    assert (log_probs[batch.targets == NOTHING] == 0).all()


@pytest.mark.parametrize("options", VARIANTS, ids=NAMES)
def test_a_sentence_alone_is_the_sentence_in_a_batch(make, batch, options):
    model = make(heads=2, **options)
    together = model.forced(*given(batch))
    padded = F.pad(batch.source, (0, 0, 0, 2), value=1)  # a longer neighbour
    torch.testing.assert_close(model.forced(padded, *given(batch)[1:]), together)
    for row in range(3):
        length, written = batch.lengths[row], int((batch.targets[:, row] != NOTHING).sum())
        alone = model.forced(
            batch.source[:length, [row]],
            batch.lengths[[row]],
            batch.inputs[:written, [row]],
            batch.targets[:written, [row]],
        )
        torch.testing.assert_close(alone[:, 0], together[:written, row])


@pytest.mark.parametrize(
    "options", [*VARIANTS, {"tied": "none"}, {"layers": 2, "dropout": 0.5, "word_dropout": 0.5}], ids=str
)
def test_every_parameter_has_a_gradient(make, batch, options):
    model = make(heads=2, **options).train()
    model.loss(*given(batch)).backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name
        assert parameter.grad.abs().sum() > 0 or "coverage" in name, name


def test_the_loss_is_the_smoothed_cross_entropy(make, batch):
    model = make(smoothing=0.1)
    joined, _ = model(*given(batch)[:3])
    logits = F.linear(joined, model.output.weight, model.output.bias).flatten(0, 1)
    wanted = F.cross_entropy(logits, batch.targets.flatten(), label_smoothing=0.1)
    torch.testing.assert_close(model.loss(*given(batch)), wanted)


def test_without_feeding_training_has_no_loop_over_time(make, batch):
    calls = []
    for feeding in (False, True):
        model = make(feeding=feeding)
        hook = model.attention.register_forward_hook(lambda module, inputs, output: calls.append(len(inputs[0])))
        model(*given(batch)[:3])
        hook.remove()
    steps = len(batch.inputs)
    assert calls == [steps, *[1] * steps]


@pytest.mark.parametrize("cell", sorted(set(CELLS) - {"convlstm", "convgru"}))
def test_any_cell_on_both_sides(make, batch, cell):
    model = make(cell=cell)
    assert model.forced(*given(batch)).isfinite().all()
    model.loss(*given(batch)).backward()


@pytest.mark.parametrize("cell", ["gru", "lstm"])
def test_the_decoder_starts_where_the_encoder_ended(make, batch, cell):
    model = make(cell=cell, layers=2)
    _, last = model.encoder(model.scale * model.embed_source(batch.source), lengths=batch.lengths)
    _, state = model.begin(batch.source, batch.lengths)
    for mine, encoders in zip(state.recurrent, last, strict=True):
        for layer in range(2):
            torch.testing.assert_close(mine[layer], torch.cat((encoders[2 * layer], encoders[2 * layer + 1]), 1))


def test_tying(make):
    model = make(tied="target")
    assert model.output.weight is model.embed_target.weight is not model.embed_source.weight
    assert make(tied="none").output.weight is not make(tied="none").embed_target.weight


def test_scheduled_sampling_puts_in_guesses_in_training_only(make, batch):
    model = make(scheduled=0.999)
    plain = make()
    torch.testing.assert_close(model.forced(*given(batch)), plain.forced(*given(batch)))
    memory, state = model.begin(batch.source, batch.lengths)
    guessed = model._guessed(batch.inputs, memory, state)
    joined, _ = plain(*given(batch)[:3])
    best = plain.output.log_probs(joined.flatten(0, 1)).argmax(1).view(batch.inputs.shape)
    assert torch.equal(guessed[0], batch.inputs[0])
    assert (guessed[1:] == best[:-1]).float().mean() > 0.9
    assert model.train().loss(*given(batch)) != plain.train().loss(*given(batch))


def test_word_dropout_takes_whole_tokens(make, batch):
    torch.manual_seed(0)
    model = make(word_dropout=0.5).train()
    vectors = model._embedded(model.embed_source, batch.source)
    gone = (vectors == 0).all(2)
    assert 0.2 < gone.float().mean() < 0.8
    assert torch.equal(gone, (vectors == 0).any(2))


def test_an_ensemble_writes_with_the_mean_of_the_probabilities(make, batch):
    models = [make(seed=0), make(seed=1, feeding=True)]
    both = ensemble(models)
    wanted = torch.stack([model.forced(*given(batch)).exp() for model in models]).mean(0).log()
    torch.testing.assert_close(both.forced(*given(batch)), wanted)
    memory, state = both.begin(batch.source, batch.lengths)
    log_probs, _ = both.advance(batch.inputs[0], state, memory)
    torch.testing.assert_close(log_probs.exp().sum(1), torch.ones(len(log_probs)))
    alone = ensemble(models[:1])
    torch.testing.assert_close(alone.forced(*given(batch)), models[0].forced(*given(batch)))


def test_models_that_do_not_fit_are_no_ensemble(make):
    first, second = make(), make()
    second.languages = ("de", "en")
    with pytest.raises(UserError, match="en to de, another de to en"):
        ensemble([first, second])
    second.languages, second.target = first.languages, second.source
    with pytest.raises(UserError, match="same prepared data"):
        ensemble([first, second])
    with pytest.raises(UserError, match="at least one"):
        ensemble([])


@torch.no_grad()
def test_uncovered_is_wus_penalty(make, batch):
    model = make()
    memory, state = model.begin(batch.source, batch.lengths)
    for step in range(2):
        _, state = model.advance(batch.inputs[step], state, memory)
    _, looked = model(batch.source, batch.lengths, batch.inputs[:2])
    weights = looked.sum(0)
    wanted = [
        sum(float(weights[row, place].clamp(max=1).log()) for place in range(length))
        for row, length in enumerate(batch.lengths.tolist())
    ]
    assert model.uncovered(state, memory).tolist() == pytest.approx(wanted, abs=1e-4)
