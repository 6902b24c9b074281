"""Tokenisers on texts of any length, and every kind of bad file."""

import json
from collections import Counter

import pytest

from unroll.errors import UserError
from unroll.sequence import tokens
from unroll.sequence.tokens import Tokeniser, read_blocks, whole_words

TEXT = "the cat sat on the mat\nthe end\n\nüber £5 the\n"


def write(path, content):
    path.write_bytes(content)
    return path


def in_blocks(text, size):
    return [text[i : i + size] for i in range(0, len(text), size)]


@pytest.mark.parametrize("size", [1, 2, 7, 1 << 20])
def test_blocks_of_any_size_give_the_same_text(tmp_path, monkeypatch, size):
    monkeypatch.setattr(tokens, "BLOCK", size)
    path = write(tmp_path / "a.txt", ("\ufeff" + TEXT).encode())
    assert "".join(read_blocks(path)) == TEXT


@pytest.mark.parametrize("size", [3, 1 << 20])
@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"good \xff bad", "byte 5: is not UTF-8"),
        (b"cut \xc3", "byte 4: is not UTF-8"),
        ("äöü".encode() + b"\xe2\x82x", "byte 6: is not UTF-8"),
        (b"text\0more", "byte 4: is a NUL byte"),
        (b"", "is empty"),
        ("text".encode("utf-16"), "is UTF-16 or UTF-32, not UTF-8 text; save it as UTF-8"),
        (b"\x1f\x8b\x08", "is packed (gzip), not UTF-8 text; unpack it first"),
        (b"%PDF-1.4\n1 0 obj\n", "is a PDF document, not UTF-8 text; save it as text"),
        (b"{\\rtf1\\ansi text}", "is an RTF document"),
    ],
)
def test_a_file_that_is_no_text_is_one_line_with_the_offset(tmp_path, monkeypatch, size, content, message):
    monkeypatch.setattr(tokens, "BLOCK", size)
    path = write(tmp_path / "bad.txt", content)
    with pytest.raises(UserError) as error:
        list(read_blocks(path))
    assert str(error.value).startswith(str(path)) and message in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("size", [1, 2, 3, 1 << 20])
def test_lines_end_alike_whatever_system_wrote_them(tmp_path, monkeypatch, size):
    monkeypatch.setattr(tokens, "BLOCK", size)
    path = write(tmp_path / "a.txt", TEXT.replace("\n", "\r\n").encode())
    assert "".join(read_blocks(path)) == TEXT
    assert "".join(read_blocks(write(path, TEXT.replace("\n", "\r").encode()))) == TEXT


def test_a_missing_file_is_one_line(tmp_path):
    with pytest.raises(UserError, match=r"none\.txt: cannot be read \(No such file"):
        list(read_blocks(tmp_path / "none.txt"))


@pytest.mark.parametrize("size", [1, 3, 100])
def test_words_are_never_cut(size):
    pieces = list(whole_words(in_blocks(TEXT, size), "a text"))
    assert "".join(pieces) == TEXT
    assert Counter(word for piece in pieces for word in piece.split()) == Counter(TEXT.split())


def test_a_line_of_any_length_is_read_in_little_memory_but_not_a_word():
    long_line = (block for _ in range(200) for block in ("word " * 200_000,))  # 200 MB without a line end
    assert max(map(len, whole_words(long_line, "a text"))) <= 1_000_000
    with pytest.raises(UserError, match=r"^a text, character 3: no space in the 100,000 characters that follow"):
        list(whole_words(["ab ", *["x" * 50_000] * 4000], "a text"))


@pytest.mark.parametrize("units", ["characters", "words"])
def test_symbols_by_falling_frequency_and_text_back_again(units):
    tokeniser = Tokeniser.fit([TEXT], units, 100)
    numbers = tokeniser.encode(TEXT)
    counts = Counter(numbers)
    assert [counts[n] for n in range(len(tokeniser))] == [*sorted(counts.values(), reverse=True), 0]
    assert tokeniser.decode(numbers) == TEXT
    again = Tokeniser.from_json(json.loads(json.dumps(tokeniser.to_json())))
    assert again == tokeniser and again.encode(TEXT) == numbers


@pytest.mark.parametrize("units", ["characters", "words"])
def test_the_rarest_become_unknown_when_there_are_too_many(units):
    tokeniser = Tokeniser.fit([TEXT], units, 4)
    assert len(tokeniser) == 4 and tokeniser.symbols[tokeniser.unknown] == "<unk>"
    numbers = tokeniser.encode(TEXT)
    assert numbers.count(tokeniser.unknown) == sum(
        1 for part in (TEXT if units == "characters" else TEXT.replace("\n", " <eos> ").split())
        if part not in tokeniser.symbols
    )  # fmt: skip
    assert "über"[0] in tokeniser.missing("über") or "über" in tokeniser.missing("über")


@pytest.mark.parametrize("units", ["characters", "words"])
def test_blocks_give_the_numbers_of_the_whole(units):
    tokeniser = Tokeniser.fit([TEXT], units, 100)
    found = [n for part in tokeniser.encode_blocks(in_blocks(TEXT, 5), "a text") for n in part]
    assert found == tokeniser.encode(TEXT)


def test_lengths_count_the_characters_of_the_text():
    characters, words = (Tokeniser.fit([TEXT], units, 100) for units in ("characters", "words"))
    assert sum(characters.lengths[n] for n in characters.encode(TEXT)) == len(TEXT)
    # Each word with a space behind it, each line with its end.
    assert sum(words.lengths[n] for n in words.encode("the cat\n")) == len("the cat \n")


def test_streamed_words_have_their_spaces():
    tokeniser = Tokeniser.fit([TEXT], "words", 100)
    numbers = tokeniser.encode("the cat\nthe")
    assert list(tokeniser.stream(numbers, fresh=False)) == [" the", " cat", "\n", "the"]


def test_the_first_token_is_the_end_of_a_line():
    for units, symbol in (("words", "<eos>"), ("characters", "\n"), ("pieces", "Ċ")):
        tokeniser = Tokeniser.fit([TEXT], units, 300)
        assert tokeniser.symbols[tokeniser.first] == symbol
    assert Tokeniser.fit(["one line"], "characters", 300).first == 0


def test_pieces_that_stand_for_no_text_come_out_at_the_latest_after_four():
    """The bytes of a character that never ends, as a model may write them."""
    tokeniser = Tokeniser.fit([TEXT], "pieces", 300)
    inside = tokeniser.symbols.index("Ģ")  # byte 0x80, which begins nothing
    assert list(tokeniser.stream([inside] * 6)) == ["\ufffd" * 4, "\ufffd" * 2]


def test_only_what_occurs_twice_becomes_a_piece():
    once, twice = (Tokeniser.fit(["ab" * times], "pieces", 300) for times in (1, 2))
    assert "ab" in twice.symbols and "ab" not in once.symbols


def test_pieces():
    tokeniser = Tokeniser.fit([TEXT * 50], "pieces", 300)
    numbers = tokeniser.encode(TEXT)
    assert len(numbers) < len(TEXT) and tokeniser.decode(numbers) == TEXT
    assert sum(tokeniser.lengths[n] for n in numbers) == len(TEXT)
    strange = "日本 ÿ \x80 \xad \xa0 €"
    assert sum(tokeniser.lengths[n] for n in tokeniser.encode(strange)) == len(strange)
    assert "".join(tokeniser.stream(tokeniser.encode(strange))) == strange
    assert tokeniser.missing(strange) == [] and tokeniser.unknown is None
    again = Tokeniser.from_json(json.loads(json.dumps(tokeniser.to_json())))
    assert again.encode(TEXT) == numbers


def test_digits_can_be_pieces_of_their_own():
    blocks = ["12 12 12 ab ab ab\n"] * 20
    whole, single = (Tokeniser.fit(blocks, "pieces", 300, digits=digits) for digits in (False, True))
    assert len(whole.encode("12 ab")) == 2 and len(single.encode("12 ab")) == 3
    assert single.decode(single.encode("ab 1234567890 12")) == "ab 1234567890 12"
    again = Tokeniser.from_json(single.to_json())
    assert again.encode("12 ab") == single.encode("12 ab")


@pytest.mark.parametrize("units", ["characters", "words", "pieces"])
def test_the_places_of_lines_among_the_numbers_of_a_text(units):
    lines = ["the cat sat\n", "\n", "on  thé 猫\n", "the cat sat\n"]
    text = "".join(lines)
    tokeniser = Tokeniser.fit([text] * 20, units, 300)
    starts = [sum(map(len, lines[:number])) for number in range(len(lines))]
    numbers = tokeniser.encode(text)
    for start, place in zip(starts, tokeniser.places(text, numbers, starts), strict=True):
        assert tokeniser.encode(text[:start]) == numbers[:place]
