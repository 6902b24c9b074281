"""Histories as Python values."""

import numpy as np
import pytest

from tests.apps.recommend.test_recommend_model import network
from unroll.apps.recommend.catalogue import is_items
from unroll.apps.recommend.inputs import is_session
from unroll.apps.recommend.predict import predict


@pytest.mark.parametrize(
    "given", [["101", "104"], ("101", "Title 104"), [101, 104], np.array([101, 104]), {"history": [101, "104"]}]
)
def test_items_of_any_kind_are_what_their_text_is(given):
    model = network().eval()
    assert is_items(given) or is_session(given)
    assert predict(model, [given]) == predict(model, ["101,104"])


def test_a_session_keeps_its_name():
    assert predict(network().eval(), [{"session": "s7", "history": "101"}])[0]["session"] == "s7"


@pytest.mark.parametrize(
    "given", [101, np.zeros(2), np.zeros((2, 2), int), [1.5], {}, {"history": 3}, {"items": ["a"]}]
)
def test_what_is_no_history(given):
    assert not is_items(given) and not is_session(given)
