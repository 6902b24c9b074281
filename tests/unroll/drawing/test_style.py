"""Pictures: texts from user data are drawn literally, and a picture that cannot be drawn is one note."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from matplotlib.figure import Figure
from matplotlib.text import Text

from tests.unroll.comparison.test_page import found
from unroll.comparison import charts
from unroll.drawing.confusion import confusion
from unroll.drawing.page import Page
from unroll.drawing.style import as_written, png, pngs
from unroll.errors import Notice, noted

PRICE = "$10_-_$20"
"""between the dollars stands what is no mathematics"""


def labels(figure: Figure) -> list[str]:
    return [text.get_text() for text in figure.findobj(Text)]


def titled(title: str) -> Figure:
    figure = Figure()
    figure.suptitle(title)
    return figure


def test_a_price_is_a_price() -> None:
    with pytest.raises(ValueError, match="Expected"):
        png(titled(PRICE))
    with as_written():
        figure = confusion([(PRICE, "b"), ("b", PRICE)], [PRICE, "b"])
    assert png(figure).startswith(b"\x89PNG") and labels(figure).count(PRICE) >= 2


def test_groups_of_runs_too() -> None:
    one = found(parameters=9000.0)
    for group, name in zip(one.groups, (PRICE, "b$_{$", "%$"), strict=True):
        group.by["model.cell"] = name
    with as_written():
        figures = [charts.differences(one), charts.matrix([one]), charts.against_cost(one, "tokens")]
    for figure in figures:
        assert figure is not None and png(figure).startswith(b"\x89PNG")
        assert any(PRICE in label for label in labels(figure))


def test_powers_of_ten_are_numbers() -> None:
    with as_written():
        axes = (figure := Figure()).subplots()
        axes.loglog([1, 10, 1e4], [1e-5, 1, 1e3])
    png(figure)
    ticks = [label.get_text() for label in (*axes.get_xticklabels(), *axes.get_yticklabels())]
    assert "1e-05" in ticks and "10000" in ticks
    assert not any("$" in tick for tick in ticks)


def test_outside_a_notebook_of_the_user_has_its_mathematics() -> None:
    with as_written():
        pass
    assert png(titled(r"$\alpha$")).startswith(b"\x89PNG")


def test_a_picture_that_cannot_be_drawn_is_left_out() -> None:
    with pytest.warns(Notice, match=r"^picture broken: left out \(ValueError: .*\)$"):
        found = pngs({"broken": titled(PRICE), "whole": titled("10 to 20")})
    assert list(found) == ["whole"]


def test_a_page_goes_on_without_it(tmp_path: Path) -> None:
    page = Page("title", "subtitle")
    with pytest.warns(Notice, match="picture: prices: left out"):
        page.figure(titled(PRICE), "prices", "caption")
    page.text("after it")
    assert "after it" in str(page) and "<img" not in str(page)


def test_ctrl_c_is_no_error_to_go_on_from() -> None:
    def stopped() -> Iterator[None]:
        with noted("a picture"):
            raise KeyboardInterrupt
        yield

    with pytest.raises(KeyboardInterrupt):
        next(stopped())
