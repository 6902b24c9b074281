"""Quality, trained for real through the loop: minutes each, `invoke test --slow`."""

import pytest

from tests.apps.quality import train_and_test
from unroll.app import App
from unroll.apps.image import APP


def trained(tmp_path, preset, *settings):
    """(test metrics, those of the simple methods)."""
    config = APP.config(preset, settings)
    app: App = APP.with_score_for(config)
    data, report = train_and_test(app, tmp_path, preset, *settings)
    return report.metrics, APP.baselines(config, data)


@pytest.mark.slow
def test_rows(tmp_path):
    metrics, simple = trained(tmp_path, "default")
    assert metrics["accuracy"] >= 0.98
    assert metrics["accuracy"] > max(method["accuracy"] for method in simple.values())


@pytest.mark.slow
def test_pixel_by_pixel(tmp_path):
    assert trained(tmp_path, "pixels")[0]["accuracy"] >= 0.955


@pytest.mark.slow
def test_completion_is_far_below_what_counts_reach(tmp_path):
    metrics, simple = trained(tmp_path, "complete")
    for name in ("bits_per_pixel", "bits_per_pixel_below"):
        assert metrics[name] < 0.85 * min(method[name] for method in simple.values())
