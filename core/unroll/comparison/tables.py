"""A comparison as rows of a table: for people, for spreadsheets, for programs."""

from typing import Any

from unroll.comparison.eligibility import COSTS
from unroll.comparison.groups import Comparison, Group
from unroll.console import duration

SHOWN = 20
"""runs that are left out are listed up to here"""


def title(found: Comparison, equal: str | None = None) -> str:
    """What the table shows, at equal "parameters" or "seconds"."""
    better = {"min": ", less is better", "max": ", more is better", None: ""}[found.mode]
    return f"{found.app}: {found.metric}{better}{f', at equal {equal}' if equal else ''}"


def explained(found: Comparison) -> str:
    """How to read the numbers of a table of several groups."""
    base = found.baseline.name if found.baseline else ""
    return (
        f"difference: to {base}, with its 95 % interval; effect: in standard deviations between seeds; p Holm: for all "
        f"differences of this answer together; tested over {found.how}"
    )


def left_out(found: Comparison, all_at: str = "") -> list[str]:
    """A line for each of the first runs that are left out, with the reason; `all_at` says where the others are."""
    lines = [f"left out: {one.run.id[:8]} ({one.run.status}): {one.why}" for one in found.left[:SHOWN]]
    more = len(found.left) - SHOWN
    return [*lines, f"left out: {more} more{all_at}"] if more > 0 else lines


def table(found: Comparison, unit: str = "examples") -> list[dict[str, Any]]:
    """One row per group, formatted for people; `unit` is the unit of throughput."""
    several, lost = len(found.groups) > 1, any(group.lost for group in found.groups)
    return [
        {
            **(group.by or {"runs": group.name}),
            "n": len(group.values), "mean": group.mean, "std": _or_blank(group.std),
            "best": _or_blank(group.best(found.mode)), **(_tested(group) if several else {}),
            **({"failed": group.lost} if lost else {}), **_costs(group, unit),
        }
        for group in found.groups
    ]  # fmt: skip


def exact(found: Comparison) -> list[dict[str, Any]]:
    """One row per group, for programs: separate, unrounded numbers."""
    return [{"app": found.app, "metric": found.metric, **group.by, **_numbers(group, found)} for group in found.groups]


def plain(found: Comparison) -> dict[str, Any]:
    """The comparison as JSON-compatible values."""
    return {
        "app": found.app, "metric": found.metric, "mode": found.mode, "by": found.by,
        "baseline": found.baseline.by if found.baseline else None, "how": found.how,
        "groups": [
            {"by": group.by, **_numbers(group, found), "runs": [run.id for run in group.runs]} for group in found.groups
        ],
        "left_out": [{"run": one.run.id, "status": one.run.status, "why": one.why} for one in found.left],
        "notes": found.notes, "confounded": found.confounded,
        "runs": [
            {"run": run.id, "by": group.by, "value": value, "digest": run.tags.get("data.digest")}
            for group in found.groups
            for run, value in zip(group.runs, group.values, strict=True)
        ],
    }  # fmt: skip


def _numbers(group: Group, found: Comparison) -> dict[str, Any]:
    against = group.against
    return {
        "n": len(group.values), "mean": group.mean, "std": group.std, "best": group.best(found.mode),
        "difference": against.value if against else None,
        **{name: getattr(against, name, None) for name in ("low", "high", "p")},
        "p_holm": group.p_holm, "effect": against.effect if against else None,
        "seeds_needed": group.needed.likely if group.needed else None,
        "seeds_needed_low": group.needed.low if group.needed else None,
        "seeds_needed_high": group.needed.high if group.needed else None,
        "failed": group.lost, **{name: group.cost(name) for name in COSTS},
    }  # fmt: skip


def _tested(group: Group) -> dict[str, str]:
    against = group.against
    if against is None:
        return {"difference": "baseline", "95 % interval": "", "p": "", "p Holm": "", "effect": "", "seeds needed": ""}
    known = against.low is not None and against.high is not None
    shown = against.p is not None and against.p < 0.05
    return {
        "difference": f"{against.value:+.4g}",
        "95 % interval": f"{against.low:+.4g} to {against.high:+.4g}" if known else "",
        "p": _small(against.p), "p Holm": _small(group.p_holm),
        "effect": "" if against.effect is None else f"{against.effect:+.1f}",
        "seeds needed": "" if shown or group.needed is None else str(group.needed),
    }  # fmt: skip


def _costs(group: Group, unit: str) -> dict[str, Any]:
    parameters, seconds, speed, memory = (group.cost(name) for name in COSTS)
    return {
        "parameters": _rounded(parameters), "time": "" if seconds is None else duration(seconds),
        f"{unit}/s": speed if speed is not None and speed < 10 else _rounded(speed), "peak MB": _rounded(memory),
    }  # fmt: skip


def _small(p: float | None) -> str:
    return "" if p is None else "<0.001" if p < 0.001 else f"{p:.3f}"


def _rounded(value: float | None) -> int | str:
    return "" if value is None else round(value)


def _or_blank(value: float | None) -> float | str:
    return "" if value is None else value
