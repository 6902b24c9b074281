"""Messages name options and settings as their reader gives them: typed, or written in Python."""

import os
from typing import Any

import pytest

import unroll
from tests.unroll.training.toy import APP
from unroll import app as apps
from unroll import surface
from unroll.commands.train import train
from unroll.config import Config
from unroll.errors import UsageError, UserError
from unroll.surface import in_python


@pytest.fixture
def toy(client: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(apps, "names", lambda: ["toy"])
    monkeypatch.setattr(apps, "_import", lambda name: APP)


def said() -> list[str]:
    return [
        surface.settings("model.cell=gru", "train.epochs=3", "data.path=a b", "generate.stop=null"),
        surface.settings("model.cell"),
        surface.option("by", "model.cell"),
        surface.option("seeds"),
        surface.option("confounded", True),
        surface.option("run", "models:/a@b"),
        surface.condition("model.hidden=8"),
        surface.task("train", "speech", seeds=3, preset=None),
        surface.task("predict", "speech", run="latest"),
        surface.task("ui"),
    ]


def test_each_reader_is_told_in_their_own_words() -> None:
    assert said() == [
        "--set model.cell=gru --set train.epochs=3 --set data.path=a b --set generate.stop=null",
        "--set model.cell",
        "--by model.cell",
        "--seeds",
        "--confounded",
        "--run models:/a@b",
        "--where model.hidden=8",
        "invoke train --app speech --seeds 3",
        "invoke predict --app speech --run latest",
        "invoke ui",
    ]
    with in_python():
        inside = said()
    assert inside == [
        'settings={"model.cell": "gru", "train.epochs": 3, "data.path": "a b", "generate.stop": None}',
        'settings={"model.cell": ...}',
        'by="model.cell"',
        "seeds",
        "confounded=True",
        'model="models:/a@b"',
        'where={"model.hidden": 8}',
        'unroll.train("speech", seeds=3)',
        "invoke predict --app speech --run latest",
        "invoke ui",
    ]
    assert said()[2] == "--by model.cell", "only within"


def test_what_is_written_in_python_compiles() -> None:
    with in_python():
        for text in said()[:8]:
            if "=" in text:
                compile(text if text.startswith("unroll") else f"f({text})", "message", "eval")


def test_settings_that_are_wrong_are_named_as_they_were_given(toy: None) -> None:
    with pytest.raises(UserError, match=r'^settings=\{"model\.hiden": \.\.\.\}: unknown key; did you mean model\.hidd'):
        unroll.train("toy", settings={"model.hiden": 3}, quiet=True)
    with pytest.raises(UserError, match=r"^--set model\.hiden: unknown key; did you mean model\.hidden"):
        Config().override(["model.hiden=3"])


@pytest.mark.parametrize(
    ("name", "given", "written", "typed"),
    [
        (
            "train",
            {"app": "speach"},
            'app="speach": no such application',
            "--app speach: no such application",
        ),
        (
            "train",
            {"app": "toy", "resume": "latest", "seeds": 2},
            "resume uses the run's own configuration; leave out preset, settings, seeds",
            "--resume uses the run's own configuration; leave out --preset, --set, --seeds",
        ),
        (
            "train",
            {"app": "toy", "preset": "small"},
            'preset="small": toy has no such preset',
            "--preset small: toy has no such preset",
        ),
        (
            "diagnose",
            {"model": "toy", "preset": "default", "steps": 0},
            "steps wants at least 1, seeds at least 2",
            "--steps wants at least 1, --seeds at least 2",
        ),
        (
            "compare",
            {"app": "toy", "equal": "steps"},
            'equal="steps": write parameters or seconds',
            "--equal steps: write parameters or seconds",
        ),
    ],
)
def test_options_too(name: str, given: dict[str, Any], written: str, typed: str, toy: None) -> None:
    function = getattr(unroll, name)
    # What is decorated is the same work without a word of Python, as the command line does it.
    for call, text in ((function, written), (function.__wrapped__, typed)):
        with pytest.raises(UserError) as caught:
            call(**given)
        assert str(caught.value).startswith(text)


def test_a_usage_error_of_the_command_line_stays_one() -> None:
    with pytest.raises(UsageError, match=r"^--seeds wants a number from 1 on, and so does --jobs$"):
        train(["toy"], seeds=-1)


def test_the_processes_of_a_grid_speak_to_the_same_reader(monkeypatch: pytest.MonkeyPatch) -> None:
    assert surface.environment() == {}
    with in_python():
        [(name, value)] = surface.environment().items()
    assert name == surface.IN_PYTHON and value and name not in os.environ
