"""Imported by the server before it forks: one training, so that nothing is left to import."""

import os
import tempfile
import threading
import warnings
from pathlib import Path
from unittest import mock

import torch

from tests.survival.driver import TINY, places
from unroll.commands.train import train

APP = "captioning"
"""draws pictures, too"""

torch.set_num_threads(1)
with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings(), open(os.devnull, "w") as nowhere:
    warnings.simplefilter("ignore")
    before = Path.cwd()
    os.chdir(folder)
    with mock.patch.dict(os.environ, places(Path(folder), Path(folder) / "data")), mock.patch("sys.stdout", nowhere):
        train([APP], "smoke", TINY[APP])
    os.chdir(before)
for thread in set(threading.enumerate()) - {threading.main_thread()}:
    thread.join(60)
assert threading.active_count() == 1, threading.enumerate()
