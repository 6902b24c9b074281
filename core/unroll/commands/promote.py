"""`invoke promote`: makes a run's model `models:/NAME@champion`, if the registered model reproduces its score."""

import math
import re
from typing import Any

from unroll import tracking
from unroll.commands.loading import prepared, trained
from unroll.console import say
from unroll.errors import UsageError, UserError
from unroll.surface import task
from unroll.tracking import model_registry
from unroll.training.evaluation import evaluate

ALIAS = re.compile(r"(?!latest$|v\d+$)[\w-]+", re.ASCII | re.IGNORECASE)
"""what MLflow takes for one"""
DIGITS = 6
"""significant digits to which the stored model must give the run's score again"""


def promote(name: str, reference: str = "latest", alias: str = "champion") -> dict[str, Any]:
    """Register a run's model, evaluate it from the registry, and set the alias if its score is reproduced.

    Args:
        name: application, and of the registered model.
        reference: `latest`, or a run id.
        alias: to set.

    Raises:
        UsageError: an alias that cannot be.
        UserError: no such run, it holds no model, its data are not these, or the score is another; the version that was
            registered is then taken back.
    """
    if not ALIAS.fullmatch(alias):
        raise UsageError(f"--alias {alias}: write a name of letters, digits, _ and -, other than latest, v1, v2, ...")
    client = tracking.connect()
    run = tracking.find(client, name, reference, lambda logged: logged.status == "FINISHED")
    version = model_registry.register(client, name, run)
    try:
        metrics = _proved(name, run, f"models:/{name}/{version}")
        with tracking.store_errors():
            client.set_registered_model_alias(name, alias, version)
    except BaseException:
        with tracking.store_errors():
            client.delete_model_version(name, version)
        raise
    uri = f"models:/{name}@{alias}"
    say(f"{uri} is version {version}, the model of run {run.id[:8]}; evaluated again, it gives the same score")
    say(f"next: {task('predict', name, run=uri)}")
    return {
        "app": name, "run": run.id, "status": "FINISHED", "model": uri, "version": int(version), "metrics": metrics,
    }  # fmt: skip


def _proved(name: str, run: tracking.Logged, uri: str) -> dict[str, float]:
    """Test metrics of the registered model. Raises UserError if its score differs from the run's."""
    model = trained(name, [uri])
    data = prepared(model.app, model.config)
    if data.digest != model.digest:
        raise UserError(
            f"run {run.id[:8]}: cannot be proved: the prepared data are not those of that run (digest "
            f"{data.digest[:12]}, was {model.digest[:12]})"
        )
    report = evaluate(model.app, model.model, data.test)
    score = f"test/{model.app.score.name}"
    was, now = run.metrics.get(score, math.nan), report.metrics[model.app.score.name]
    if f"{was:.{DIGITS}g}" != f"{now:.{DIGITS}g}" and not math.isclose(was, now, rel_tol=10.0**-DIGITS):
        raise UserError(
            f"run {run.id[:8]}: its {score} was {was:.8g}, its stored model gives {now:.8g}; not promoted: it was "
            "changed, or the code was; train it again"
        )
    return {f"test/{metric}": value for metric, value in report.metrics.items()}
