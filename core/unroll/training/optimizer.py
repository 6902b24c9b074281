"""Optimisers and learning-rate schedules by name."""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from unroll.config import OptimizerConfig
from unroll.training.averaging import NTASGD, keep_mean


@dataclass
class Schedule:
    """Factor on the peak learning rate as a function of the optimiser step, for `torch.optim.lr_scheduler.LambdaLR`.

    LambdaLR saves the fields of a callable object with the checkpoint, so that all of this survives a restart.
    """

    shape: str
    """constant, cosine, linear, plateau or decay (see `unroll.config.OptimizerConfig.schedule`)"""
    warmup: float
    """share of all steps"""
    steps: int
    """optimiser steps of the whole training"""
    elapsed: float = 0.0
    """share of `train.minutes` that is used up: a training that is cut by the clock still anneals to its end"""
    plateau: float = 1.0
    """what `plateau` has reduced the learning rate to"""
    epochs: int = 1
    """of the whole training, for `decay`"""
    decay: float = 1.0
    """factor per epoch"""
    decay_after: int = 0
    """epochs before the first factor"""

    def __call__(self, step: int) -> float:
        done = min(max(step / max(self.steps, 1), self.elapsed), 1.0)
        if done < self.warmup:
            # The first step already moves: a rate of exactly zero would waste a batch.
            return max(done, 1 / max(self.steps, 1)) / self.warmup
        rest = (done - self.warmup) / (1 - self.warmup)
        match self.shape:
            case "cosine":
                return (1 + math.cos(math.pi * rest)) / 2
            case "linear":
                return 1 - rest
            case "decay":
                epoch = step * self.epochs // max(self.steps, 1)
                return float(self.decay ** max(epoch - self.decay_after + 1, 0))
            case _:
                return self.plateau


def optimizer(config: OptimizerConfig, model: nn.Module) -> torch.optim.Optimizer:
    """The optimiser over all trainable parameters. Weight decay excludes vectors: biases, gains, norms."""
    chosen = _by_name(config, model)
    if config.average:
        keep_mean(chosen, config.average)
    return chosen


def _by_name(config: OptimizerConfig, model: nn.Module) -> torch.optim.Optimizer:
    groups: list[dict[str, Any]] = [
        {"params": list(_trained(model, vectors=False)), "weight_decay": config.weight_decay},
        {"params": list(_trained(model, vectors=True)), "weight_decay": 0.0},
    ]
    groups = [group for group in groups if group["params"]]
    # One pass over the weights instead of seven. On a GPU it would keep Lightning from unscaling half-precision
    # gradients before they are clipped.
    fused = all(p.device.type == "cpu" for group in groups for p in group["params"])
    match config.name:
        case "adamw":
            return torch.optim.AdamW(groups, lr=config.lr, fused=fused)
        case "adam":
            return torch.optim.Adam(groups, lr=config.lr, fused=fused)
        case "sgd":
            return torch.optim.SGD(groups, lr=config.lr)
        case "rmsprop":
            return torch.optim.RMSprop(groups, lr=config.lr)
        case "adagrad":
            return torch.optim.Adagrad(groups, lr=config.lr, fused=fused)
        case "ntasgd":
            return NTASGD(groups, lr=config.lr, weight_decay=config.weight_decay)


def _trained(model: nn.Module, vectors: bool) -> Iterable[nn.Parameter]:
    return (p for p in model.parameters() if p.requires_grad and (p.ndim < 2) == vectors)
