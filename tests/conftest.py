"""For all tests: nothing of the user's is touched, and hypothesis behaves the same everywhere."""

from pathlib import Path

import pytest


@pytest.fixture(autouse=True)
def own_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Data, checkpoints and tracking store of a test are its own."""
    monkeypatch.setenv("UNROLL_DATA", str(tmp_path / "data"))
    monkeypatch.setenv("UNROLL_RUNS", str(tmp_path / "runs"))
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path / 'mlflow.db'}")
