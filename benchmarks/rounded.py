"""What 16-bit and 8-bit weights cost a trained model: its test metrics with recurrent layers rounded as in `Stepper`.

    python -m benchmarks.rounded --app language --run latest

Reads a run of the application from the tracking store; nothing is trained or written.
"""

from __future__ import annotations

import argparse
import copy
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from unroll.commands.loading import prepared, trained
from unroll.console import show_table
from unroll.recurrence import Recurrent
from unroll.training.evaluation import evaluate


def eight_bits(weight: Tensor) -> Tensor:
    """Each row as a scale times whole numbers from -127 to 127, as in `Stepper(weights="int8")`."""
    scale = weight.abs().amax(1, keepdim=True) / 127
    return torch.where(scale > 0, (weight / scale).round() * scale, weight)


def rounded(model: nn.Module, weights: str) -> nn.Module:
    """A copy of the model whose recurrent layers run with weights of fewer bits."""
    model = copy.deepcopy(model)
    for network in (module for module in model.modules() if isinstance(module, Recurrent)):
        if weights == "bfloat16":
            vars(network)["forward"] = _in_bf16(network.forward)  # shadows the method, in this one network
            continue
        with torch.no_grad():
            for weight in network.parameters():
                if weight.dim() == 2:
                    weight.copy_(eight_bits(weight))
    return model


def _in_bf16(forward: Callable[..., Any]) -> Callable[..., Any]:
    def run(*args: Any, **kwargs: Any) -> Any:
        with torch.autocast("cpu", torch.bfloat16):
            return forward(*args, **kwargs)

    return run


def main() -> None:
    """Prints one row per kind of weights."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--app", required=True)
    parser.add_argument("--run", default="latest")
    wanted = parser.parse_args()
    found = trained(wanted.app, [wanted.run], [])
    data = prepared(found.app, found.config)
    models = {"float32": found.model, **{kind: rounded(found.model, kind) for kind in ("bfloat16", "int8")}}
    rows = []
    for kind, model in models.items():
        metrics = evaluate(found.app, model, data.test).metrics
        rows.append({"weights": kind, **{name: f"{value:.6g}" for name, value in metrics.items()}})
    show_table(f"{wanted.app}, run {wanted.run}", rows)


if __name__ == "__main__":
    main()
