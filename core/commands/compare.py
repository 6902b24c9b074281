"""`invoke compare`: the runs of an application side by side, by what differs between them."""

import csv
import sys
from collections.abc import Sequence
from datetime import datetime
from typing import Any

from core import app as apps
from core.app import App
from core.console import duration, say, show_table
from core.errors import UserError, did_you_mean
from core.training import tracking
from core.training.compare import differing, rank


def compare(names: Sequence[str], metric: str | None = None, as_csv: bool = False) -> dict[str, Any]:
    """A table per application; runs without the metric are listed and left out."""
    client = tracking.connect()
    results = [_compare(apps.load(name), tracking.runs(client, name), metric, as_csv) for name in names]
    return results[0] if len(results) == 1 else {"applications": results}


def _compare(app: App, runs: list[tracking.Logged], metric: str | None, as_csv: bool) -> dict[str, Any]:
    metric = metric or f"test/{app.score.name}"
    known = sorted({name for run in runs for name in run.metrics})
    if runs and metric not in known:
        raise UserError(f"--metric {metric}: no run of {app.name} has it; {did_you_mean(metric, known)}")
    usable, left_out = rank(runs, metric, app.score.mode if metric.endswith(f"/{app.score.name}") else None)
    if not usable:
        say(f"{app.name}: no finished run to compare; train one: invoke train --app {app.name}")
    for run in left_out:
        say(f"left out: {run.id[:8]} ({run.status}{'' if metric in run.metrics else f', no {metric}'})")
    digests = {run.tags.get("data.digest", "") for run in usable}
    if len(digests) > 1:
        say(f"note: these runs used {len(digests)} different data sets (column data); compare only within one")
    rows = [_row(app, run, metric, differing(usable), len(digests) > 1) for run in usable]
    if as_csv and rows:
        writer = csv.DictWriter(sys.stdout, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    else:
        show_table(f"{app.name}: {metric}, best first", rows)
    return {"app": app.name, "metric": metric, "runs": [_result(run, metric, differing(usable)) for run in usable]}


def _row(app: App, run: tracking.Logged, metric: str, keys: Sequence[str], with_data: bool) -> dict[str, Any]:
    best = run.metrics.get(f"best/{app.score.name}")
    return {
        "run": run.id[:8], "started": datetime.fromtimestamp(run.started).strftime("%m-%d %H:%M"),
        **({"data": run.tags.get("data.digest", "")[:8]} if with_data else {}),
        **{key: run.params.get(key, "") for key in keys},
        metric: run.metrics[metric], f"best val {app.score.name}": "" if best is None else best,
        "epochs": int(run.metrics.get("epoch", 0)), "parameters": int(run.metrics.get("parameters", 0)),
        "time": duration(run.metrics.get("train/total_seconds", 0.0)),
    }  # fmt: skip


def _result(run: tracking.Logged, metric: str, keys: Sequence[str]) -> dict[str, Any]:
    by = {key: run.params.get(key) for key in keys}
    return {"run": run.id, "by": by, "value": run.metrics[metric], "digest": run.tags.get("data.digest")}
