import json

import pytest

from unroll.errors import UserError
from unroll.sequence.text import Vocabulary, plain


@pytest.mark.parametrize(("units", "size"), [("characters", 7), ("words", 4)])
def test_there_and_back(units, size):
    vocabulary = Vocabulary.fit(["one two", "ten one"], units, reserved=["<blank>"])
    assert len(vocabulary) == size
    again = Vocabulary.from_json(json.loads(json.dumps(vocabulary.to_json())))
    assert again == vocabulary
    numbers = again.encode("two ten one", "x")
    assert min(numbers) == 1
    assert again.decode([0, *numbers, 0]) == "two ten one"


def test_numbers_do_not_depend_on_the_order_of_the_texts():
    assert Vocabulary.fit(["b", "a"]) == Vocabulary.fit(["a", "b"])
    assert Vocabulary.fit(["the quick brown fox"], reserved=["<blank>"]).symbols == ("<blank>", *" bcefhiknoqrtuwx")


@pytest.mark.parametrize(("units", "symbol"), [("characters", "character 'x'"), ("words", "word 'six'")])
def test_an_unknown_symbol_is_named_with_its_record(units, symbol):
    vocabulary = Vocabulary.fit(["s e v n", "one"], units, reserved=["<blank>"])
    with pytest.raises(UserError, match=rf"row 7: the {symbol} of its text 's.x' is not among the \d {units}") as error:
        vocabulary.encode("six" if units == "words" else "six".replace("i", "e"), "row 7")
    assert "\n" not in str(error.value)


def test_a_reserved_symbol_is_not_text():
    with pytest.raises(UserError, match="'<'"):
        Vocabulary.fit(["blank"], reserved=["<blank>"]).encode("<blank>", "row 1")


@pytest.mark.parametrize(
    ("punctuation", "wanted"),
    [
        ("keep", "“it's a ﬁve-o'clock tea”, she said…".replace("ﬁ", "fi").replace("…", "...")),
        ("split", "“ it's a five-o'clock tea ” , she said . . ."),
        ("drop", "it's a five-o'clock tea she said"),
    ],
)
def test_plain_text_has_one_form(punctuation, wanted):
    assert plain(" “It's a\tﬁve-o'clock  TEA”, she said… ", punctuation) == wanted


def test_what_is_punctuation_and_what_is_a_word():
    assert plain("  Two MEN aren't  here , are they?  ", "drop") == "two men aren't here are they"
    assert plain("ﬁne — naïve, well-known № 5!", "drop") == "fine naïve well-known no 5"
    assert plain(" ?! ", "drop") == ""
