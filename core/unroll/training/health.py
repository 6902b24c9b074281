"""Skipping bad steps: a non-finite loss or gradient, or a spike of the loss.

Such a batch is saved for replay and its step skipped, so that the weights stay sound; after `train.bad_steps` of them
in a row the run stops with a verdict instead of with NaN in its weights.
"""

import math
import statistics
from collections import deque
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from unroll.app import App
from unroll.config import Config
from unroll.errors import UserError, typed
from unroll.recurrence.nested import leaves, retyped
from unroll.surface import option
from unroll.training.checkpoint import load, save
from unroll.training.progress import Explain

KEPT = 10
"""bad batches that a run saves"""
RECENT = 100
"""losses whose median a spike is measured by; none is called before a fifth of them are there"""


class Health:
    """Decides, before each optimiser step, whether it may be taken.

    Args:
        app, config: of the run.
        folder: of the run; bad batches go to `skipped/` in it.
        explain: asked what is wrong with the model before the run is stopped; None: nobody is.
    """

    def __init__(self, app: App, config: Config, folder: Path, explain: Explain | None = None) -> None:
        self.app, self.config, self.folder, self.explain = app, config, folder / "skipped", explain
        self.losses: deque[float] = deque(maxlen=RECENT)
        self.taken = self.clipped = self.skipped = self.in_a_row = 0
        self.problem = ""
        self.good: tuple[Any, Any] | None = None

    def state_dict(self) -> dict[str, Any]:
        """State for the checkpoint, so that a resumed run decides like an uninterrupted one."""
        counts = {name: getattr(self, name) for name in ("taken", "clipped", "skipped", "in_a_row")}
        return {"losses": list(self.losses), **counts}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Undo `state_dict`."""
        self.losses.extend(state["losses"])
        for name in ("taken", "clipped", "skipped", "in_a_row"):
            setattr(self, name, state[name])

    def look(self, loss: Tensor) -> bool:
        """Whether the loss of a batch is acceptable. Called for every batch, also of an accumulated step."""
        value = float(loss.detach())
        if not math.isfinite(value):
            self.problem = f"the loss is {value}"
        elif self._spikes(value):
            self.problem = f"the loss is {value:.4g}, {value / statistics.median(self.losses):.3g} times its median"
        else:
            self.losses.append(value)
            return True
        return False

    def allows(self, norm: Tensor) -> bool:
        """Whether to take the step with a gradient of this norm (before clipping)."""
        size = float(norm)
        # With 16-bit floats the loss scale is found by overflowing now and then: the scaler skips those steps itself.
        if not self.problem and not math.isfinite(size) and self.config.train.precision != "16-mixed":
            self.problem = f"the gradient's norm is {size}"
        if self.problem:
            return False
        self.taken += 1
        self.clipped += bool(self.config.optimizer.clip and size > self.config.optimizer.clip)
        return True

    def numbers(self, norm: float) -> dict[str, float]:
        """Metrics to track after a step that was taken."""
        after = min(norm, self.config.optimizer.clip or math.inf)
        numbers = {"train/gradient_norm_clipped": after, "train/clipped_share": self.clipped / max(self.taken, 1)}
        return {**numbers, "train/skipped_steps": self.skipped} if self.skipped else numbers

    def took(self, batch: Any, carried: Any) -> None:
        """Record that a step was taken with this batch."""
        self.good, self.in_a_row = (batch, carried), 0

    def skip(self, model: nn.Module, batch: Any, carried: Any, step: int) -> str:
        """Record a skipped step: save its batch and report it.

        Raises:
            UserError: it was one too many, with the verdict.
        """
        problem, self.problem = self.problem, ""
        self.skipped += 1
        self.in_a_row += 1
        saved = self._save(model, batch, carried, step, problem)
        if self.in_a_row >= self.config.train.bad_steps:
            row = f", the last of {self.in_a_row} in a row" if self.in_a_row > 1 else ""
            raise UserError(f"{problem} at step {step}{row}; {self._advice(model, batch)}{saved}")
        return f"{problem} at step {step}, which is skipped{saved}"

    def check_any(self) -> None:
        """Raise UserError if no step of the whole training was taken."""
        if self.skipped and not self.taken:
            raise UserError(f"all {self.skipped} steps were skipped; the batches are in {self.folder}")

    def _spikes(self, value: float) -> bool:
        factor = self.config.train.spike
        if not factor or len(self.losses) < RECENT // 5:
            return False
        usual = statistics.median(self.losses)
        return usual > 0 and value > factor * usual

    def _save(self, model: nn.Module, batch: Any, carried: Any, step: int, problem: str) -> str:
        if self.skipped > KEPT:
            return ""
        path = self.folder / f"step-{step}.safetensors"
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            weights = model.state_dict()
            save(path, {"step": step, "problem": problem, "batch": batch, "carried": carried, "weights": weights})
        except TypeError as error:
            return f" (its batch cannot be saved: {error})"
        return f" (replay: {typed()} diagnose --app {self.app.name} --replay {path})"

    def _advice(self, model: nn.Module, batch: Any) -> str:
        where = next((place for place, value in leaves(batch, "batch") if not _is_finite(value)), None)
        if where is not None:
            return f"the batch itself holds values that are not finite, at {where}: look at the data"
        now = self.config.optimizer
        lower = f"lower optimizer.lr (now {now.lr:g}) or optimizer.clip (now {now.clip:g})"
        return f"{self._verdict(model)}{lower}"

    def _verdict(self, model: nn.Module) -> str:
        """The verdict on the last good batch."""
        found = self.explain(model, *self.good) if self.explain and self.good else ""
        return found and f"{found}; "


def replay(path: Path, model: nn.Module, like: Any) -> tuple[Any, Any]:
    """Load the (batch, carried state) saved by a skipped step, and its weights into the model.

    Args:
        path: written by a run.
        model: of the same configuration.
        like: any batch of the application, for the types of its tuples.

    Raises:
        UserError: the file is damaged or of another model.
    """
    tree = load(path, "batch", "weights")
    try:
        model.load_state_dict(tree["weights"])
    except (RuntimeError, TypeError) as error:
        raise UserError(
            f"{path}: of another model ({str(error).splitlines()[0]}); give its run with {option('run')}"
        ) from None
    return retyped(tree["batch"], like), tree.get("carried")


def _is_finite(value: Any) -> bool:
    """Also anything but floating-point numbers."""
    return not isinstance(value, Tensor) or not value.is_floating_point() or bool(value.isfinite().all())
