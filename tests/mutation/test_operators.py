"""The mutants of a program, and the choice among them."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.mutation.exclusions import EXCLUSIONS, why_excluded
from tests.mutation.operators import differs, of_c, of_python
from tests.mutation.run import AREAS, ROOT, Map, draw, listed


def made(text: str) -> set[str]:
    whole = text.encode()
    return {mutant.applied(whole).decode() for mutant in of_python("a.py", whole)}


@pytest.mark.parametrize(
    ("line", "changed"),
    [
        ("x = a < b", {"x = a <= b"}),
        ("x = a not in b", {"x = a in b"}),
        ("x = (a) // (b + c)", {"x = (a) * (b + c)", "x = (a) // (b - c)"}),
        ("x -= y", {"x += y"}),
        ("x = a and b or c", {"x = a or b or c", "x = a and b and c"}),
        ("x = not a", {"x = bool(a)"}),
        ("x = 7", {"x = (7 + 1)"}),
        ("x = True", {"x = False"}),
        ("x = max(y)", {"x = min(y)"}),
        ("x = y.detach()", {"x = y"}),
        ("x = f(y, z)", {"x = f(z, y)"}),
        ("x.clear()", {"pass"}),
        ("if a:\n    b", {"if (not (a)):\n    b"}),
    ],
)
def test_each_operator_is_changed_where_it_stands(line: str, changed: set[str]) -> None:
    assert made(line) == changed


@pytest.mark.parametrize(
    "line",
    [
        "x: int | None = y", "def f(a: Literal[3]) -> None: ...", "print(a + b)", "raise ValueError(a < b)",
        "x = f'{a + 1} of {b}'", '"""Documentation."""', "assert a < b", "x = zip(a, b, strict=True)", "x = y + 'text'",
        "x = 1e30",
    ],
)  # fmt: skip
def test_texts_types_and_assertions_are_left_alone(line: str) -> None:
    assert made(line) == set()


def test_a_mutant_knows_its_place() -> None:
    text = b"class A:\n    def f(self):\n        return 1 + self.x\n"
    [constant] = [mutant for mutant in of_python("a.py", text) if mutant.kind == "constant"]
    assert (constant.line, constant.function) == (3, "A.f")
    assert constant.shown(text).splitlines()[1:] == ["    - return 1 + self.x", "    + return (1 + 1) + self.x"]


def test_c_is_changed_outside_comments_and_preprocessor_lines() -> None:
    text = b"#define X 3\n/* a < b\n * 4 */\nif (a <= b) c += 2 * d; /* 5 */\n"
    found = {mutant.applied(text).splitlines()[3].decode() for mutant in of_c("a.c", text)}
    assert found == {"if (a < b) c += 2 * d; /* 5 */", "if (a <= b) c -= 2 * d; /* 5 */",
                     "if (a <= b) c += 2 / d; /* 5 */", "if (a <= b) c += (2 + 1) * d; /* 5 */"}  # fmt: skip


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    (tmp_path / "core" / "unroll" / "recurrence").mkdir(parents=True)
    lines = "".join(f"x{i} = y{i} < {i}\n" for i in range(30))
    (tmp_path / "core" / "unroll" / "recurrence" / "a.py").write_text(lines)
    return tmp_path


def test_a_seed_draws_the_same_mutants_again(tree: Path) -> None:
    area = AREAS["core"]
    first, again, other = (draw(tree, area, 10, seed).chosen for seed in (1, 1, 2))
    assert first == again != other
    assert len(set(first)) == 10
    assert all(differs(mutant, tree) for mutant in first)


def test_the_areas_hold_what_they_name() -> None:
    for area in AREAS.values():
        sources, tests = listed(ROOT, area.sources, ["*.py"]), listed(ROOT, area.tests, ["test_*.py"])
        assert len(sources) > 50
        assert len(tests) > 30
        assert not any("mutation" in name for name in tests)


def test_exclusions_have_reasons() -> None:
    assert all(len(one.reason) > 10 for one in EXCLUSIONS)
    text = b"generator.manual_seed(3)\nx = 3\n"
    seed, number = (mutant for mutant in of_python("a.py", text) if mutant.kind == "constant")
    assert why_excluded(seed, text)
    assert not why_excluded(number, text)


def test_a_process_that_hangs_or_dies_has_noticed(tmp_path: Path) -> None:
    """In a process of its own: it forks, and this one may have threads."""
    program = f"""
import os, time
from pathlib import Path
from tests.mutation import warm
place = Path({str(tmp_path)!r})
def busy():
    while True: pass
works = (lambda: [0, ""], 20), (os.abort, 20), (lambda: time.sleep(60), 0.2), (busy, 1)
print(*(warm.in_child(work, Path.cwd(), seconds, place) for work, seconds in works), sep="; ")
"""
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[0, '']; crashed; took too long; took too long"


def test_a_fault_is_noticed_by_the_test_that_reaches_it(tmp_path: Path) -> None:
    """One function, two tests that call it, one of them in a thread, and one that does not; in a process of its own,
    as above.
    """
    for folder in ("core", "tests"):
        (tmp_path / "tree" / folder).mkdir(parents=True)
    shutil.copy(ROOT / "pyproject.toml", tmp_path / "tree")
    (tmp_path / "tree" / "core" / "a.py").write_text("def less(x, y):\n    return x < y\n")
    (tmp_path / "tree" / "tests" / "test_a.py").write_text(
        "from threading import Thread\n\nfrom core.a import less\n\n\ndef test_less():\n    assert not less(1, 1)\n\n\n"
        "def test_other():\n    pass\n\n\ndef test_thread():\n    thread = Thread(target=less, args=(1, 1))\n"
        "    thread.start()\n    thread.join()\n"
    )
    program = f"""
from pathlib import Path
from tests.mutation.run import Area, Map, draw, judge
from tests.mutation.warm import verdict
root = Path({str(tmp_path)!r}) / "tree"
known = Map(root, root.parent, root.parent)
known.build(["tests/test_a.py"], False)
[mutant] = draw(root, Area(("core",), ("tests",), 1.0), 5, 0).chosen
left = (root / "core/a.py").read_text().count("<=")
print(*sorted(known.tests_for(mutant)), judge(root, mutant, known), left, sep="; ")
print(verdict(root, ["tests/test_a.py::test_that_is_gone"], 20, root.parent))
"""
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
    *_, found, of_nothing = done.stdout.splitlines()
    less, thread = (f"tests/test_a.py::test_{name}" for name in ("less", "thread"))
    assert found == f"{less}; {thread}; {less}; 0"
    assert of_nothing == "None", "where no test is run, nothing was noticed"


def test_the_map_gives_the_nearest_tests_first(tmp_path: Path) -> None:
    told = {"seconds": 1.0, "calls": [["core/unroll/a.py", "f"]]}
    known = Map(tmp_path, tmp_path, tmp_path, {"tests/test_z.py": {"tests/test_z.py::one": told},
                                               "tests/test_a.py": {"tests/test_a.py::two": told}})  # fmt: skip
    [mutant] = of_python("core/unroll/a.py", b"def f(x, y):\n    return x < y\n")
    assert known.tests_for(mutant) == ["tests/test_a.py::two", "tests/test_z.py::one"]
    assert known.tests_for(mutant._replace(path="core/unroll/b.py")) == []
