"""Pairs of sentences as Python values."""

import pytest

from tests.apps.similarity.test_similarity_model import siamese
from unroll.apps.similarity.inputs import VALUES, is_pair
from unroll.apps.similarity.predict import predict


def test_two_texts_are_what_a_text_with_a_line_between_is():
    model = siamese()
    assert model.head is not None
    wanted = predict(model, ["a dog runs | a cat sleeps"])
    assert (
        wanted == predict(model, [("a dog runs", "a cat sleeps")]) == predict(model, [["a dog runs", "a cat sleeps"]])
    )


def test_a_pair_is_made_of_a_text():
    assert VALUES[0].of("a dog | a cat") == ("a dog", "a cat")


@pytest.mark.parametrize("given", [(), ("a",), ("a", "b", "c"), ("a", 3), {"a": "b"}, 3])
def test_what_is_no_pair(given):
    assert not is_pair(given)
