"""Quality, trained for real through the loop: minutes each, `invoke test --slow`."""

import pytest

from tests.apps.quality import train_and_test
from unroll.apps.video import APP, baselines


@pytest.mark.slow
def test_motions_are_named(tmp_path):
    data, report = train_and_test(APP, tmp_path, "default")
    assert report.metrics["accuracy"] >= 0.95
    assert max(method["accuracy"] for method in baselines.naming(data).values()) < 0.5


@pytest.mark.slow
def test_frames_are_predicted_twice_as_well_as_by_copying(tmp_path):
    config = APP.config("frames")
    data, report = train_and_test(APP.with_score_for(config), tmp_path, "frames")
    simple = baselines.predicting_frames(data, config.data.context)
    assert report.metrics["mse"] < 0.5 * simple["copy last"]["mse"]
    assert report.metrics["mse"] < 0.6 * simple["linear motion"]["mse"]
    for step in range(1, config.data.horizon + 1):
        assert report.metrics[f"mse@{step}"] < min(method[f"mse@{step}"] for method in simple.values())
