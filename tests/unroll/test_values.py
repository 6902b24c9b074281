"""Which Python values an application accepts, and the error for all others."""

from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest

from tests.unroll.training.toy import APP
from unroll import values
from unroll.app import App
from unroll.conformance import predict_takes_the_values_that_it_names
from unroll.errors import UserError
from unroll.values import Value

PATHS = Value[Path]("the path of a file", values.is_path, Path)


@pytest.mark.parametrize(
    ("given", "inputs"),
    [("a", ["a"]), (["a", "b"], ["a", "b"]), (("a", "b"), [("a", "b")]), ([["a", "b"]], [["a", "b"]]), ([], [])],
)
def test_only_a_list_is_several_inputs(given: Any, inputs: list[Any]) -> None:
    assert values.listed(given) == inputs


def test_an_array_is_one_input() -> None:
    [one] = values.listed(np.zeros((2, 2)))
    assert one.shape == (2, 2)


@pytest.mark.parametrize(
    ("given", "shown"),
    [
        (3, "int 3"), (None, "NoneType None"), (np.zeros((2, 3), np.int16), r"ndarray of int16 \[2, 3\]"),
        (("a\nb", 2), r"tuple \('a\\nb', 2\)"), (["x" * 1000], r"list \['x+\.\.\.x+'\]"),
    ],
)  # fmt: skip
def test_a_value_of_another_kind_is_one_line(given: Any, shown: str) -> None:
    with pytest.raises(UserError, match=f"^input 2: toy does not take {shown}; it takes text; or the path") as e:
        values.check("toy", (PATHS,), ["fine", given])
    assert "\n" not in str(e.value) and len(str(e.value)) < 200


def test_text_and_what_is_named_pass() -> None:
    values.check("toy", (PATHS,), ["text", Path("file")])
    with pytest.raises(UserError, match=r"it takes text$"):
        values.check("toy", (), [Path("file")])


def test_an_application_checks_what_it_is_given() -> None:
    app: App = replace(APP, name="toy", values=(PATHS,), predict=lambda model, inputs: [str(one) for one in inputs])
    assert app.outputs(None, ["a", Path("b")]) == ["a", "b"]
    with pytest.raises(UserError, match="input 1: toy does not take int 3"):
        app.outputs(None, [3])


class Subject:
    """What the check of the conformance suite looks at."""

    def __init__(self, value: Value) -> None:
        def predict(_: Any, inputs: Any) -> list[Any]:
            return [one.upper() if isinstance(one, str) else one.name.upper() for one in inputs]

        self.app = replace(APP, name="toy", examples=("a", "b"), values=(value,), predict=predict)

    def data(self) -> None: ...

    def model(self, _: None) -> Any:
        return self

    def eval(self) -> None: ...


@pytest.mark.parametrize(
    ("value", "fault"),
    [
        (replace(PATHS, of=lambda text: Path(text + "!")), "the path"),
        (replace(PATHS, fits=cast(Any, lambda value: False)), "what does not fit"),
        (replace(PATHS, fits=cast(Any, lambda value: True)), "None"),
    ],
    ids=["another output", "fits nothing", "fits all"],
)
def test_conformance_finds_values_that_are_not_as_named(value: Value, fault: str) -> None:
    predict_takes_the_values_that_it_names(Subject(PATHS))  # type: ignore[arg-type]
    with pytest.raises((AssertionError, AttributeError), match=fault if fault != "None" else "name"):
        predict_takes_the_values_that_it_names(Subject(value))  # type: ignore[arg-type]
