"""Names under which runs keep what they hold: tags of ours, metrics as MLflow spells them, folders behind URIs."""

from pathlib import Path
from typing import Any

from mlflow.utils.file_utils import local_file_uri_to_path
from mlflow.utils.uri import is_local_uri

# Neither carries types.
_as_path: Any = local_file_uri_to_path
_is_local: Any = is_local_uri

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
    return Path(_as_path(uri)) if _is_local(uri) else None
