"""Quality, trained for real through the loop: minutes each, `invoke test --slow`; UNROLL_MIRROR has the recordings."""

import os
from pathlib import Path

import pytest
from lightning.fabric import seed_everything

from apps.speech import APP
from core.data.store import Store
from core.training.evaluation import evaluate
from core.training.loop import fit

needs_mirror = pytest.mark.skipif(
    not (Path(os.environ.get("UNROLL_MIRROR", "")) / "fsdd" / "recordings").is_dir(),
    reason="UNROLL_MIRROR does not name a folder with fsdd/recordings",
)


def word_error_rate(tmp_path, preset, *settings):
    config = APP.config(preset, settings)
    store = Store(tmp_path / "store")
    APP.prepare(config, store)
    data = APP.data(config, store)
    seed_everything(config.train.seed, verbose=False)
    model = APP.model(config, data.facts)
    fit(APP, config, data, model, tmp_path / "run")
    return evaluate(APP, model, data.test).metrics["wer"]


@pytest.mark.slow
def test_builtin_on_unheard_voices(tmp_path):
    assert word_error_rate(tmp_path, "default") <= 0.05


@pytest.mark.slow
def test_streaming_on_unheard_voices(tmp_path):
    assert word_error_rate(tmp_path, "streaming") <= 0.08


@pytest.mark.slow
@needs_mirror
def test_single_digits_on_the_publishers_split(tmp_path):
    assert word_error_rate(tmp_path, "fsdd") <= 0.015


@pytest.mark.slow
@needs_mirror
def test_digit_strings_on_the_publishers_split(tmp_path):
    assert word_error_rate(tmp_path, "fsdd-strings") <= 0.03
