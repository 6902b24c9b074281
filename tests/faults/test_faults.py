"""The corpus of bad inputs: each is rejected by one line that names what is wrong, and leaves nothing half-finished."""

import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.faults.corpus import FAULTS, Fault
from tests.test_tasks import Done, invoke

__all__ = ["invoke"]


def test_the_corpus_is_as_large_as_it_should_be() -> None:
    assert len({(fault.words, fault.said, fault.make) for fault in FAULTS}) == len(FAULTS) >= 150


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.id)
def test_a_bad_input_is_one_line(
    fault: Fault, invoke: Callable[..., Done], empty_store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "given"
    folder.mkdir()
    path = fault.make(folder) if fault.make else folder
    shutil.copy(empty_store, tmp_path / "mlflow.db")
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("UNROLL_MIRROR", raising=False)
    done = invoke(*(word.replace("{path}", str(path)) for word in fault.words.split()))
    assert done.code == fault.code, done.out + done.err
    assert re.search(fault.said, done.error) and "internal error" not in done.error, done.error
    if fault.words.startswith("prepare"):
        assert not list((tmp_path / "data").glob("prepared/*/manifest.json"))
