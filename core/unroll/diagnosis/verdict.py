"""The verdict on a probe: vanishing, exploding, saturated, truncated too short, or healthy.

The bounds, and where they come from (measured over seeds in tests/unroll/diagnosis/test_verdict.py):

- A gradient has vanished where 1 % is left (`LEFT`). A network is `vanishing` when that happens within half of the
  steps that it looks back over (VANISH_FRACTION): more than half of the past that a target could learn from is out of
  reach.
- It is `exploding` when somewhere it is ten times as large as at lag 0 (EXPLODE_RATIO), and one cell's growth
  explains that: the whole interval of its factor lies above 1, and the factor to the power of the steps is at least
  ten, too. Being loud alone is no proof: in a stack the number of paths to a lower layer grows with the lag, so that
  well-behaved LSTMs get 5 to 40 times as loud though no cell of theirs grows.
- `saturated` is a vanishing network of which most values (SATURATED_FRACTION) of an activation or a candidate lie
  where its slope is below 5 % of the steepest. Gates may rest at their ends: an open forget gate is what keeps the
  gradient.
- `truncated`: the state is carried from window to window, and the gradient still has 1 % at the window's first step.
- A trained model that makes use of its memory, but reaches back twice as far as its loss does (UNUSED_REACH_RATIO),
  is not accused of vanishing or truncation: were the gradient the limit, it would use what the gradient reaches.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from unroll.diagnosis.probe import Need, NetworkProbe, loudest
from unroll.recurrence.decay import LEFT

VANISH_FRACTION = 0.5
EXPLODE_RATIO = 10.0
SATURATED_FRACTION = 0.5
UNUSED_REACH_RATIO = 2.0

Kind = Literal["exploding", "saturated", "vanishing", "truncated", "healthy"]
WORST_FIRST: tuple[Kind, ...] = ("exploding", "saturated", "vanishing", "truncated", "healthy")


@dataclass(frozen=True)
class Finding:
    """The verdict on one network.

    Attributes:
        kind: the verdict.
        network: name of the module.
        because: sentences with the numbers behind it.
        reach: lags until 1 % of the gradient is left, in the direction and cell where it lasts longest; all lags that
            there are where it does not fall that far (`beyond`).
        half_life: lags until half is left.
        growth: factor a step, with its 95 % interval, of the fastest growing cell.
        loudest: the largest gradient at any lag, relative to lag 0.
        steps: of the longest row.
        need: steps of memory that the loss makes use of; None where it was not measured.
        saturated: share of saturated values of the most saturated activation, and its name.
    """

    kind: Kind
    network: str
    because: list[str]
    reach: float
    beyond: bool
    half_life: float
    growth: tuple[float, float, float]
    loudest: float
    steps: int
    need: int | None
    carried: bool
    saturated: tuple[float, str] = (0.0, "")
    shares: dict[str, float] = field(default_factory=dict)
    """of dE/dW and dE/dU, from lags of more than a tenth of the steps"""


def classify(probe: NetworkProbe, need: Need | None = None) -> Finding:
    """The verdict on a probed network, with what its loss needs where that was measured on a trained model."""
    decays = [cell.longest()[1] for cell in probe.cells]
    decay = max(decays, key=lambda one: (one.reach()[0], one.area))
    reach, bounded = decay.reach()
    fastest = max(probe.growth, key=lambda growth: growth.factor)
    peaks = [loudest(one.left) for one in decays]
    finding = Finding(
        kind="healthy",
        network=probe.name or "the network",
        because=[],
        reach=reach,
        beyond=not bounded,
        half_life=decay.half_life()[0],
        growth=(fastest.factor, fastest.low, fastest.high),
        loudest=max(peaks),
        steps=probe.steps,
        need=None if need is None else need.steps,
        carried=probe.carried,
        saturated=_saturated(probe),
        shares=_shares(probe),
    )
    kind = "exploding" if _explodes(probe, peaks) else _memory(finding)
    return Finding(**{**vars(finding), "kind": kind, "because": _because(kind, finding)})


def worst(findings: Sequence[Finding]) -> Finding:
    """The finding that represents the model."""
    return min(findings, key=lambda finding: WORST_FIRST.index(finding.kind))


def _explodes(probe: NetworkProbe, peaks: Sequence[float]) -> bool:
    logarithm = [math.log(max(growth.factor, 1e-300)) * probe.steps for growth in probe.growth]
    return any(
        not math.isfinite(peak) or (peak >= EXPLODE_RATIO and growth.low > 1 and log >= math.log(EXPLODE_RATIO))
        for peak, growth, log in zip(peaks, probe.growth, logarithm, strict=True)
    )


def _memory(found: Finding) -> Kind:
    """The verdict on how far back the gradient reaches."""
    if _has_room(found):
        return "healthy"
    if not found.beyond and found.reach < VANISH_FRACTION * found.steps:
        return "saturated" if found.saturated[0] >= SATURATED_FRACTION else "vanishing"
    if found.carried and found.beyond:
        return "truncated"
    return "healthy"


def _has_room(found: Finding) -> bool:
    return bool(found.need) and found.reach >= UNUSED_REACH_RATIO * (found.need or 0)


def _saturated(probe: NetworkProbe) -> tuple[float, str]:
    values = [
        (activation.saturated, f"{activation.name} of {cell.name}")
        for cell, activations in zip(probe.cells, probe.activations, strict=True)
        for activation in activations
        if ("gate" not in activation.name and activation.function != "sigmoid") or activation.name == "activation"
    ]
    return max(values, default=(0.0, ""))


def _shares(probe: NetworkProbe) -> dict[str, float]:
    """Of the cell with the largest share from afar."""
    lag = max(1, probe.steps // 10)
    return {
        weight: max(cell.share_from(weight, lag) for cell in probe.cells if weight in cell.shares)
        for weight in ("W", "U")
        if any(weight in cell.shares for cell in probe.cells)
    }


def _because(kind: Kind, found: Finding) -> list[str]:
    factor, low, high = found.growth
    far = f"more than {found.reach:.0f}" if found.beyond else f"{found.reach:.1f}"
    lines = [
        f"{100 * LEFT:.0f} % of the gradient is left after {far} of {found.steps} steps, half of it after "
        f"{found.half_life:.1f}; one step multiplies it by {factor:.3f} ({low:.3f} to {high:.3f})"
    ]
    if kind == "exploding":
        lines.append(f"at some lag the gradient is {found.loudest:.3g} times as large as at lag 0, and it grows on")
    elif kind == "vanishing":
        lines.append("more than half of the past is out of the gradient's reach")
    elif kind == "truncated":
        lines.append(f"the window of {found.steps} steps cuts off a gradient that would reach further")
    share, name = found.saturated
    if share >= SATURATED_FRACTION:
        lines.append(f"{100 * share:.0f} % of the values of the {name} lie where its slope is almost zero")
    if found.need is not None:
        lines.append(_need(found))
    return lines


def _need(found: Finding) -> str:
    if not found.need:
        return "the loss does not depend on the state: the model makes no use of its memory (yet, or in vain)"
    room = "well within the gradient's reach" if _has_room(found) else "about as far as the gradient reaches"
    if found.need > found.reach:
        room = "further than the gradient reaches"
    return f"the loss depends on the last {found.need} steps, {room}"


def as_json(finding: Finding) -> dict[str, object]:
    """For programs; no value is infinite."""
    numbers: Mapping[str, object] = {**vars(finding), "growth": finding.growth[0]}
    interval = [min(value, 1e30) for value in finding.growth[1:]]
    loud = min(finding.loudest, 1e30)
    return {**numbers, "growth_interval": interval, "loudest": loud, "saturated": finding.saturated[0]}
