"""`invoke --list`: the tasks of `unroll.tasks`, run by this checkout's own code, whatever else is installed."""

import sys
from pathlib import Path

from invoke.collection import Collection

sys.path.insert(0, str(Path(__file__).parent / "core"))

from unroll import tasks

namespace = Collection.from_module(tasks)
