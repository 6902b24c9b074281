"""`invoke apps`: a line for each application and each cell."""

from typing import Any

import pytest

from unroll import app as apps
from unroll.commands import new
from unroll.errors import UserError
from unroll.recurrence import CELLS


@pytest.fixture
def shown(monkeypatch: pytest.MonkeyPatch) -> dict[str, list[dict[str, Any]]]:
    tables: dict[str, list[dict[str, Any]]] = {}
    monkeypatch.setattr(new, "show_table", tables.__setitem__)
    return tables


def test_every_cell_and_application_has_its_line(shown: dict[str, list[dict[str, Any]]]) -> None:
    found = new.listing()
    assert found["cells"] == list(CELLS) and [row["app"] for row in found["apps"]] == apps.names()
    cells = shown["cells, for --set model.cell=NAME"]
    assert [row["cell"] for row in cells] == list(CELLS)
    for row in cells:
        assert row["what"] and row["what"] == row["what"].strip() and "\n" not in row["what"], row
    [speech] = [row for row in shown["applications"] if row["app"] == "speech"]
    app = apps.load("speech")
    assert speech["what"] == app.about and speech["sources"] == "builtin, fsdd, folder"
    assert speech["presets"] == ", ".join(app.presets)


def test_an_application_that_does_not_load_is_listed_with_the_reason(
    shown: dict[str, list[dict[str, Any]]], monkeypatch: pytest.MonkeyPatch
) -> None:
    def load(name: str) -> Any:
        raise UserError(f"{name}: is broken")

    monkeypatch.setattr(apps, "load", load)
    monkeypatch.setattr(apps, "names", lambda: ["one"])
    assert new.listing()["apps"] == [{"app": "one", "what": "one: is broken", "sources": "", "presets": ""}]


def test_what_was_written_and_what_comes_next_is_said(
    tmp_path: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    made = [tmp_path / "a.py", tmp_path / "b.py"]
    asked: list[Any] = []
    for what in ("new_app", "new_cell"):
        monkeypatch.setattr(new.scaffold, what, lambda *words, what=what: asked.append((what, *words)) or made)
    files = [str(path) for path in made]
    assert new.new_app("mine", "tag", str(tmp_path)) == {"app": "mine", "files": files}
    said = capsys.readouterr().out
    assert f"written: {files[1]}\nnext: pip install -e {tmp_path}\n      invoke train --app mine\n" in said
    assert new.new_cell("own") == {"cell": "own", "files": files}
    said = capsys.readouterr().out
    assert "next: invoke train --app speech --set model.cell=own\n" in said and "pip" not in said
    assert asked == [("new_app", "mine", "tag", tmp_path), ("new_cell", "own", None)]
