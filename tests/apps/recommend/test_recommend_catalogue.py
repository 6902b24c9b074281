"""The items that can be recommended, by name and title."""

import numpy as np
import pytest

from unroll.apps.recommend.catalogue import Catalogue
from unroll.errors import Notice, UserError

CATALOGUE = Catalogue(
    ("50", "181", "7"),
    ("Star Wars (1977)", "Empire, The (1980)", "Up"),
    np.array([3, 2, 0]),
    np.ones((3, 2), np.float32),
)


def test_histories_by_name_or_title():
    assert CATALOGUE.parse("50,181") == [0, 1]
    assert CATALOGUE.parse("up, Empire, The (1980), star wars (1977)") == [2, 1, 0]
    assert CATALOGUE.parse('"Empire, The (1980)",7') == [1, 2]
    assert CATALOGUE.parse([50, "Up"]) == [0, 2]
    with pytest.warns(Notice, match="unknown items are passed over: 999, Nemo"):
        assert CATALOGUE.parse("999,50,Nemo") == [0]
    with pytest.raises(UserError, match=r"history '1,2': none of these .* are for example 50, 181, 7"):
        CATALOGUE.parse("1,2")


def test_catalogue_survives_json():
    again = Catalogue.from_json(CATALOGUE.to_json())
    assert (again.names, again.titles) == (CATALOGUE.names, CATALOGUE.titles)
    assert (again.counts == CATALOGUE.counts).all() and (again.features == CATALOGUE.features).all()
