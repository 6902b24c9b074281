"""The conformance checks themselves: each is passed by a good application and noticed by what it is there for."""

import json
import secrets
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from core import conformance
from core.app import Data
from core.conformance import Subject
from core.data.store import Store
from tests.core.training import toy


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
