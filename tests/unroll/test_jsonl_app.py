"""Applications on records: their splits, and what a file of the user's must hold."""

import json
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from unroll.data.store import Store
from unroll.errors import UserError
from unroll.jsonl_app import PATIENCE, Records, RecordsConfig, drawn, own


def example(random: np.random.Generator) -> dict[str, Any]:
    return {"text": "x" * int(random.integers(1, 5)), "number": int(random.integers(1000))}


def written(path: Path, rows: list[Any]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


@pytest.mark.parametrize(("examples", "few"), [(50, 10), (14, 2), (3, 1)])
def test_records_that_are_made_differ_and_fill_three_splits(examples: int, few: int) -> None:
    found = drawn(example, examples)
    assert {split: len(rows) for split, rows in found.items()} == {"val": few, "test": few, "train": examples}
    rows = [row for rows in found.values() for row in rows]
    assert len({(row["text"], row["number"]) for row in rows}) == len(rows)
    assert [row["id"] for row in found["val"]] == [f"val-{number}" for number in range(few)]
    assert found == drawn(example, examples)


def test_what_cannot_differ_as_often_is_said() -> None:
    calls = []

    def coin(random: np.random.Generator) -> dict[str, Any]:
        calls.append(0)
        return {"side": int(random.integers(2))}

    with pytest.raises(UserError, match=r"data.examples: 14 are needed, but only 2 differ; ask for fewer"):
        drawn(coin, 10)
    assert PATIENCE < len(calls) < PATIENCE + 20
    assert len(drawn(lambda random: {"n": int(random.integers(14))}, 10)["train"]) == 10  # all there are


def test_ones_own_records_are_split_by_their_number(tmp_path: Path) -> None:
    rows = [{"text": f"t{number}"} for number in range(23)]
    found = own(written(tmp_path / "a.jsonl", rows), {"text": str})
    places = {split: [int(row["text"][1:]) for row in some] for split, some in found.items()}
    assert places == {"train": [*range(8), *range(10, 18), *range(20, 23)], "val": [8, 18], "test": [9, 19]}
    assert [row["id"] for row in found["test"]] == ["record-10", "record-20"]
    named = own(written(tmp_path / "b.jsonl", [{"id": f"own-{n}", "text": "a"} for n in range(10)]), {"text": str})
    assert named["val"] == [{"id": "own-8", "text": "a"}] and len(named["train"]) == 8


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        ([{"text": "a", "n": [1]}] * 9, "has 9 records, but 10 are needed for three splits; add some"),
        ([{"text": "a", "n": [1]}] * 9 + [{"text": "", "n": [1]}], "record 10: its 'text' must be a str that is not"),
        ([{"text": "a", "n": [1]}] * 9 + [{"text": 3, "n": [1]}], "record 10: its 'text' must be a str"),
        ([{"text": "a"}] * 10, "record 1: its 'n' must be a list that is not empty; correct the line"),
    ],
)
def test_records_that_do_not_fit_are_one_line(rows: list[Any], said: str, tmp_path: Path) -> None:
    path = written(tmp_path / "a.jsonl", rows)
    with pytest.raises(UserError) as caught:
        own(path, {"text": str, "n": list})
    assert str(caught.value).startswith(str(path)) and said in str(caught.value)


RECORDS: Records[list[str]] = Records(
    name="strange",
    example=example,
    fields={"text": str},
    facts=lambda rows: {"longest": max(len(row["text"]) for row in rows)},
    length=lambda row: len(row["text"]),
    collate=lambda rows, facts: [f"{row['text']}/{facts['longest']}" for row in rows],
)


def batches(store: Store, *settings: str) -> tuple[Any, dict[str, list[list[str]]]]:
    config = RecordsConfig().override(settings)
    RECORDS.prepare(config, store)
    data = RECORDS.batches(config, store)
    return data, {"train": list(data.train), "val": list(data.val), "test": list(data.test)}


def test_batches_of_ones_own_records_are_as_large_as_asked_for(tmp_path: Path) -> None:
    path = written(tmp_path / "a.jsonl", [{"text": "x" * (1 + number % 4)} for number in range(40)])
    store = Store(tmp_path / "store")
    data, found = batches(store, "data.source=file", f"data.path={path}", "train.batch=12")
    assert data.facts == {"longest": 4} and data.split == "by number of the record, modulo ten"
    assert all(text.endswith("/4") for some in found.values() for batch in some for text in batch)
    assert {split: sum(map(len, some)) for split, some in found.items()} == {"train": 32, "val": 4, "test": 4}
    padded = [len(batch) * max(len(text) - 2 for text in batch) for batch in found["train"]]
    assert max(padded) <= 12 and len(padded) < 12
    again, _ = batches(store, "data.source=file", f"data.path={path}")
    written(path, [{"text": "y"}] * 40)
    changed, _ = batches(store, "data.source=file", f"data.path={path}")
    assert again.digest == data.digest != changed.digest


def test_train_is_shuffled_by_its_seed_and_the_rest_is_not(tmp_path: Path) -> None:
    store = Store(tmp_path)
    first, second, other = (
        batches(store, "data.examples=40", "train.batch=1", f"train.seed={seed}")[1] for seed in (1, 1, 2)
    )
    assert first == second and first["train"] != other["train"] and first["val"] == other["val"]
    assert sorted(chain(*first["train"])) == sorted(chain(*other["train"]))


def test_a_file_must_be_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"data\.source=file: name your file of records, --set data\.path=FILE\.jsonl"):
        RECORDS.prepare(RecordsConfig().override(["data.source=file"]), Store(tmp_path))
