"""MLflow: the store, runs written and read, saved models, the registry, tables of examples."""

from unroll.tracking.run import (
    PRUNED,
    SWEEP,
    Curve,
    Logged,
    Run,
    curves,
    find,
    made_by,
    publish,
    records,
    runs,
    start,
)
from unroll.tracking.store import connect, experiment, store_errors, uri, where

__all__ = [
    "PRUNED",
    "SWEEP",
    "Curve",
    "Logged",
    "Run",
    "connect",
    "curves",
    "experiment",
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
