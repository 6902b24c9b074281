"""How `invoke lint --audit` handles pip-audit's output."""

import json
import os
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from unroll.commands.audit import audit
from unroll.errors import UserError

Answers = Callable[..., None]


@pytest.fixture
def pins(tmp_path: Path) -> Path:
    path = tmp_path / "constraints.txt"
    path.write_text("numpy==2.4.6\ntorch==2.13.0\n")
    return path


@pytest.fixture
def answers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Answers:
    """Puts a pip-audit in the way that gives such an answer, and keeps what it was asked."""

    def make(out: str = "", err: str = "", code: int = 0) -> None:
        folder = tmp_path / "bin"
        folder.mkdir()
        program = folder / "pip-audit"
        (folder / "out").write_text(out)
        (folder / "err").write_text(err)
        script = f'#!/bin/sh\necho "$@" > {folder}/asked\ncat {folder}/out\ncat {folder}/err >&2\nexit {code}\n'
        program.write_text(script)
        program.chmod(program.stat().st_mode | stat.S_IXUSR)
        monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")

    return make


def found(*vulnerabilities: dict[str, Any]) -> str:
    whole = {"name": "numpy", "version": "2.4.6", "vulns": []}
    skipped = {"name": "local", "skip_reason": "not on PyPI"}
    return json.dumps(
        {"dependencies": [whole, skipped, {"name": "torch", "version": "2.13.0", "vulns": vulnerabilities}]}
    )


def test_nothing_is_known(pins: Path, answers: Answers, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    answers(found())
    assert audit(pins) == {"audited": 2, "vulnerable": 0, "exit_code": 0}
    assert capsys.readouterr().out == "audited: 2 versions, 0 of them with known vulnerabilities\n"
    assert (tmp_path / "bin/asked").read_text().startswith(f"-r {pins} --no-deps --disable-pip ")


def test_each_vulnerability_is_a_line(pins: Path, answers: Answers, capsys: pytest.CaptureFixture[str]) -> None:
    known = {"id": "PYSEC-1", "fix_versions": ["2.13.1", "2.14"]}, {"id": "PYSEC-2", "fix_versions": []}
    answers(found(*known), code=1)
    assert audit(pins) == {"audited": 2, "vulnerable": 1, "exit_code": 1}
    assert capsys.readouterr().out.splitlines() == [
        "torch==2.13.0: PYSEC-1; update to 2.13.1 or 2.14",
        "torch==2.13.0: PYSEC-2; no release mends it yet",
        "audited: 2 versions, 1 of them with known vulnerabilities",
    ]


@pytest.mark.parametrize("out", ["", "not JSON", "[]", '{"dependencies": []}'])
def test_no_database_is_one_line(out: str, pins: Path, answers: Answers, capsys: pytest.CaptureFixture[str]) -> None:
    answers(out, "Traceback ...\nConnectionError: nobody there\n\n", code=1)
    assert audit(pins)["exit_code"] == 0
    said = "not audited: pip-audit reached no database of vulnerabilities (ConnectionError: nobody there)\n"
    assert capsys.readouterr().out == said


def test_a_mirror_without_a_database_is_one_line(
    pins: Path, answers: Answers, capsys: pytest.CaptureFixture[str]
) -> None:
    """What pip-audit 2.10 says where the index has packages, but knows of no vulnerabilities: all is well, code 0."""
    answers(json.dumps({"dependencies": [{"name": "numpy", "skip_reason": "not found on PyPI"}], "fixes": []}))
    assert audit(pins) == {"audited": 0, "vulnerable": 0, "exit_code": 0}
    said = "not audited: pip-audit reached no database of vulnerabilities (not found on PyPI)\n"
    assert capsys.readouterr().out == said


def test_no_pip_audit_and_no_pins(pins: Path, answers: Answers, monkeypatch: pytest.MonkeyPatch) -> None:
    answers()
    with pytest.raises(UserError, match=r"nothing\.txt: there is no such file"):
        audit(pins.with_name("nothing.txt"))
    monkeypatch.setenv("PATH", "")
    with pytest.raises(UserError, match="pip install pip-audit"):
        audit(pins)
