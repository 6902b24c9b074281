"""Sources: CLDR's sentences and how they are held out, the user's own files, Multi30k; and errors for bad input."""

import gzip
import hashlib
import json
import os
import warnings
from collections import Counter
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path

import numpy as np
import pytest
from babel import Locale

from unroll.apps.translation.sources import builtin, own, published
from unroll.apps.translation.sources.builtin import Fact, render, split_of
from unroll.apps.translation.sources.locales import locale
from unroll.data.store import Store
from unroll.errors import Notice, UserError

ENGLISH, GERMAN = Locale.parse("en"), Locale.parse("de")


@pytest.mark.parametrize(
    ("fact", "english", "german"),
    [
        (Fact("date", (3, 5), 2026, "full"), "Thursday, March 5, 2026", "Donnerstag, 5. März 2026"),
        (Fact("time", 15, 4), "3:04\u202fPM", "15:04"),
        (Fact("quantity", "1.50", "length-kilometer"), "1.5 kilometers", "1,5 Kilometer"),
        (Fact("quantity", "1", "duration-week"), "1 week", "1 Woche"),
        (Fact("span", 3, "day", 1), "in 3 days", "in 3 Tagen"),
        (Fact("span", 1, "hour", -1), "1 hour ago", "vor 1 Stunde"),
        (Fact("price", "1234.5", "EUR"), "1,234.50 euros", "1.234,50 Euro"),
        (Fact("places", "DE", "NL", "or"), "Germany or Netherlands", "Deutschland oder Niederlande"),
        (Fact("listed", "FR", Fact("span", 2, "week", 1)), "France and in 2 weeks", "Frankreich und in 2 Wochen"),
    ],
)
def test_facts_in_words(fact, english, german):
    assert (render(fact, ENGLISH), render(fact, GERMAN)) == (english, german)


def test_a_moment_says_a_date_and_a_time():
    fact = Fact("moment", Fact("date", (3, 5), 2026, "medium"), Fact("time", 15, 4))
    assert render(fact, GERMAN) == "05.03.2026, 15:04:00"


@pytest.mark.parametrize("languages", [("en", "de"), ("zh", "en"), ("ja", "ar"), ("pt_BR", "hi")])
def test_any_two_locales_give_sentences_that_mean_one_thing(languages):
    pairs = list(builtin.source(*languages, 400, 0).read())
    assert Counter(pair.split for pair in pairs) == {"train": 400, "val": 10, "test": 20}
    assert len({pair.source for pair in pairs}) == len(pairs)
    assert all(pair.source and pair.target for pair in pairs)
    assert not any(unit in pair.target for unit in builtin.UNITS for pair in pairs)
    assert list(builtin.source(*languages, 400, 0).read()) == pairs
    assert [pair.source for pair in builtin.source(*languages, 400, 1).read()] != [pair.source for pair in pairs]


def test_no_pair_of_contents_of_a_test_sentence_is_in_train():
    """The rule itself, over facts: whatever holds a held-out pair is held out."""
    price = next(
        fact for n in range(1000) if split_of(fact := Fact("price", str(n), "EUR")) == "test"
    )  # fmt: skip
    assert split_of(Fact("listed", "DE", price)) == "test"
    assert split_of(Fact("places", "DE", "FR")) == split_of(Fact("places", "FR", "DE"))
    shares = Counter(split_of(Fact("price", str(n), "EUR")) for n in range(4000))
    assert shares["test"] / 4000 == pytest.approx(0.1, abs=0.02)
    assert shares["val"] / 4000 == pytest.approx(0.05, abs=0.02)


def pairs(fact: Fact) -> Iterator[frozenset[str]]:
    """Every pair of contents that a sentence says, at any depth and in either order."""
    yield frozenset({fact.kind, str(fact.first), str(fact.second)})
    for part in (fact.first, fact.second):
        if isinstance(part, Fact):
            yield from pairs(part)


def test_no_sentence_of_train_holds_a_pair_of_a_held_out_sentence():
    """Over sentences as they are drawn: neither inside another one, nor the other way round."""
    random, inventory = np.random.default_rng(0), builtin.Inventory(ENGLISH, GERMAN)
    facts = [builtin._draw(inventory, random) for _ in range(20_000)]
    simple = [fact for fact in facts if len([*pairs(fact)]) == 1]
    held = {pair for fact in simple if split_of(fact) != "train" for pair in pairs(fact)}
    inside = [fact for fact in facts if len([*pairs(fact)]) > 1 and held & set(pairs(fact))]
    turned = [fact for fact in facts if fact.kind == "places" and held & set(pairs(fact))]
    assert len(inside) > 100 and len(turned) > 100
    assert not [fact for fact in facts if split_of(fact) == "train" and held & set(pairs(fact))]


def test_a_date_has_the_first_style_that_looks_the_same():
    inventory = builtin.Inventory(Locale.parse("zh"), ENGLISH)
    day = builtin._date_of(Fact("date", (3, 5), 2026))
    assert inventory.style(day, "medium") == "long"  # both are 2026年3月5日 there, but not in English
    assert builtin.Inventory(ENGLISH, GERMAN).style(day, "medium") == "medium"


def test_units_without_a_pattern_are_written_in_short_or_left_out():
    chinese = Locale.parse("zh")
    assert builtin._measure(chinese, Decimal("3.5"), "length-kilometer") == "3.5公里"
    assert all(builtin._has(chinese, unit) for unit in builtin.Inventory(chinese, ENGLISH).units)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("xx", "de", 100, 0), ["data.source_locale=xx", "no such locale"]),
        (("en", "germn", 100, 0), ["data.target_locale=germn"]),
        (("en", "zh_Hanz", 100, 0), ["data.target_locale=zh_Hanz", "zh_Hans"]),
        (("en", "en", 100, 0), ["data.target_locale=en", "choose another"]),
    ],
)
def test_a_wrong_locale_is_named_with_the_nearest(arguments, words):
    with pytest.raises(UserError) as caught:
        builtin.source(*arguments)
    assert "\n" not in str(caught.value)
    for word in words:
        assert word in str(caught.value)


def test_a_locale_may_be_written_with_a_hyphen():
    assert str(locale("pt-BR", "key")) == "pt_BR"


def write(path, text, compressed=False):
    content = text if isinstance(text, bytes) else text.encode()
    path.write_bytes(gzip.compress(content) if compressed else content)
    return path


@pytest.mark.parametrize("compressed", [False, True])
def test_two_files_line_by_line_with_empty_lines_in_their_place(tmp_path, compressed):
    lines = [f"sentence {n}" for n in range(40)]
    lines[3] = ""
    a = write(tmp_path / "a", "\n".join(lines) + "\n", compressed)
    b = write(tmp_path / "b", "\r\n".join(f"Satz\u2028{line}" for line in lines), compressed)
    pairs = list(own.parallel(a, b, ("en", "de")).read())
    assert len(pairs) == 40
    assert pairs[3].source == "" and pairs[4] == ("5", "sentence 4", "Satz\u2028sentence 4", pairs[4].split)
    assert Counter(pair.split for pair in pairs) == {"train": 36, "val": 2, "test": 2}


def test_the_same_sentence_is_never_in_two_splits(tmp_path):
    path = write(tmp_path / "t.tsv", "".join(f"say {n % 10}\tsage {n}\n" for n in range(100)))
    pairs = list(own.table(path, ("en", "de")).read())
    by_sentence = {}
    for pair in pairs:
        by_sentence.setdefault(pair.source, set()).add(pair.split)
    assert all(len(splits) == 1 for splits in by_sentence.values())
    assert {split for splits in by_sentence.values() for split in splits} == {"train", "val", "test"}


@pytest.mark.parametrize(
    ("a", "b", "words"),
    [
        ("x\ny\nz\n", "x1\ny1\n", ["has 3 lines", "has 2"]),
        ("x\ny\n", "x\ny\n", ["same text"]),
        ("x\ny\n", b"gut\nk\xe4se\n", ["line 2, byte 5", "not UTF-8"]),
        ("x\ny\n", "a\nb\n", ["2 different source sentences", "three"]),
        (b"\x1f\x8bnonsense", "a\nb\n", ["cannot be read"]),
    ],
)
def test_files_that_do_not_fit_are_one_line(tmp_path, a, b, words):
    paths = write(tmp_path / "a.txt", a), write(tmp_path / "b.txt", b)
    with pytest.raises(UserError) as caught:
        list(own.parallel(*paths, ("en", "de")).read())
    assert "\n" not in str(caught.value)
    for word in words:
        assert word in str(caught.value)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("a\tb\nc\n", ["row 2 has 1 value for 2 columns"]),
        ("a\tb\tc\n", ["row 1 has 3 values for 2 columns", "a tab"]),
        ("a\ta\nb\tb\nc\tc\n", ["same text"]),
        ("", ["is empty"]),
    ],
)
def test_a_table_that_is_none_is_one_line(tmp_path, content, words):
    with pytest.raises(UserError) as caught:
        list(own.table(write(tmp_path / "t.tsv", content), ("en", "de")).read())
    for word in words:
        assert word in str(caught.value)


SENTENCES = [(f"I see {n} cats.", f"Je vois {n} chats.") for n in range(30)]


def table(path, header, *, mark="\t", swapped=False):
    rows = [(b, a) if swapped else (a, b) for a, b in SENTENCES]
    return write(path, "".join(f"{mark.join(row)}\n" for row in ([tuple(header)] if header else []) + rows))


@pytest.mark.parametrize(
    ("header", "swapped"),
    [
        (("en", "fr"), False),
        (("fr", "en"), True),
        (("English", "French"), False),
        (("français", "anglais"), True),
        (("en-US", "fr-FR"), False),
        (("eng", "fra"), False),
        (("source", "target"), False),
        (("tgt", "src"), True),
    ],
)
def test_a_header_is_no_sentence_and_says_which_column_is_which(tmp_path, header, swapped):
    path = table(tmp_path / "t.tsv", header, swapped=swapped)
    with pytest.warns(Notice, match=r"t\.tsv: row 1 \(.*, .*\) is read as the header"):
        pairs = list(own.table(path, ("en", "fr")).read())
    assert [(pair.source, pair.target) for pair in pairs] == SENTENCES and pairs[0].id == "2"


@pytest.mark.parametrize("first", [None, ("Hello", "Bonjour"), ("French", "français"), ("English text", "en francais")])
def test_a_first_pair_is_a_pair(tmp_path, first):
    assert len(list(own.table(table(tmp_path / "t.tsv", first), ("en", "fr")).read())) == 30 + (first is not None)


def test_further_columns_and_csv_by_the_header(tmp_path):
    rows = "".join(f'{n},"{b}, n\'est-ce pas ?",{a}\n' for n, (a, b) in enumerate(SENTENCES))
    with pytest.warns(Notice, match="id, French, English"):
        pairs = list(own.table(write(tmp_path / "t.csv", "id,French,English\n" + rows), ("en", "fr"), "csv").read())
    assert pairs[3][1:3] == ("I see 3 cats.", "Je vois 3 chats., n'est-ce pas ?")


def test_a_column_of_splits_is_not_passed_over_in_silence(tmp_path):
    rows = "".join(f"{a}\t{b}\ttest\n" for a, b in SENTENCES)
    path = write(tmp_path / "t.tsv", "en\tfr\tsplit\n" + rows)
    with pytest.warns(Notice, match="row 1"), pytest.warns(Notice, match="its column split is not read, all rows"):
        assert len(list(own.table(path, ("en", "fr")).read())) == len(SENTENCES)


@pytest.mark.parametrize("nested", [True, False])
def test_json_lines_as_the_hub_has_them(tmp_path, nested):
    rows = [{"en": a, "fr": b} for a, b in SENTENCES]
    objects = [{"id": str(n), "translation": row} if nested else row | {"source": "web"} for n, row in enumerate(rows)]
    path = write(tmp_path / "t.jsonl", "".join(f"{json.dumps(row)}\n" for row in objects))
    pairs = list(own.table(path, ("en", "fr"), "jsonl").read())
    assert [(pair.source, pair.target) for pair in pairs] == SENTENCES


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        (
            "t.tsv",
            "de\tfr\n" + "a\tb\n" * 9,
            "its columns are de, fr, but en to fr was asked for; set data.source_locale",
        ),
        ("t.jsonl", '{"translation": {"de": "a", "fr": "b"}}\n', "its columns are translation.de, translation.fr, but"),
        ("t.tsv", "en\tfr\ten\n" + "a\tb\tc\n" * 9, r"has 2 columns called en \(columns 1 and 3\); rename all but"),
        ("t.csv", "en,fr,fr\n" + "a,b,c\n" * 9, r"has 2 columns called fr \(columns 2 and 3\)"),
        (
            "t.csv",
            "Ja, und?,x\n" * 9,
            "has no column en or .* and no column fr .*; add a header, or write a tab between",
        ),
        ("t.txt", "No tab, but a comma.\n" * 9, "has no column en"),
        ("t.tsv", '"a\tb\nc"\td\te\n', "row 1 has 3 values for 2 columns; is a tab"),
    ],
)
def test_a_table_of_something_else_is_one_line(tmp_path, name, content, message):
    warnings.simplefilter("ignore", Notice)  # pytest restores the filters
    with pytest.raises(UserError, match=message) as caught:
        list(own.table(write(tmp_path / name, content), ("en", "fr")).read())
    assert "\n" not in str(caught.value)


def test_quotation_marks_are_characters_between_tabs(tmp_path):
    rows = [
        (f'"a {n}', f"b {n}") if n == 5 else (f"a {n}", f'b {n}"') if n == 9 else (f"a {n}", f"b {n}")
        for n in range(60)
    ]
    path = write(tmp_path / "t.tsv", "".join(f"{a}\t{b}\n" for a, b in rows))
    assert [(pair.source, pair.target) for pair in own.table(path, ("en", "de")).read()] == rows


def test_a_missing_file_names_its_key(tmp_path):
    there = write(tmp_path / "a", "x\n")
    for call in (
        lambda: own.parallel(there, None, ("en", "de")),
        lambda: own.parallel(tmp_path / "none", there, ("en", "de")),
        lambda: own.table(None, ("en", "de")),
    ):
        with pytest.raises(UserError, match=r"data\.(target_)?path"):
            call()


def test_multi30k_from_the_users_folder_in_either_direction(tmp_path, monkeypatch):
    monkeypatch.delenv("UNROLL_MIRROR", raising=False)
    for part, lines in (("train", 3), ("val", 1), ("test_2016_flickr", 2)):
        for language in ("fr", "cs"):
            text = "".join(f"{part} {language} {n}\n" for n in range(lines))
            write(tmp_path / f"{part}.{language}.gz", text, compressed=True)
    store = Store(tmp_path / "store")
    pairs = list(published.multi30k(store, ("fr", "cs"), "test_2016_flickr", tmp_path).read())
    assert Counter(pair.split for pair in pairs) == {"train": 3, "val": 1, "test": 2}
    assert pairs[0] == ("train-1", "train fr 0", "train cs 0", "train")
    back = list(published.multi30k(store, ("cs", "fr"), "test_2016_flickr", tmp_path).read())
    assert back[0].source == "train cs 0"
    for arguments, words in (
        ((("fr", "it"), "test_2016_flickr", None), ["data.target_locale=it", "cs, de, en, fr"]),
        ((("fr", "fr"), "test_2016_flickr", None), ["choose another"]),
        ((("fr", "cs"), "test_2016", None), ["data.test=test_2016", "test_2016_flickr"]),
        ((("fr", "cs"), "test_2016_flickr", None), ["train.fr.gz", "data.path=FOLDER"]),
        ((("fr", "cs"), "test_2017_flickr", tmp_path), ["has no test_2017_flickr.fr.gz"]),
    ):
        with pytest.raises(UserError) as caught:
            published.multi30k(store, *arguments)
        for word in words:
            assert word in str(caught.value)


@pytest.mark.skipif(
    not (Path(os.environ.get("UNROLL_MIRROR", "")) / "multi30k").is_dir(),
    reason="UNROLL_MIRROR does not name a folder with multi30k/",
)
def test_multi30k_as_published(tmp_path):
    pairs = list(published.multi30k(Store(tmp_path), ("en", "de"), "test_2017_flickr").read())
    assert Counter(pair.split for pair in pairs) == {"train": 29000, "val": 1014, "test": 1000}
    assert pairs[1].source == "Several men in hard hats are operating a giant pulley system."
    assert pairs[1].target == "Mehrere Männer mit Schutzhelmen bedienen ein Antriebsradsystem."


def test_checksums_are_sha256():
    assert all(len(bytes.fromhex(value)) == hashlib.sha256().digest_size for value in published.CHECKSUMS.values())
