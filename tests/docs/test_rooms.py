"""The table of rooms in CONTRIBUTING.md is what import-linter checks."""

import re
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_the_table_of_rooms_is_the_contract_of_the_imports() -> None:
    [contract] = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    assert contract["exhaustive"] and "ignore_imports" not in contract
    table = (ROOT / "CONTRIBUTING.md").read_text().partition("| layer |")[2].partition("\n\n")[0]
    rows = [row.replace("\\|", "|") for row in re.findall(r"^\| `(.+?)` \|", table, re.MULTILINE)]
    assert rows == contract["layers"]


def test_every_room_that_a_change_may_go_to_is_there() -> None:
    table = (ROOT / "CONTRIBUTING.md").read_text().partition("| a change to |")[2].partition("\n\n")[0]
    rooms = {name.partition("/")[0] for name in re.findall(r"`([a-zA-Z/]+)`", table)}
    assert len(rooms) >= 9
    assert all(
        (ROOT / "core/unroll" / name).exists() or (ROOT / "core/unroll" / f"{name}.py").exists() for name in rooms
    )
