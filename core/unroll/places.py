"""Where things are kept: data, checkpoints and the tracking store, all in one place that the tasks name.

A variable that is set but empty, as compose files pass it, is not set.
"""

import os
import re
from pathlib import Path

from unroll.errors import UserError

HOME, DATA, RUNS, STORE = "UNROLL_HOME", "UNROLL_DATA", "UNROLL_RUNS", "MLFLOW_TRACKING_URI"
DATABASES = ("sqlite", "postgresql", "mysql", "mssql")


def checkout() -> Path | None:
    """The repository that this package lies in; None where it is installed as a wheel."""
    source = Path(__file__).resolve().parents[1]
    root = source.parent
    return root if source.name == "core" and (root / "pyproject.toml").is_file() else None


def inside_checkout() -> Path | None:
    """The repository that this package lies in, where the current folder is in it; None elsewhere."""
    root = checkout()
    return root if root and Path.cwd().resolve().is_relative_to(root) else None


def home() -> Path:
    """Where everything is kept that no variable of its own names a place for.

    What UNROLL_HOME names; in a checkout its top, as a relative path; elsewhere `unroll` in the user's folder for data
    (XDG base directory specification: XDG_DATA_HOME, by default `~/.local/share`).

    Raises:
        UserError: the user has no home.
    """
    if named := os.environ.get(HOME):
        return Path(named)
    if root := inside_checkout():
        return Path(os.path.relpath(root, Path.cwd().resolve()))
    shared = Path(os.environ.get("XDG_DATA_HOME") or "")
    try:
        # The specification: a path that is not absolute is to be ignored.
        return (shared if shared.is_absolute() else Path.home() / ".local" / "share") / "unroll"
    except RuntimeError as error:
        raise UserError(f"this user has no home folder; set {HOME} to a folder for data, runs and store") from error


def data_folder() -> Path:
    """Where downloads and prepared data are kept: what UNROLL_DATA names, or `data` at home."""
    return _own(DATA) or home() / "data"


def runs_folder() -> Path:
    """Where checkpoints are kept: what UNROLL_RUNS names, or `runs` at home."""
    return _own(RUNS) or home() / "runs"


def artifacts_folder() -> Path:
    """Where MLflow keeps the files of runs whose store is a database: `mlruns` at home."""
    return home() / "mlruns"


def store_uri() -> str:
    """Of the tracking store: what MLFLOW_TRACKING_URI names, or `mlflow.db` at home."""
    if named := os.environ.get(STORE):
        return named
    # SQLAlchemy decodes %41, and takes what follows a question mark for options.
    return f"sqlite:///{home() / 'mlflow.db'}".replace("%", "%25").replace("?", "%3F")


def told() -> str:
    """The place for people: one folder, and whatever a variable has put elsewhere."""
    folder = _absolute(home())
    elsewhere = {
        "data": str(_absolute(data_folder())) if os.environ.get(DATA) else "",
        "runs": str(_absolute(runs_folder())) if os.environ.get(RUNS) else "",
        "store": shown(store_uri()) if os.environ.get(STORE) else "",
    }
    at_home = [name for name, place in elsewhere.items() if not place]
    kept = [f"{' and '.join(filter(None, [', '.join(at_home[:-1]), at_home[-1]]))} in {folder}"] if at_home else []
    return "; ".join([*kept, *(f"{name} in {place}" for name, place in elsewhere.items() if place)])


def shown(uri: str) -> str:
    """A store's URI for people: without its password, and with the file that a relative one means."""
    relative = re.fullmatch(r"sqlite:///([^/].*)", uri)
    if relative:
        return f"{uri} ({_absolute(Path(relative[1]))})"
    return re.sub(r"(://[^:/@]*):[^@/]*@", r"\1:***@", uri)


def is_database(uri: str) -> bool:
    """Whether a store is one that this process itself writes to, and no server's."""
    return uri.split(":")[0].split("+")[0] in DATABASES


def _own(variable: str) -> Path | None:
    named = os.environ.get(variable)
    return Path(named) if named else None


def _absolute(path: Path) -> Path:
    """Without the `..` that a folder below the checkout's top gives."""
    return Path(os.path.abspath(path))
