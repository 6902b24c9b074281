"""One mutation run: mutants are drawn, each is written to a copy of the tree, and the tests that reach it are run."""

import hashlib
import json
import random
import shutil
import subprocess
import time
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from tests.mutation import warm
from tests.mutation.exclusions import why_excluded
from tests.mutation.operators import Mutant, differs, mutants

ROOT = Path(__file__).parents[2]


class Area(NamedTuple):
    """A part of the tree, the tests that are asked, and the share of mutants that they should notice."""

    sources: tuple[str, ...]
    tests: tuple[str, ...]
    wanted: float


ROOMS = ("training", "tracking", "comparison", "diagnosis", "search", "drawing", "data", "commands")
AREAS = {
    "core": Area(
        ("core/unroll/recurrence", "core/unroll/sequence"),
        ("tests/unroll/recurrence", "tests/unroll/sequence"),
        0.95,
    ),
    "training": Area(
        (*(f"core/unroll/{room}" for room in ROOMS), "core/unroll/*.py", "apps"),
        (*(f"tests/unroll/{room}" for room in ROOMS), "tests/unroll/*.py", "tests/apps", "tests/faults",
         "tests/test_tasks*.py"),
        0.90,
    ),
}  # fmt: skip
TOGETHER = ("tests/test_tasks", "tests/unroll/test_scaffold.py")
"""files whose tests go on from each other: they are run whole"""
BUDGET = 30.0
"""seconds of processor time that the tests of one mutant are given, most likely ones first"""
KINDS = {"comparison": 3, "arithmetic": 3, "boolean": 2, "condition": 2, "constant": 2, "statement": 3, "extreme": 1,
         "flag": 1, "call": 1, "swapped": 1, "jump": 1}  # fmt: skip
"""how often each kind of change is drawn"""
C_SHARE = 0.1
"""of the mutants of an area that has C files"""


def copied(root: Path, to: Path) -> None:
    """All files of the tree that git knows or would know."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard"]
    for file in set(subprocess.run(command, cwd=root, capture_output=True, text=True, check=True).stdout.splitlines()):
        if (root / file).is_file():
            (to / file).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(root / file, to / file)


def listed(root: Path, patterns: Sequence[str], names: Sequence[str]) -> list[str]:
    """The files of these names in the folders, and the files, that the patterns name."""
    found = set[Path]()
    for path in (path for pattern in patterns for path in root.glob(pattern)):
        found.update(one for name in names for one in (path.rglob(name) if path.is_dir() else [path]))
    return sorted(str(path.relative_to(root)) for path in found)


def test_files(root: Path, area: Area) -> list[str]:
    return listed(root, area.tests, ["test_*.py"])


class Drawn(NamedTuple):
    chosen: list[Mutant]
    places: int
    """from how many"""
    excluded: dict[str, int]
    """how many are left out for each reason"""


def draw(root: Path, area: Area, number: int, seed: int, path: str = "", line: int = 0) -> Drawn:
    """`number` mutants of files with `path` in their names and of that line; the same for the same tree and seed."""
    excluded: dict[str, int] = defaultdict(int)
    groups: dict[tuple[bool, str], list[Mutant]] = defaultdict(list)
    for file in listed(root, area.sources, ["*.py", "*.c"]):
        text = (root / file).read_bytes()
        for mutant in mutants(root, file) if path in file else ():
            if reason := why_excluded(mutant, text):
                excluded[reason] += 1
            elif line in (0, mutant.line):
                groups[file.endswith(".c"), mutant.kind].append(mutant)
    chance = random.Random(seed)
    for group in groups.values():
        chance.shuffle(group)
    places, chosen = sum(map(len, groups.values())), list[Mutant]()
    for of_c, wanted in ((True, round(C_SHARE * number)), (False, number)):
        while len(chosen) < wanted and (kinds := [kind for c, kind in groups if c == of_c and groups[c, kind]]):
            [kind] = chance.choices(kinds, [KINDS[kind] for kind in kinds])
            mutant = groups[of_c, kind].pop()
            if differs(mutant, root):
                chosen.append(mutant)
    return Drawn(sorted(chosen), places, dict(excluded))


@dataclass
class Map:
    """Which tests call which function; kept from run to run for test files that have not changed."""

    root: Path
    work: Path
    """for what tests write"""
    kept: Path
    """from run to run"""
    files: dict[str, dict[str, Any]] = field(default_factory=dict)
    """test file: its tests, each with its seconds and calls"""

    def build(self, files: Iterable[str], fresh: bool) -> None:
        for file in files:
            kept = self.kept / f"{hashlib.sha256(file.encode() + (self.root / file).read_bytes()).hexdigest()}.json"
            if fresh or not kept.exists():
                began = time.monotonic()
                told = warm.reach_of(self.root, file, 1800, self.work)
                print(f"{file}: {len(told)} tests pass, {time.monotonic() - began:.0f} s", flush=True)
                if not told:  # it crashed, or all was skipped: another try may do better
                    kept.unlink(missing_ok=True)
                    continue
                kept.write_text(json.dumps(told))
            self.files[file] = json.loads(kept.read_text())

    def tests_for(self, mutant: Mutant) -> list[str]:
        """Tests that call the function, those of the mirror first, then the quick ones, within the budget."""
        ranked = sorted(candidate for file in self.files for candidate in self.candidates(mutant, file))
        chosen, spent, whole = list[str](), 0.0, ""
        for _, _, _, unit, _, test in ranked:
            if spent < BUDGET or unit == whole:
                chosen.append(test)
                spent += self.seconds([test])
                whole = unit if unit.startswith(TOGETHER) else ""
        return chosen

    def candidates(self, mutant: Mutant, file: str) -> Iterator[tuple[int, bool, float, str, int, str]]:
        """(distance, not of the mirror, seconds, what is run together, its place there, the test)."""
        tests, whole = self.files[file], file.startswith(TOGETHER)
        away = {test: self.distance(mutant, told["calls"]) for test, told in tests.items()}
        for place, test in enumerate(tests):
            distance = min(away.values()) if whole else away[test]
            seconds = self.seconds(list(tests) if whole else [test])
            if distance < FAR:
                yield distance, not mirrors(file, mutant.path), seconds, file if whole else test, place, test

    def distance(self, mutant: Mutant, calls: list[list[str]]) -> int:
        """0: the test calls the function; 1: another one of the module, where the change is at its level; else FAR."""
        if mutant.path.endswith(".c"):
            return 0 if any(path.endswith(CALLERS) for path, _ in calls) else FAR
        if [mutant.path, mutant.function] in calls:
            return 0
        called = any(path == mutant.path for path, _ in calls)
        return 1 if called else FAR

    def seconds(self, tests: Sequence[str]) -> float:
        return sum(self.files[test.split("::")[0]][test]["seconds"] for test in tests)


FAR = 2
CALLERS = tuple(f"kernels/cpu/{name}.py" for name in ("cpu_kernel", "autograd", "linear", "step", "stepper"))
"""whose functions call C"""


def mirrors(test_file: str, source: str) -> bool:
    """Whether the test file is named after the source file, or after the application or package that it lies in."""
    stem = Path(test_file).stem.removeprefix("test_")
    parent = Path(source).parent.name
    return Path(source).stem in stem or (parent not in ("unroll", "apps") and parent in test_file)


def judge(root: Path, mutant: Mutant, tests: Map) -> str | None:
    """What noticed the mutant; None if nothing did."""
    chosen = tests.tests_for(mutant)
    if not chosen:
        return None
    path, original = root / mutant.path, root / f"{mutant.path}.original"
    shutil.copy2(path, original)
    try:
        path.write_bytes(mutant.applied(original.read_bytes()))
        return warm.verdict(root, chosen, 30 + 2 * tests.seconds(chosen), tests.work)
    finally:
        original.replace(path)
