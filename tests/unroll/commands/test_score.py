"""`invoke predict --score`: a table and pictures in the current folder, or one line."""

import csv
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from matplotlib.figure import Figure

from tests.unroll.training.toy import APP
from unroll.commands import predict
from unroll.errors import UserError


def scores(model: Any, path: Path) -> Any:
    return [{"token": path.read_text(), "bits": 1.5}] * 2, {"curve": Figure()}


@pytest.mark.parametrize("scored", [True, False])
def test_every_token_is_a_row(scored: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    app = replace(APP, scores=scores if scored else None)
    monkeypatch.setattr(predict, "trained", lambda *_: SimpleNamespace(app=app, model=None))
    monkeypatch.chdir(tmp_path)
    (file := tmp_path / "a text.txt").write_text("word")
    if not scored:
        with pytest.raises(UserError, match="toy has no scores for the pieces of a file"):
            predict.score("toy", ["latest"], str(file))
        return
    done = predict.score("toy", ["a", "b"], str(file))
    table, picture = tmp_path / "a text.scores.csv", tmp_path / "a text.curve.png"
    assert done == {"app": "toy", "run": "a, b", "rows": 2, "files": [str(table), str(picture)]}
    with table.open(newline="") as rows:
        assert list(csv.DictReader(rows)) == [{"token": "word", "bits": "1.5"}] * 2
    assert picture.read_bytes().startswith(b"\x89PNG")
