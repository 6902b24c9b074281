"""The way of one training batch, from the prepared file to its loss: few files, each entered once, and only downwards.

The loop asks the loader for the batch and hands it to the step; the recurrence is a library of its own, entered by its
front door. What is between them is counted here.
"""

import sys
from pathlib import Path

import pytest

from unroll.apps.speech.train import step
from unroll.recurrence import rnn

ROOT = Path(__file__).parents[3]
MOST = 7
"""files, beside the loop"""


class Walk:
    """The project's files that are entered from another one while it is watched: (from where, to where)."""

    def __init__(self):
        self.stays, self._stack = [], []

    def __enter__(self):
        sys.setprofile(self._see)
        return self

    def __exit__(self, *_):
        sys.setprofile(None)

    def _see(self, frame, event, _):
        if event == "call":
            path = Path(frame.f_code.co_filename)
            file = path.relative_to(ROOT).as_posix() if path.is_relative_to(ROOT) else ""
            above = next((one for one in reversed(self._stack) if one), "")
            if file not in ("", above) and file.startswith(("core/", "apps/")):
                self.stays.append((above, file))
            self._stack.append(file)
        elif event == "return" and self._stack:
            self._stack.pop()


@pytest.fixture
def walk(model, prepared, batches):
    loaded = iter(batches(prepared, seconds=4.0).train)
    step(model.train(), next(loaded))  # an epoch begins, and kernels are made at the first call
    with Walk() as seen:
        batch = next(loaded)
        step(model, batch)
    library = "core/unroll/recurrence/"
    return [(above, file) for above, file in seen.stays if not above.startswith(library)]


def test_a_batch_enters_few_files_and_each_of_them_once(walk):
    files = [file for _, file in walk]
    door = Path(rnn.__file__).relative_to(ROOT).as_posix()
    assert files.index(door) == len(files) - 1
    assert len(files) == len(set(files)) and len(files) - 1 <= MOST, files


def test_nothing_of_the_core_calls_an_application(walk):
    assert not [(above, file) for above, file in walk if above.startswith("core/") and file.startswith("apps/")]
