"""Configurations: overrides, the nearest known key, one line for what is wrong."""

import json

import pytest

from unroll.config import Config, DataConfig, describe, flat
from unroll.errors import UserError

DEFAULT = Config()


def test_overrides_apply_in_order_and_change_nothing_else() -> None:
    changed = DEFAULT.override(["model.cell=gru", "optimizer.lr=3e-4", "model.cell=elman", "data.path=a b/c"])
    assert changed.model.cell == "elman"
    assert changed.optimizer.lr == 3e-4
    assert str(changed.data.path) == "a b/c"
    different = {key for key, value in flat(changed).items() if value != flat(DEFAULT)[key]}
    assert different == {"model.cell", "optimizer.lr", "data.path"}
    assert Config() == DEFAULT


def test_round_trip_through_json() -> None:
    changed = DEFAULT.override(["model.hidden=7", "train.minutes=0.5"])
    assert Config.parse(json.loads(changed.model_dump_json())) == changed


@pytest.mark.parametrize(
    ("setting", "words"),
    [
        ("model.cel=gru", ["model.cel", "did you mean", "model.cell"]),
        ("nonsense=1", ["nonsense", "unknown key", "data.source"]),
        ("model=gru", ["model", "unknown key"]),
        ("model.cell", ["key=value"]),
        ("model.hidden=many", ["model.hidden", "'many'", "integer"]),
        ("model.hidden=0", ["model.hidden", "greater than or equal to 1"]),
        ("optimizer.lr=-1", ["optimizer.lr", "greater than 0"]),
        ("optimizer.lr=NaN", ["optimizer.lr", "finite"]),
        ("optimizer.name=adamm", ["optimizer.name", "'adamw'"]),
        ("train.precision=8", ["train.precision", "bf16-mixed"]),
        ("model.hidden=[1,2]", ["model.hidden"]),
        ('model={"cell":"gru"}', ["unknown key"]),
    ],
)
def test_a_wrong_setting_is_one_line_that_names_the_key(setting: str, words: list[str]) -> None:
    with pytest.raises(UserError) as caught:
        DEFAULT.override([setting])
    message = str(caught.value)
    assert "\n" not in message
    for word in words:
        assert word in message


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (["train.epochs=0"], "train.epochs=0 needs a time limit: set train.minutes"),
        (
            ["optimizer.average=0.9", "optimizer.name=ntasgd"],
            "optimizer.average: ntasgd already averages the weights; leave out one of them",
        ),
    ],
)
def test_settings_that_do_not_go_together_are_named_and_nothing_else(settings: list[str], message: str) -> None:
    with pytest.raises(UserError) as caught:
        DEFAULT.override(settings)
    assert str(caught.value) == message


@pytest.mark.parametrize("name", ["2024", "true", "[1]", "1e5", "7.0"])
def test_a_path_that_looks_like_another_value_is_a_path(name: str) -> None:
    assert str(DEFAULT.override([f"data.path={name}"]).data.path) == name
    assert DEFAULT.override([f"model.cell={name}"]).model.cell == name


def test_a_path_may_be_quoted_or_nothing_at_all() -> None:
    assert str(DEFAULT.override(['data.path="a b"']).data.path) == "a b"
    assert DEFAULT.override(["data.path=x", "data.path=null"]).data.path is None


def test_the_home_folder_in_a_path(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/ann")
    assert str(DEFAULT.override(["data.path=~/cats"]).data.path) == "/home/ann/cats"
    assert DEFAULT.override(["model.cell=~/cats"]).model.cell == "~/cats"


@pytest.mark.parametrize("setting", ["data.path=", "data.path= ", 'data.path=""'])
def test_an_empty_path_is_not_the_working_folder(setting: str) -> None:
    with pytest.raises(UserError, match=r"--set data\.path=: is an empty path; .*a shell variable unset\?"):
        DEFAULT.override([setting])


def test_every_setting_has_a_help_text() -> None:
    assert all(text for _, _, text in describe(DEFAULT))


def test_a_frozen_configuration_cannot_be_changed() -> None:
    with pytest.raises(ValueError, match="frozen"):
        DEFAULT.model.hidden = 3


def test_a_precision_that_looks_like_a_number_is_a_word() -> None:
    assert Config().override(["train.precision=32"]).train.precision == "32"


class _Sized(Config):
    class Data(DataConfig):
        size: tuple[int, int] = (32, 32)
        """of something"""

    data: Data = Data()


@pytest.mark.parametrize("text", ["8x8", "8", "[8x8]"])
def test_what_is_no_list_is_told_how_one_is_written(text: str) -> None:
    with pytest.raises(UserError, match=r"^data\.size: write a list in brackets, such as data\.size=\[1,2\] .*\(got "):
        _Sized().override([f"data.size={text}"])
    assert _Sized().override(["data.size=[8,8]"]).data.size == (8, 8)
