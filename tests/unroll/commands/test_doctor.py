"""`invoke doctor`: what each check finds where something is wrong, and where nothing is."""

import hashlib
import json
import os
from collections import namedtuple
from pathlib import Path
from typing import Any

import pytest
import torch

from unroll import app as apps
from unroll.commands import doctor as module
from unroll.commands.doctor import Finding, doctor
from unroll.data.store import Store
from unroll.errors import UserError

Usage = namedtuple("Usage", "total used free")


def found(check: Any) -> list[tuple[str, str]]:
    return [(one.status, one.detail) for one in check()]


def fine() -> Any:
    yield Finding("fine", "ok", "yes")
    yield Finding("odd", "note", "a little")


def wrong() -> Any:
    yield Finding("wrong", "FAILED", "no")


@pytest.mark.parametrize(("checks", "failed"), [((fine,), []), ((fine, wrong), ["wrong"])])
def test_one_failure_fails_all(checks: Any, failed: list[str], monkeypatch: Any, capsys: Any) -> None:
    monkeypatch.setattr(module, "CHECKS", checks)
    done = doctor()
    assert (done["status"], done["exit_code"], done["failed"]) == (("FAILED", 1) if failed else ("FINISHED", 0)) + (
        failed,
    )
    assert [one["check"] for one in done["checks"]] == ["fine", "odd", *failed]
    assert 0 <= done["seconds"] < 60
    assert ("1 failed: wrong" if failed else "all is well (0.") in capsys.readouterr().out


@pytest.mark.parametrize(
    ("error", "said"), [(UserError("do this"), "do this"), (ValueError("a\n b"), "ValueError: a b")]
)
def test_a_check_that_breaks_is_a_finding(error: Exception, said: str) -> None:
    def _some_check() -> Any:
        yield Finding("first", "ok", "")
        raise error

    assert list(module._safely(_some_check)) == [Finding("first", "ok", ""), Finding("some check", "FAILED", said)]


@pytest.mark.parametrize(
    ("threads", "load", "status", "said"),
    [
        (4, 6.0, "ok", "4 of 4 cores, load 6.0"),
        (4, 6.1, "note", "others are at work"),
        (5, 0.0, "note", "set OMP_NUM_THREADS=4"),
        (3, 0.0, "ok", "3 of 4 cores, load 0.0"),
    ],
)
def test_threads_and_load(threads: int, load: float, status: str, said: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "cpu_count", lambda: 4)
    monkeypatch.setattr(os, "getloadavg", lambda: (load, 0.0, 0.0))
    monkeypatch.setattr(torch, "get_num_threads", lambda: threads)
    [*others, last] = module._machine()
    assert [one.check for one in others] == ["python", "torch", "device"] and {one.status for one in others} == {"ok"}
    assert (last.check, last.status) == ("threads", status) and said in last.detail


@pytest.mark.parametrize(
    ("free", "writable", "status"),
    [(5e9, True, "ok"), (4.9e9, True, "note"), (5e8, True, "note"), (4.9e8, True, "FAILED"), (9e9, False, "FAILED")],
)
def test_room_on_the_disks(free: float, writable: bool, status: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module.shutil, "disk_usage", lambda place: Usage(0, 0, free))
    monkeypatch.setattr(os, "access", lambda place, how: writable)
    both = list(module._disk())
    assert [one.check for one in both] == ["disk: data", "disk: runs"] and {one.status for one in both} == {status}
    assert all(f"{free / 1e9:.1f} GB free{'' if writable else ', not writable'}" in one.detail for one in both)


def test_errors_beyond_rounding_are_named() -> None:
    nan = float("nan")
    good = module._worst("x", "y", {"gru": 1e-5, "lstm": 2e-4}, 2e-4)
    assert (good.status, good.detail) == ("ok", "2 cells against y: lstm is off most, by 2.0e-04")
    bad = module._worst("x", "y", {"gru": 1e-5, "lstm": 3e-4, "rnn": nan}, 2e-4)
    assert bad.status == "FAILED" and "lstm is off by 3.0e-04, rnn is off by nan; at most 2e-04" in bad.detail
    assert "gru" not in bad.detail


def test_applications_that_do_not_load_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(apps, "names", lambda: ["good", "bad"])

    def load(name: str) -> None:
        if name == "bad":
            raise UserError("bad: has no APP")

    monkeypatch.setattr(apps, "load", load)
    assert found(module._applications) == [("FAILED", "bad: has no APP")]
    monkeypatch.setattr(apps, "names", lambda: ["good"])
    assert found(module._applications) == [("ok", "good")]


class Mirror:
    """A folder of published files with their checksums."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        lines = []
        for name, content in (("a/large", b"x" * 100), ("small", b"y"), ("middle", b"z" * 10)):
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_bytes(content)
            lines.append(f"{hashlib.sha256(content).hexdigest()} *{name}\n")
        (folder / module.SUMS).write_text("".join(lines) + "\n")


@pytest.fixture
def mirror(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Mirror:
    monkeypatch.setenv("UNROLL_MIRROR", str(tmp_path / "mirror"))
    return Mirror(tmp_path / "mirror")


def test_published_files_are_verified(mirror: Mirror, monkeypatch: pytest.MonkeyPatch) -> None:
    assert found(module._mirror) == [("ok", "3 files have their checksums")]
    (mirror.folder / "middle").write_bytes(b"other")
    assert found(module._mirror) == [
        ("FAILED", f"{mirror.folder}/middle: its checksum is not the one in SHA256SUMS; copy it again")
    ]
    (mirror.folder / "middle").unlink()
    assert found(module._mirror) == [("FAILED", f"{mirror.folder}/middle: is missing")]
    (mirror.folder / module.SUMS).unlink()
    assert found(module._mirror)[0][0] == "note"
    monkeypatch.delenv("UNROLL_MIRROR")
    assert found(module._mirror) == [
        ("ok", "no mirror (UNROLL_MIRROR is not set); downloads are verified as they come")
    ]


def test_the_small_files_come_first_while_there_is_time(mirror: Mirror, monkeypatch: pytest.MonkeyPatch) -> None:
    now, read = [0.0], list[str]()
    monkeypatch.setattr(module, "time", type("Clock", (), {"monotonic": staticmethod(lambda: now[0])}))
    real = module.sha256

    def slow(path: Path) -> str:
        now[0] += 5.0
        read.append(path.name)
        return real(path)

    monkeypatch.setattr(module, "sha256", slow)
    assert found(module._mirror) == [("ok", "3 files have their checksums")] and read == ["small", "middle", "large"]
    monkeypatch.setattr(module, "BUDGET", 9.0)
    assert found(module._mirror) == [("note", "2 of 3 files have their checksums; no time for the rest")]


def test_prepared_sets_are_verified(monkeypatch: pytest.MonkeyPatch) -> None:
    assert found(module._prepared_data) == [("ok", "none yet")]
    sets = [Store().prepare(name, {}, lambda folder: (folder / "x").write_text("1")) for name in ("one", "two")]
    assert found(module._prepared_data) == [("ok", "2 sets have their checksums")]
    with monkeypatch.context() as patch:
        patch.setattr(module, "BUDGET", -1.0)
        assert found(module._prepared_data) == [("note", "0 of 2 sets verified in -1 s")]
    (sets[1].folder / "x").write_text("2")
    [one] = module._safely(module._prepared_data)
    assert one.status == "FAILED" and str(sets[1].folder / "x") in one.detail


@pytest.mark.parametrize(("value", "status"), [(1.0, "ok"), (2.0, "FAILED")])
def test_the_store_gives_back_what_was_written(
    client: Any, value: float, status: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = client.log_metric
    monkeypatch.setattr(module.tracking, "connect", lambda: client)
    monkeypatch.setattr(client, "log_metric", lambda id, name, _: log(id, name, value))
    now = iter([1.0, 1.25])
    monkeypatch.setattr(module, "time", type("Clock", (), {"monotonic": staticmethod(lambda: next(now))}))
    [one] = module._tracking_store()
    assert one.status == status and one.detail.endswith(": written and read in 250 ms")
    experiment = client.get_experiment_by_name("doctor")
    assert client.search_runs([experiment.experiment_id]) == []


def test_the_whole_answer_is_json(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "CHECKS", (fine,))
    done = doctor()
    assert json.loads(json.dumps(done)) == done and [one["detail"] for one in done["checks"]] == ["yes", "a little"]
