"""The three tasks: loss, gradients, metrics by hand, baselines, figures, and pictures of the user's own."""

import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from unroll.apps.image import APP, baselines
from unroll.apps.image.config import PRESETS, ImageConfig
from unroll.apps.image.figures import figures
from unroll.data import images
from unroll.data.store import Store
from unroll.errors import UserError
from unroll.tracking import saved
from unroll.training.evaluation import evaluate

SMALL = ["model.hidden=12", "data.limit=64"]
TASKS = ("classify", "complete", "denoise")
ORDERS = ("rows", "pixels", "permuted", "patches", "sweeps")


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    return Store(tmp_path_factory.mktemp("image"))


def made(store, *settings, preset="default"):
    """(application with its score, config, data, fresh network)."""
    config = APP.config(preset, [*SMALL, *settings]).override(["model.maps=6"])  # read to complete only
    APP.prepare(config, store)
    data = APP.data(config, store)
    torch.manual_seed(0)
    return APP.with_score_for(config), config, data, APP.model(config, data.facts)


@pytest.mark.parametrize("settings", [[f"train.task={t}"] for t in TASKS] + [[f"model.order={o}"] for o in ORDERS])
def test_a_step_gives_a_finite_loss_and_reaches_every_parameter(store, settings):
    app, _, data, network = made(store, *settings, "model.layers=2")
    step = app.step(network.train(), next(iter(data.train)), None)
    step.loss.backward()
    assert step.loss.isfinite() and step.size == 64
    assert not [name for name, p in network.named_parameters() if p.grad is None or not p.grad.any()]


@pytest.mark.parametrize("preset", sorted(PRESETS))
def test_presets_are_judged_by_a_score_that_their_task_reports(store, preset):
    app, config, data, network = made(store, "data.source=builtin", preset=preset)
    report = evaluate(app, network, data.val)
    assert next(iter(report.metrics)) == app.score.name
    assert {"classify": "accuracy", "complete": "bits_per_pixel", "denoise": "mse"}[config.train.task] == app.score.name
    assert len(report.records) == 183


def test_accuracy_is_the_share_of_right_classes(store):
    app, _, data, network = made(store)
    report = evaluate(app, network, data.val)
    right = sum(record["reference"] == record["prediction"] for record in report.records)
    assert report.metrics["accuracy"] == pytest.approx(right / 183)
    with torch.no_grad():
        torch.nn.init.zeros_(network.output[1].weight)
        network.output[1].bias.copy_(torch.tensor([5.0] + [0.0] * 9))
    report = evaluate(app, network, data.val)
    assert {record["prediction"] for record in report.records} == {"0"}
    zeros = (torch.from_numpy(np.array(data.val.dataset.labels)) == 0).float().mean().item()
    assert report.metrics["accuracy"] == pytest.approx(zeros)
    others = math.log2(math.exp(5) + 9)
    assert report.metrics["bits_per_image"] == pytest.approx(others - zeros * 5 / math.log(2), rel=1e-4)


def test_bits_per_pixel_of_even_chances(store):
    app, _, data, network = made(store, "train.task=complete")
    torch.nn.init.zeros_(network.output.weight)
    torch.nn.init.zeros_(network.output.bias)
    report = evaluate(app, network, data.val)
    assert report.metrics == pytest.approx({"bits_per_pixel": math.log2(17), "bits_per_pixel_below": math.log2(17)})


def test_denoising_of_a_network_that_changes_nothing_is_the_noise_itself(store):
    app, config, data, network = made(store, "train.task=denoise")
    torch.nn.init.zeros_(network.output[1].weight)
    torch.nn.init.zeros_(network.output[1].bias)
    report = evaluate(app, network, data.test)
    simple = APP.baselines(config, data)
    assert report.metrics["mse"] == pytest.approx(simple["noisy"]["mse"], rel=1e-4)
    assert simple["noisy"]["psnr"] == pytest.approx(-10 * math.log10(simple["noisy"]["mse"]))
    assert min(method["mse"] for method in simple.values()) < simple["noisy"]["mse"]


def test_simple_classifiers(store):
    _, config, data, _ = made(store, "data.limit=0")
    found = APP.baselines(config, data)
    assert 0.85 < found["nearest class mean"]["accuracy"] < found["logistic regression"]["accuracy"] < 0.98


def test_counts_give_the_bits_that_the_formulas_give():
    train = np.array([[[0, 1], [1, 1]], [[0, 0], [1, 0]]])
    prior = baselines.PRIOR
    marginal = baselines._marginal(train, 2)(train)
    assert marginal[0, 0, 1] == pytest.approx((1 + prior) / (2 + 2 * prior))
    assert marginal[0, 0, 0] == pytest.approx((2 + prior) / (2 + 2 * prior))
    # After 0 (or nothing) come 0, 1; 0, 0, 1 and after 1 come 1, 1; 0.
    markov = baselines._markov(train, 2)(train)
    assert markov[0, 0, 1] == pytest.approx((2 + prior) / (5 + 2 * prior))
    assert markov[0, 1, 1] == pytest.approx((2 + prior) / (3 + 2 * prior))
    by_place = baselines._markov_by_place(train, 2, baselines._marginal(train, 2))
    both = by_place(np.array([[[0, 0], [0, 0]], [[0, 1], [0, 0]]]))[:, 0, 1]
    assert both.sum() == pytest.approx(1)


def test_baselines_of_completion_on_the_digits(store):
    _, config, data, _ = made(store, "train.task=complete", "data.limit=0")
    found = APP.baselines(config, data)
    assert set(found) == {"each place by itself", "Markov", "Markov at each place"}
    assert 2.3 < found["each place by itself"]["bits_per_pixel"] < 2.5
    assert found["Markov at each place"]["bits_per_pixel"] < found["each place by itself"]["bits_per_pixel"]


@pytest.mark.parametrize(
    ("task", "names"), [("classify", {"confusion"}), ("complete", {"completions", "new"}), ("denoise", {"denoised"})]
)
def test_figures_are_drawn(store, tmp_path, task, names):
    app, _, data, network = made(store, f"train.task={task}")
    found = figures(network.eval(), data.test, evaluate(app, network, data.test))
    assert set(found) == names
    for name, figure in found.items():
        figure.savefig(tmp_path / f"{name}.png", dpi=50)
        assert images.pixels(images.load(tmp_path / f"{name}.png")).std() > 5


def test_classes_of_files_and_their_probabilities(store, tmp_path):
    app, _, _, network = made(store)
    outputs = app.predict(network.eval(), app.examples)
    assert [Path(output["picture"]).stem for output in outputs] == ["3", "5", "8"]
    for output in outputs:
        assert sum(output["probabilities"].values()) == pytest.approx(1, abs=1e-3)
        assert output["probability"] == max(output["probabilities"].values())
    large = tmp_path / "large.png"
    Image.open(app.examples[0]).resize((80, 80), Image.Resampling.NEAREST).save(large)
    assert app.predict(network, [large])[0]["probability"] == pytest.approx(outputs[0]["probability"], abs=0.05)


def test_the_examples_are_the_digits_they_are_named_after(store):
    _, _, data, network = made(store)
    from unroll.apps.image.predict import read

    known = {batch.pixels[row].numpy().tobytes() for batch in data.test for row in range(len(batch.ids))}
    assert all(read(network, Path(path))[0].numpy().tobytes() in known for path in APP.examples)


def test_dark_writing_on_paper_can_be_inverted(store, tmp_path):
    paper = tmp_path / "paper.png"
    Image.fromarray(255 - np.asarray(Image.open(APP.examples[0]))).save(paper)
    app, _, _, network = made(store)
    wanted = app.predict(network.eval(), [APP.examples[0]])[0]["probabilities"]
    inverting = made(store, "predict.invert=true")[3].eval()
    assert app.predict(inverting, [paper])[0]["probabilities"] == pytest.approx(wanted, abs=0.02)


@pytest.mark.parametrize("invert", [False, True])
def test_a_completed_picture_is_written_and_its_upper_half_is_the_given_one(store, tmp_path, invert):
    settings = ["train.task=complete", f"predict.folder={tmp_path / 'out'}", f"predict.invert={str(invert).lower()}"]
    app, _, _, network = made(store, *settings)
    output = app.predict(network.eval(), [APP.examples[1]])[0]
    assert output == {"picture": APP.examples[1], "rows_kept": 4, "written": str(tmp_path / "out" / "5.completed.png")}
    written = images.pixels(images.load(Path(output["written"]), "L"))
    given = np.asarray(Image.open(APP.examples[1]))
    assert written.shape == (256, 256)
    assert np.array_equal(written[::32, ::32][:4], given[:4])
    assert app.predict(network, [APP.examples[1]]) == [output]
    assert np.array_equal(images.pixels(images.load(Path(output["written"]), "L")), written)


def test_inputs_do_not_change_or_overwrite_each_other(store, tmp_path):
    app, _, _, network = made(store, "train.task=complete", f"predict.folder={tmp_path / 'out'}")
    other = tmp_path / "5.png"
    Image.open(APP.examples[0]).save(other)
    (alone,) = app.predict(network.eval(), [other])
    wanted = images.pixels(images.load(Path(alone["written"])))
    first, second = app.predict(network, [APP.examples[1], other])
    assert [Path(one["written"]).name for one in (first, second)] == ["5.completed.png", "5-2.completed.png"]
    assert np.array_equal(images.pixels(images.load(Path(second["written"]))), wanted)


def test_new_pictures_on_one_sheet(store, tmp_path):
    app, _, _, network = made(store, "train.task=complete", f"predict.folder={tmp_path}", "predict.seed=7")
    (one,) = app.predict(network.eval(), ["new:5"])
    assert one["new"] == 5 and one["written"] == str(tmp_path / "new-7.png")
    assert images.load(Path(one["written"])).size == (3 * 8 * 10, 2 * 8 * 10)
    for wrong in ("new:0", "new:many", "new:401"):
        with pytest.raises(UserError, match=f"{wrong}: write new:9"):
            app.predict(network, [wrong])


def test_a_denoised_picture_is_written(store, tmp_path):
    app, _, _, network = made(store, "train.task=denoise", f"predict.folder={tmp_path}")
    (output,) = app.predict(network.eval(), [APP.examples[2]])
    assert output["written"] == str(tmp_path / "8.denoised.png")
    assert images.load(Path(output["written"])).size == (256, 256)


def test_files_that_are_no_pictures_and_folders_that_cannot_be_written(store, tmp_path):
    app, _, _, network = made(store, "train.task=complete", f"predict.folder={tmp_path / 'file' / 'out'}")
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(UserError, match=r"file/out.*: cannot be written"):
        app.predict(network.eval(), [APP.examples[0]])
    for task in TASKS:
        network = made(store, f"train.task={task}")[3].eval()
        with pytest.raises(UserError, match=r"^none\.png: there is no such file"):
            app.predict(network, ["none.png"])
        with pytest.raises(UserError, match="is not a picture"):
            app.predict(network, [tmp_path / "file"])


def test_a_saved_model_keeps_its_permutation(store, tmp_path):
    app, config, data, network = made(store, "model.order=permuted", "model.permutation=3")
    saved.save(tmp_path, app_named(app), config, data.facts, data.digest, network)
    loaded = saved.load(tmp_path)
    assert torch.equal(loaded.model.sequence.permutation, network.sequence.permutation)
    inputs = list(APP.examples)
    assert json.dumps(loaded.predict(inputs)) == json.dumps(app.predict(network.eval(), inputs))


def app_named(app):
    from dataclasses import replace

    return replace(app, name="image")


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        (["train.task=complete", "data.colour=true"], "draws grey pictures"),
        (["model.order=sweeps", "model.pooling=last"], "has no last state"),
        (["data.levels=1"], "data.levels: write 0"),
        (["model.order=spiral"], "model.order"),
        (["train.task=paint"], "train.task"),
        (["predict.keep=1"], "predict.keep"),
    ],
)
def test_settings_that_cannot_be(settings, told):
    with pytest.raises(UserError, match=told):
        APP.config("default", settings)


@pytest.mark.parametrize(("setting", "told"), [("cell=lstn", "did you mean"), ("init=chronos", "init=chronos")])
def test_cells_and_initialisations_that_are_not_there(store, setting, told):
    with pytest.raises(UserError, match=told):
        made(store, f"model.{setting}")
    with pytest.raises(UserError, match="no such cell"):
        made(store, "model.cell=convlstm")  # reads maps


def test_every_setting_is_explained():
    from unroll.config import describe

    assert all(text for _, _, text in describe(ImageConfig()))
