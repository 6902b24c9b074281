"""The training loop and what it is made of: everything that is the same for every application."""

from typing import TYPE_CHECKING

from unroll.lazy import lazily

if TYPE_CHECKING:
    from unroll.training.checkpoint import Checkpoints
    from unroll.training.evaluation import evaluate
    from unroll.training.loop import fit
    from unroll.training.progress import Fitted, Observer, Position, Pruned

__all__ = ["Checkpoints", "Fitted", "Observer", "Position", "Pruned", "evaluate", "fit"]

__getattr__, __dir__ = lazily(
    __name__,
    {
        "checkpoint": ("Checkpoints",),
        "evaluation": ("evaluate",),
        "loop": ("fit",),
        "progress": ("Fitted", "Observer", "Position", "Pruned"),
    },
)
