"""The run itself, which takes most of an hour: `python -m tests.mutation`."""

import subprocess
import sys

import pytest

from tests.mutation.run import AREAS, ROOT


@pytest.mark.slow
@pytest.mark.parametrize("area", AREAS)
def test_small_faults_are_noticed(area: str) -> None:
    command = [sys.executable, "-m", "tests.mutation", area]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
