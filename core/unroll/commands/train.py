"""`invoke train`: one application, a run that was stopped, or a grid."""

from collections.abc import Sequence
from typing import Any

from unroll import app as apps
from unroll.commands import checked
from unroll.errors import UsageError
from unroll.search.grid import points, values
from unroll.surface import option


def train(
    names: Sequence[str],
    preset: str | None = None,
    settings: Sequence[str] = (),
    resume: str | None = None,
    *,
    seeds: int = 0,
    jobs: int = 1,
) -> dict[str, Any]:
    """Train one application, or a grid: several applications, settings of several values, several seeds.

    Returns:
        of one training its run; of a grid as `unroll.commands.grid.train_grid`.
    """
    if seeds < 0 or jobs < 1:
        raise UsageError(f"{option('seeds')} wants a number from 1 on, and so does {option('jobs')}")
    if resume and (preset or settings or seeds):
        others = ", ".join(map(option, ("preset", "set", "seeds")))
        raise UsageError(f"{option('resume')} uses the run's own configuration; leave out {others}")
    if resume and len(names) > 1:
        raise UsageError(f"{option('resume', resume)}: a run is of one application")
    # What is wrong with the settings is said at once: importing what trains takes seconds.
    if len(names) == 1 and not seeds and not any(len(values(setting)) > 1 for setting in settings):
        if not resume:
            checked(names[0], preset, settings)
        from unroll.commands.training import train_one

        return train_one(names[0], preset, settings, resume)
    cells = [cell for name in names for cell in points(apps.load(name), preset or "default", settings, seeds)]
    from unroll.commands.grid import train_points

    return train_points(cells, jobs)
