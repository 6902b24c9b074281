"""Where files are kept: data, checkpoints and the tracking store, all in one place that the tasks show.

A variable that is set but empty, as passed by compose files, counts as unset.
"""

import os
import re
from pathlib import Path
from urllib.parse import unquote

from unroll.errors import UserError

HOME, DATA, RUNS, STORE = "UNROLL_HOME", "UNROLL_DATA", "UNROLL_RUNS", "MLFLOW_TRACKING_URI"
DATABASES = ("sqlite", "postgresql", "mysql", "mssql")


def checkout() -> Path | None:
    """The repository that contains this package; None if it is installed as a wheel."""
    source = Path(__file__).resolve().parents[1]
    root = source.parent
    return root if source.name == "core" and (root / "pyproject.toml").is_file() else None


def inside_checkout() -> Path | None:
    """The repository that contains this package, if the current folder is in it; else None."""
    root = checkout()
    return root if root and Path.cwd().resolve().is_relative_to(root) else None


def home() -> Path:
    """The folder for everything whose location is not set by a variable of its own.

    UNROLL_HOME if set; in a checkout its top, as a relative path; elsewhere `unroll` in the user's data folder (XDG
    base directory specification: XDG_DATA_HOME, by default `~/.local/share`).

    Raises:
        UserError: the user has no home folder.
    """
    if named := os.environ.get(HOME):
        return Path(named)
    if root := inside_checkout():
        return Path(os.path.relpath(root, Path.cwd().resolve()))
    shared = Path(os.environ.get("XDG_DATA_HOME") or "")
    try:
        # By the specification, a path that is not absolute must be ignored.
        return (shared if shared.is_absolute() else Path.home() / ".local" / "share") / "unroll"
    except RuntimeError as error:
        raise UserError(f"this user has no home folder; set {HOME} to a folder for data, runs and store") from error


def data_folder() -> Path:
    """The folder for downloads and prepared data: UNROLL_DATA, or `data` in `home()`."""
    return _own(DATA) or home() / "data"


def runs_folder() -> Path:
    """The folder for checkpoints: UNROLL_RUNS, or `runs` in `home()`."""
    return _own(RUNS) or home() / "runs"


def artifacts_folder() -> Path:
    """Where MLflow keeps the files of runs if the store is a database: `mlruns` in `home()`."""
    return home() / "mlruns"


def store_uri() -> str:
    """The URI of the tracking store: MLFLOW_TRACKING_URI, or `mlflow.db` in `home()`."""
    if named := os.environ.get(STORE):
        return named
    # SQLAlchemy decodes %41, and takes everything after a question mark as options.
    return f"sqlite:///{home() / 'mlflow.db'}".replace("%", "%25").replace("?", "%3F")


def store_file() -> Path | None:
    """The file of the tracking store if it is SQLite without options; None for any other store."""
    path = store_uri().removeprefix("sqlite:///")
    return None if path == store_uri() or "?" in path else Path(unquote(path))


def told() -> str:
    """The locations for display: one folder, and whatever a variable has put elsewhere."""
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
    """A store's URI for display: without its password, and with the full path of a relative file."""
    relative = re.fullmatch(r"sqlite:///([^/].*)", uri)
    if relative:
        return f"{uri} ({_absolute(Path(relative[1]))})"
    return re.sub(r"(://[^:/@]*):[^@/]*@", r"\1:***@", uri)


def is_database(uri: str) -> bool:
    """Whether the store is a database that this process writes to itself, rather than a server."""
    return uri.split(":")[0].split("+")[0] in DATABASES


def _own(variable: str) -> Path | None:
    named = os.environ.get(variable)
    return Path(named) if named else None


def _absolute(path: Path) -> Path:
    """The absolute path, without the `..` that comes from a folder below the checkout's top."""
    return Path(os.path.abspath(path))
