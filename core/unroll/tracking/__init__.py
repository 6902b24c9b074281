"""MLflow: the store, writing and reading runs, saved models, the registry, example tables.

The store is `sqlite:///mlflow.db` unless MLFLOW_TRACKING_URI names another.
"""

from typing import TYPE_CHECKING

from unroll.lazy import lazily

if TYPE_CHECKING:
    from unroll.tracking.logged import Logged
    from unroll.tracking.names import PRUNED, RESUMED, SWEEP
    from unroll.tracking.query import Curve, anywhere, curves, figures, find, made_by, records, runs
    from unroll.tracking.run import Run, publish, start
    from unroll.tracking.store import connect, experiment, store_errors, uri, where

__all__ = [
    "PRUNED",
    "RESUMED",
    "SWEEP",
    "Curve",
    "Logged",
    "Run",
    "anywhere",
    "connect",
    "curves",
    "experiment",
    "figures",
    "find",
    "made_by",
    "publish",
    "records",
    "runs",
    "start",
    "store_errors",
    "uri",
    "where",
]

__getattr__, __dir__ = lazily(
    __name__,
    {
        "logged": ("Logged",),
        "names": ("PRUNED", "RESUMED", "SWEEP"),
        "query": ("Curve", "anywhere", "curves", "figures", "find", "made_by", "records", "runs"),
        "run": ("Run", "publish", "start"),
        "store": ("connect", "experiment", "store_errors", "uri", "where"),
    },
)
