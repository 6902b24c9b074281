"""Which runs of a grid exist already: finished, stopped, running elsewhere, or not."""

import json
from collections.abc import Sequence
from typing import Any

import pytest
from filelock import FileLock

from unroll import app as apps
from unroll import tracking
from unroll.app import Data
from unroll.commands import grid
from unroll.places import runs_folder
from unroll.search.grid import expand
from unroll.training import budget

DIGEST = "d" * 64


@pytest.fixture
def planned(client: Any, monkeypatch: pytest.MonkeyPatch):
    """Makes a run of the given status and says what becomes of its cell."""
    app = apps.load("speech")
    data = Data([None] * 3, [], [], {}, DIGEST, "any")
    grid._ahead.cache_clear()
    monkeypatch.setattr(grid, "prepared", lambda app, config: data)

    def plan(*runs: dict[str, Any], preset: str = "smoke", asked: Sequence[str] = ("model.hidden=9",)) -> grid.Planned:
        [cell] = expand(app, preset, asked)
        for made in runs:
            settings = made.get("settings", asked)
            given = app.config(preset, settings)
            config = budget.planned(app, preset, settings, given, data)  # as `train_one` does
            id = tracking.start(client, app, config, made.get("digest", DIGEST), made.get("tags"))
            folder = runs_folder() / id
            folder.mkdir(parents=True)
            if made.get("kept", True):
                (folder / "run.json").write_text(json.dumps({}))
            if made["status"] != "RUNNING":
                client.set_terminated(id, made["status"])
        return grid._plan(cell, tracking.runs(client, "speech"))

    return plan


def test_a_finished_run_of_the_same_configuration_data_and_code_is_skipped(planned) -> None:
    assert planned().state == "new"
    assert planned({"status": "FINISHED"}).state == "finished"
    assert planned({"status": "KILLED"}).state == "finished"


@pytest.mark.parametrize(
    "other",
    [
        {"settings": ["model.hidden=10"]},
        {"digest": "e" * 64},
        {"tags": {"code.digest": "old"}},
        {"tags": {"code.resumed": "old"}},  # begun with this code, and trained by another one too
    ],
)
def test_one_of_another_configuration_data_or_code_is_not(planned, other: dict[str, Any]) -> None:
    assert planned({"status": "FINISHED", **other}).state == "new"


OWN = ("data.source=folder", "data.path=.")


@pytest.mark.parametrize(
    ("preset", "asked", "chosen"),
    [
        ("default", OWN, {"train.epochs": "667", "train.evaluate_every": "14"}),
        ("default", (*OWN, "train.evaluate_every=3", "train.seed=2"), {"train.evaluate_every": "3"}),
        ("smoke", ("train.minutes=2",), {"train.epochs": "0"}),
    ],
)
def test_what_a_training_chose_by_itself_is_no_other_configuration(planned, preset, asked, chosen) -> None:
    found = planned({"status": "FINISHED"}, preset=preset, asked=asked)
    assert found.run is not None and found.run.params.items() >= chosen.items()
    assert found.state == "finished"


def test_a_length_that_was_asked_for_is_another_one(planned) -> None:
    five = {"status": "FINISHED", "settings": (*OWN, "train.epochs=5")}
    assert planned(five, preset="default", asked=OWN).state == "new"
    assert planned(preset="default", asked=five["settings"]).state == "finished"


@pytest.mark.parametrize("status", ["KILLED", "RUNNING"])
def test_a_stopped_run_is_resumed_where_its_folder_is(planned, status: str) -> None:
    assert planned({"status": status, "kept": False}).state == "new"
    found = planned({"status": status})
    assert found.state == "stopped" and found.run is not None
    assert list(grid._words(found))[-2:] == ["--resume", found.run.id]


def test_a_failed_run_starts_over(planned) -> None:
    found = planned({"status": "FAILED"})
    assert found.state == "new"
    assert list(grid._words(found)) == [
        "train", "--app", "speech", "--json", "--preset", "smoke", "--set", "model.hidden=9",
    ]  # fmt: skip


def test_a_run_that_another_process_trains_is_left_to_it(planned, client: Any) -> None:
    planned({"status": "RUNNING"})
    [run] = tracking.runs(client, "speech")
    with FileLock(runs_folder() / run.id / "lock"):
        assert planned().state == "under way"
    assert planned().state == "stopped"


def test_data_that_cannot_be_had_are_told_by_the_training() -> None:
    config = apps.load("speech").config("smoke", ["data.path=/no/such/folder", "data.source=folder"])
    assert grid._ahead("speech", "smoke", (), config.model_dump_json()) == ("", {})
