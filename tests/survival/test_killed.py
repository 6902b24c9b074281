"""Killed at any moment and resumed, every application's training ends as if undisturbed; none is skipped.

The default suite kills each application at one point, which together cover every kind; the others are slow tests.
"""

import shutil
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from mlflow.entities import LoggedModelStatus

from tests.survival.conftest import chance, command
from tests.survival.driver import COUNTS, KINDS, LINKING, Point, Server
from tests.survival.remains import Remains, statuses
from unroll import app as apps
from unroll import tracking
from unroll.tracking import model_registry, saved

NAMES = apps.names()
WAYS = [(kind, signal.SIGKILL) for kind in KINDS] + [("step", signal.SIGTERM), ("step", signal.SIGINT)]
SOME = [(NAMES[i % len(NAMES)], *WAYS[i % len(WAYS)]) for i in range(max(len(NAMES), len(WAYS)))]
OTHERS = [(name, kind, number) for name in NAMES for kind, number in WAYS if (name, kind, number) not in SOME]
CODES = {signal.SIGKILL: -signal.SIGKILL, signal.SIGTERM: 128 + signal.SIGTERM, signal.SIGINT: 128 + signal.SIGINT}


Case = tuple[str, str, signal.Signals]


def case(one: Case, *marks: pytest.MarkDecorator) -> Any:
    name, kind, number = one
    return pytest.param(*one, id=f"{name}-{kind}-{number.name}", marks=marks)


def slow(one: Case) -> Any:
    return case(one, pytest.mark.slow)


def test_the_default_points_are_of_every_kind() -> None:
    assert {one[1:] for one in SOME} == set(WAYS)


@pytest.mark.parametrize(("app", "kind", "number"), [*map(case, SOME), *map(slow, OTHERS)])
def test_resumed_it_ends_with_the_same_bits(
    app: str, kind: str, number: signal.Signals, server: Server, whole: Callable[[str], Remains],
    place: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    wanted = whole(app)
    folder = place("killed")
    data = folder / "data" if kind == "prepare" else wanted.data
    point = chosen(app, kind, number, wanted)
    while (code := server.run(command(app), folder, data, point)) == 0 and kind == "moment":
        # Faster than the undisturbed one: it had ended before.
        point, folder = point._replace(number=point.number / 2), place(f"killed-{point.number:g}")
    said = (folder / "output.txt").read_text()
    assert code == CODES[number], said
    if number != signal.SIGKILL:
        assert said.endswith("error: interrupted\n") and "resume with: invoke train" in said
    if "FINISHED" not in statuses(folder).values():  # it may have been killed on its way out
        begun = list(folder.glob("runs/*/run.json"))
        again = f"train --app {app} --resume latest" if begun else command(app)
        assert server.run(again, folder, data) == 0, (folder / "output.txt").read_text()
    found = Remains.of(folder, data)
    found.assert_same(wanted)
    assert not found.leftovers()
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{folder / 'mlflow.db'}")
    linked = model_registry.model_folder(tracking.connect(), app, "latest")
    assert (linked / saved.WEIGHTS).read_bytes() == wanted.model[saved.WEIGHTS]
    shutil.rmtree(folder)


def test_who_is_killed_on_the_way_out_has_lost_nothing(
    whole: Callable[[str], Remains], place: Callable[[str], Path]
) -> None:
    """The run is over, and the process dies before it can say what it has passed."""
    wanted, folder = whole("image"), place("killed")
    shutil.copytree(wanted.folder, folder, dirs_exist_ok=True)
    (folder / COUNTS).unlink()
    Remains.of(folder, wanted.data).assert_same(wanted)


@pytest.mark.parametrize("number", range(1, len(LINKING) + 1))
def test_killed_while_the_model_is_linked_to_its_run(
    number: int, server: Server, whole: Callable[[str], Remains], place: Callable[[str], Path],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    """At each place of it: the resumed run has one model that is ready, it is taken, and none that never will be."""
    app = "image"
    wanted, folder = whole(app), place("killed")
    assert server.run(command(app), folder, wanted.data, Point("linking", number)) == -signal.SIGKILL
    assert server.run(f"train --app {app} --resume latest", folder, wanted.data) == 0
    Remains.of(folder, wanted.data).assert_same(wanted)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{folder / 'mlflow.db'}")
    client = tracking.connect()
    linked = model_registry.model_folder(client, app, "latest")
    assert (linked / saved.WEIGHTS).read_bytes() == wanted.model[saved.WEIGHTS]
    models = client.search_logged_models([tracking.experiment(client, app)])
    assert {model.status for model in models} == {LoggedModelStatus.READY}
    assert len(models) == (2 if number == len(LINKING) else 1)


def chosen(app: str, kind: str, number: signal.Signals, wanted: Remains) -> Point:
    """A random point of its kind, the same one every time."""
    dice = chance(app, kind, number.name)
    if kind == "moment":
        return Point(kind, dice.uniform(0.05, 0.9) * wanted.seconds, number)
    return Point(kind, dice.randint(1, wanted.counts[kind]), number)
