"""Quality, trained for real through the loop: minutes each, `invoke test --slow`; UNROLL_MIRROR has the recordings."""

import os
from pathlib import Path

import pytest

from tests.apps.quality import train_and_test
from unroll.apps.speech import APP

needs_mirror = pytest.mark.skipif(
    not (Path(os.environ.get("UNROLL_MIRROR", "")) / "fsdd" / "recordings").is_dir(),
    reason="UNROLL_MIRROR does not name a folder with fsdd/recordings",
)


def word_error_rate(tmp_path, preset, *settings):
    _, report = train_and_test(APP, tmp_path, preset, *settings)
    return report.metrics["wer"]


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
