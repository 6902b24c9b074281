"""What several commands begin with: an application's data, and a trained model."""

from collections.abc import Sequence

from core.app import App, Data
from core.config import Config
from core.data.store import Store
from core.errors import UserError
from core.training import saved, tracking


def prepared(app: App, config: Config) -> Data:
    """The data of a configuration, prepared first where they are not yet."""
    store = Store()
    app.prepare(config, store)
    return app.data(config, store)


def trained(name: str, reference: str, settings: Sequence[str] = ()) -> saved.Saved:
    """The model of a run (`latest`, an id) or of the registry (`models:/name@alias`).

    Raises:
        UserError: there is none, it does not fit the settings, or it belongs to another application.
    """
    model = saved.load(tracking.model_folder(tracking.connect(), name, reference), settings)
    if model.app.name != name:
        raise UserError(f"--run {reference}: that model belongs to {model.app.name}, not to {name}")
    return model
