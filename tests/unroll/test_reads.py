"""A given setting is used or is an error; a path is read by the source that fits it."""

import os
import re
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, get_args

import pytest

from unroll import app as apps
from unroll.config import Config, DataConfig, Section, TrainConfig, conditions, flat
from unroll.data.store import Store
from unroll.errors import Notice, UserError
from unroll.jsonl_app import RecordsConfig
from unroll.reads import Only, Reads
from unroll.tracking import saved

APPS = ("captioning", "image", "language", "recommend", "similarity", "speech", "translation", "video")


class OwnData(DataConfig):
    source: Literal["builtin", "table", "two", "folder"] = "builtin"
    examples: int = 5
    columns: str = "a,b"
    second: Path | None = None
    size: int = 8
    sources: ClassVar = {
        "builtin": Reads(("examples",)),
        "table": Reads(("columns",), path="a table", files=("*.csv",)),
        "two": Reads(("second",), path="one of two tables", files=("*.csv",), needs=("second",)),
        "folder": Reads(path="a folder of pictures", folders=("*.png",)),
    }


class OwnTrain(TrainConfig):
    task: Literal["name", "draw"] = "name"
    noise: Annotated[float, Only("train.task=draw", "data.size")] = 0.1
    shape: Annotated[str, Only("train.noise!=0.0")] = "round"


class OwnConfig(Config):
    data: OwnData = OwnData()
    train: OwnTrain = OwnTrain()


OWN = OwnConfig()


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        (["data.columns=c"], "data.columns=c: is read only with data.source=table, not with data.source=builtin"),
        (["data.source=table", "data.path=x", "data.examples=3"], "data.examples=3: is read only with data.source=bui"),
        (["data.source=builtin", "data.path=x"], "data.path=x: .*data.source=table or two or folder"),
        (["train.noise=1"], "train.noise=1.0: is read only with train.task=draw or data.size, not with train.task"),
        (["train.shape=x"], "train.shape=x: is read only with train.noise!=0.0"),  # noise itself is not read
        (["optimizer.decay=0.3"], "optimizer.decay=0.3: is read only with optimizer.schedule=decay"),
    ],
)
def test_what_would_be_ignored_is_refused(settings: list[str], said: str) -> None:
    with pytest.raises(UserError, match=said) as caught:
        OWN.chosen(settings)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "settings",
    [
        ["data.examples=3", "data.size=9"],
        ["data.source=table", "data.path=x", "data.columns=c"],
        ["train.task=draw", "train.noise=1", "train.shape=x"],
        ["data.size=9", "train.noise=1"],
        ["data.path=null", "optimizer.schedule=decay", "optimizer.decay=0.3"],
    ],
)
def test_what_is_read_is_taken(settings: list[str]) -> None:
    assert OWN.chosen(settings) == OWN.override(settings)


def test_what_a_preset_brings_along_is_no_mistake_of_the_user() -> None:
    preset = OWN.override(["data.examples=3"])
    assert preset.chosen(["data.source=table", "data.path=x"]).data.examples == 3


def test_a_typed_wrong_key_still_names_the_nearest() -> None:
    with pytest.raises(UserError, match=r"data.colums: unknown key; did you mean data.columns"):
        OWN.chosen(["data.colums=c"])


def test_a_path_says_its_source(tmp_path: Path) -> None:
    (tmp_path / "A Table.CSV").write_text("a,b\n")
    (tmp_path / "own").mkdir()
    (tmp_path / "own" / "1.PNG").write_bytes(b"")
    for path, also, source in (("A Table.CSV", [], "table"), ("own", [], "folder"), ("A Table.CSV", ["second"], "two")):
        settings = [f"data.path={tmp_path / path}", *(f"data.{key}=x" for key in also)]
        with pytest.warns(Notice, match=f"data.path=.*{path}: read as data.source={source}, "):
            assert OWN.chosen(settings).data.source == source


def test_a_source_that_is_named_is_not_guessed(tmp_path: Path) -> None:
    (tmp_path / "x.csv").write_text("")
    chosen = OWN.override(["data.source=two", "data.second=y"]).chosen([f"data.path={tmp_path / 'x.csv'}"])
    assert chosen.data.source == "two"


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("nowhere", "no such file or folder"),
        ("x.zip", "this file fits none of these: data.source=table takes a table; .*folder of pictures"),
        ("empty", "this folder fits none of these"),
    ],
)
def test_a_path_that_nothing_reads_is_one_line(tmp_path: Path, name: str, said: str) -> None:
    (tmp_path / "x.zip").write_bytes(b"")
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match=f"data.path={re.escape(str(tmp_path / name))}: {said}"):
        OWN.chosen([f"data.path={tmp_path / name}"])


def test_a_path_that_cannot_be_looked_into_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def locked(path: Path) -> Any:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "iterdir", locked)
    with pytest.raises(UserError, match=r"data.path=.*: cannot be accessed \(Permission denied\)"):
        OWN.chosen([f"data.path={tmp_path}"])


@pytest.mark.parametrize("setting", ["data.path={}", "data.source=table --set data.path={}", "data.second={}"])
def test_a_pipe_is_one_line_and_nobody_waits_for_it(tmp_path: Path, setting: str) -> None:
    os.mkfifo(tmp_path / "pipe.csv")
    with pytest.raises(UserError, match=r"data\.(path|second)=.*pipe\.csv: is a pipe or a device, .*write it"):
        OWN.chosen(setting.format(tmp_path / "pipe.csv").split(" --set "))


def test_a_path_that_may_not_be_looked_at_is_one_line_with_its_source_too(monkeypatch: pytest.MonkeyPatch) -> None:
    def locked(path: Path) -> Any:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "stat", locked)
    with pytest.raises(UserError, match=r"data\.path=x\.csv: cannot be accessed \(Permission denied\)"):
        OWN.chosen(["data.source=table", "data.path=x.csv"])
    monkeypatch.undo()
    with pytest.raises(UserError, match=r"data\.path=y{300}: cannot be accessed \(File name too long\)"):
        OWN.chosen(["data.source=table", f"data.path={'y' * 300}"])


def test_a_path_that_two_sources_read_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "quora_duplicate_questions.tsv").write_text("")
    with pytest.raises(UserError, match=r"which of these is it\? data.source=quora takes .*; data.source=csv takes"):
        apps.load("similarity").config("smoke", [f"data.path={tmp_path / 'quora_duplicate_questions.tsv'}"])


def test_a_setting_for_another_source_leaves_none_that_fits(tmp_path: Path) -> None:
    (tmp_path / "x.csv").write_text("")
    with pytest.raises(UserError, match="fits none of these"):
        OWN.chosen([f"data.path={tmp_path / 'x.csv'}", "data.examples=3"])


def test_a_trained_model_is_asked_in_the_same_words(tmp_path: Path) -> None:
    app = apps.load("image")
    config = app.config("smoke")
    facts = {"height": 8, "width": 8, "channels": 1, "levels": 17, "classes": ["a", "b"]}
    saved.save(tmp_path / "model", app, config, facts, "digest", app.network(config, facts))
    with pytest.raises(UserError, match=r"predict.keep=0.3: is read only with train.task=complete"):
        saved.load(tmp_path / "model", ["predict.keep=0.3"])


class Seen:
    """Stands for a configuration and remembers which settings of its data were asked for."""

    def __init__(self, config: Any) -> None:
        self.config, self.names = config, set[str]()

    def __getattr__(self, name: str) -> Any:
        return _Data(self.config.data, self.names) if name == "data" else getattr(self.config, name)


class _Data:
    def __init__(self, data: Any, names: set[str]) -> None:
        self._data, self._names = data, names

    def __getattr__(self, name: str) -> Any:
        self._names.add(name)
        return getattr(self._data, name)


class Unprepared(Store):
    """A store that has nothing and fetches nothing."""

    def fetch(self, *_: Any, **__: Any) -> Any:
        raise UserError("not fetched")

    def prepare(self, *_: Any, **__: Any) -> Any:
        raise UserError("not prepared")


def sources(config: Config) -> tuple[str, ...]:
    return get_args(type(config.data).model_fields["source"].annotation)


@pytest.mark.parametrize("name", APPS)
def test_declared_is_what_is_read(name: str, tmp_path: Path) -> None:
    """Each source asks for the settings that it declares, and for none that another one has declared for itself."""
    app = apps.load(name)
    preset = app.presets["default"]
    declared = preset.data.sources
    assert set(declared) == set(sources(preset))
    own = {"path" if key == "data.path" else key.removeprefix("data.") for key in conditions(preset)}
    for source, reads in declared.items():
        wanted = {*reads.settings, *(["path"] if reads.path else [])}
        task = ["train.task=predict_frames"] if source == "moving-mnist" else []
        seen = Seen(preset.override([f"data.source={source}", *task]))
        with pytest.raises(UserError):
            app.prepare(seen, Unprepared(tmp_path))
        marked = {key for key in own if any(key in other.settings for other in declared.values())} | {"path"}
        assert seen.names & marked == wanted, source


@pytest.mark.parametrize("name", APPS)
def test_declarations_name_settings_that_there_are(name: str) -> None:
    preset = apps.load(name).presets["default"]
    known = flat(preset)
    for key, wanted in conditions(preset).items():
        assert key in known
        assert {re.split("!?=", condition)[0] for condition in wanted} <= known.keys()


def test_applications_made_by_new_app_have_it_too(tmp_path: Path) -> None:
    (tmp_path / "own.jsonl").write_text("{}\n")
    with pytest.warns(Notice, match="read as data.source=file"):
        assert RecordsConfig().chosen([f"data.path={tmp_path / 'own.jsonl'}"]).data.source == "file"
    with pytest.raises(UserError, match=r"data.examples=30: is read only with data.source=builtin"):
        RecordsConfig().chosen(["data.source=file", f"data.path={tmp_path}", "data.examples=30"])


def test_sections_without_a_word_are_read() -> None:
    class Plain(Config):
        extra: Section = Section()

    assert Plain().chosen(["data.path=x", "data.source=any"]).data.source == "any"
