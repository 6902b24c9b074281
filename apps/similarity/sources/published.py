"""SICK, the STS benchmark and Quora's question pairs, in the files of their publishers."""

from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path

from unroll.data import tables
from unroll.data.fetch import RemoteFile
from unroll.data.files import sha256
from unroll.data.source import Split, own_path
from unroll.data.store import Store
from unroll.errors import UserError

from . import Pair, Source, table

# The publishers serve an archive (zenodo.org/records/2787612: SICK.zip): the file comes from a mirror or from the user.
SICK = RemoteFile("sick/SICK.txt", (), "1539c2d059809b5bd40694e26d8121cc85b6b496f91c7b40f2fc83bbd7dcd957")
SICK_SPLITS: dict[str, Split] = {"TRAIN": "train", "TRIAL": "val", "TEST": "test"}
STSB_SPLITS: dict[str, Split] = {"sts-train.csv": "train", "sts-dev.csv": "val", "sts-test.csv": "test"}
SICK_COLUMNS = ("pair_ID", "sentence_A", "sentence_B", "entailment_label", "relatedness_score", "SemEval_set")
STSB_COLUMNS = ("genre", "filename", "year", "number", "score", "sentence1", "sentence2")
QUORA_COLUMNS = ("id", "question1", "question2", "is_duplicate")


def sick(store: Store, path: Path | None) -> Source:
    """SICK: 9,840 pairs, relatedness 1 to 5, entailment; the splits of SemEval-2014 task 1 (Marelli et al. 2014).

    Args:
        store: where the published file is fetched to, without a path.
        path: the user's SICK.txt, or the folder that holds it.
    """
    file = _own(path, "SICK.txt") if path else store.fetch(SICK)
    spec = {"source": "sick", "sha256": sha256(file), "split": "publisher's"}
    return Source(spec, partial(_read_sick, file), low=1.0, high=5.0)


def _read_sick(file: Path) -> Iterator[Pair]:
    content = tables.read_table(file, delimiter="\t", quotes=False)
    for where, row in content.pick(dict.fromkeys(SICK_COLUMNS, ())):
        if row["SemEval_set"] not in SICK_SPLITS:
            raise UserError(f"{where}: SemEval_set {row['SemEval_set']!r} is none of {', '.join(SICK_SPLITS)}")
        yield Pair(
            row["pair_ID"],
            table.sentence(where, row["sentence_A"]),
            table.sentence(where, row["sentence_B"]),
            table.score(where, row["relatedness_score"], 1, 5),
            SICK_SPLITS[row["SemEval_set"]],
            table.label(where, row["entailment_label"]),
        )


def stsb(path: Path | None) -> Source:
    """The STS benchmark: 8,628 pairs, similarity 0 to 5 (Cer et al. 2017).

    Args:
        path: the unpacked folder, with sts-train.csv, sts-dev.csv and sts-test.csv: tab-separated, without a header.
            Files missing beside sts-train.csv are drawn from it.
    """
    unpacked = "FOLDER, the unpacked Stsbenchmark.tar.gz of ixa2.si.ehu.eus/stswiki"
    path = own_path(path, "stsb", f"{unpacked} ({', '.join(STSB_SPLITS)})")
    train = _own(path, "sts-train.csv", folder=True)
    files = {train.with_name(name): split for name, split in STSB_SPLITS.items() if train.with_name(name).is_file()}
    rule = "publisher's" if len(files) == len(STSB_SPLITS) else "publisher's, what is missing is drawn from train"
    spec = {"source": "stsb", "sha256": [sha256(file) for file in files], "split": rule}
    return Source(spec, partial(_read_stsb, files), low=0.0, high=5.0)


def _read_stsb(files: dict[Path, Split]) -> Iterator[Pair]:
    for file, split in files.items():
        # Quotation marks are ordinary characters there, and often unpaired.
        content = tables.read_table(file, delimiter="\t", quotes=False, names=STSB_COLUMNS, header=lambda first: False)
        # Some rows have more columns: the origin of the sentences, and their licence.
        content = replace(content, rows=[row._replace(values=row.values[: len(STSB_COLUMNS)]) for row in content.rows])
        for number, (where, row) in enumerate(content.pick(dict.fromkeys(STSB_COLUMNS, ()))):
            a, b = table.sentence(where, row["sentence1"]), table.sentence(where, row["sentence2"])
            yield Pair(f"{split}-{number}", a, b, table.score(where, row["score"], 0, 5), split)


def quora(path: Path | None) -> Source:
    """Quora's question pairs: 404,290 pairs, 1 if they ask the same, else 0. No question is in two splits.

    Args:
        path: quora_duplicate_questions.tsv, or the folder that holds it.
    """
    path = own_path(path, "quora", "FILE, the quora_duplicate_questions.tsv of qim.fs.quoracdn.net")
    file = _own(path, "quora_duplicate_questions.tsv")
    spec = {"source": "quora", "sha256": sha256(file), "split": "by hash of the sentence"}
    return Source(spec, partial(_read_quora, file), low=0.0, high=1.0)


def _read_quora(file: Path) -> Iterator[Pair]:
    # A few questions are empty: preparing leaves those pairs out, with a note.
    content = tables.read_table(file, delimiter="\t", quotes=True)
    pairs = [
        Pair(row["id"], row["question1"], row["question2"], table.score(where, row["is_duplicate"], 0, 1), "train")
        for where, row in content.pick(dict.fromkeys(QUORA_COLUMNS, ()))
    ]
    yield from table.split_by_sentence(pairs)


def _own(path: Path, name: str, *, folder: bool = False) -> Path:
    """The user's file: `name` in the folder `path`, or `path` itself unless it must be a `folder`."""
    file = path / name if folder or path.is_dir() else path
    if not file.is_file():
        raise UserError(f"data.path={path}: no such file: {file}")
    return file
