"""What is said of, and made of, the user's pictures."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from unroll.apps.image import APP
from unroll.data import images
from unroll.errors import UserError

from .conftest import TASKS, made


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
