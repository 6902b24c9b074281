"""`invoke predict --file`: how inputs are separated, for every application, in a file and in standard input."""

import io
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from unroll import app as apps
from unroll.commands import predict
from unroll.errors import UserError

ODD = ["a man runs\u2028on the mat | a boy sits", "a cat\x85plays\x0b | x\x1cy", " the ball | the red ball"]
TABLES = {"recommend"}
"""applications whose `--file` is a table"""


@dataclass
class Told:
    """A model that answers with its inputs."""

    app: apps.App

    def predict(self, inputs: list[Any]) -> list[Any]:
        return list(inputs)


@pytest.fixture
def trained(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(predict, "trained", lambda name, references, settings: Told(apps.load(name)))


def inputs(name: str, file: str) -> list[Any]:
    outputs: list[Any] = predict.predict(name, ["latest"], [], file)["outputs"]
    return outputs


@pytest.mark.parametrize("name", sorted(set(apps.names()) - TABLES))
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_only_line_ends_end_an_input(
    trained: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, encoding: str
) -> None:
    content = f"{ODD[0]}\n{ODD[1]}\r\n{ODD[2]}\n".encode(encoding)
    (tmp_path / "inputs.txt").write_bytes(content)
    assert inputs(name, str(tmp_path / "inputs.txt")) == ODD
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(content)))
    assert inputs(name, "-") == ODD


@pytest.mark.parametrize("name", sorted(apps.names()))
def test_who_names_a_file_gets_no_examples(
    trained: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    (tmp_path / "none.txt").touch()
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO()))
    for file, message in ((str(tmp_path / "none.txt"), "none.txt"), ("-", "standard input"), ("", "no name is given")):
        with pytest.raises(UserError, match=message) as error:
            inputs(name, file)
        assert "\n" not in str(error.value)


def test_a_table_from_standard_input(trained: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"session,item\n7,NA\n7,i3\n")))
    assert inputs("recommend", "-") == [{"session": "7", "history": ["NA", "i3"]}]


@pytest.mark.parametrize("name", sorted(apps.names()))
def test_what_is_no_text_is_one_line(trained: None, tmp_path: Path, name: str) -> None:
    (tmp_path / "inputs.txt").write_bytes(b"session,item\nx,caf\xe9\n")
    with pytest.raises(UserError, match=r"inputs\.txt, line 2, byte 18: is not UTF-8 text"):
        inputs(name, str(tmp_path / "inputs.txt"))
    with pytest.raises(UserError, match="nowhere: cannot be read"):
        inputs(name, str(tmp_path / "nowhere"))
