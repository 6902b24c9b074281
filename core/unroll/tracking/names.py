"""Names used in runs: our tags, metrics as MLflow spells them, folders behind URIs."""

from pathlib import Path
from typing import Any

PRUNED = "unroll.pruned"
"""tag of a run that a search stopped early: the reason"""
RESUMED = "code.resumed"
"""tag of a run that was resumed with different code: the digests of that code, separated by spaces"""
SWEEP = "unroll.sweep"
"""tag of a run that is not a training itself, but the parent of several"""


def stored(metric: str) -> str:
    """MLflow's names cannot contain "@": recall@20 is stored as recall:20."""
    return metric.replace("@", ":")


def spoken(metric: str) -> str:
    """Undo `stored`."""
    return metric.replace(":", "@")


def local_folder(uri: str) -> Path | None:
    """The folder of a URI or a path (some of which MLflow reads as URIs); None if it is on another machine."""
    from mlflow.utils import file_utils  # not at the top: the names are read without waiting for MLflow
    from mlflow.utils import uri as uris

    files: Any = file_utils  # neither carries types
    kinds: Any = uris
    return Path(files.local_file_uri_to_path(uri)) if kinds.is_local_uri(uri) else None
