import hashlib
import json
import os
from pathlib import Path

import pytest

from unroll.apps.similarity.sources import Pair, own, published
from unroll.apps.similarity.sources.table import split_by_sentence
from unroll.data.fetch import RemoteFile
from unroll.data.store import Store
from unroll.errors import UserError

SICK_HEADER = (
    "pair_ID\tsentence_A\tsentence_B\tentailment_label\trelatedness_score\tentailment_AB\tentailment_BA\t"
    "sentence_A_original\tsentence_B_original\tsentence_A_dataset\tsentence_B_dataset\tSemEval_set"
)
SICK_ROW = '{id}\tA dog "runs\tThe dog is running\t{label}\t{score}\tx\ty\to\to\tFLICKR\tFLICKR\t{split}'
COLUMNS = ("a", "b", "score")


def write(path, text):
    path.write_bytes(text.encode())
    return path


def sick(path, *rows):
    lines = [SICK_ROW.format(**{"id": 1, "label": "ENTAILMENT", "score": "4.5", "split": "TRAIN"} | r) for r in rows]
    return write(path, "\n".join([SICK_HEADER, *lines]) + "\n")


def csv_pairs(tmp_path, text, columns=COLUMNS, low=0.0, high=1.0):
    return list(own.source(write(tmp_path / "pairs.csv", text), columns, low, high).read())


def complaint(call, *arguments, **options):
    with pytest.raises(UserError) as error:
        call(*arguments, **options)
    message = str(error.value)
    assert "\n" not in message
    return message


# SICK


def test_sick_with_mixed_line_ends_and_lone_quotation_marks(tmp_path):
    path = sick(tmp_path / "SICK.txt", {"split": "TRAIN\r"}, {"id": 2, "split": "TRIAL"}, {"id": 3, "split": "TEST \r"})
    source = published.sick(Store(tmp_path), path)
    pairs = list(source.read())
    assert [(pair.id, pair.split) for pair in pairs] == [("1", "train"), ("2", "val"), ("3", "test")]
    assert pairs[0] == Pair("1", 'A dog "runs', "The dog is running", 4.5, "train", "ENTAILMENT")
    assert (source.low, source.high) == (1, 5)


def test_sick_is_taken_from_the_mirror_by_its_checksum(tmp_path, monkeypatch):
    mirrored = tmp_path / "mirror" / "sick"
    mirrored.mkdir(parents=True)
    content = sick(mirrored / "SICK.txt", {}).read_bytes()
    monkeypatch.setenv("UNROLL_MIRROR", str(tmp_path / "mirror"))
    assert "wrong SHA-256" in complaint(published.sick, Store(tmp_path / "data"), None)
    own_sum = RemoteFile("sick/SICK.txt", (), hashlib.sha256(content).hexdigest())
    monkeypatch.setattr(published, "SICK", own_sum)
    assert len(list(published.sick(Store(tmp_path / "data"), None).read())) == 1


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"score": "7"}, "row 2: its score 7 is not between 1 and 5"),
        ({"score": "nan"}, "row 2: its score nan is not between"),
        ({"score": "high"}, "row 2: its score 'high' is no number"),
        ({"label": "MAYBE"}, "row 2: label 'MAYBE': write one of NEUTRAL, ENTAILMENT, CONTRADICTION"),
        ({"split": "DEV"}, "row 2: SemEval_set 'DEV' is none of TRAIN, TRIAL, TEST"),
    ],
)
def test_sick_names_the_row_that_is_wrong(tmp_path, row, message):
    path = sick(tmp_path / "SICK.txt", row)
    assert f"{path}, {message}" in complaint(lambda: list(published.sick(Store(tmp_path), path).read()))


@pytest.mark.skipif(
    not (Path(os.environ.get("UNROLL_MIRROR", "")) / "sick" / "SICK.txt").is_file(),
    reason="UNROLL_MIRROR does not name a folder with sick/SICK.txt",
)
def test_the_published_sick(tmp_path):
    pairs = list(published.sick(Store(tmp_path), None).read())
    counts = {split: sum(pair.split == split for pair in pairs) for split in ("train", "val", "test")}
    assert counts == {"train": 4439, "val": 495, "test": 4906}


# STS benchmark and Quora


def test_stsb_without_a_header(tmp_path):
    row = 'main-captions\tMSRvid\t2012test\t0001\t{}\tA plane is "taking off.\tAn air plane is taking off.\tlicence\n'
    for name, score in (("sts-train.csv", "5.000"), ("sts-dev.csv", "0"), ("sts-test.csv", "2.6")):
        write(tmp_path / name, row.format(score))
    source = published.stsb(tmp_path)
    pairs = list(source.read())
    assert [(p.split, p.score) for p in pairs] == [("train", 5.0), ("val", 0.0), ("test", 2.6)]
    assert pairs[0].a == 'A plane is "taking off.' and (source.low, source.high) == (0, 5)
    write(tmp_path / "sts-dev.csv", "a\tb\tc\td\t3\n")
    assert "sts-dev.csv, row 1 has 5 values for 7 columns" in complaint(lambda: list(published.stsb(tmp_path).read()))
    (tmp_path / "sts-train.csv").unlink()
    assert "sts-train.csv" in complaint(published.stsb, tmp_path)
    assert "data.path=FOLDER" in complaint(published.stsb, None)


def test_stsb_without_a_file_of_test_says_so_in_its_rule(tmp_path):
    for name in ("sts-train.csv", "sts-dev.csv"):
        write(tmp_path / name, "x\tx\tx\t1\t2.5\tOne.\tTwo.\n")
    source = published.stsb(tmp_path)
    assert [pair.split for pair in source.read()] == ["train", "val"]
    assert source.spec["split"] == "publisher's, what is missing is drawn from train"


@pytest.mark.parametrize("text", ['"All of it."', '"Yes", he said.', 'He said "no', '"Not closed.', 'Two "" marks'])
def test_quotation_marks_are_characters_in_what_was_published_without(tmp_path, text):
    write(tmp_path / "sts-train.csv", f"x\tx\tx\t1\t2.5\t{text}\t{text}\n" * 2)
    path = sick(tmp_path / "SICK.txt", {}, {"id": 2})
    write(path, path.read_text().replace('A dog "runs', text).replace("The dog is running", text))
    for source in (published.stsb(tmp_path), published.sick(Store(tmp_path), path)):
        assert [(pair.a, pair.b) for pair in source.read()] == [(text, text)] * 2


def test_quora_keeps_a_question_in_one_split(tmp_path):
    header = "id\tqid1\tqid2\tquestion1\tquestion2\tis_duplicate\n"
    rows = "".join(f'{i}\t{i}\t{i}\t"What is {i // 2}?"\t"And {i}\nthen?"\t{i % 2}\n' for i in range(60))
    path = write(tmp_path / "quora_duplicate_questions.tsv", header + rows)
    pairs = list(published.quora(tmp_path).read())
    assert pairs[0].a == "What is 0?" and pairs[1].score == 1 and "\n" in pairs[1].b
    by_question: dict[str, set[str]] = {}
    for pair in pairs:
        by_question.setdefault(pair.a, set()).add(pair.split)
    assert all(len(splits) == 1 for splits in by_question.values())
    assert [sum(pair.split == split for pair in pairs) for split in ("train", "val", "test")] == [48, 6, 6]
    assert "data.path=FILE" in complaint(published.quora, None)
    assert "is not between 0 and 1" in complaint(
        lambda: list(published.quora(write(path, header + "1\t1\t2\ta\tb\t2\n")).read())
    )


# The user's own


def test_columns_by_name_in_any_order_with_splits_and_labels(tmp_path):
    text = '\ufeffsplit,gold, two ,one,label\r\ntrain,3,"b, b",a,neutral\nval,1,b2,a2,\n\ntest,5,b3,a3,ENTAILMENT\r'
    pairs = csv_pairs(tmp_path, text, ("one", "two", "gold"), 1, 5)
    assert pairs[0] == Pair("row 2", "a", "b, b", 3.0, "train", "NEUTRAL")
    assert [(pair.split, pair.score) for pair in pairs] == [("train", 3.0), ("val", 1.0), ("test", 5.0)]


@pytest.mark.parametrize(
    "columns",
    [
        ("sentence1", "sentence2", "score"),
        ("sentence_A", "sentence_B", "relatedness_score"),
        ("Text 1", "text-2", "label"),
        ("#1 String", "#2 String", "Quality"),
    ],
)
def test_the_columns_of_glue_sick_and_the_hub_are_known(tmp_path, columns):
    head = ("index", "genre", "source1", "source2", *columns)
    rows = [("7", "news", "none", "none", f"one {n}", f"two {n}", "0.5") for n in range(10)]
    path = write(tmp_path / "pairs.tsv", "".join("\t".join(row) + "\n" for row in [head, *rows]))
    pair = next(iter(own.source(path, own.COLUMNS, 0, 1).read()))
    assert (pair.id, pair.a, pair.b, pair.score, pair.label) == ("7", "one 0", "two 0", 0.5, "")


def test_json_lines(tmp_path):
    rows = [{"sentence1": f"one\u2028{n}", "sentence2": f"two {n}", "score": n / 10} for n in range(10)]
    path = write(tmp_path / "pairs.jsonl", "".join(f"{json.dumps(row, ensure_ascii=False)}\n" for row in rows))
    pairs = list(own.source(path, own.COLUMNS, 0, 1).read())
    assert [(pair.a, pair.score) for pair in pairs] == [(row["sentence1"], row["score"]) for row in rows]


def test_sixty_pairs_stay_sixty_whatever_quotation_marks_there_are(tmp_path):
    rows = [[f"a {n}", f"b {n}", "0.5"] for n in range(60)]
    rows[5][0], rows[9][0] = '"a 5', 'a 9"'
    text = "".join("\t".join(row) + "\n" for row in [list(COLUMNS), *rows])
    pairs = list(own.source(write(tmp_path / "pairs.tsv", text), COLUMNS, 0, 1).read())
    assert [pair.a for pair in pairs] == [row[0] for row in rows]
    commas = write(tmp_path / "pairs.csv", text.replace("\t", ","))
    assert "pairs.csv, row 7: a quotation mark opens here and closes 4 lines later" in complaint(
        lambda: list(own.source(commas, COLUMNS, 0, 1).read())
    )


@pytest.mark.parametrize("mark", ["\t", ";", ",", "|"])
def test_the_mark_between_columns_is_found(tmp_path, mark):
    rows = [COLUMNS, *[(f"one {i}", f"two {i}", "0.5") for i in range(10)]]
    pairs = csv_pairs(tmp_path, "\n".join(mark.join(row) for row in rows))
    assert len(pairs) == 10 and {pair.split for pair in pairs} == {"train", "val", "test"}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a,b,points\nx,y,1\n", ": has no column score or similarity or similarity_score"),
        ("x,y\n1,2\n", ": has no column a or sentence1"),
        ("a,b,score,score\nx,y,1,0\n", ": has 2 columns called score (columns 3 and 4); rename all but the one"),
        ("a,b,score,split,split\nx,y,1,val,test\n", ": has 2 columns called split (columns 4 and 5)"),
        ("a,b,score\nx,y,1\nx,,0\n", ", row 3: one of its sentences is empty"),
        ("a,b,score\n  ,y,1\n", ", row 2: one of its sentences is empty"),
        ("a,b,score\nx,y,1.5\n", ", row 2: its score 1.5 is not between 0 and 1; correct it, or set data.low"),
        ("a,b,score\nx,y,NaN\n", ", row 2: its score NaN is not between 0 and 1"),
        ("a,b,score\nx,y,\n", ", row 2: its score '' is no number"),
        ("a,b,score\nx,y\n", ", row 2 has 2 values for 3 columns"),
        ("a,b,score,split\nx,y,1,mine\n", ", row 2: split 'mine': write one of train, val, test"),
        ('a,b,score\n"x,y,1\n', ", row 2: a quotation mark opens here and does not close"),
        ("", ": is empty"),
    ],
)
def test_what_is_wrong_in_the_users_file_is_named(tmp_path, text, message):
    assert f"{tmp_path / 'pairs.csv'}{message}" in complaint(csv_pairs, tmp_path, text)


def test_no_file_and_no_text(tmp_path):
    assert "data.path=None: no such file" in complaint(own.source, None, COLUMNS, 0, 1)
    path = tmp_path / "latin.csv"
    path.write_bytes("a,b,score\nGruß,y,1\n".encode("latin-1"))
    assert "line 2, byte 13: is not UTF-8" in complaint(lambda: list(own.source(path, COLUMNS, 0, 1).read()))


def test_splits_do_not_depend_on_the_order_of_the_rows():
    pairs = [Pair(str(i), f"a {i}", f"b {i}", 0.5, "train") for i in range(40)]
    splits = {pair.id: pair.split for pair in split_by_sentence(pairs)}
    assert splits == {pair.id: pair.split for pair in split_by_sentence(pairs[::-1])}
    assert sorted(splits.values()).count("test") == sorted(splits.values()).count("val") == 4


def test_pairs_that_are_linked_by_a_sentence_stay_together():
    chain = [Pair(str(i), f"s {i}", f"s {i + 1}", 0.5, "train") for i in range(30)]
    others = [Pair(f"o{i}", f"a {i}", f"b {i}", 0.5, "train") for i in range(30)]
    divided = split_by_sentence([*chain, *others])
    assert {pair.split for pair in divided[:30]} == {"train"}
    assert {pair.split for pair in divided[30:]} == {"train", "val", "test"}


def test_pairs_that_are_all_linked_are_divided_one_by_one():
    pairs = [Pair(f"{i} {j}", f"s {i}", f"s {j}", 0.5, "train") for i in range(8) for j in range(8)]
    divided = split_by_sentence([*pairs, *pairs])
    assert [sum(pair.split == split for pair in divided) for split in ("train", "val", "test")] == [104, 12, 12]
    by_pair = {}
    for pair in divided:
        by_pair.setdefault(pair.id, set()).add(pair.split)
    assert all(len(splits) == 1 for splits in by_pair.values())
