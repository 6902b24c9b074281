"""The trainer: losses, self-critical training, metrics, predictions, pictures."""

import math
from importlib import import_module

import numpy as np
import pytest
import torch
from lightning.fabric import seed_everything

from tests.apps.captioning.conftest import SIDE
from unroll.app import load
from unroll.apps.captioning import APP, data, self_critical, train
from unroll.apps.captioning.decoder import IGNORE
from unroll.apps.captioning.figures import looked
from unroll.apps.captioning.metrics import texts
from unroll.apps.captioning.reward import CiderReward
from unroll.conformance import Subject, resume_is_exact
from unroll.errors import UserError
from unroll.tracking import saved
from unroll.training.loop import fit

SMALL = [
    "data.pictures=40",
    "model.hidden=16",
    "model.embedding=12",
    "model.width=4",
    "train.epochs=2",
    "train.batch=8",
]


def made(prepared, *settings):
    """A model for the pictures of one colour, and their data."""
    config = APP.config("default", [*SMALL, f"data.side={SIDE}", "train.captions=2", *settings])
    found = data.batches(prepared, size=6, captions=config.train.captions, seed=0)
    seed_everything(0, verbose=False)
    return APP.model(config, found.facts), found


@torch.no_grad()
def report(model, batches):
    return train.evaluate(model.eval(), batches)


def trained(prepared, steps, *settings):
    model, found = made(prepared, *settings)
    optimizer = torch.optim.Adam(model.parameters(), 1e-2)
    while steps:
        for batch in found.train:
            optimizer.zero_grad()
            APP.step(model, batch, None).loss.backward()
            optimizer.step()
            steps -= 1
    return model, found


@pytest.mark.parametrize("attention", ["none", "additive", "general"])
def test_it_learns_to_name_colours(prepared, attention):
    model, found = trained(prepared, 60, f"model.attention={attention}", "model.word_dropout=0")
    written = report(model, found.test)
    for record in written.records:
        assert record["prediction"] in record["references"]
    assert written.metrics["cider"] > 1 and written.metrics["bleu_1"] > 95
    assert "facts_true" not in written.metrics


def test_the_loss_is_the_mean_surprisal_of_the_words(prepared):
    model, found = made(prepared, "train.coverage=0", "model.word_dropout=0")
    batch = next(iter(found.train))
    step = APP.step(model.eval(), batch, None)
    words = (batch.tokens != IGNORE).sum()
    told = model.decoder(batch.tokens, model.decoder.annotated(model.annotations(batch.pictures)), model.end)
    own = told.targets != IGNORE
    assert own.sum() == words
    log_probs = model.decoder.log_probs(told.hidden)[own].gather(1, told.targets[own, None])
    assert step.loss.item() == pytest.approx(-log_probs.mean().item(), rel=1e-5)
    assert step.size == batch.tokens.shape[1]


def test_the_doubly_stochastic_term(prepared):
    model, found = made(prepared, "train.coverage=2", "model.word_dropout=0")
    batch = next(iter(found.train))
    step = APP.step(model.eval(), batch, None)
    told = model.decoder(batch.tokens, model.decoder.annotated(model.annotations(batch.pictures)), model.end)
    extra = 2 * (1 - told.looked).square().mean().item()
    assert step.loss.item() == pytest.approx(step.logs["loss_words"] + extra, rel=1e-5) and extra > 0


def test_scheduled_sampling_rises_over_the_epochs(prepared):
    model, found = made(prepared, "train.forget=1", "train.epochs=5", "model.word_dropout=0")
    batch = next(iter(found.train))
    losses = [APP.step(model.train(), batch._replace(epoch=epoch), None).loss.item() for epoch in (0, 0, 4)]
    assert losses[0] == losses[1] != losses[2]


def test_scheduled_sampling_of_a_training_by_the_clock_rises_over_twelve_epochs(prepared):
    model, _ = made(prepared, "train.forget=0.5", "train.epochs=0", "train.minutes=1")
    assert model.ramp == 12


CORPUS = [["a red ball", "the red ball"], ["a blue ball"], ["two dogs"], ["two dogs run", "dogs"], ["a cat in the sun"]]


def test_the_reward_is_cider_with_the_frequencies_of_training():
    ended = [[f"{text} <eos>" for text in texts_] for texts_ in CORPUS]
    predictions = ["the red ball", "two dogs", "two cats", "dogs run", "in the sun"]
    _, wanted = texts([f"{text} <eos>" for text in predictions], ended)
    reward = CiderReward(lambda: CORPUS)
    assert reward([(text, True) for text in predictions], CORPUS) == pytest.approx(wanted)
    # One by one and in another order they are the same: nothing depends on the captions beside.
    for number in (3, 0):
        assert reward([(predictions[number], True)], [CORPUS[number]]) == pytest.approx([wanted[number]])


def test_what_breaks_off_is_rewarded_less():
    whole, broken = CiderReward(lambda: CORPUS)([("a red ball", True), ("a red ball", False)], [CORPUS[0]] * 2)
    assert whole > broken > 0


def test_a_self_critical_step_follows_its_definition(prepared, monkeypatch):
    model, found = made(prepared, "train.self_critical_from=1", "train.rollouts=3", "model.dropout=0.5")
    batch = next(iter(found.train))._replace(epoch=1)
    rewards = iter([torch.arange(18.0), torch.tensor([1.0, 5, 2, 0, 3, 9])])
    monkeypatch.setattr(self_critical, "_rewards", lambda *_: next(rewards))
    drawn = []
    sample = self_critical.sample
    monkeypatch.setattr(self_critical, "sample", lambda *a, **k: drawn.append(sample(*a, **k)) or drawn[-1])
    step = APP.step(model.train(), batch, None)
    assert model.training and [len(captions) for captions in drawn] == [18, 6]
    tokens = self_critical._tokens(model, drawn[0])
    assert [(row != IGNORE).sum() for row in tokens.T] == [len(h.tokens) + h.ended for h in drawn[0]]
    model.eval()
    seen = model.decoder.annotated(model.annotations(batch.pictures))
    advantage = torch.arange(18.0) - torch.tensor([1.0, 5, 2, 0, 3, 9]).repeat_interleave(3)
    total = 0.0
    for row in range(18):
        told = model.decoder(
            tokens[:, [row]], model.decoder.annotated(model.annotations(batch.pictures[[row // 3]])), model.end
        )
        own = told.targets != IGNORE
        chosen = model.decoder.log_probs(told.hidden)[own].gather(1, told.targets[own, None])
        total -= advantage[row].item() * chosen.sum().item()
    assert len(seen.mean) == 6
    assert step.loss.item() == pytest.approx(total / (tokens != IGNORE).sum().item(), rel=1e-4)
    step.loss.backward()
    assert all(p.grad is not None for p in model.parameters())


def test_self_critical_training_raises_the_reward(prepared):
    model, found = trained(prepared, 30, "train.self_critical_from=1", "model.word_dropout=0")
    optimizer = torch.optim.Adam(model.parameters(), 2e-3)
    rewards = []
    torch.manual_seed(0)
    for _ in range(12):
        for batch in found.train:
            step = APP.step(model.train(), batch._replace(epoch=1), None)
            optimizer.zero_grad()
            step.loss.backward()
            optimizer.step()
            rewards.append(step.logs["reward"])
    assert np.mean(rewards[-6:]) > np.mean(rewards[:6]) + 0.3


def test_self_critical_training_resumes_exactly(tmp_path):
    app = load("captioning")
    config = app.config("smoke", [*SMALL, "train.self_critical_from=1", "train.rollouts=2", "decode.longest=12"])
    subject = Subject(app, config, data.Store(tmp_path / "store"), tmp_path)
    app.prepare(config, subject.store)
    resume_is_exact(subject)


def test_metrics_by_hand():
    metrics, each = texts(["a b c d", "x y"], [["a b c d"], ["x z", "q y"]])
    assert metrics["bleu_1"] == pytest.approx(100.0)
    assert metrics["bleu_2"] == pytest.approx(100 * math.sqrt(3 / 4))
    assert len(each) == 2 and each[0] > each[1] > 0


def test_built_in_pictures_are_judged_by_their_facts(tmp_path, monkeypatch):
    config = APP.config("smoke", SMALL)
    store = data.Store(tmp_path / "store")
    APP.prepare(config, store)
    found = APP.data(config, store)
    model = APP.model(config, found.facts)
    written = report(model, found.test)
    assert list(written.metrics)[:4] == ["facts_true", "facts_told", "sentences", "cider"]
    assert APP.with_score_for(config).score.name == "facts_true" and "beam=3" in written.signature
    # The references themselves: all that they say is true.
    told = [[record["captions"][0]] for record in next(iter(found.test)).records]
    # The module itself: what the package calls so may be a stand-in.
    monkeypatch.setattr(import_module("unroll.apps.captioning.train"), "write", lambda model, pictures: told)
    perfect = train.evaluate(model, [next(iter(found.test))])
    assert perfect.metrics["facts_true"] == perfect.metrics["sentences"] == 1 and perfect.metrics["facts_told"] > 0.7


def test_predict_reads_pictures_of_any_size(prepared, picture, tmp_path):
    model, _ = made(prepared)
    model.eval()
    paths = [picture("a.png", (100, 30)), picture("grey.jpg", mode="L"), picture("p.gif", mode="P")]
    captions = APP.predict(model, [str(path) for path in paths])
    assert len(captions) == 3 and all(isinstance(text, str) for text in captions)
    with pytest.raises(UserError, match=r"gone.png: there is no such file"):
        APP.predict(model, ["gone.png"])
    several, _ = made(prepared, "decode.n_best=2", "decode.method=diverse", "decode.beam=4", "decode.groups=2")
    assert all(len(texts) == 2 for texts in APP.predict(several.eval(), paths))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (["decode.n_best=4"], "decode.n_best=4 is more than decode.beam=3"),
        (["decode.method=diverse", "decode.beam=4"], "decode.groups=3 must divide decode.beam=4"),
        (["model.cell=lstn"], "model.cell=lstn: no such cell; did you mean"),
    ],
)
def test_settings_that_do_not_fit(settings, message):
    with pytest.raises(UserError, match=message):
        APP.model(APP.config("smoke", settings), {})


def test_sizes_that_do_not_fit(prepared):
    with pytest.raises(
        UserError, match=r"model.attention=dot: dot attention needs queries and memory of the same size"
    ):
        made(prepared, "model.attention=dot")


def test_a_saved_model_needs_no_data(tmp_path):
    app = load("captioning")
    config, store = app.config("smoke", SMALL), data.Store(tmp_path / "store")
    app.prepare(config, store)
    found = app.data(config, store)
    model = app.model(config, found.facts)
    fit(app, config, found, model, tmp_path / "run")
    saved.save(tmp_path / "model", app, config, found.facts, found.digest, model)
    wanted = APP.predict(model.eval(), app.examples)
    (tmp_path / "store").rename(tmp_path / "gone")
    assert saved.load(tmp_path / "model").predict(app.examples) == wanted
    assert len(saved.load(tmp_path / "model", ["decode.n_best=2"]).predict(app.examples)[0]) == 2


def test_pictures_of_captions_and_of_attention(prepared):
    model, found = trained(prepared, 4)
    written = report(model, found.test)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    made_ = APP.figures(model.train(), found.test, written)
    assert model.training and all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    model.eval()
    assert set(made_) == {"captions", "attention"}
    titles = [axes.get_title() for axes in made_["attention"].axes]
    words = written.records[0]["prediction"].split()
    assert titles[: len(words) + 1] == [*words, "(end)"]
    maps = looked(model, next(iter(found.test)).pictures[:1], "it is red")
    assert maps.shape == (4, 2, 2)
    np.testing.assert_allclose(maps.sum((1, 2)), 1, rtol=1e-5)
    plain, found = trained(prepared, 2, "model.attention=none")
    assert set(APP.figures(plain, found.test, report(plain, found.test))) == {"captions"}
