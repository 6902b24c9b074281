"""From settings with several values to runs."""

import pytest

from tests.unroll.training.toy import APP
from unroll.errors import UserError
from unroll.search.grid import expand, values


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("gru", ["gru"]),
        ("elman,lstm, gru", ["elman", "lstm", "gru"]),
        ("[1,2],[3]", ["[1,2]", "[3]"]),
        ('"a,b",c', ['"a,b"', "c"]),
        (r'"a\",b",c', [r'"a\",b"', "c"]),
        ('["a,b","c"]', ['["a,b","c"]']),
        ("", [""]),
        ("a,", ["a", ""]),
    ],
)
def test_a_comma_inside_brackets_or_quotes_belongs_to_its_value(text: str, wanted: list[str]) -> None:
    assert values(text) == wanted


def test_every_combination_with_the_seeds_innermost() -> None:
    cells = expand(APP, "default", ["model.cell=elman,gru", "model.hidden=4,8", "train.epochs=2"], seeds=2)
    assert len(cells) == 8
    assert [(c.config.model.cell, c.config.model.hidden, c.config.train.seed) for c in cells[:3]] == [
        ("elman", 4, 0), ("elman", 4, 1), ("elman", 8, 0),
    ]  # fmt: skip
    assert cells[2].label == "toy model.cell=elman model.hidden=8 train.seed=0"
    assert cells[2].settings == ("model.cell=elman", "model.hidden=8", "train.epochs=2", "train.seed=0")
    assert cells[2].params["model.hidden"] == "8" and all(cell.config.train.epochs == 2 for cell in cells)


def test_seeds_count_from_the_configurations_own() -> None:
    assert [c.config.train.seed for c in expand(APP, "default", ["train.seed=7"], seeds=3)] == [7, 8, 9]
    assert [c.config.train.seed for c in expand(APP, "default", ["train.seed=7,9"])] == [7, 9]
    assert len(expand(APP, "default", [])) == 1


def test_the_same_training_is_there_once() -> None:
    assert len(expand(APP, "default", ["model.hidden=8,8.0,9"])) == 2


@pytest.mark.parametrize(
    ("settings", "seeds", "said"),
    [
        (["model.cel=a,b"], 0, "model.cel: unknown key; did you mean model.cell"),
        (["model.hidden=4,x"], 0, "model.hidden: Input should be a valid integer"),
        (["model.hidden=4,,8"], 0, "--set model.hidden=4,,8: a value is missing between two commas"),
        (["model.hidden"], 0, "write it as key=value"),
        (["train.seed=1,2"], 3, "--seeds and several values of train.seed: give one of them"),
    ],
)
def test_what_is_wrong_is_said_before_anything_is_trained(settings, seeds: int, said: str) -> None:
    with pytest.raises(UserError, match=said):
        expand(APP, "default", settings, seeds)
