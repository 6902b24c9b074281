"""Quality, trained for real through the loop: minutes each, `invoke test --slow`; UNROLL_MIRROR has SICK."""

import os
from pathlib import Path

import pytest

from tests.apps.quality import train_and_test
from unroll.apps.similarity import APP, baselines


def trained(tmp_path, preset):
    data, report = train_and_test(APP, tmp_path, preset)
    return report.metrics, baselines.measured(data)


@pytest.mark.slow
def test_builtin_far_above_bags_of_words(tmp_path):
    metrics, simple = trained(tmp_path, "default")
    assert metrics["pearson_low"] >= 0.95
    assert max(method["pearson"] for method in simple.values()) < 0.8


@pytest.mark.slow
@pytest.mark.skipif(
    not (Path(os.environ.get("UNROLL_MIRROR", "")) / "sick" / "SICK.txt").is_file(),
    reason="UNROLL_MIRROR does not name a folder with sick/SICK.txt",
)
def test_sick_without_foreign_word_vectors(tmp_path):
    metrics, simple = trained(tmp_path, "sick")
    assert metrics["pearson"] >= 0.80
    assert metrics["pearson_low"] > max(method["pearson_high"] for method in simple.values())
