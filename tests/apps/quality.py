"""Training an application for real, for the slow tests of its quality."""

from pathlib import Path

from lightning.fabric import seed_everything

from unroll.app import App, Data, Report
from unroll.data.store import Store
from unroll.training.evaluation import evaluate
from unroll.training.loop import fit


def train_and_test(app: App, folder: Path, preset: str, *settings: str) -> tuple[Data, Report]:
    """The data of a preset, and what its trained model reaches on their test split."""
    config, store = app.config(preset, settings), Store(folder / "store")
    app = app.with_score_for(config)
    app.prepare(config, store)
    data = app.data(config, store)
    seed_everything(config.train.seed, verbose=False)
    model = app.network(config, data.facts)
    fit(app, config, data, model, folder / "run")
    return data, evaluate(app, model, data.test)
