"""Every package in examples/ passes its own tests, as a third-party package would."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
EXAMPLES = [path.parent for path in sorted(ROOT.glob("examples/*/pyproject.toml"))]


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.name)
def test_it_passes_its_own_tests_and_is_as_short_as_it_says(example: Path, tmp_path: Path) -> None:
    [package] = example.glob("unroll_*")
    info = tmp_path / "example-1.0.dist-info"  # what pip would write, without pip
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: example\nVersion: 1.0\n")
    name = package.name.removeprefix("unroll_")
    (info / "entry_points.txt").write_text(f"[unroll.apps]\n{name} = {package.name}:APP\n")
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(example / "tests")],
        env=os.environ | {"PYTHONPATH": os.pathsep.join(map(str, (tmp_path, example, ROOT)))},
        cwd=tmp_path, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout
    lines = sum(len(file.read_text(encoding="utf-8").splitlines()) for file in package.glob("*.py"))
    assert f"{lines} lines in five files" in (example / "README.md").read_text(encoding="utf-8").replace("\n", " ")


def test_there_are_examples() -> None:
    assert [example.name for example in EXAMPLES] == ["power"]
