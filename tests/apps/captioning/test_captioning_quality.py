"""Quality, trained for real through the loop: minutes, `invoke test --slow`."""

import pytest

from tests.apps.quality import train_and_test
from unroll.apps.captioning import APP


@pytest.mark.slow
def test_what_is_stated_of_unseen_combinations_is_true(tmp_path):
    _, report = train_and_test(APP, tmp_path, "default")
    assert report.metrics["facts_true"] >= 0.95
    assert report.metrics["sentences"] >= 0.99
