"""Runs as they stand in the store: all of them, in their order, with the numbers that were logged."""

import math
import sys
from typing import Any

import pytest

from tests.unroll.tracking.test_run import at, begin
from unroll import tracking
from unroll.errors import UserError
from unroll.tracking import query


@pytest.fixture
def five(client: Any) -> list[str]:
    """Ids of runs that ended, the newest first."""
    ids = []
    for number in range(5):
        run = begin(client)
        for step in (1, 2):
            run.step(at(step), 1.0, {"val/mse": number + step / 10})
        run.finish("FINISHED")
        ids.insert(0, run.id)
    return ids


@pytest.mark.parametrize("server", [False, True])
def test_runs_come_page_by_page_from_a_server_and_none_is_lost(
    server: bool, client: Any, five: list[str], monkeypatch: Any
) -> None:
    monkeypatch.setattr(query, "PAGE", 2)
    if server:
        monkeypatch.setattr(query, "store_of", lambda client: None)
    found = tracking.runs(client, "toy")
    assert {run.id for run in found} == set(five) and len(found) == 5
    assert [run.started for run in found] == sorted((run.started for run in found), reverse=True)


def test_curves_come_page_by_page_and_from_a_server_one_by_one(client: Any, five: list[str], monkeypatch: Any) -> None:
    wanted = {id: {1: number + 0.1, 2: number + 0.2} for number, id in enumerate(reversed(five))}
    runs = tracking.runs(client, "toy")
    monkeypatch.setattr(query, "PAGE", 2)
    assert tracking.curves(client, runs, "val/mse") == wanted
    assert tracking.curves(client, runs, "val/none") == {}
    monkeypatch.setattr(query, "store_of", lambda client: None)
    assert tracking.curves(client, runs, "val/mse") == wanted


def test_times_are_in_seconds(client: Any) -> None:
    run = begin(client)
    run.finish("FINISHED")
    info = client.get_run(run.id).info
    [found] = tracking.runs(client, "toy")
    assert found.started == info.start_time / 1000 and found.seconds == (info.end_time - info.start_time) / 1000
    assert found.name == info.run_name and found.artifacts == info.artifact_uri


@pytest.mark.parametrize("value", [math.inf, -math.inf, 1.5, -sys.float_info.max / 2])
def test_infinity_comes_back_from_a_database(client: Any, value: float) -> None:
    run = begin(client)
    run.step(at(1), 1.0, {"val/mse": value})
    run.finish("FINISHED")
    assert tracking.runs(client, "toy")[0].metrics["val/mse"] == value


def test_a_run_of_any_application_is_found_by_its_id_or_name(client: Any, five: list[str]) -> None:
    name = next(run.name for run in tracking.runs(client, "toy") if run.id == five[2])
    for reference in (five[2], five[2][:12], name):
        app, run = query.anywhere(client, ["never", "toy"], reference)
        assert (app, run.id) == ("toy", five[2])
    with pytest.raises(UserError, match=r"run : 5 runs match, in sqlite"):
        query.anywhere(client, ["toy"], "")
    with pytest.raises(UserError, match=r"run zzz: no such run of any application, in sqlite"):
        query.anywhere(client, ["toy", "never"], "zzz")


def test_more_than_one_is_none(client: Any, five: list[str]) -> None:
    with pytest.raises(UserError, match=r"^run : more than one run matches, of toy in sqlite") as caught:
        tracking.find(client, "toy", "", lambda run: True)
    assert str(caught.value).count("(FINISHED)") == 5
    name = next(run.name for run in tracking.runs(client, "toy") if run.id == five[0])
    assert tracking.find(client, "toy", name, lambda run: False).id == five[0]


def test_pictures_are_found_by_their_names(client: Any) -> None:
    from matplotlib.figure import Figure

    run, other = begin(client), begin(client)
    run.figures({"curve": Figure(), "by/class": Figure()})
    for one in (run, other):
        one.finish("FINISHED")
    found = {one.id: query.figures(client, one) for one in tracking.runs(client, "toy")}
    assert list(found[run.id]) == ["by/class", "curve"] and found[other.id] == {}
    assert found[run.id]["by/class"].read_bytes().startswith(b"\x89PNG")
