"""Finds the models of runs in an SQLite store by reading the file: importing MLflow takes longer than a prediction.

Anything not found exactly once is left to `model_registry`, which asks MLflow and reports what is wrong.
"""

import sqlite3
from pathlib import Path
from urllib.parse import quote, unquote, urlsplit

from unroll.places import store_file
from unroll.tracking import saved
from unroll.tracking.names import SWEEP

READY = 2
"""MLflow's LoggedModelStatus.READY, as stored in its tables"""
QUERY = """
    SELECT runs.run_uuid, logged_models.artifact_location
    FROM runs
    JOIN experiments ON experiments.experiment_id = runs.experiment_id
    LEFT JOIN logged_models ON logged_models.source_run_id = runs.run_uuid
        AND logged_models.status = :ready AND logged_models.lifecycle_stage = 'active'
    WHERE experiments.name = :app AND experiments.lifecycle_stage = 'active' AND runs.lifecycle_stage = 'active'
        AND NOT EXISTS (SELECT 1 FROM tags WHERE tags.run_uuid = runs.run_uuid AND tags.key = :sweep)
        AND CASE :reference WHEN 'latest' THEN runs.status = 'FINISHED'
            ELSE substr(runs.run_uuid, 1, length(:reference)) = :reference OR runs.name = :reference END
    ORDER BY runs.start_time DESC, runs.run_uuid, logged_models.creation_timestamp_ms DESC
"""


def model_folder(app: str, reference: str) -> Path | None:
    """The saved model of the run named by `latest`, an id, the start of one, or a name; None: ask MLflow."""
    store = store_file()
    if store is None or not store.is_file() or reference.startswith("models:/"):
        return None
    try:
        database = sqlite3.connect(f"file:{quote(str(store))}?mode=ro", uri=True)
        try:
            asked = {"app": app, "reference": reference, "ready": READY, "sweep": SWEEP}
            rows = database.execute(QUERY, asked).fetchall()
        finally:
            database.close()
    except sqlite3.Error:  # locked, damaged, or tables of another version of MLflow
        return None
    if not rows or (reference != "latest" and len({run for run, _ in rows}) > 1):
        return None
    return _holding(rows[0][1])


def _holding(location: str | None) -> Path | None:
    """The folder of a model's files below MLflow's folder for it; None if that is not a plain local folder."""
    if location is None:
        return None
    if location.startswith("file:///"):
        location = unquote(urlsplit(location).path)
    elif ":" in location or "%" in location:
        return None
    found = saved.within(Path(location))
    return found[0] if len(found) == 1 else None
