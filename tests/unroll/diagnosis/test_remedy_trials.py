"""Remedies fit the verdict and the model, are tried fairly, and recommended only on evidence; the page shows it all."""

import json
import math
import os
import re
from collections import Counter
from html import escape, unescape
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
import torch
from mlflow.tracking import MlflowClient

from tests.unroll.diagnosis.patients import APP, Net, data, elman, quiet
from unroll import app as apps
from unroll.commands import diagnose as command
from unroll.commands.memory import memory
from unroll.diagnosis.examination import advice, diagnose, page, stream
from unroll.diagnosis.in_training import gradient_probe, verdict
from unroll.diagnosis.probe import probe
from unroll.diagnosis.remedies import Remedy, remedies
from unroll.diagnosis.remedy_trials import Outcome, Tried, attempt, interval, recommended
from unroll.diagnosis.verdict import Finding, classify
from unroll.errors import UsageError, UserError
from unroll.recurrence import Recurrent


def finding(kind: Any) -> Finding:
    torch.manual_seed(0)
    found = classify(probe(APP, elman("tanh", 0.5), quiet("tanh"))[0])
    return Finding(**{**vars(found), "kind": kind})


def names(kind: str, settings: tuple[str, ...] = (), **options: Any) -> list[str]:
    config = APP.config(settings=settings)
    return [remedy.name for remedy in remedies(finding(kind), config, Net(config.model.cell, 3, 8, **options))]


def test_remedies_fit_the_cell() -> None:
    assert names("healthy") == []
    assert names("vanishing")[0] == "an LSTM with open forget gates"
    gated = names("vanishing", ("model.cell=lstm",), layers=2)
    assert gated[0] == "chrono initialisation for 32 steps" and "an LSTM with open forget gates" not in gated
    assert "residual layers" in gated and "cell layernorm-lstm" in gated
    assert "orthogonal recurrent weights" not in names("vanishing", ("model.cell=mingru",))
    assert names("exploding")[:2] == ["clip the gradient at 0.25", "orthogonal recurrent weights"]
    assert names("truncated") == [], "the toy has no window to lengthen"


def test_a_window_is_lengthened_by_the_setting_that_the_application_names() -> None:
    config = apps.load("language").config(settings=["train.window=30"])
    found = remedies(finding("truncated"), config, Net("lstm", 3, 8))
    assert [remedy.settings for remedy in found] == [("train.window=60",), ("train.window=120",)]


@pytest.mark.parametrize("kind", ["vanishing", "exploding", "saturated"])
@pytest.mark.parametrize("cell", ["elman", "lstm", "gru", "indrnn", "mingru"])
def test_every_remedy_can_be_taken(kind: str, cell: str) -> None:
    config = APP.config(settings=[f"model.cell={cell}", "model.layers=2"])
    some = remedies(finding(kind), config, APP.model(config, {}))
    assert some
    for remedy in some:
        model = APP.model(config.override(remedy.settings), {})
        if remedy.change:
            remedy.change(model)
        assert torch.isfinite(APP.step(model, quiet("tanh"), None).loss), remedy.name
        assert remedy.reason


def test_a_try_is_the_same_every_time_and_changes_what_it_says() -> None:
    config = APP.config()
    before, again = (attempt(APP, config, data, None, steps=6, seeds=(0, 1)) for _ in range(2))
    assert [o.loss for o in before.outcomes] == [o.loss for o in again.outcomes]
    open_gates = remedies(finding("vanishing"), config, APP.model(config, {}))[0]
    after = attempt(APP, config, data, open_gates, steps=6, seeds=(0, 1))
    assert after.mean("reach")[0] > 2 * before.mean("reach")[0]


def outcomes(*losses: float) -> list[Outcome]:
    return [Outcome(loss, 5.0, 0.9, "vanishing", 1.0) for loss in losses]


def test_only_what_is_better_with_its_whole_interval_is_recommended() -> None:
    before = Tried(None, outcomes(1.0, 2.0, 3.0))
    lucky = Tried(Remedy("lucky", ""), outcomes(0.1, 2.1, 3.0))
    sound = Tried(Remedy("sound", ""), outcomes(0.89, 1.9, 2.91))
    better = Tried(Remedy("better", ""), outcomes(0.8, 1.81, 2.8))
    assert recommended([before, lucky]) is None
    assert recommended([before, lucky, sound, better]) is better
    assert sound.gain(before)[0] == pytest.approx(-0.1)


def test_intervals_over_seeds() -> None:
    mean, low, high = interval([1.0, 2.0, 3.0])
    assert mean == 2 and high - 2 == pytest.approx(4.302652729911275 / math.sqrt(3)) == 2 - low
    assert interval([1.0]) == (1.0, -math.inf, math.inf)


class Page(HTMLParser):
    """What a page would fetch, its tags, headings and number of tables."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.sources: list[str] = []
        self.tags: Counter[str] = Counter()
        self.headings = re.findall("<h2>(.*?)</h2>", text)
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        self.tags[tag] += 1
        self.sources += [value for key, value in attrs if key in ("src", "href")]


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("UNROLL_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("UNROLL_RUNS", str(tmp_path / "runs"))
    monkeypatch.setenv("UNROLL_DATA", str(tmp_path / "data"))
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path / 'mlflow.db'}")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(apps, "load", lambda name: APP)
    return tmp_path


def test_a_fresh_model_is_diagnosed_and_cured(place: Path) -> None:
    result = command.diagnose("toy", settings=["model.hidden=8"], fix=True, steps=4, seeds=2)
    assert result["verdict"] == "vanishing" and result["need"] is None and result["run"] is None
    first, *others = [row["tried"] for row in result["tried"]]
    assert first == "as it is" and len(others) == 3
    json.dumps(result)
    text = Path(result["report"]).read_text(encoding="utf-8")
    shown = Page(text)
    assert "script" not in shown.tags and len(shown.sources) >= 4
    assert all(source.startswith("data:image/png;base64,") for source in shown.sources), "opens without a network"
    assert result["advice"].split(":")[0] in text
    client = MlflowClient(os.environ["MLFLOW_TRACKING_URI"])
    assert client.get_experiment_by_name("toy") is None, "no candidate for `latest`"
    [run] = client.search_runs([client.get_experiment_by_name("toy diagnoses").experiment_id])
    assert run.info.status == "FINISHED"
    assert run.info.artifact_uri.startswith((place / "home" / "mlruns").as_uri()), "where everything is kept"
    assert [file.path for file in client.list_artifacts(run.info.run_id, "diagnosis")] == ["diagnosis/diagnosis.html"]


def test_wrong_usage_is_one_line(place: Path) -> None:
    with pytest.raises(UsageError, match="--run has its own preset"):
        command.diagnose("toy", run="latest", preset="smoke")
    with pytest.raises(UsageError, match="--seeds at least 2"):
        command.diagnose("toy", fix=True, seeds=1)
    with pytest.raises(UserError, match="no such checkpoint"):
        command.diagnose("toy", replay="nowhere.safetensors")
    with pytest.raises(UsageError, match="--cell lsmt: unknown; did you mean"):
        memory("lsmt")


def test_memory_reports_every_cell_and_task(place: Path) -> None:
    result = memory("elman,mingru", "copy,flip-flop", steps=3, hidden=4, longest=2)
    assert set(result["reach"]) == {"elman", "mingru"} and set(result["reach"]["elman"]) == {"copy", "flip-flop"}
    json.dumps(result)
    assert Page(Path(result["report"]).read_text(encoding="utf-8")).sources[0].startswith("data:image/png")


def test_a_trained_model_has_its_need_measured() -> None:
    torch.manual_seed(0)
    config, model = APP.config(), elman("tanh", 0.5, hidden=8)
    pairs = stream(APP, model, list(data(config).val))
    assert diagnose(APP, config, model, pairs).needs == {}
    found = diagnose(APP, config, model, pairs, pairs)
    assert found.needs["rnn"].lags == (0, 1, 2, 4, 8, 16) and found.finding.need == found.needs["rnn"].steps


def test_the_page_holds_every_picture_and_table_that_was_found() -> None:
    torch.manual_seed(0)
    config, model = APP.config(), elman("tanh", 0.5, hidden=8)
    pairs = stream(APP, model, list(data(config).val))
    found = diagnose(APP, config, model, pairs, pairs)
    found.remedies = [Remedy("gates", "they keep more", ("model.cell=lstm",))]
    found.tried = [Tried(None, outcomes(1.0, 1.1)), Tried(found.remedies[0], outcomes(0.1, 0.2))]
    text = str(page(found, "of a toy"))
    shown = Page(text)
    assert shown.headings == [
        "rnn: how far back the gradient reaches", "How much memory the loss makes use of",
        "What may help, best first", "What was tried",
    ]  # fmt: skip
    alternatives = [unescape(one) for one in re.findall('alt="(.*?)"', text)]
    assert [one.split(" of rnn")[0] for one in alternatives] == [
        "heat map and decay curves of the gradient through time", "share of the weights' gradient by lag",
        "gates and activations", "spectral norms of the state's Jacobian", "loss by length of memory",
        "held-out loss of each remedy with its interval",
    ]  # fmt: skip
    assert shown.tags["table"] == 3 and f"<p>{escape(advice(found.tried))}</p>" in text


def test_watching_a_training_logs_a_picture_and_numbers_or_says_once_that_it_cannot() -> None:
    class Run:
        names: list[str] = []  # noqa: RUF012

        def figures(self, figures: Any) -> None:
            self.names += figures

    run: Any = Run()
    numbers = gradient_probe(APP, run)(elman("tanh", 0.5), quiet("tanh"), None, 40)
    assert run.names == ["gradient/step-0000040"] and 0 < numbers["probe/growth"] < 1
    look = gradient_probe(APP, run)
    with pytest.warns(UserWarning, match=r"train\.probe_every: .*no unroll\.recurrence\.Recurrent"):
        assert look(torch.nn.Linear(1, 1), quiet("tanh"), None, 1) == {}
    assert look(torch.nn.Linear(1, 1), quiet("tanh"), None, 2) == {}


def test_a_training_that_stops_is_told_the_verdict_where_there_is_one() -> None:
    said = verdict(APP)(elman("tanh", 0.5), quiet("tanh"), None)
    assert re.match(r"verdict vanishing: .*\d", said)
    assert verdict(APP)(torch.nn.Linear(1, 1), quiet("tanh"), None) == ""


@pytest.mark.parametrize(("cell", "zoneout"), [("lstm", (0.1, 0.1)), ("gru", (0.1, 0.0))])
def test_a_tenth_of_the_units_keep_their_value(cell: str, zoneout: tuple[float, float]) -> None:
    """Of the cell state, too, where there is one."""
    config, model = APP.config(settings=(f"model.cell={cell}",)), Net(cell, 3, 8)
    [remedy] = [one for one in remedies(finding("vanishing"), config, model) if one.name == "zoneout of 0.1"]
    assert remedy.change is not None
    remedy.change(model)
    assert {module.zoneout for module in model.modules() if isinstance(module, Recurrent)} == {zoneout}
