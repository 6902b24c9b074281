"""The tasks for notebooks and programs, on a small application and a separate store."""

import subprocess
import sys
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import unroll
from tests.unroll.diagnosis.patients import APP as PATIENT
from tests.unroll.training.toy import APP
from unroll import api, tracking
from unroll import app as apps
from unroll.api_values import Diagnosed, Model, Picture, Predictions, Run, Runs
from unroll.config import flat
from unroll.errors import Notice, UsageError, UserError
from unroll.tracking import saved
from unroll.values import Value, is_path

TOY = replace(APP, name="toy", values=(Value("the path of a file", is_path, Path),))
HEAVY = {"torch", "numpy", "lightning", "mlflow", "pandas", "pydantic", "matplotlib"}


class Seen(HTMLParser):
    """What a notebook shows: tags and words."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.words: list[str] = []
        self.images: list[dict[str, str]] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        self.tags.append(tag)
        if tag == "img":
            self.images.append(dict(attrs))

    def handle_data(self, data: str) -> None:
        self.words.append(data)


@pytest.fixture
def toy(client: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The toy application is the only one, in a folder and a store of the test's own."""
    monkeypatch.setattr(apps, "names", lambda: ["toy"])
    monkeypatch.setattr(apps, "load", lambda name: TOY)
    return client


@pytest.fixture
def run(toy: Any) -> Run:
    [run] = unroll.train("toy", settings={"model.hidden": 5, "train.seed": 3}, quiet=True)
    return run


def test_importing_unroll_loads_nothing_heavy() -> None:
    code = "import sys, unroll; unroll.__all__; dir(unroll); print(*sorted({m.split('.')[0] for m in sys.modules}))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not HEAVY & set(done.stdout.split())


def test_a_training_is_a_run_of_the_store(run: Run, toy: Any, capsys: pytest.CaptureFixture[str]) -> None:
    assert capsys.readouterr().out == ""
    assert run.status == "FINISHED" and list(run.metrics) == ["test/mse"] and run.settings["model.hidden"] == "5"
    stored = toy.get_run(run.id)
    assert stored.data.metrics["test/mse"] == run.metrics["test/mse"] and stored.data.params["train.seed"] == "3"
    assert run.figures == {} and list(run.examples().columns) == ["id", "score"]
    with pytest.raises(UserError, match=f"run {run.id[:8]}: holds no examples of val"):
        run.examples("val")
    words = Seen(run._repr_html_()).words
    assert run.id[:8] in words and "FINISHED" in words


def test_figures_are_those_of_the_store(run: Run, toy: Any, tmp_path: Path) -> None:
    from matplotlib.figure import Figure

    made = tracking.Run(toy, run.id, system_metrics=False)
    made.figures({"curves/a": Figure(figsize=(1, 1))})
    made.finish("FINISHED")
    picture = run.figures["curves/a"]
    assert picture.png.startswith(b"\x89PNG") and picture._repr_png_() == picture.png
    picture.save(tmp_path / "a.png")
    assert (tmp_path / "a.png").read_bytes() == picture.png
    assert Seen(run._repr_html_()).tags.count("img") == 1


def test_a_model_is_loaded_by_every_name_that_it_has(run: Run, toy: Any, tmp_path: Path) -> None:
    folder = tmp_path / "runs" / run.id / "model"
    for name in ("toy", run, run.id, run.id[:8], folder, str(folder)):
        model = unroll.load(name)
        assert model.app == "toy" and model.settings["model.hidden"] == 5 and not model.network.training
        assert model.run == (None if str(name) == str(folder) else run.id)
    for name in ("nothing", "latest"):
        with pytest.raises(UserError, match=f"run {name}: no such run of any application, in sqlite"):
            unroll.load(name)
    with pytest.raises(UserError, match="models:/toy@champion"):
        unroll.load("models:/toy@champion")
    with pytest.raises(UserError, match=r"model\.json: cannot be read"):
        unroll.load(tmp_path)
    from unroll.tracking import model_registry

    version = model_registry.register(toy, "toy", tracking.runs(toy, "toy")[0])
    toy.set_registered_model_alias("toy", "champion", version)
    assert unroll.load("models:/toy@champion").settings == unroll.load("toy").settings


def test_several_runs_are_an_ensemble_where_there_is_such(run: Run) -> None:
    assert unroll.load([run]).run == run.id
    with pytest.raises(UserError, match="toy has no ensembles of several runs; give one"):
        unroll.load([run, run])


def model(predict: Any, **changed: Any) -> Model:
    app = replace(TOY, predict=predict, **changed)
    return Model(
        saved.Saved(app, app.presets["default"], {}, "0" * 64, APP.network(app.presets["default"], {})), "a run"
    )


def test_one_value_that_is_no_list_is_the_only_input() -> None:
    echo = model(lambda network, inputs: [str(one) for one in inputs])
    assert echo.predict("a") == ["a"] and echo.predict(["a", Path("b")]) == ["a", "b"] and echo.predict([]) == []
    with pytest.raises(UserError, match="input 2: toy does not take int 3; it takes text; or the path of a"):
        echo.predict(["a", 3])


def test_what_is_shown_is_escaped_and_pictures_are_pictures(tmp_path: Path) -> None:
    Image.new("L", (400, 200)).save(tmp_path / "<b>.png")
    grey = np.zeros((8, 8), np.uint8)
    shown = Predictions([{"class": "<script>", "written": str(tmp_path / "<b>.png")}, {"class": "b"}], ["<i>", grey])
    seen = Seen(shown._repr_html_())
    assert "script" not in seen.tags and "i" not in seen.tags and {"<script>", "<i>"} <= set(seen.words)
    assert seen.tags.count("img") == 2 and seen.tags.count("th") == 3 and seen.tags.count("td") == 6
    assert Seen(Predictions([0.5], [(np.zeros(100000), 16000)])._repr_html_()).words[2].startswith("tuple (array")
    ranked = Seen(Predictions(["a"], ["query", "a", "b"])._repr_html_())
    assert ranked.tags.count("tr") == 2


@pytest.mark.parametrize(
    ("shape", "width"), [((8, 8), "160"), ((10, 30), "150"), ((100, 90), None), ((400, 200), None)]
)
def test_a_picture_of_few_pixels_is_enlarged_square_by_square(shape: tuple[int, int], width: str | None) -> None:
    [image] = Seen(Predictions(["a"], [np.zeros(shape, np.uint8)])._repr_html_()).images
    assert image.get("width") == width
    assert ("pixelated" in image.get("style", "")) == (width is not None)


def test_a_grid_gives_its_runs_in_order_and_tells_which_failed(toy: Any, run: Run, monkeypatch: Any) -> None:
    from unroll.commands import train as command

    rows = [
        {"app": "toy", "run": run.id, "status": "FINISHED", "metrics": run.metrics, "skipped": True},
        {"app": "toy", "status": "FAILED", "error": "model.cell=<b>: no such cell", "settings": ["model.cell=<b>"]},
    ]
    asked: list[Any] = []

    def trained(*given: Any, **named: Any) -> dict[str, Any]:
        asked.append((given, named))
        return {"runs": rows}

    monkeypatch.setattr(command, "train", trained)
    settings = {
        "model.cell": ["gru", "<b>"],
        "generate.stop": ("a", "b"),
        "train.minutes": 0.5,
        "data.path": Path("a b"),
    }
    with pytest.warns(Notice, match="1 of 2 runs failed: model.cell=<b>: no such cell"):
        runs = unroll.train(["toy"], settings=settings, seeds=2, jobs=2)
    typed = ['model.cell=gru,"<b>"', 'generate.stop=["a", "b"]', "train.minutes=0.5", 'data.path="a b"']
    assert asked == [((["toy"], None, typed, None), {"seeds": 2, "jobs": 2})]
    first, second = runs
    assert first.id == run.id and second.error and second.id == "" and second.settings == {"model.cell": "<b>"}
    seen = Seen(runs._repr_html_())
    assert "b" not in seen.tags and {"FAILED", "5"} <= set(seen.words) and "model.cell" in seen.words
    assert isinstance(runs[:1], Runs) and runs[:1][0] is first and second.figures == {}


@pytest.mark.parametrize(
    ("value", "typed"),
    [
        ("gru", "gru"), ("3", '"3"'), ("a,b", '"a,b"'), ("null", '"null"'), ("true", '"true"'), ("", '""'), (3, "3"),
        (1e-4, "0.0001"), (True, "true"), (None, "null"), (np.float64(0.5), "0.5"), (np.int64(2), "2"),
        (Path("/a/b.wav"), "/a/b.wav"), ("~/a", "~/a"), (("gru", 1), '["gru", 1]'), ("größe", "größe"),
        ("1e5x", '"1e5x"'),
    ],
)  # fmt: skip
def test_settings_are_typed_as_they_are_meant(value: Any, typed: str) -> None:
    assert api._typed({"key": value}) == [f"key={typed}"]
    assert api._typed({"key": [value]}, several=True) == [f"key={typed}"]


def test_settings_come_to_what_they_are() -> None:
    config = apps.load("language").config("default", api._typed({"generate.stop": ("a,b", "3"), "data.path": None}))
    assert flat(config)["generate.stop"] == ["a,b", "3"]
    with pytest.raises(UserError, match="cannot be a setting"):
        api._typed({"model.cell": object()})


def test_an_unknown_application_is_refused_before_anything_begins(toy: Any) -> None:
    with pytest.raises(UserError):
        unroll.train("toy", settings={"model.hiden": 3}, quiet=True)
    assert tracking.runs(toy, "toy") == []


def test_a_comparison_is_a_data_frame_that_is_shown_as_the_table(toy: Any, run: Run) -> None:
    for seed, cell in ((3, "gru"), (4, "gru"), (3, "lstm"), (4, "lstm")):
        config = TOY.config("default", [f"train.seed={seed}", f"model.cell={cell}"])
        made = tracking.Run(toy, tracking.start(toy, TOY, config, "0" * 64), system_metrics=False)
        made.log({"test/mse": 0.1 * seed + (cell == "gru")}, 1)
        made.finish("FINISHED")
    found = unroll.compare("toy", by="model.cell", where={"model.hidden": 8})
    assert list(found["model.cell"]) == ["lstm", "gru"] and found["mean"].tolist() == pytest.approx([0.35, 1.35])
    assert type(found[["mean"]]).__name__ == "DataFrame", "what is cut from it is a plain one"
    seen = Seen(found._repr_html_())
    assert any("toy: test/mse, less is better" in word for word in seen.words) and "gru" in seen.words
    assert not found.comparisons[0].left and "left out" not in found._repr_html_()
    made = tracking.Run(toy, tracking.start(toy, TOY, TOY.config(), "0" * 64), system_metrics=False)
    made.finish("FAILED")
    shown = unroll.compare("toy", by="model.cell")._repr_html_()
    assert f"left out: {made.id[:8]} (FAILED): ended as FAILED" in shown
    with pytest.raises(UsageError, match='equal="steps"'):
        unroll.compare("toy", equal="steps")


def test_a_diagnosis_is_of_a_trained_model_or_of_a_fresh_one(
    toy: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    recurrent = replace(PATIENT, name="toy")
    monkeypatch.setattr(apps, "load", lambda name: recurrent)
    config = recurrent.presets["default"]
    saved.save(tmp_path / "model", recurrent, config, {}, "0" * 64, recurrent.network(config, {}))
    trained = unroll.load(tmp_path / "model")
    for found in (unroll.diagnose(trained), unroll.diagnose("toy", settings={"model.hidden": 8})):
        assert isinstance(found, Diagnosed) and found.verdict == found.numbers["verdict"] and found.because
        assert found.report.is_file() and Seen(found._repr_html_()).tags == ["iframe"]
    assert capsys.readouterr().out == ""
    with pytest.raises(UsageError, match="preset and settings need an untrained model"):
        unroll.diagnose(trained, preset="smoke")
    with pytest.raises(UsageError, match="seeds at least 2"):
        unroll.diagnose(trained, seeds=1)


def test_a_picture_says_its_name_alone() -> None:
    assert repr(Picture("curves", b"\x89PNG")) == "Picture(name='curves')"
