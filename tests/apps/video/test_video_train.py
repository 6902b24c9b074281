from dataclasses import replace

import pytest
import torch

from unroll.apps.video import APP, baselines
from unroll.conformance import Subject, resume_is_exact
from unroll.data.store import Store
from unroll.errors import UserError
from unroll.training.evaluation import evaluate

from .conftest import FRAMES


def test_the_score_is_the_tasks(made):
    assert {task: (app.score.name, app.score.mode) for task, (app, *_) in made.items()} == {
        "classify": ("accuracy", "max"),
        "predict_frames": ("mse", "min"),
    }


def test_accuracy_is_the_share_of_right_records(made):
    app, _, data, model = made["classify"]
    report = evaluate(app, model, data.test)
    right = [row["prediction"] == row["reference"] for row in report.records]
    assert report.metrics["accuracy"] == sum(right) / len(right) and len(right) == 8
    assert [row["score"] for row in report.records] == [float(one) for one in right]


@torch.no_grad()
def test_half_a_clip_is_judged_as_if_it_ended_there(made):
    app, _, data, model = made["classify"]
    (batch,) = data.test
    by_id = {row["id"]: row for row in evaluate(app, model, [batch]).records}
    for row, record in enumerate(batch.records):
        half = (int(batch.lengths[row]) + 1) // 2
        logits, _ = model(batch.frames[:half, [row]])
        assert by_id[record["id"]]["score_at_half"] == float(model.classes[logits[-1, 0].argmax()] == record["label"])


@torch.no_grad()
def test_errors_of_predicted_frames_in_all_and_step_by_step(made):
    app, _, data, model = made["predict_frames"]
    report = evaluate(app, model, data.test)
    predicted, true = [], []
    for batch in data.test:
        frames, _ = model(batch.frames[:3], 4)
        predicted.append(frames[2:].clamp(0, 1))
        true.append(batch.frames[3:])
    squares = (torch.cat(predicted, 1) - torch.cat(true, 1)).square()
    assert report.metrics["mse"] == pytest.approx(float(squares.mean()), rel=1e-4)
    assert [report.metrics[f"mse@{h}"] for h in range(1, 5)] == pytest.approx(
        squares.mean((1, 2, 3, 4)).tolist(), rel=1e-4
    )
    assert sum(row["score"] for row in report.records) / 8 == pytest.approx(report.metrics["mse"], abs=1e-4)
    assert {"ssim", "psnr", "ssim@4", "psnr@4"} < set(report.metrics)


@torch.no_grad()
def test_nothing_of_the_future_is_seen(made):
    _, _, data, model = made["predict_frames"]
    batch = next(iter(data.test))
    changed = batch.frames.clone()
    changed[3:] = 0
    assert torch.equal(model.predict(batch.frames), model.predict(changed))


def test_baselines_are_measured_on_the_same_frames(made):
    app, config, data, _ = made["predict_frames"]
    found = app.baselines(config, data)
    assert set(found) == set(baselines.METHODS)
    squares = [(batch.frames[2] - batch.frames[3:]).square() for batch in data.test]
    assert found["copy last"]["mse"] == pytest.approx(float(torch.cat(squares, 1).mean()), rel=1e-4)
    app, config, data, _ = made["classify"]
    found = app.baselines(config, data)
    assert found["most frequent"]["accuracy"] == 1 / 8
    assert 0 <= found["middle frame"]["accuracy"] <= 1


@pytest.mark.parametrize(("task", "names"), [("classify", {"confusion"}), ("predict_frames", {"frames", "horizon"})])
def test_figures_are_drawn(made, tmp_path, task, names):
    app, _, data, model = made[task]
    figures = app.figures(model, data.test, evaluate(app, model, data.test))
    assert set(figures) == names
    for name, figure in figures.items():
        figure.savefig(tmp_path / f"{name}.png")
        assert (tmp_path / f"{name}.png").stat().st_size > 10_000


def test_settings_that_do_not_fit_are_one_line(made):
    _, config, data, _ = made["classify"]
    for settings, message in {
        ("model.cell=gruu",): "model.cell=gruu: no such cell; did you mean gru",
        ("model.cell=convgru",): "train.task=classify needs a cell over vectors",
        ("train.task=predict_frames",): "predict_frames needs a cell over maps: convlstm or convgru",
    }.items():
        with pytest.raises(UserError, match=message):
            APP.network(config.override(settings), data.facts)
    with pytest.raises(UserError, match=r"model\.patch=3 must divide data\.size=16"):
        config.override([*FRAMES, "model.patch=3"])
    with pytest.raises(UserError, match="has no classes; use the preset moving-mnist"):
        config.override(["data.source=moving-mnist"])


def test_predicting_frames_resumes_exactly(tmp_path):
    config = APP.config("smoke", ["data.clips=40", *FRAMES, "train.batch=70"])
    subject = Subject(replace(APP, name="video").with_score_for(config), config, Store(tmp_path / "data"), tmp_path)
    subject.app.prepare(config, subject.store)
    resume_is_exact(subject)
