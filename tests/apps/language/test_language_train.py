"""Evaluation to the last token, ways to adapt, the table of surprisals, resume, and models that do not fit."""

import json
import math
import os
import shutil
import signal
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from tests.apps.language.conftest import TEXT, configured
from tests.unroll.training.test_loop import same
from unroll.apps.language import APP, batches
from unroll.apps.language.adapt import Cached, Dynamic, Plain
from unroll.apps.language.options import Adaptation
from unroll.apps.language.surprisal import scores
from unroll.apps.language.train import evaluate, step
from unroll.data.store import Store
from unroll.errors import UserError
from unroll.interrupt import Interrupted
from unroll.recurrence.state import detach
from unroll.tracking import saved
from unroll.training.evaluation import evaluate as evaluate_split
from unroll.training.loop import fit
from unroll.training.progress import Observer


class Losses(Observer):
    def __init__(self, stop_at=0):
        self.losses, self.stop_at = {}, stop_at

    def step(self, at, size, metrics):
        self.losses[at.step] = metrics["train/loss"]
        if at.step == self.stop_at:
            os.kill(os.getpid(), signal.SIGINT)


@pytest.mark.parametrize("units", ["characters", "words"])
def test_every_token_counts_once_with_the_state_carried(trained, units):
    given = trained(units)
    tokens = torch.from_numpy(np.asarray(given.data.test.dataset.tokens).astype(np.int64))
    first = torch.tensor([given.model.tokeniser.first])
    with torch.no_grad():
        hidden, _ = given.model(torch.cat((first, tokens[:-1]))[:, None])
        wanted = F.cross_entropy(given.model.output.log_probs(hidden[:, 0]), tokens).item()
    report = evaluate_split(APP, given.model, given.data.test)
    characters = len(given.model.tokeniser.decode(tokens.tolist()))
    if units == "words":
        characters += sum(1 for n in tokens.tolist() if n == first.item())  # the space before each line end
    assert report.metrics["perplexity"] == pytest.approx(math.exp(wanted), rel=1e-5)
    assert report.metrics["bits_per_character"] == pytest.approx(
        wanted * len(tokens) / math.log(2) / characters, rel=1e-5
    )
    assert report.signature == f"ppl+bpc|units:{units}|state:carried|tokens:{len(tokens)}"
    assert sum(record["tokens"] for record in report.records) == len(tokens)


def test_the_baseline_is_in_the_same_units_on_the_same_text(trained):
    given = trained("words")
    counted = APP.baselines(given.config, given.data)["kneser-ney-5"]
    ours = evaluate_split(APP, given.model, given.data.test).metrics
    assert counted.keys() == ours.keys()
    ratio = math.log(counted["perplexity"]) / counted["bits_per_character"]
    assert ratio == pytest.approx(math.log(ours["perplexity"]) / ours["bits_per_character"])


def naive_cache(hidden, targets, plain, size, weight, flatness):
    """Equations 2 to 4 of Grave et al., token by token."""
    found = []
    for t in range(len(targets)):
        past = range(max(0, t - size), t)
        scores = {i: math.exp(flatness * float(hidden[t] @ hidden[i])) for i in past}
        total = sum(scores.values())
        cached = sum(score for i, score in scores.items() if targets[i] == targets[t]) / total if past else 0.0
        p = (1 - weight) * math.exp(-plain[t]) + weight * cached if past else math.exp(-plain[t])
        found.append(-math.log(p))
    return found


def test_the_cache_is_the_naive_one_over_windows(trained):
    given = trained("words")
    cached, plain = Cached(given.model, 30, 0.2, 0.7), Plain(given.model)
    windows = [*given.data.val][:3]
    with torch.no_grad():
        got = torch.cat([cached.read(window) for window in windows])
        usual = torch.cat([plain.read(window) for window in windows])
        tokens = torch.cat([window.tokens for window in windows])
        hidden, _ = given.model(tokens)
    targets = torch.cat([window.targets for window in windows]).flatten().tolist()
    wanted = naive_cache(hidden[:, 0], targets, usual.tolist(), 30, 0.2, 0.7)
    assert got.tolist() == pytest.approx(wanted, rel=1e-4)


def test_dynamic_evaluation_learns_from_the_past_only_and_leaves_the_model_as_it_was(trained):
    given = trained("characters")
    before = [p.clone() for p in given.model.parameters()]
    windows = [*given.data.val]
    with torch.no_grad():
        plain = torch.cat([Plain(given.model).read(windows[0])])
        still, moving = (Dynamic(given.model, rate, 0.0).read(windows[0]) for rate in (0.0, 0.5))
    torch.testing.assert_close(still, plain, rtol=1e-4, atol=1e-5)
    steps = Dynamic.STEPS
    torch.testing.assert_close(moving[:steps], still[:steps], rtol=1e-4, atol=1e-5)
    assert not torch.allclose(moving[steps:], still[steps:], atol=1e-4)
    assert all(torch.equal(a, b) for a, b in zip(before, given.model.parameters(), strict=True))


def test_a_strong_pull_keeps_the_trained_weights(trained):
    given = trained("characters")
    reader = Dynamic(given.model, 0.5, 0.999)
    with torch.no_grad():
        reader.read(next(iter(given.data.val)))
    for learnt, trained_weight in zip(reader.parameters, reader.trained, strict=True):
        torch.testing.assert_close(learnt, trained_weight, rtol=0, atol=2e-3)


def test_adaptations_are_reported_beside_the_plain_figures_by_name(trained):
    given = trained("words")
    config = given.config.override(["evaluate.cache=50", "evaluate.dynamic=0.1"])
    adapting = APP.model(config, given.data.facts)
    adapting.load_state_dict(given.model.state_dict())
    report = evaluate_split(APP, adapting.eval(), given.data.test)
    plain = evaluate_split(APP, given.model, given.data.test)
    assert list(report.metrics) == [
        "bits_per_character", "perplexity", "bits_per_character_cache", "perplexity_cache",
        "bits_per_character_dynamic", "perplexity_dynamic",
    ]  # fmt: skip
    assert report.metrics["perplexity"] == plain.metrics["perplexity"]
    assert len({report.metrics[f"perplexity{name}"] for name in ("", "_cache", "_dynamic")}) == 3
    assert given.model.adaptation == Adaptation()


def test_a_window_of_another_size_has_a_loss_in_proportion(trained):
    given = trained("characters")
    window = next(iter(given.data.train))
    short = window._replace(tokens=window.tokens[:4], targets=window.targets[:4])
    given.model.train()
    try:
        torch.testing.assert_close(step(given.model, short).loss, given.model.loss(*short[:2])[0] * 4 / 16)
        assert step(given.model, short).size == 16
    finally:
        given.model.eval()


@pytest.mark.parametrize("units", ["characters", "words"])
def test_scores_are_the_evaluations_token_by_token(trained, tmp_path, units):
    given = trained(units)
    path = tmp_path / "=text $x$.txt"
    path.write_text(TEXT[:900])
    rows, figures = scores(given.model, path)
    numbers = given.model.tokeniser.encode(TEXT[:900])
    assert [row["token"] for row in rows] == [given.model.tokeniser.symbols[n] for n in numbers]
    inputs = torch.tensor([given.model.tokeniser.first, *numbers])
    with torch.no_grad():
        hidden, _ = given.model(inputs[:-1, None])
        nats = given.model.output.surprisal(hidden[:, 0], inputs[1:])
    assert [row["surprisal_bits"] for row in rows] == pytest.approx((nats / math.log(2)).tolist(), abs=1e-3)
    assert all(0 < row["its_probability"] <= 1 for row in rows)
    figures["surprisal"].savefig(tmp_path / "picture.png")
    assert (tmp_path / "picture.png").stat().st_size > 10_000


@pytest.mark.parametrize(("content", "message"), [(b"", "is empty"), (b"a\xff", "byte 1: is not UTF-8")])
def test_a_file_without_text_has_no_scores(trained, tmp_path, content, message):
    path = tmp_path / "bad.txt"
    path.write_bytes(content)
    with pytest.raises(UserError, match=message):
        scores(trained("characters").model, path)


def test_a_file_that_is_too_long_to_score_is_one_line(trained, tmp_path, monkeypatch):
    monkeypatch.setattr("unroll.apps.language.surprisal.LONGEST", 100)
    path = tmp_path / "long.txt"
    path.write_text(TEXT)
    with pytest.raises(UserError, match=r"long\.txt: has more than 100 tokens; split it"):
        scores(trained("characters").model, path)


def test_the_state_is_in_the_checkpoint_randomised_windows_and_dropout_included(text_file, tmp_path):
    config = configured(
        text_file, "train.randomised=true", "train.epochs=2", "model.locked=true", "model.dropout_input=0.2",
        "model.weight_drop=0.2", "model.cutoffs=[8]", "train.device=cpu", "train.batch=16", "train.window=24",
    )  # fmt: skip
    store = Store(tmp_path / "store")
    APP.prepare(config, store)

    def run(folder, stop_at=0, resume=False):
        data, log = batches(config, store), Losses(stop_at)
        torch.manual_seed(0)
        network = APP.model(config, data.facts)
        fit(replace(APP, name="language"), config, data, network, folder, [log], resume=resume)
        return network, log.losses

    whole, losses = run(tmp_path / "whole")
    stop = len(losses) * 2 // 3
    with pytest.raises(Interrupted):
        run(tmp_path / "stopped", stop_at=stop)
    resumed, rest = run(tmp_path / "stopped", resume=True)
    assert rest == {number: loss for number, loss in losses.items() if number > stop}
    assert same(whole, resumed)


def test_carrying_the_state_matters(trained):
    given = trained("characters")
    first, second = [*given.data.train][:2]
    with torch.no_grad():
        state = detach(step(given.model, first).state)
        carried, fresh = (step(given.model, second, s).loss.item() for s in (state, None))
    assert carried != fresh


def test_a_vocabulary_that_does_not_fit_the_weights_is_one_line(trained, tmp_path):
    given = trained("words")
    saved.save(tmp_path / "model", replace(APP, name="language"), given.config, given.data.facts, "0", given.model)
    assert evaluate(saved.load(tmp_path / "model").model, given.data.test).metrics["perplexity"] > 1
    shutil.copytree(tmp_path / "model", tmp_path / "other")
    path = tmp_path / "other" / "model.json"
    description = json.loads(path.read_text())
    description["facts"]["tokeniser"]["symbols"].append("more")
    path.write_text(json.dumps(description))
    with pytest.raises(UserError) as error:
        saved.load(tmp_path / "other")
    assert "does not fit the model of language" in str(error.value) and "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("setting", "message"),
    [("model.cutoffs=[5000]", "cutoffs"), ("model.cutoffs=[20, 10]", "cutoffs"), ("model.cell=lsmt", "lstm")],
)
def test_settings_that_make_no_model_are_one_line(trained, setting, message):
    given = trained("words")
    with pytest.raises(UserError, match=message):
        APP.model(given.config.override([setting]), given.data.facts)
