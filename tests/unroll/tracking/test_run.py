"""Runs in MLflow: batched, complete, not duplicated by resuming, and with the true final status."""

import errno
import os
import stat
import tempfile
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import pytest
from matplotlib.figure import Figure

from tests.unroll.training.toy import APP, save_untrained
from unroll import tracking
from unroll.app import Report
from unroll.data import files
from unroll.errors import UserError
from unroll.tracking import model_registry, saved, store
from unroll.tracking import run as run_module
from unroll.tracking.example_table import read_records
from unroll.training.progress import Position


def begin(client: Any, digest: str = "d" * 64, settings: tuple[str, ...] = ()) -> tracking.Run:
    id = tracking.start(client, APP, APP.config(settings=settings), digest)
    return tracking.Run(client, id, system_metrics=False)


def at(step: int) -> Position:
    return Position(step=step, epoch=1, epochs=2, share=0.5, seconds=1.0)


def test_a_run_holds_config_digest_and_app(client: Any) -> None:
    run = begin(client, settings=("model.hidden=9",))
    [logged] = tracking.runs(client, "toy")
    assert logged.id == run.id and logged.status == "RUNNING" and logged.seconds is None
    assert logged.params["model.hidden"] == "9" and logged.params["optimizer.lr"] == "0.01"
    assert logged.tags["data.digest"] == "d" * 64 and logged.tags["app"] == "toy"
    assert "config.json" in [artifact.path for artifact in client.list_artifacts(run.id)]


def test_metrics_go_out_in_batches(client: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    run = begin(client)
    calls = []
    log_batch = client.log_batch
    monkeypatch.setattr(client, "log_batch", lambda *a, **k: (calls.append(len(k["metrics"])), log_batch(*a, **k)))
    for step in range(1, 1301):
        run.step(at(step), 1.0, {"train/loss": 1 / step, "train/gradient_norm": 2.0})
    run.finish("FINISHED")
    assert sum(calls) == 2600 and len(calls) <= 10 and max(calls) <= run_module.FLUSH_METRICS
    history = client.get_metric_history(run.id, "train/loss")
    assert sorted(metric.step for metric in history) == list(range(1, 1301))


def test_what_a_checkpoint_covers_is_in_the_store_before_it(client: Any) -> None:
    run = begin(client)
    run.step(at(1), 1.0, {"train/loss": 1.0})
    run.saving()
    assert [metric.step for metric in client.get_metric_history(run.id, "train/loss")] == [1]
    run.finish("FINISHED")


def test_a_store_that_fails_while_training_goes_on_ends_it_at_the_next_write(client: Any, monkeypatch: Any) -> None:
    run = begin(client)
    monkeypatch.setattr(run_module, "FLUSH_SECONDS", 0.0)
    with monkeypatch.context() as patch:
        patch.setattr(client, "log_batch", lambda *_, **__: (_ for _ in ()).throw(OSError("no space left on device")))
        run.step(at(1), 1.0, {"train/loss": 1.0})
        with pytest.raises(UserError, match=r"tracking store .*: no space left on device; check MLFLOW_TRACKING_URI"):
            run.step(at(2), 1.0, {"train/loss": 1.0})
    run.finish("FAILED")
    assert tracking.runs(client, "toy")[0].status == "FAILED"


def test_a_resumed_run_doubles_no_step_and_loses_none(client: Any) -> None:
    run = begin(client)
    for step in range(1, 11):
        run.step(at(step), 1.0, {"train/loss": float(step)})
    run.finish("KILLED")
    again = tracking.Run(client, run.id, system_metrics=False)
    assert tracking.runs(client, "toy")[0].status == "RUNNING"
    for step in range(6, 16):  # the last checkpoint was at step 5
        again.step(at(step), 1.0, {"train/loss": float(step)})
    again.finish("FINISHED")
    assert [m.step for m in client.get_metric_history(run.id, "train/loss")] == list(range(1, 16))


def test_names_that_mlflow_refuses_come_back_as_they_were(client: Any) -> None:
    run = begin(client)
    run.report("test", Report({"recall@20": 0.5}, [{"id": "a", "score": 1.0}], "recall|full ranking"), step=3)
    run.finish("FINISHED")
    [logged] = tracking.runs(client, "toy")
    assert logged.metrics["test/recall@20"] == 0.5
    assert logged.tags["signature.test"] == "recall|full ranking"


def test_records_and_figures_are_artifacts(client: Any) -> None:
    run = begin(client)
    records = [{"id": "a", "score": 0.5, "words": ["x", "y"]}, {"id": "b", "score": 1.0, "words": []}]
    run.report("test", Report({"mse": 0.75}, records, "mse"), step=1)
    run.figures({"curve": Figure()})
    run.finish("FINISHED")
    path = Path(client.download_artifacts(run.id, "records/test.parquet"))
    assert read_records(path) == [
        {"id": "a", "score": 0.5, "words": '["x", "y"]'},
        {"id": "b", "score": 1.0, "words": "[]"},
    ]
    png = Path(client.download_artifacts(run.id, "figures/curve.png"))
    assert png.read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize("status", ["FINISHED", "FAILED", "KILLED"])
def test_the_end_is_what_it_was(client: Any, status: str) -> None:
    begin(client).finish(status)
    assert tracking.runs(client, "toy")[0].status == status


def test_runs_are_found_by_latest_by_id_and_by_its_beginning(client: Any) -> None:
    first, second = begin(client), begin(client)
    first.finish("FINISHED")
    second.finish("FAILED")

    def find(reference: str, status: str = "FINISHED") -> str:
        return tracking.find(client, "toy", reference, lambda run: run.status == status).id

    assert find("latest") == first.id and find("latest", "FAILED") == second.id
    assert find(second.id) == second.id and find(first.id[:10]) == first.id
    for wrong in ("zzz", "", "latest"):
        with pytest.raises(
            UserError, match=f"run {wrong}: .* of toy in sqlite:///.*mlflow.db; newest runs: {second.id[:8]}"
        ):
            find(wrong, "KILLED")
    with pytest.raises(UserError, match="none; train one first"):
        tracking.find(client, "never", "latest", lambda run: True)


def test_a_run_without_a_model_says_what_to_do(client: Any) -> None:
    run = begin(client)
    run.finish("KILLED")
    with pytest.raises(UserError, match=rf"run {run.id[:8]} is KILLED and holds no model; resume it"):
        model_registry.model_folder(client, "toy", run.id)


@pytest.mark.parametrize(
    "uri",
    ["http://127.0.0.1:9", "sqlite:////proc/no/such/folder.db", "nonsense://somewhere", "postgresql://127.0.0.1:9/x"],
)
def test_an_unreachable_store_is_one_line(uri: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    with pytest.raises(UserError, match=rf"tracking store {uri}: .*MLFLOW_TRACKING_URI") as caught:
        tracking.runs(tracking.connect(), "toy")
    assert "\n" not in str(caught.value)


def test_a_store_that_is_no_database_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "mlflow.db").write_text("this is no database" * 100)
    with pytest.raises(UserError, match="tracking store sqlite:"):
        tracking.runs(tracking.connect(), "toy")


def test_a_locked_store_says_what_to_do() -> None:
    from sqlalchemy.exc import OperationalError

    with (
        pytest.raises(UserError, match="another process is writing to it: run again") as caught,
        tracking.store_errors(),
    ):
        raise OperationalError("INSERT", {}, Exception("database is locked"))
    assert "docs/compare.md" in str(caught.value) and "\n" not in str(caught.value)


def test_a_password_is_not_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store, "uri", lambda: "postgresql://me:secret@host:5432/runs")
    assert tracking.where() == "postgresql://me:***@host:5432/runs"


def test_curves_and_records_come_back(client: Any) -> None:
    run, other = begin(client), begin(client)
    for step in range(1, 5):
        run.step(at(step), 1.0, {"val/recall@20": step / 10})
    run.report("test", Report({"mse": 0.5}, [{"id": "a", "score": 0.5}], "mse"), step=4)
    run.finish("FINISHED")
    other.finish("FINISHED")
    runs = tracking.runs(client, "toy")
    assert tracking.curves(client, runs, "val/recall@20") == {run.id: {1: 0.1, 2: 0.2, 3: 0.3, 4: 0.4}}
    files = {one.id: tracking.records(client, one, "test") for one in runs}
    assert files[other.id] is None and files[run.id] is not None
    assert read_records(files[run.id]) == [{"id": "a", "score": 0.5}]


def test_parents_of_sweeps_are_no_trainings(client: Any) -> None:
    run = begin(client)
    client.create_run(tracking.experiment(client, "toy"), tags={tracking.SWEEP: "s"})
    assert [one.id for one in tracking.runs(client, "toy")] == [run.id]


def test_a_run_that_goes_on_with_other_code_or_elsewhere_says_so(client: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    config = APP.config()
    run = begin(client)

    def logged() -> tracking.Logged:
        return next(one for one in tracking.runs(client, APP.name) if one.id == run.id)

    first = logged().tags["code.digest"]
    assert not run.resumed(APP, config) and tracking.made_by(logged()) == {first}
    for code in ("b", "c", "b"):
        monkeypatch.setattr(run_module, "code_digest", lambda app, code=code: code)
        monkeypatch.setattr(run_module, "device", lambda setting: "cuda: NVIDIA H200")
        assert run.resumed(APP, config)
    tags = logged().tags
    assert tags["code.digest"] == first and tags["code.resumed"] == "b c"
    assert tracking.made_by(logged()) == {first, "b", "c"}
    assert tags["device"] == "cpu, then cuda: NVIDIA H200" and ", then " not in tags["machine"]
    run.finish("KILLED")


def test_saved_weights_may_be_read_by_who_may_read_their_description(tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        save_untrained(tmp_path / "model")
    finally:
        os.umask(before)
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in (tmp_path / "model").iterdir()}
    assert modes == {saved.DESCRIPTION: 0o640, saved.WEIGHTS: 0o640}


@pytest.mark.parametrize("full", ["artifacts", "temporary"])
def test_of_the_two_disks_that_files_are_written_to_the_full_one_is_named(
    client: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, full: str
) -> None:
    run = begin(client)
    disks = {"artifacts": tmp_path / "mlruns", "temporary": Path(tempfile.gettempdir())}
    monkeypatch.setattr(files, "_space", lambda path: 0 if disks[full] in (path, *path.parents) else 9)
    monkeypatch.setattr(
        client, "log_artifacts", Mock(side_effect=OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "somewhere"))
    )
    with pytest.raises(UserError) as raised:
        run.figures({"one": Figure()})
    assert str(raised.value).startswith(f"{disks[full]}") and "the disk is full" in str(raised.value)
