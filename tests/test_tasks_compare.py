"""Grids, comparisons, promotion, sweeps and the doctor as typed by a user."""

import csv
import io
import json
import os
import re
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import optuna
import pytest
from mlflow.entities import Metric, Param, Run
from mlflow.tracking import MlflowClient

from tests import test_tasks
from tests.test_tasks import INVOKE, Done
from unroll import tracking
from unroll.search import sweep

invoke, workplace = test_tasks.invoke, test_tasks.workplace  # the fixtures
GRID = "train --app speech --preset smoke --set train.epochs=1 --set data.utterances=60 --set model.cell=gru,elman"
THREE = (
    "train --app recommend --preset smoke --set data.sessions=100 --set model.hidden=8 --set train.epochs=40 --seeds 3"
)

Invoke = Callable[..., Done]


@pytest.fixture
def at_work(workplace: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> MlflowClient:
    for name, value in workplace.items():
        monkeypatch.setenv(name, value)
    monkeypatch.chdir(Path(workplace["UNROLL_DATA"]).parent)
    return MlflowClient(workplace["MLFLOW_TRACKING_URI"])


def table(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text)))


def test_a_grid_is_trained_and_one_failure_ends_nothing_else(invoke: Invoke, at_work: MlflowClient) -> None:
    done = invoke(*GRID.replace("gru,elman", "gru,convgru,elman").split(), "--jobs", "2", "--json")
    assert done.code == 1
    results = json.loads(done.out.strip().splitlines()[-1])["runs"]
    assert [result["status"] for result in results] == ["FINISHED", "FAILED", "FINISHED"]
    assert "model.cell=convgru" in results[1]["settings"] and results[1]["error"]
    assert "2 trained, 0 skipped, 1 failed" in done.out and "[3/3] speech model.cell=" in done.out


def test_what_is_finished_is_skipped(invoke: Invoke, at_work: MlflowClient) -> None:
    results = invoke(*GRID.split(), "--seeds", "1", "--json").result["runs"]
    assert [result["skipped"] for result in results] == [True, True]
    assert all("test/wer" in result["metrics"] for result in results)


def test_the_grid_is_compared(invoke: Invoke, at_work: MlflowClient) -> None:
    done = invoke("compare", "--app", "speech", "--by", "model.cell", "--json")
    found = done.result
    assert found["metric"] == "test/wer" and found["by"] == ["model.cell"]
    assert {group["by"]["model.cell"]: group["n"] for group in found["groups"]} == {"gru": 1, "elman": 1}
    assert [one["why"] for one in found["left_out"]] == ["ended as FAILED"]
    assert all(group["parameters"] > 0 and group["per_second"] > 0 for group in found["groups"])
    assert all(50 < group["memory_mb"] < 50_000 for group in found["groups"])
    [other] = [group for group in found["groups"] if group["difference"] is not None]
    assert other["p"] is None and other["low"] is None
    assert "one seed, so no interval and no test can be given; 6 seeds each would be needed" in done.out
    assert found["how"].endswith("examples: sum(score) / sum(words)")


def test_comma_separated_values_are_nothing_but_that(invoke: Invoke, at_work: MlflowClient) -> None:
    done = invoke("compare", "--app", "speech", "--by", "model.cell", "--csv")
    rows = table(done.out)
    assert done.err == "" and {row["model.cell"] for row in rows} == {"gru", "elman"}
    assert all(float(row["mean"]) >= 0 for row in rows)


def test_a_page_is_written_and_logged(invoke: Invoke, at_work: MlflowClient) -> None:
    report = Path(invoke("compare", "--app", "speech", "--by", "model.cell", "--html", "--json").result["report"])
    text = report.read_text(encoding="utf-8")
    assert text.count("<img") == 3 and "http" not in text and "left" in text.lower()
    experiment = at_work.get_experiment_by_name("comparisons")
    assert experiment is not None
    [run] = at_work.search_runs([experiment.experiment_id])
    assert [file.path for file in at_work.list_artifacts(run.info.run_id)] == [report.name]


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        ("--metric test/wers", 1, "--metric test/wers: no run of speech has it; did you mean test/wer"),
        ("--by model.cel", 1, "--by model.cel: no run has this key; did you mean model.cell"),
        ("--by model.cell --baseline grou", 1, "--baseline grou: is the value of no group; did you mean gru"),
        ("--where model.cell", 2, "--where model.cell: write it as key=value"),
        ("--where model.cel=gru", 1, "--where model.cel: no run has this key; did you mean model.cell"),
        ("--where model.cell=xyz", 1, "--where model.cell=xyz: no run has this value; known: convgru, elman, gru"),
        ("--equal speed", 2, "--equal speed: write parameters or seconds"),
        ("--equal seconds --metric test/wer", 2, "--equal seconds: is about the validation score"),
    ],
)
def test_wrong_questions_are_one_line(invoke: Invoke, at_work: MlflowClient, words: str, code: int, said: str) -> None:
    done = invoke("compare", "--app", "speech", *words.split())
    assert said in done.error and done.code == code


def test_other_data_are_refused_with_the_reason(invoke: Invoke, at_work: MlflowClient) -> None:
    one = "train --app speech --preset smoke --set train.epochs=1 --set model.cell=gru --set data.utterances=48"
    assert invoke(*one.split(), "--json").result["status"] == "FINISHED"
    found = invoke("compare", "--app", "speech", "--json").result
    assert [why["why"] for why in found["left_out"]][-1].startswith("other data: digest")
    where = ("--where", "model.cell=gru", "--by", "data.utterances")
    refused = invoke("compare", "--app", "speech", *where)
    assert "runs that differ in data.utterances cannot be compared" in refused.error and refused.code == 1


def test_another_split_rule_is_refused_by_its_name(invoke: Invoke, at_work: MlflowClient) -> None:
    experiment = at_work.get_experiment_by_name("speech")
    assert experiment is not None
    [run] = at_work.search_runs([experiment.experiment_id], "params.`model.cell` = 'elman'", max_results=1)
    signed = run.data.tags["signature.test"]
    assert "|split:test, by voice|data:" in signed
    tags = {**run.data.tags, "signature.test": signed.replace("by voice", "by hash of the name")}
    other = at_work.create_run(experiment.experiment_id, tags=tags).info.run_id
    params = [Param(key, "rnn" if key == "model.cell" else value) for key, value in run.data.params.items()]
    at_work.log_batch(other, [Metric("test/wer", 0.5, 0, 0)], params)
    at_work.set_terminated(other, "FINISHED")
    try:
        refused = invoke("compare", "--app", "speech", "--by", "model.cell", "--json").result["left_out"]
        assert {
            "run": other,
            "status": "FINISHED",
            "why": "other split rule: by hash of the name against by voice",
        } in refused
        alone = invoke("compare", "--app", "speech", "--by", "model.cell", "--where", "data.utterances=60", "--json")
        assert other not in [one["run"] for one in alone.result["runs"]]
    finally:
        at_work.delete_run(other)


def test_equal_costs(invoke: Invoke, at_work: MlflowClient) -> None:
    by = ("compare", "--app", "speech", "--by", "model.cell", "--json")
    found = invoke(*by, "--equal", "parameters").result
    assert len(found["groups"]) == 1 and "more than 10% from" in found["left_out"][-1]["why"]
    timed = invoke(*by, "--equal", "seconds").result
    assert timed["metric"] == "val/wer" and "the time of the shortest training" in timed["notes"][-1]


def test_an_interrupted_grid_goes_on_where_it_was(
    invoke: Invoke, workplace: dict[str, str], at_work: MlflowClient, start: Callable[..., subprocess.Popen[str]]
) -> None:
    words = [*THREE.split(), "--json"]
    process = start([*INVOKE, *words], env={**os.environ, **workplace})
    second = _under_way(at_work, process, seed=1)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=120)
    assert process.returncode == 128 + signal.SIGINT and err.strip() == "error: interrupted"
    assert "[1/3] recommend train.seed=0: test/recall@20" in out
    assert "stopping; the same command resumes from here" in out
    [first] = _runs(at_work, 0)
    assert first.info.status == "FINISHED" and at_work.get_run(second).info.status == "KILLED"
    assert _runs(at_work, 2) == []

    again = invoke(*words)
    results = again.result["runs"]
    assert [one["status"] for one in results] == ["FINISHED"] * 3
    assert [one.get("skipped", False) for one in results] == [True, False, False]
    assert [one["run"] for one in results[:2]] == [first.info.run_id, second]
    assert "2 trained, 1 skipped, 0 failed" in again.out
    log = Path(workplace["UNROLL_RUNS"]) / "grid/recommend-train.seed=1.log"
    epochs = [int(number) for number in re.findall(r"epoch +(\d+)/40 ", log.read_text())]
    assert epochs[0] > 1 and epochs[-1] == 40  # what it printed after the interruption
    steps = [metric.step for metric in at_work.get_metric_history(second, "train/loss")]
    assert steps == list(range(1, results[1]["steps"] + 1))

    [group] = invoke("compare", "--app", "recommend", "--json").result["groups"]
    assert group["n"] == 3 and group["runs"] == [one["run"] for one in reversed(results)]


def _under_way(client: MlflowClient, process: "subprocess.Popen[str]", seed: int) -> str:
    """The id of the run of that seed, once it has been evaluated and while it goes on."""
    while process.poll() is None:
        for run in _runs(client, seed):
            if run.info.status == "RUNNING" and "val/recall:20" in run.data.metrics:
                return str(run.info.run_id)
        time.sleep(0.1)
    raise AssertionError(process.communicate())


def _runs(client: MlflowClient, seed: int) -> list[Run]:
    experiment = client.get_experiment_by_name("recommend")
    if experiment is None:
        return []
    return list(client.search_runs([experiment.experiment_id], f"params.`train.seed` = '{seed}'"))


def test_a_model_is_promoted_and_used_by_its_alias(invoke: Invoke, at_work: MlflowClient) -> None:
    missing = invoke("predict", "--app", "speech", "--run", "models:/speech@champion")
    for alias in ("the best", "Latest", "v2"):
        odd = invoke("promote", "--app", "speech", "--alias", alias)
        assert odd.code == 2 and f"--alias {alias}: write a name of letters, digits, _ and -" in odd.error
    assert "--run models:/speech@champion: " in missing.error and "register one: invoke promote" in missing.error
    promoted = invoke("promote", "--app", "speech", "--json").result
    assert promoted["model"] == "models:/speech@champion" and promoted["version"] == 1
    again = invoke("evaluate", "--app", "speech", "--run", "models:/speech@champion", "--json").result
    assert again["metrics"] == promoted["metrics"]
    assert invoke("predict", "--app", "speech", "--run", "models:/speech@champion", "--json").result["outputs"]
    assert at_work.get_model_version_by_alias("speech", "champion").run_id == promoted["run"]


def test_a_model_that_is_not_what_it_was_is_not_promoted(invoke: Invoke, at_work: MlflowClient) -> None:
    experiment = at_work.get_experiment_by_name("speech")
    assert experiment is not None
    [run] = at_work.search_runs([experiment.experiment_id], "attributes.status = 'FINISHED'", max_results=1)
    was = run.data.metrics["test/wer"]
    at_work.log_metric(run.info.run_id, "test/wer", was + 1e-4, step=10_000)
    refused = invoke("promote", "--app", "speech", "--run", run.info.run_id)
    assert f"its test/wer was {was + 1e-4:.8g}, its stored model gives {was:.8g}; not promoted" in refused.error
    assert len(at_work.search_model_versions("name = 'speech'")) == 1


SEARCH = ["--search", "optimizer.lr=1e-7..1e-1:log", "--search", "model.hidden=8..12", "--study", "s", "--json"]


@pytest.fixture
def text(at_work: MlflowClient) -> list[str]:
    """The words of a sweep over little text of one's own."""
    path = Path("text.txt")
    path.write_text("".join(f"{number} times {number} is {number**2}\n" for number in range(300)))
    settings = f"data.source=file data.path={path.absolute()} train.batch=8 train.window=16 train.epochs=2".split()
    options = [word for setting in settings for word in ("--set", setting)]
    return ["sweep", "--app", "language", "--preset", "smoke", *options, *SEARCH]


def test_a_sweep_that_is_stopped_goes_on_and_ends_what_is_hopeless(
    invoke: Invoke, at_work: MlflowClient, text: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sweep, "STARTUP", 1)
    evaluated, seen = sweep.TrialPruner.evaluated, []

    def stopping(watcher: sweep.TrialPruner, at: Any, metrics: Any, best: bool) -> None:
        seen.append(watcher.trial.number)
        if seen.count(1) == 1 and seen[-1] == 1:
            os.kill(os.getpid(), signal.SIGINT)
        evaluated(watcher, at, metrics, best)

    monkeypatch.setattr(sweep.TrialPruner, "evaluated", stopping)
    stopped = invoke(*text, "--trials", "5")
    assert stopped.code == 128 + signal.SIGINT and stopped.error == "error: interrupted"
    assert "1 of 5 trials are done; the same command resumes from here" in stopped.out
    assert _parent(at_work).info.status == "KILLED"

    done = invoke(*text, "--trials", "5")
    trials = done.result["trials"]
    assert trials["stopped"] == 1 and trials["pruned"] >= 1 and trials["complete"] + trials["pruned"] == 5
    assert "--- trial 2/5: " in done.out and "--- trial 1/5: " not in done.out
    assert _tried(stopped)[1] == _tried(done)[0]  # what was stopped comes first
    assert done.out.count("pruned: epoch") == trials["pruned"]
    values = [trial["val/bits_per_character"] for trial in done.result["best"]]
    assert values == sorted(values) and len(values) == trials["complete"]

    parent = _parent(at_work)
    assert parent.info.run_id == done.result["run"] and parent.info.status == "FINISHED"
    assert parent.data.tags["best_run"] == done.result["best"][0]["run"]
    children = at_work.search_runs([parent.info.experiment_id], f"tags.`mlflow.parentRunId` = '{parent.info.run_id}'")
    ended = Counter((child.info.status, tracking.PRUNED in child.data.tags) for child in children)
    assert ended == {
        ("FINISHED", False): trials["complete"],
        ("KILLED", True): trials["pruned"],
        ("KILLED", False): 1,
    }
    left = [one["why"] for one in invoke("compare", "--app", "language", "--json").result["left_out"]]
    assert sum(why.startswith("pruned by a search: epoch ") for why in left) == trials["pruned"]
    assert left.count("ended as KILLED") == 1
    storage = optuna.storages.RDBStorage(os.environ["MLFLOW_TRACKING_URI"], skip_compatibility_check=True)
    assert len(optuna.load_study(study_name="language/s", storage=storage).trials) == 6


def test_a_sweep_of_as_many_trials_has_nothing_to_do(invoke: Invoke, at_work: MlflowClient, text: list[str]) -> None:
    done = invoke(*text, "--trials", "5")
    assert "--- trial" not in done.out and len(done.result["best"]) >= 1
    assert _parent(at_work).info.run_id not in [run.id for run in tracking.runs(at_work, "language")]


def test_wrong_searches_are_one_line(invoke: Invoke, at_work: MlflowClient, text: list[str]) -> None:
    wrong = invoke(*text, "--search", "model.hiden=8..12")
    assert "model.hiden: unknown key; did you mean model.hidden" in wrong.error


def test_a_sweep_of_which_nothing_could_be_trained_is_a_failure(
    invoke: Invoke, at_work: MlflowClient, text: list[str]
) -> None:
    settings = text[: text.index("--search")]
    done = invoke(*settings, "--search", "train.window=90000..99999", "--study", "none", "--trials", "1", "--json")
    assert done.code == 1 and "error: " in done.out and '"trials": {"fail": 1}, "best": []' in done.out


def _parent(client: MlflowClient) -> Run:
    experiment = client.get_experiment_by_name("language")
    assert experiment is not None
    [parent] = client.search_runs([experiment.experiment_id], f"tags.`{tracking.SWEEP}` = 's'")
    return parent


def _tried(done: Done) -> list[str]:
    """The settings of each trial."""
    return re.findall(r"--- trial \d/\d: (.*)", done.out)


def test_the_doctor_finds_nothing_here(invoke: Invoke, at_work: MlflowClient) -> None:
    done = invoke("doctor", "--json")
    found = {one["check"]: one for one in done.result["checks"]}
    assert done.result["failed"] == [] and "all is well" in done.out
    assert {"torch", "threads", "device", "disk: data", "tracking store", "prepared data"} <= found.keys()
    assert "cells against finite differences" in found["gradients, float64"]["detail"]
    assert "sets have their checksums" in found["prepared data"]["detail"]


def test_the_doctor_finds_a_damaged_set_and_a_broken_store(
    invoke: Invoke, at_work: MlflowClient, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("UNROLL_MIRROR", str(tmp_path))
    (tmp_path / "a.txt").write_text("not what it was")
    (tmp_path / "SHA256SUMS").write_text(f"{'0' * 64}  a.txt\n")
    monkeypatch.setenv("UNROLL_DATA", str(tmp_path / "data"))
    prepared = tmp_path / "data/prepared/speech-000000000000"
    prepared.mkdir(parents=True)
    (prepared / "manifest.json").write_text("{}")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "sqlite:////proc/no/such/folder.db")
    done = invoke("doctor", "--json")
    assert done.code == 1
    failed = {
        one["check"]: one["detail"]
        for one in json.loads(done.out.splitlines()[-1])["checks"]
        if one["status"] == "FAILED"
    }
    assert list(failed) == ["published data", "prepared data", "tracking store"]
    assert "a.txt: its checksum is not the one in SHA256SUMS" in failed["published data"]
    assert "--force" in failed["prepared data"] and "check MLFLOW_TRACKING_URI" in failed["tracking store"]
