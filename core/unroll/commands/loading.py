"""Loading shared by several commands: an application's data, and a trained model."""

from collections.abc import Sequence
from pathlib import Path

from unroll.app import App, Data
from unroll.config import Config
from unroll.data.store import Store
from unroll.errors import UserError
from unroll.surface import option
from unroll.tracking import local_models, saved


def prepared(app: App, config: Config) -> Data:
    """The data of a configuration, which are prepared first if necessary."""
    store = Store()
    app.prepare(config, store)
    return app.data(config, store)


def trained(name: str, references: Sequence[str], settings: Sequence[str] = ()) -> saved.Saved:
    """The model of a run (`latest`, an id) or of the registry (`models:/name@alias`); of several, their ensemble.

    Raises:
        UserError: there is none, it does not fit the settings, or it belongs to another application, or this
            application has no ensembles.
    """
    first, *others = [_trained(name, reference, settings) for reference in references]
    return saved.ensemble([first, *others]) if others else first


def _trained(name: str, reference: str, settings: Sequence[str]) -> saved.Saved:
    folder = local_models.model_folder(name, reference)
    return _loaded(folder, name, reference, settings) if folder else trained_by(name, reference, settings)[0]


def trained_by(name: str, reference: str, settings: Sequence[str] = ()) -> tuple[saved.Saved, str | None]:
    """(the model of a run in any kind of store or of the registry, the id of the run; None where the registry names
    the model).

    Raises:
        UserError: there is none, it does not fit the settings, or it belongs to another application.
    """
    from unroll import tracking
    from unroll.tracking import model_registry

    folder, run = model_registry.folder_and_run(tracking.connect(), name, reference)
    return _loaded(folder, name, reference, settings), run


def _loaded(folder: Path, name: str, reference: str, settings: Sequence[str]) -> saved.Saved:
    model = saved.load(folder, settings)
    if model.app.name != name:
        raise UserError(f"{option('run', reference)}: that model belongs to {model.app.name}, not to {name}")
    return model
