"""Remedies for a verdict, most promising first, each with a reason; `remedy_trials` tries them."""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from torch import nn

from unroll.config import Config, flat
from unroll.diagnosis.verdict import Finding
from unroll.recurrence.cell import Cell
from unroll.recurrence.init import initialise
from unroll.recurrence.rnn import Recurrent

GATED = "lstm"
NORMALISED = {"lstm": "layernorm-lstm", "gru": "layernorm-gru"}


@dataclass(frozen=True)
class Remedy:
    """One thing to change.

    Attributes:
        name: in a few words.
        reason: why it should help here.
        settings: `key=value` changes of the configuration.
        change: what is done to the fresh model; None for nothing.
    """

    name: str
    reason: str
    settings: tuple[str, ...] = ()
    change: Callable[[nn.Module], None] | None = None


def remedies(finding: Finding, config: Config, model: nn.Module) -> list[Remedy]:
    """Remedies for the verdict, most promising first. None for a healthy model."""
    networks = [module for module in model.modules() if isinstance(module, Recurrent)]
    options = _Options(finding, config, networks)
    match finding.kind:
        case "exploding":
            found = [options.clip(), options.orthogonal(), options.gated(), options.rate(), options.normalised()]
        case "vanishing":
            found = [
                options.gated(), options.chrono(), options.forget(), options.orthogonal(), options.residual(),
                options.zoneout(), options.normalised(),
            ]  # fmt: skip
        case "saturated":
            found = [options.normalised(), options.orthogonal(), options.gated(), options.chrono(), options.rate()]
        case "truncated":
            found = [options.window(2), options.window(4)]
        case _:
            found = []
    return [remedy for remedy in found if remedy is not None]


class _Options:
    """Each remedy, where the model and the configuration have what it changes; None where not."""

    def __init__(self, finding: Finding, config: Config, networks: Sequence[Recurrent]) -> None:
        self.finding, self.networks = finding, networks
        self.keys, self.window_key = flat(config), config.window_setting
        self.cells: list[Any] = [cell for network in networks for cell in network.cells]

    def clip(self) -> Remedy:
        now = self.keys["optimizer.clip"]
        value = now / 4 if now else 1.0
        reason = "bounds the step that an exploding gradient makes; it does not stop the gradient from exploding"
        return Remedy(f"clip the gradient at {value:g}", reason, (f"optimizer.clip={value:g}",))

    def rate(self) -> Remedy:
        value = self.keys["optimizer.lr"] / 3
        reason = "smaller steps keep W and the activations where the gradient is still well-behaved"
        return Remedy(f"learning rate {value:.2g}", reason, (f"optimizer.lr={value:g}",))

    def gated(self) -> Remedy | None:
        if "model.cell" not in self.keys or any(self._remembers(cell) for cell in self.cells):
            return None
        reason = "c_t = f c_{t-1} + i g: on the way back the cell state is multiplied by the forget gate, not by W"
        return Remedy("an LSTM with open forget gates", reason, (f"model.cell={GATED}",), _initialised("forget:2"))

    def normalised(self) -> Remedy | None:
        cell = NORMALISED.get(str(self.keys.get("model.cell")))
        reason = "layer normalisation keeps what enters the gates in the range where they are neither shut nor stuck"
        return Remedy(f"cell {cell}", reason, (f"model.cell={cell}",)) if cell else None

    def chrono(self) -> Remedy | None:
        longest = max(4, round(self.finding.steps))
        reason = (
            f"gate biases under which units keep what they hold for 1 to {longest} steps, before anything is learnt"
        )
        return self._initial(f"chrono initialisation for {longest} steps", reason, f"chrono:{longest}")

    def forget(self) -> Remedy | None:
        bias = math.log(max(2.0, self.finding.steps / 4))
        kept = 1 / (1 + math.exp(-bias))
        reason = f"every step then keeps {kept:.2f} of the memory; now it keeps {self.finding.growth[0]:.2f}"
        return self._initial(f"memory gates biased by {bias:.1f}", reason, f"forget:{bias:.3f}")

    def orthogonal(self) -> Remedy | None:
        reason = "the product of orthogonal matrices neither shrinks nor grows, whatever their number"
        return self._initial("orthogonal recurrent weights", reason, "orthogonal")

    def residual(self) -> Remedy | None:
        if not any(network.layers > 1 and not network.residual for network in self.networks):
            return None

        def change(model: nn.Module) -> None:
            for network in _networks(model):
                network.residual = network.layers > 1

        return Remedy(
            "residual layers", "lower layers get their gradient past the upper ones, undiminished", (), change
        )

    def zoneout(self) -> Remedy | None:
        if any(any(network.zoneout) for network in self.networks):
            return None

        def change(model: nn.Module) -> None:
            for network in _networks(model):
                cells: list[Any] = list(network.cells)
                network.zoneout = (0.1, 0.1 if "cell" in cells[0].state_shapes else 0.0)

        reason = "a tenth of the units keep their value in a step: for them the gradient passes unchanged"
        return Remedy("zoneout of 0.1", reason, (), change)

    def window(self, times: int) -> Remedy | None:
        if not self.window_key:
            return None
        value = times * self.keys[self.window_key]
        reason = f"the gradient may then follow dependencies of {value} steps; memory and time a step grow with it"
        return Remedy(f"windows of {value} steps", reason, (f"{self.window_key}={value}",))

    def _initial(self, name: str, reason: str, init: str) -> Remedy | None:
        needs_gate = not init.startswith("orthogonal")
        able = [self._remembers(cell) if needs_gate else self._has_matrix(cell) for cell in self.cells]
        return Remedy(name, reason, (), _initialised(init)) if able and all(able) else None

    @staticmethod
    def _remembers(cell: Cell) -> bool:
        return type(cell).set_memory is not Cell.set_memory

    @staticmethod
    def _has_matrix(cell: Cell) -> bool:
        weights = [getattr(cell, name, None) for name in cell.recurrent_weights]
        return any(weight is not None and weight.dim() == 2 for weight in weights)


def _networks(model: nn.Module) -> Iterator[Recurrent]:
    return (module for module in model.modules() if isinstance(module, Recurrent))


def _initialised(init: str) -> Callable[[nn.Module], None]:
    def change(model: nn.Module) -> None:
        for network in _networks(model):
            cells: list[Any] = list(network.cells)
            for cell in cells:
                initialise(cell, init)

    return change
