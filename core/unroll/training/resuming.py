"""The start of a resumed training: choosing the checkpoint, and errors for one that does not fit."""

import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from unroll.errors import Notice, UserError
from unroll.training.checkpoint import Checkpoints
from unroll.training.progress import Pruned


def resumable(checkpoints: Checkpoints) -> Path | None:
    """The checkpoint to resume from, with a note if it is not the latest; None if none has been written yet."""
    if not checkpoints.exist():
        text = f"{checkpoints.folder}: stopped before its first checkpoint; the training starts over"
        warnings.warn(text, Notice, stacklevel=3)
        return None
    path, _, warning = checkpoints.newest("state_dict", "loops", "callbacks", "optimizer_states", "health")
    if warning:
        warnings.warn(warning, Notice, stacklevel=3)
    return path


@contextmanager
def restoring(path: Path | None, under_way: Callable[[], bool]) -> Iterator[None]:
    """Until a resumed training has taken a step, whatever goes wrong is its checkpoint's fault, in one line."""
    try:
        yield
    except (UserError, Pruned):
        raise
    except Exception as error:
        if path is None or under_way():
            raise
        reason = (str(error).splitlines() or ["no message"])[0]
        raise UserError(f"{path}: malformed, or of another model ({type(error).__name__}: {reason})") from error
