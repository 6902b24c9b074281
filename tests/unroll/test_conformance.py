"""The conformance checks themselves: a good application passes each, and each detects what it is for."""

import itertools
import json
import secrets
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.unroll.training import toy
from unroll import conformance
from unroll.app import Data, Report, Step
from unroll.conformance import Subject
from unroll.data.store import Store


def subject(folder: Path, write: Callable[[Path], None]) -> Subject:
    """The toy application with data that `write` prepares."""

    def prepare(config: Any, store: Store) -> None:
        store.prepare("toy", {"a": 1}, write)

    def data(config: Any, store: Store) -> Data:
        return replace(toy.data(config, store), digest=store.open("toy", {"a": 1}).digest)

    app = replace(toy.APP, prepare=prepare, data=data)
    made = Subject(app, app.config(), Store(folder / "data"), folder)
    app.prepare(made.config, made.store)
    return made


def same(folder: Path) -> None:
    (folder / "rows.json").write_text(json.dumps([1, 2, 3]))


def random(folder: Path) -> None:
    (folder / "rows.json").write_text(json.dumps(secrets.token_hex()))


def test_a_preparation_that_differs_from_place_to_place_is_noticed(tmp_path: Path) -> None:
    conformance.prepare_is_deterministic(subject(tmp_path / "good", same))
    with pytest.raises(AssertionError):
        conformance.prepare_is_deterministic(subject(tmp_path / "bad", random))


def test_determinism_is_not_looked_for_where_something_was_prepared_before(tmp_path: Path) -> None:
    """Whatever other checks have left: a set that is there already would be compared with itself."""
    bad = subject(tmp_path, random)
    conformance.prepare_is_idempotent(bad)
    with pytest.raises(AssertionError):
        conformance.prepare_is_deterministic(bad)


def test_a_preparation_that_writes_again_is_noticed(tmp_path: Path) -> None:
    good = subject(tmp_path, same)
    conformance.prepare_is_idempotent(good)

    def prepare(config: Any, store: Store) -> None:
        (store.root / "prepared" / secrets.token_hex()).write_text("again")

    with pytest.raises(AssertionError):
        conformance.prepare_is_idempotent(replace(good, app=replace(good.app, prepare=prepare)))


def repeated_ids(model: Any, batches: Any) -> Report:
    found = toy.evaluate(model, batches)
    return replace(found, records=[{**record, "id": "one"} for record in found.records])


CALLS = itertools.count(1)


def never_the_same(model: Any, batches: Any) -> Report:
    found = toy.evaluate(model, batches)
    return replace(found, metrics={"mse": float(next(CALLS))})


def rising(model: Any, batch: Any, state: Any) -> Step:
    done = toy.step(model, batch, state)
    return replace(done, loss=done.loss + next(CALLS))


def with_an_idle_part(config: Any, facts: Any) -> torch.nn.Module:
    model = toy.Model(config.model.hidden)
    model.idle = torch.nn.Linear(2, 2)
    return model


def one_for_two_splits(config: Any, store: Store) -> Data:
    found = toy.data(config, store)
    return replace(found, test=found.val)


def with_references(model: Any, batches: Any) -> Report:
    found = toy.evaluate(model, batches)
    return replace(found, records=[{**record, "reference": record["score"]} for record in found.records])


BROKEN: list[tuple[Callable[[Subject], None], dict[str, Any]]] = [
    (conformance.evaluation_tells_what_and_how, {"evaluate": repeated_ids}),
    (conformance.evaluation_tells_what_and_how, {"evaluate": never_the_same}),
    (conformance.splits_are_disjoint, {"data": one_for_two_splits}),
    (conformance.a_step_reaches_every_parameter, {"model": with_an_idle_part}),
    (conformance.predict_works_on_the_examples, {"predict": lambda model, inputs: []}),
    (conformance.loss_falls, {"step": rising}),
    (conformance.resume_is_exact, {"step": rising}),
]


@pytest.mark.parametrize(("check", "broken"), BROKEN)
def test_each_check_notices_what_it_is_there_for(
    check: Callable[[Subject], None], broken: dict[str, Any], tmp_path: Path
) -> None:
    good = replace(toy.APP, evaluate=with_references, examples=("one",))
    for name, app in (("good", good), ("bad", replace(good, **broken))):
        (tmp_path / name).mkdir()
        tried = Subject(app, app.config(), Store(tmp_path / name / "data"), tmp_path / name)
        if app is good:
            check(tried)
        else:
            with pytest.raises(AssertionError):
                check(tried)
