"""Unroll as users have it: built, and installed into separate environments, without network."""

import json
import os
import subprocess
import sys
import venv
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]


@dataclass(frozen=True)
class Environment:
    """A virtual environment."""

    folder: Path

    @property
    def python(self) -> Path:
        return self.folder / "bin" / "python"

    @property
    def packages(self) -> Path:
        [found] = (self.folder / "lib").glob("python*/site-packages")
        return found

    def pip(self, *words: str) -> None:
        """Run pip. Raises AssertionError with what it said where it fails."""
        succeeded([self.python, "-m", "pip", "-q", *words])

    def unroll(self, folder: Path, *words: str) -> "subprocess.CompletedProcess[str]":
        """`unroll WORDS` in a folder, as a user who has set no variable of ours; data are in `share` there."""
        ours = ("UNROLL", "MLFLOW", "PYTHONPATH")
        env = {name: value for name, value in os.environ.items() if not name.startswith(ours)}
        env |= {"OMP_NUM_THREADS": "1", "XDG_DATA_HOME": str(folder / "share")}
        command = [self.python.parent / "unroll", *words]
        return subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True, check=False)

    def result(self, folder: Path, *words: str) -> dict[str, Any]:
        """What `unroll WORDS --json` ends with."""
        done = self.unroll(folder, *words, "--json")
        assert done.returncode == 0, done.stdout + done.stderr
        answer: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
        return answer


def environment(folder: Path, dependencies: Iterable[str | Path]) -> Environment:
    """A fresh environment with pip, whose dependencies, gigabytes of them, are those in folders that there are."""
    venv.create(folder, with_pip=True)
    made = Environment(folder)
    (made.packages / "dependencies.pth").write_text("\n".join(map(str, dependencies)))
    return made


def everything() -> list[str]:
    """The folders with all that is installed beside this test."""
    return [path for path in sys.path if path.endswith("site-packages")]


def build(kind: str, source: Path, folder: Path) -> Path:
    """Build a `wheel` or an `sdist` of a source tree."""
    succeeded([sys.executable, "-m", "hatchling", "build", "-t", kind, "-d", str(folder)], cwd=source)
    [made] = folder.glob("*.whl" if kind == "wheel" else "*.tar.gz")
    return made


def succeeded(command: Iterable[str | Path], cwd: Path | None = None) -> str:
    """What a command prints. Raises AssertionError with all it said where it fails."""
    done = subprocess.run(list(command), cwd=cwd, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout
