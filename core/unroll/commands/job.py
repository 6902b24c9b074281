"""A training as a job: its folder, its lock, and its true end status."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any

from filelock import FileLock, Timeout
from mlflow.tracking import MlflowClient

from unroll import tracking
from unroll.app import App
from unroll.config import Config
from unroll.console import say
from unroll.data.files import read_json, write_json, writing
from unroll.errors import UserError
from unroll.interrupt import Interrupted
from unroll.places import runs_folder
from unroll.surface import task
from unroll.training.progress import Pruned

UNFINISHED = ("RUNNING", "KILLED", "FAILED")


@dataclass(frozen=True)
class JobFolder:
    """The folder with a run's checkpoints.

    Attributes:
        id: of the run.
    """

    id: str

    @property
    def path(self) -> Path:
        """The folder; it need not exist."""
        return runs_folder() / self.id

    @property
    def _begun(self) -> Path:
        return self.path / "run.json"

    @property
    def resumable(self) -> bool:
        """Whether a training has started in it."""
        return self._begun.exists()

    @property
    def locked(self) -> bool:
        """Whether a process is training the run."""
        if not self.path.exists():
            return False
        try:
            with self._lock():
                return False
        except Timeout:
            return True

    def begin(self, config: Config, digest: str) -> None:
        """Save what resuming needs: the configuration and the digest of the data."""
        write_json(self._begun, {"config": config.model_dump(mode="json"), "digest": digest})

    def begun(self) -> tuple[dict[str, Any], str]:
        """What `begin` saved. Raises UserError if it is missing."""
        if not self.resumable:
            raise UserError(
                f"{self._begun}: that run's checkpoints are not here; set UNROLL_RUNS to the folder that has them"
            )
        kept = read_json(self._begun)
        return kept["config"], kept["digest"]

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Lock the run, so that only one process trains it. Raises UserError for a second one."""
        with writing(self.path):
            self.path.mkdir(exist_ok=True)
        lock = self._lock()
        try:
            lock.acquire()
        except Timeout:
            raise UserError(f"run {self.id[:8]}: another process is training it") from None
        try:
            yield
        finally:
            lock.release()

    def _lock(self) -> FileLock:
        return FileLock(self.path / "lock", blocking=False)


def check_writable() -> None:
    """Raise UserError, before a run is created, if nothing can be written."""
    with writing(runs_folder()):
        runs_folder().mkdir(parents=True, exist_ok=True)
        TemporaryFile(dir=runs_folder()).close()


@contextmanager
def outcome(app: App, client: MlflowClient, id: str) -> Iterator[tracking.Run]:
    """The run, while it is under way; its final status says how the block ended. Exceptions are re-raised."""
    run = tracking.Run(client, id)
    try:
        yield run
    except (Interrupted, KeyboardInterrupt):
        run.finish("KILLED")
        say(f"stopped; resume with: {task('train', app.name, resume=id[:8])}")
        raise
    except Pruned as reason:
        run.pruned(str(reason))
        raise
    except BaseException:
        run.finish("FAILED")
        raise
    run.finish("FINISHED")
