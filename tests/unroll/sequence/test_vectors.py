import gzip
import tracemalloc

import numpy as np
import pytest

from unroll.errors import UserError
from unroll.sequence import vectors
from unroll.sequence.vectors import read_vectors

TEXT = "the 0.1 0.2 0.3\ncat 1 2 3\ndog -1 -2e0 -3\n"


def write(path, text=TEXT, encoding="utf-8"):
    path.write_bytes(text.encode(encoding))
    return path


def test_only_the_wanted_words_in_the_order_of_the_file(tmp_path):
    found = read_vectors(write(tmp_path / "glove.txt"), ["dog", "the", "unicorn"])
    assert found.words == ("the", "dog")
    np.testing.assert_allclose(found.rows, [[0.1, 0.2, 0.3], [-1, -2, -3]], rtol=1e-6)
    assert found.rows.dtype == np.float32


def test_word2vec_header_gzip_byte_order_mark_and_mixed_line_ends(tmp_path):
    text = "\ufeff3 3\r\n" + TEXT.replace("\n", " \r\n", 1) + "\n"
    path = tmp_path / "any.name"
    path.write_bytes(gzip.compress(text.encode()))
    assert read_vectors(path, {"the", "cat", "3"}, dimension=3).words == ("the", "cat")


def test_a_word_with_spaces_and_a_word_that_comes_twice(tmp_path):
    found = read_vectors(write(tmp_path / "v", "cat 4 5 6\n. . . 1 2 3\ncat 7 8 9\n"), {". . .", "cat"})
    assert found.words == ("cat", ". . .")
    assert found.rows.tolist() == [[4, 5, 6], [1, 2, 3]]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (TEXT + "cow 1 2\n", "line 4: has 2 numbers instead of 3"),
        (TEXT + "cow 1 2 3 4\n", "line 4: has 4 numbers instead of 3"),
        ("cat 1 nine 3\n", "line 1: 'nine' in the vector of 'cat' is not a number"),
        ("the 1 2 3\ncat 1 nan 3\n", "line 2: the vector of 'cat' holds NaN or infinity"),
        ("the 1 2 3\ncat 1 -inf 3\n", "line 2: the vector of 'cat' holds NaN or infinity"),
        ("the 1 2 3\ncat 1 inf 3\n", "line 2: the vector of 'cat' holds NaN or infinity"),
        ("", "is empty"),
        ("\n\n", "is empty"),
        ("word\n", "line 1: has no numbers"),
        ("cat 1 2\n. . 1 2 3\n", r"line 2: has 3 numbers instead of 2"),
        (f"3 {vectors.WIDEST + 1}\n", "line 1: has too many numbers"),
        ("the 1 2 3\ncat 1 2 3.5e38\n", "line 2: the vector of 'cat' holds NaN or infinity"),
    ],
)
def test_what_is_wrong_is_named(tmp_path, text, message):
    path = write(tmp_path / "v.txt", text)
    with pytest.raises(UserError, match=message) as error:
        read_vectors(path, {"cat", "cow", "the"})
    assert str(path) in str(error.value) and "\n" not in str(error.value)


@pytest.mark.parametrize("header", ["", "3 3\n"])
def test_another_dimension(tmp_path, header):
    with pytest.raises(UserError, match="line 1: vectors of 3 numbers, wanted 50"):
        read_vectors(write(tmp_path / "v.txt", header + TEXT), {"cat"}, dimension=50)


def test_a_truncated_archive_and_no_file(tmp_path):
    path = tmp_path / "v.gz"
    path.write_bytes(gzip.compress(TEXT.encode() * 1000)[:-20])
    with pytest.raises(UserError, match="is damaged or incomplete"):
        read_vectors(path, {"unicorn"})
    with pytest.raises(UserError, match=r"none\.txt: cannot be read"):
        read_vectors(tmp_path / "none.txt", {"cat"})


def test_memory_follows_the_wanted_words_not_the_file(tmp_path):
    row = " ".join(["0.123456"] * 50)
    path = write(tmp_path / "v.txt", "".join(f"word{i} {row}\n" for i in range(20_000)))
    assert path.stat().st_size > 8e6
    tracemalloc.start()
    read_vectors(path, {"word7", "word19999"})
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 500_000


@pytest.mark.parametrize(
    ("text", "words", "size"),
    [
        ("7 1 2 3\n8 4 5 6\n", ("7", "8"), 3),  # words that are numbers, as the numbers are whole
        ("cat 4\ndog 5\n", ("cat", "dog"), 1),
        ("1 1\ncat 4\n", ("cat",), 1),
    ],
)
def test_a_first_line_of_two_whole_numbers_is_a_header_and_no_other_is(tmp_path, text, words, size):
    found = read_vectors(write(tmp_path / "v.txt", text), {"7", "8", "1", "cat", "dog"})
    assert found.words == words
    assert found.rows.shape == (len(words), size)


def test_the_widest_number_and_the_longest_line_are_still_read(tmp_path, monkeypatch):
    monkeypatch.setattr(vectors, "LONGEST", 30)
    largest = np.finfo(np.float32).max
    found = read_vectors(write(tmp_path / "v.txt", f"cat {float(largest)!r} 1\ndog 1 2\n"), {"cat", "dog"})
    assert found.rows.tolist() == [[largest, 1], [1, 2]]
    longest = "dog 1 " + "2" * 23
    for line, fits in ((longest[:-1], True), (longest, False)):
        path = write(tmp_path / "v.txt", f"cat 1 2\n{line}\n")
        if fits:
            assert read_vectors(path, {"dog"}).words == ("dog",)
        else:
            with pytest.raises(UserError, match="line 2: has 30 bytes or more"):
                read_vectors(path, {"dog"})


def test_a_header_may_name_as_many_numbers_as_are_ever_read(tmp_path, monkeypatch):
    monkeypatch.setattr(vectors, "WIDEST", 2)
    assert read_vectors(write(tmp_path / "v.txt", "1 2\ncat 1 2\n"), {"cat"}, dimension=2).rows.tolist() == [[1, 2]]
    with pytest.raises(UserError, match="line 1: has too many numbers"):
        read_vectors(write(tmp_path / "v.txt", "1 3\ncat 1 2 3\n"), {"cat"})
    with pytest.raises(UserError, match="line 1: has no numbers"):
        read_vectors(write(tmp_path / "v.txt", "3 0\n"), {"cat"})
