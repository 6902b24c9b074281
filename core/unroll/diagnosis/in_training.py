"""Diagnosis during training: curves of the gradient, and a verdict if training has to stop."""

import warnings
from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.figure import Figure
from torch import nn

from unroll.app import App
from unroll.diagnosis import pictures
from unroll.diagnosis.probe import NetworkProbe, probe, scalars
from unroll.diagnosis.verdict import classify, worst
from unroll.drawing.style import as_written
from unroll.errors import Notice, UserError, noted
from unroll.tracking import Run
from unroll.training.progress import Explain, Probe


def gradient_probe(app: App, run: Run) -> Probe:
    """The probe of a training: numbers for its curves, and one picture each time, to the tracking store."""
    told = False

    def look(model: nn.Module, batch: Any, state: Any, step: int) -> Mapping[str, float]:
        nonlocal told
        try:
            networks = probe(app, model, batch, state, shares=False)
        except UserError as error:
            if not told:
                warnings.warn(f"train.probe_every: {error}", Notice, stacklevel=2)
            told = True
            return {}
        drawn: dict[str, Figure] = {}
        named = {f"gradient/step-{step:07d}{_suffix(networks, one)}": one for one in networks}
        with noted("picture of the gradient"), as_written():
            drawn = {name: pictures.gradient(one, f"step {step}") for name, one in named.items()}
        run.figures(drawn)
        return scalars(networks)

    return look


def _suffix(networks: Sequence[NetworkProbe], one: NetworkProbe) -> str:
    return f"-{one.name}" if len(networks) > 1 else ""


def verdict(app: App) -> Explain:
    """The verdict, with its first reason, for a training that is stopped because of bad steps."""

    def explain(model: nn.Module, batch: Any, state: Any) -> str:
        try:
            found = worst([classify(network) for network in probe(app, model, batch, state)])
        except UserError:  # nothing recurrent in it, or not finite any more
            return ""
        return f"verdict {found.kind}: {found.because[0]}"

    return explain
