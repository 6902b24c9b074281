"""A diagnosis of an application's model: probes, verdict, remedies, and the page that reports them."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from lightning.fabric.utilities import move_data_to_device
from torch import nn

from unroll import surface
from unroll.app import App
from unroll.config import Config
from unroll.diagnosis import pictures
from unroll.diagnosis.probe import Need, NetworkProbe, need, probe
from unroll.diagnosis.remedies import Remedy, remedies
from unroll.diagnosis.remedy_trials import Tried, recommended
from unroll.diagnosis.verdict import Finding, classify, worst
from unroll.drawing.page import Page
from unroll.drawing.style import as_written
from unroll.recurrence.lyapunov import spectral_norms
from unroll.recurrence.state import detach
from unroll.training.evaluation import device_of, untouched


@dataclass
class Diagnosis:
    """The result of a diagnosis.

    Attributes:
        app: its name.
        probes: of each network, on the longest of the batches.
        needs: network -> how far back the loss looks; empty for an untrained model.
        findings: the verdict on each network.
        remedies: what may help, best first.
        tried: what was tried, the model as it is first; empty unless that was asked for.
    """

    app: str
    probes: list[NetworkProbe]
    needs: dict[str, Need]
    findings: list[Finding]
    remedies: list[Remedy]
    tried: Sequence[Tried] = ()

    @property
    def finding(self) -> Finding:
        """The verdict that represents the model."""
        return worst(self.findings)


def diagnose(
    app: App,
    config: Config,
    model: nn.Module,
    batches: Sequence[tuple[Any, Any]],
    held_out: Sequence[tuple[Any, Any]] = (),
) -> Diagnosis:
    """Look at a model.

    Args:
        app, config: of the model.
        model: on any device.
        batches: (batch, carried state) pairs, from `stream`, as the model is trained on. The longest one is judged, of
            equals the last.
        held_out: likewise, to measure what the loss needs; none for an untrained model, which needs nothing.

    Raises:
        UserError: no recurrent network takes part in the loss, or it is not finite.
    """
    looked = (probe(app, model, *pair, rows=8) for pair in reversed(batches))
    probes = max(looked, key=lambda networks: max(network.steps for network in networks))
    needs = need(app, model, held_out) if held_out else {}
    findings = [classify(network, needs.get(network.name)) for network in probes]
    return Diagnosis(app.name, probes, needs, findings, remedies(worst(findings), config, model))


def stream(app: App, model: nn.Module, batches: Sequence[Any]) -> list[tuple[Any, Any]]:
    """Consecutive batches, each with the state carried from the previous one."""
    state, pairs = None, []
    with untouched(model), torch.no_grad():
        for batch in batches:
            pairs.append((batch, state))
            state = detach(app.step(model, move_data_to_device(batch, device_of(model)), state).state)
    return pairs


@as_written()
def page(diagnosis: Diagnosis, subtitle: str) -> Page:
    """The whole diagnosis as a page for people."""
    found = diagnosis.finding
    made = Page(f"{diagnosis.app}: {found.kind}", subtitle)
    for finding in diagnosis.findings:
        made.verdict(f"{finding.network}: {finding.kind}", finding.because)
    for network in diagnosis.probes:
        _network(made, network)
    if diagnosis.needs:
        made.heading("How much memory the loss makes use of")
        made.figure(
            pictures.needs(diagnosis.needs), "loss by length of memory",
            "The state is reset n steps before every step that is read. Where the curve meets the dotted line, nothing "
            "further back matters to the loss (upright line: less than 2 % of what memory is worth is lost).",
        )  # fmt: skip
    _remedies(made, diagnosis)
    return made


def _network(made: Page, network: NetworkProbe) -> None:
    name = network.name or "the network"
    made.heading(f"{name}: how far back the gradient reaches")
    made.figure(
        pictures.gradient(network), f"heat map and decay curves of the gradient through time of {name}",
        "Left: each row is the error of one step t; going left is going back in time; every colour step of 1 is a "
        "factor of ten. Right: the same over the lag, all sampled t together; thin lines are the fitted rates.",
    )  # fmt: skip
    if any(cell.shares for cell in network.cells):
        made.figure(
            pictures.shares(network), f"share of the weights' gradient by lag of {name}",
            "The double sum over (t, k) split by lag: what would be lost of dE/dW and dE/dU if the sum were cut at lag "
            "n. Terms that point against the sum count negatively, so a curve may leave the range from 0 to 1.",
        )  # fmt: skip
    gates = pictures.gates(network)
    if gates is not None:
        made.figure(
            gates, f"gates and activations of {name}",
            "Bars: 5 to 95 % of all values; marks: means; right: the share of values where the slope is below 5 % of "
            "the steepest (relu: units that are never above zero).",
        )  # fmt: skip
    made.figure(
        pictures.spectrum(_spectra(network)), f"spectral norms of the state's Jacobian of {name}",
        "The most that any small change of the state k steps back can grow or shrink until now, whatever the loss.",
    )  # fmt: skip
    made.table(_numbers(network))


def _spectra(network: NetworkProbe) -> dict[str, tuple[list[int], Any]]:
    lags = [2**power for power in range(network.steps.bit_length()) if 2**power <= network.steps]
    return {cell.name: (lags, spectral_norms(cell, lags, iterations=6).numpy()) for cell in network.cells}


def _numbers(network: NetworkProbe) -> list[dict[str, Any]]:
    rows = []
    for cell, growth in zip(network.cells, network.growth, strict=True):
        for state in cell.norms:
            decay = cell.decay(state)
            reach, bounded = decay.reach()
            rows.append(
                {
                    "cell": f"{cell.name} ({cell.cell})", "state": state,
                    "1 % left after": f"{'' if bounded else '> '}{reach:.1f}",
                    "half left after": decay.half_life()[0], "fitted factor a step": decay.rate(),
                    "growth factor": f"{growth.factor:.3f} ({growth.low:.3f} to {growth.high:.3f})",
                }
            )  # fmt: skip
    return rows


def _remedies(made: Page, diagnosis: Diagnosis) -> None:
    if diagnosis.remedies:
        made.heading("What may help, best first")
        made.table(
            [{"remedy": r.name, "because": r.reason, "settings": " ".join(r.settings)} for r in diagnosis.remedies]
        )
    if diagnosis.tried:
        made.heading("What was tried")
        made.table(outcomes(diagnosis.tried))
        rows = [(one.name, *one.mean("loss")) for one in diagnosis.tried]
        made.figure(
            pictures.intervals("loss after the same number of steps", "held-out loss, mean over seeds and 95 %", rows),
            "held-out loss of each remedy with its interval",
            "Diamond and dotted line: the model as it is.",
        )
        made.text(advice(diagnosis.tried))


def outcomes(tried: Sequence[Tried]) -> list[dict[str, Any]]:
    """One row per remedy: before and after."""
    return [
        {
            "tried": one.name,
            "loss": _interval(one.mean("loss")),
            "change of loss": "" if one is tried[0] else _interval(one.gain(tried[0])),
            "reach": _interval(one.mean("reach")),
            "growth": _interval(one.mean("growth")),
            "seconds": _interval(one.mean("seconds")),
            "verdict": ", ".join(sorted({outcome.kind for outcome in one.outcomes})),
        }
        for one in tried
    ]


def advice(tried: Sequence[Tried]) -> str:
    """The recommendation after the trials, in one sentence."""
    best = recommended(tried)
    if best is None or best.remedy is None:
        return "None is recommended: within this budget no remedy's whole interval lies below the loss of before."
    change = surface.settings(*best.remedy.settings) if best.remedy.settings else ""
    return f"Recommended: {best.name}; the loss changes by {_interval(best.gain(tried[0]))}. {change}".strip()


def _interval(values: tuple[float, float, float]) -> str:
    mean, low, high = values
    return f"{mean:.4g} ({low:.4g} to {high:.4g})"
