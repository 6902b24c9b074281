"""power rejects bad records with one line. Its contract is tested by unroll.conformance."""

import json
from pathlib import Path

import pytest
from unroll_power import APP
from unroll_power.data import Batch

from unroll.app import Data
from unroll.data.store import Store
from unroll.errors import UserError

RECORD = json.loads('{"hours": [8, 8.5, 9.2], "kilowatts": [1.9, 2.3, 3.1]}')


def settings(path: Path) -> list[str]:
    return [f"data.path={json.dumps(str(path))}", "data.source=file"]


def prepared(path: Path, tmp_path: Path) -> Data[Batch]:
    config = APP.config("smoke", settings(path))
    APP.prepare(config, Store(tmp_path))
    return APP.data(config, Store(tmp_path))


def test_own_records(tmp_path: Path) -> None:
    path = tmp_path / "own.jsonl"
    path.write_text("\n".join(json.dumps(RECORD) for _ in range(20)))
    data = prepared(path, tmp_path)
    assert sum(len(batch.records) for batch in data.test) == 2


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ("{", r"own\.jsonl"),
        ("3\n" * 20, r"record 1: is not an object; write one line"),
        ("{}\n" * 20, r"record 1: its '[a-z]+' must be a (str|list) that is not empty"),
        ('{"hours": [8, 7], "kilowatts": [1, 2]}\n' * 20, r"record-1: needs as many kilowatts as hours"),
        ('{"hours": [8], "kilowatts": [1, 2]}\n' * 20, r"record-1: needs as many kilowatts as hours"),
        (json.dumps(RECORD), r"has 1 records, but 10 are needed"),
    ],
)
def test_bad_records_are_one_line(lines: str, message: str, tmp_path: Path) -> None:
    path = tmp_path / "own.jsonl"
    path.write_text(lines)
    with pytest.raises(UserError, match=message) as error:
        prepared(path, tmp_path)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("text", ["", "8:1", "8:1 x", "8:1 7", "8 9", "8:1:2 9"])
def test_inputs_that_are_no_readings_are_one_line(text: str) -> None:
    model = APP.model(APP.config("smoke"), {"scale": 1.0})
    with pytest.raises(UserError, match="input 1: "):
        APP.predict(model, [text])
