"""What each task hands on to its command: every option, and what holds where none is given."""

import importlib
import inspect
import json
import sys
from pathlib import Path
from typing import Any

import pytest
from invoke import Collection, Program

from unroll import tasks
from unroll.comparison.question import Question
from unroll.errors import UserError

LINES: dict[str, tuple[str, tuple[Any, ...], dict[str, Any]]] = {
    "prepare --app speech": ("prepare:prepare", (["speech"], None, [], False), {}),
    "prepare --app speech,image --preset smoke --set model.hidden=8 --set model.layers=1 --force": (
        "prepare:prepare", (["speech", "image"], "smoke", ["model.hidden=8", "model.layers=1"], True), {}
    ),
    "train --app speech": ("train:train", (["speech"], None, [], None), {"seeds": 0, "jobs": 1}),
    "train --app speech --preset smoke --set model.hidden=8 --resume latest --seeds 3 --jobs 2": (
        "train:train", (["speech"], "smoke", ["model.hidden=8"], "latest"), {"seeds": 3, "jobs": 2}
    ),
    "evaluate --app speech": ("evaluate:evaluate", ("speech", ["latest"], "test", []), {}),
    "evaluate --app speech --run a --run b --split val --set model.hidden=8": (
        "evaluate:evaluate", ("speech", ["a", "b"], "val", ["model.hidden=8"]), {}
    ),
    "predict --app speech": ("predict:predict", ("speech", ["latest"], [], None, []), {}),
    "predict --app speech one two --run a --file f --set model.hidden=8 --prompt p --history 1,2 -- --three": (
        "predict:predict", ("speech", ["a"], ["one", "two", "p", "1,2", "--three"], "f", ["model.hidden=8"]), {}
    ),
    "predict --app language --score f.txt": ("predict:score", ("language", ["latest"], "f.txt", []), {}),
    "compare --app speech": (
        "compare:compare", (["speech"], Question(None, (), None, (), None, False)), {"as_csv": False, "html": False}
    ),
    "compare --app speech --metric m --by a,b --by c --baseline x --where k=v --equal s --confounded --csv --html": (
        "compare:compare", (["speech"], Question("m", ("a", "b", "c"), "x", ("k=v",), "s", True)),
        {"as_csv": True, "html": True},
    ),
    "results --app speech": (
        "results:results", (["speech"], None),
        {"cells": "elman,lstm,gru,mingru", "seeds": 3, "jobs": 1, "share": 1.0, "folder": Path("docs"),
         "command": "invoke results --app speech"},
    ),
    "results --app image --preset smoke --cells a,b --seeds 2 --jobs 4 --share 0.5 --out o": (
        "results:results", (["image"], "smoke"),
        {"cells": "a,b", "seeds": 2, "jobs": 4, "share": 0.5, "folder": Path("o"),
         "command": "invoke results --app image --preset smoke --cells a,b --seeds 2 --jobs 4 --share 0.5 --out o"},
    ),
    "sweep --app speech": ("sweep:sweep", ("speech", None, [], []), {"trials": 20, "study_name": "sweep"}),
    "sweep --app speech --preset smoke --set model.hidden=8 --search model.layers=1..2 --trials 3 --study s": (
        "sweep:sweep", ("speech", "smoke", ["model.hidden=8"], ["model.layers=1..2"]), {"trials": 3, "study_name": "s"}
    ),
    "promote --app speech": ("promote:promote", ("speech", "latest", "champion"), {}),
    "promote --app speech --run r --alias a": ("promote:promote", ("speech", "r", "a"), {}),
    "diagnose --app speech": (
        "diagnose:diagnose", ("speech", None, None, []), {"fix": False, "steps": 200, "seeds": 5, "replay": None}
    ),
    "diagnose --app speech --run r --preset p --set model.hidden=8 --fix --steps 7 --seeds 2 --replay f": (
        "diagnose:diagnose", ("speech", "r", "p", ["model.hidden=8"]),
        {"fix": True, "steps": 7, "seeds": 2, "replay": "f"},
    ),
    "memory": ("memory:memory", ("all", "all"), {"steps": 300, "hidden": 32, "longest": 128}),
    "memory --cell gru --task copy --steps 4 --hidden 5 --longest 6": (
        "memory:memory", ("gru", "copy"), {"steps": 4, "hidden": 5, "longest": 6}
    ),
    "doctor": ("doctor:doctor", (), {}),
    "apps": ("new:listing", (), {}),
    "new-app --name n --kind tag": ("new:new_app", (), {"name": "n", "kind": "tag", "path": None}),
    "new-app --name n --kind tag --path p": ("new:new_app", (), {"name": "n", "kind": "tag", "path": "p"}),
    "new-cell --name n": ("new:new_cell", (), {"name": "n", "path": None}),
    "new-cell --name n --path p": ("new:new_cell", (), {"name": "n", "path": "p"}),
}  # fmt: skip


def run(words: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["invoke", *words])
    Program(namespace=Collection.from_module(tasks)).run(["invoke", *words], exit=False)


@pytest.mark.parametrize("line", LINES)
def test_options_arrive_where_they_are_meant(line: str, monkeypatch: Any, capsys: pytest.CaptureFixture[str]) -> None:
    place, args, kwargs = LINES[line]
    module, _, function = place.partition(":")
    seen: list[Any] = []

    def command(*given: Any, **named: Any) -> dict[str, Any]:
        seen.append((given, named))
        return {"status": "FINISHED"}

    monkeypatch.setattr(importlib.import_module(f"unroll.commands.{module}"), function, command)
    run(line.split(), monkeypatch)
    assert seen == [(args, kwargs)] and capsys.readouterr().out == ""
    words, dashes, rest = line.partition(" -- ")
    if not function.startswith("results"):
        run([*words.split(), "--json", *(dashes + rest).split()], monkeypatch)
        assert json.loads(capsys.readouterr().out) == {"status": "FINISHED"}


@pytest.mark.parametrize("line", {line.split()[0]: line for line in LINES}.values())
def test_tracebacks_are_for_those_who_ask(line: str, monkeypatch: Any, capsys: pytest.CaptureFixture[str]) -> None:
    def command(*_: Any, **__: Any) -> dict[str, Any]:
        raise UserError("do this")

    module, _, function = LINES[line][0].partition(":")
    monkeypatch.setattr(importlib.import_module(f"unroll.commands.{module}"), function, command)
    words, dashes, rest = line.partition(" -- ")
    for more, said in (([], "error: do this\n"), (["--debug"], "Traceback")):
        with pytest.raises(SystemExit):
            run([*words.split(), *more, *(dashes + rest).split()], monkeypatch)
        assert capsys.readouterr().err.startswith(said)


def test_every_task_of_a_command_is_in_the_table() -> None:
    known = {line.split()[0] for line in LINES}
    found = Collection.from_module(tasks).tasks
    own = {name: task.body for name, task in found.items() if task.body.__module__ == tasks.__name__}
    assert known == {name for name, body in own.items() if "json" in inspect.signature(body).parameters}
