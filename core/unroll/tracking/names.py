"""Names under which runs keep what they hold: tags of ours, metrics as MLflow spells them, folders behind URIs."""

from pathlib import Path
from typing import Any

PRUNED = "unroll.pruned"
"""tag of a run that a search ended early: why"""
RESUMED = "code.resumed"
"""tag of a run that was resumed with other code than it began with: the digests of that, with spaces between"""
SWEEP = "unroll.sweep"
"""tag of a run that is no training, but the parent of some"""


def stored(metric: str) -> str:
    """MLflow's names have no "@": recall@20 is stored as recall:20."""
    return metric.replace("@", ":")


def spoken(metric: str) -> str:
    """Undo `stored`."""
    return metric.replace(":", "@")


def local_folder(uri: str) -> Path | None:
    """The folder that a URI means, or a path, of which MLflow reads some as URIs; None on another machine."""
    from mlflow.utils import file_utils  # not at the top: the names are read without waiting for MLflow
    from mlflow.utils import uri as uris

    files: Any = file_utils  # neither carries types
    kinds: Any = uris
    return Path(files.local_file_uri_to_path(uri)) if kinds.is_local_uri(uri) else None
