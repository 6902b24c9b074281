"""`invoke compare`: compares runs, with tests of significance.

Groups of runs with intervals, tests and costs.
"""

import csv
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from mlflow.tracking import MlflowClient

from unroll import app as apps
from unroll import tracking
from unroll.app import App
from unroll.commands import note
from unroll.comparison.groups import Comparison
from unroll.comparison.question import Question, ask_all, judged_by
from unroll.comparison.tables import exact, explained, left_out, plain, table, title
from unroll.console import say, show_table
from unroll.places import runs_folder
from unroll.surface import task
from unroll.tracking import Curve


def compare(names: Sequence[str], question: Question, *, as_csv: bool = False, html: bool = False) -> dict[str, Any]:
    """Compare the runs of each application.

    Args:
        names: applications.
        question: see there.
        as_csv: comma-separated values instead of tables.
        html: a page with pictures as well, which is logged.

    Raises:
        UserError: an unknown metric, key or value; nothing comparable is left of groups that were asked for.
    """
    client = tracking.connect()
    found = ask_all(client, names, question)
    if as_csv:
        _print_csv([row for one in found for row in exact(one)])
        for text in (f"{one.app}: {said}" for one in found if one.confounded for said in one.notes):
            note(text)
    else:
        for one in found:
            _show(one, question)
    results = [plain(one) for one in found]
    result: dict[str, Any] = results[0] if len(results) == 1 else {"applications": results}
    if html:
        result["report"] = str(_publish(client, found, question))
        print(f"report: {result['report']}", file=sys.stderr if as_csv else sys.stdout)
    return result


def _show(found: Comparison, question: Question) -> None:
    for line in left_out(found, "; --json has them all"):
        say(line)
    if not found.groups:
        place, cure = tracking.where(), f"train one: {task('train', found.app)}"
        say(f"{found.app}: no finished run to compare in {place}; {cure}")
        return
    show_table(title(found, question.equal), table(found, apps.load(found.app).unit))
    if len(found.groups) > 1:
        say(explained(found))
    for text in found.notes:
        say(f"note: {text}")


def _publish(client: MlflowClient, found: Sequence[Comparison], question: Question) -> Path:
    """The page as a file, and in the tracking store as a run of its own."""
    from unroll.comparison.page import page  # not at the top: a table needs neither torch nor matplotlib

    loaded = {one.app: apps.load(one.app) for one in found}
    curves = {one.app: _curves(client, loaded[one.app], one) for one in found}
    asked = f"{question.metric or 'score on the test split'}, {datetime.now(UTC):%Y-%m-%d %H:%M} UTC"
    made = page(found, curves, {name: app.unit for name, app in loaded.items()}, asked)
    path = runs_folder() / "compare" / f"{'-'.join(loaded)}.html"
    made.write(path)
    tracking.publish(client, "comparisons", path, {"apps": ",".join(loaded), "by": ",".join(question.by)})
    return path


def _curves(client: MlflowClient, app: App, found: Comparison) -> tuple[str, dict[str, Curve], dict[str, Curve]]:
    runs = [run for group in found.groups for run in group.runs]
    metric = f"val/{judged_by(app, runs)[0]}"
    return metric, tracking.curves(client, runs, metric), tracking.curves(client, runs, "seconds")


def _print_csv(rows: Sequence[dict[str, Any]]) -> None:
    columns = dict.fromkeys(key for row in rows for key in row)
    writer = csv.DictWriter(sys.stdout, list(columns))
    writer.writeheader()
    writer.writerows(rows)
