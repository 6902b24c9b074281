"""A comparison as one page: tables, explanations and charts."""

from collections.abc import Mapping, Sequence

from unroll.comparison import charts
from unroll.comparison.groups import Comparison
from unroll.comparison.tables import explained, table, title
from unroll.drawing.page import Page
from unroll.drawing.style import as_written
from unroll.tracking import Curve

Curves = Mapping[str, tuple[str, Mapping[str, Curve], Mapping[str, Curve]]]
"""application -> (metric of its learning curves, run id -> its curve, run id -> seconds by the same steps)"""


@as_written()
def page(comparisons: Sequence[Comparison], curves: Curves, units: Mapping[str, str], subtitle: str) -> Page:
    """All of a comparison.

    Args:
        comparisons: of each application, those without runs too.
        curves: see there; applications may be missing.
        units: application -> what its throughput is counted in.
        subtitle: when, and where from.
    """
    names = ", ".join(found.app for found in comparisons)
    keys = dict.fromkeys(key for found in comparisons for key in found.by)
    made = Page(f"{names} by {', '.join(keys)}" if keys else f"Runs of {names}", subtitle)
    shown = [found for found in comparisons if found.groups]
    if len(shown) > 1:
        made.heading("All applications")
        made.figure(
            charts.matrix(shown), "mean of each group in each application",
            "Mean over seeds ± standard deviation between seeds; the best of each application is bold. A colour is "
            "given only where the difference to the baseline holds after Holm's correction over all cells.",
        )  # fmt: skip
    for found in comparisons:
        _one(made, found, curves, units.get(found.app, "examples"))
    return made


def _one(made: Page, found: Comparison, curves: Curves, unit: str) -> None:
    made.heading(title(found))
    if not found.groups:
        made.text("No finished run to compare.")
    else:
        made.table(table(found, unit))
        if len(found.groups) > 1:
            made.text(f"{explained(found)}.")
        for note in found.notes:
            made.text(f"Note: {note}.")
        _pictures(made, found, curves, unit)
    if found.left:
        made.text("Left out:")
        made.table([{"run": one.run.id[:8], "status": one.run.status, "why": one.why} for one in found.left])


def _pictures(made: Page, found: Comparison, curves: Curves, unit: str) -> None:
    if len(found.groups) > 1:
        made.figure(
            charts.differences(found), f"differences of {found.metric} to the baseline, with intervals",
            "Bars: 95 % intervals over seeds and examples. Blue: better, orange: worse after Holm's correction; grey: "
            "not shown to differ; hollow: one seed, no interval.",
        )  # fmt: skip
    metric, scores, times = curves.get(found.app, ("", {}, {}))
    if any(scores.values()):
        made.figure(
            charts.learning(found, metric, scores, times), f"learning curves of {metric}",
            "Lines: mean over seeds; bands: from the worst to the best seed.",
        )  # fmt: skip
    cost = charts.against_cost(found, unit)
    if cost is not None:
        made.figure(
            cost, f"{found.metric} against what it costs",
            "Small marks: runs; large ones: means of groups. Times are those of the machines that the runs were on.",
        )  # fmt: skip
