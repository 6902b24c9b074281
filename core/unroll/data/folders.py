"""Folders as people have them: a subfolder per class, perhaps below splits, and files that systems leave behind.

What was recognised is described in one line, so that nobody trains on something other than intended.
"""

import os
import re
import unicodedata
from collections import Counter
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from unroll.data.source import SPLITS, Split
from unroll.errors import UserError, did_you_mean

NAMES: dict[str, Split] = {
    "train": "train", "training": "train",
    "val": "val", "valid": "val", "validation": "val", "dev": "val", "development": "val",
    "test": "test", "testing": "test", "eval": "test", "evaluation": "test",
}  # fmt: skip
"""names of split folders, as Hugging Face's datasets reads them; see `split_of`"""
LEFTOVERS = frozenset({
    "__macosx", "@eadir", "@recycle", "#recycle", "$recycle.bin", "system volume information", "lost+found",
    "__pycache__", "thumbs.db", "ehthumbs.db", "desktop.ini",
})  # fmt: skip
"""what operating systems and NAS boxes put beside people's files, in lower case"""
SHOWN = 3
"""how many names a line gives as examples"""


def check_name(path: Path) -> None:
    """Raise UserError for a name that is not UTF-8, as from old archives: it could not be written to any file."""
    try:
        str(path).encode()
    except UnicodeEncodeError:
        raise UserError(f"{path}: has a name that is not UTF-8; rename it, for example with convmv") from None


def passed_over(name: str) -> bool:
    """Whether a file or folder of that name is hidden, or left behind by a system."""
    return name.startswith((".", "~$")) or name.lower() in LEFTOVERS  # ~$: an office program has the file open


def split_of(name: str) -> Split | None:
    """The split that a folder is named after: `Train`, `training_set`, `val2017`, `dev-data`; None: some other name."""
    word = re.sub(r"[\W\d_]", "", name.casefold())
    return NAMES.get(word) or NAMES.get(re.sub("(set|split|data|images|files)$", "", word))


def split_in(where: str, text: str) -> Split:
    """The split that a table row names, by any of its names; train if empty.

    Raises:
        UserError: names the row, as `where`, and the unknown split.
    """
    found = NAMES.get(text.casefold() or "train")
    if found is None:
        raise UserError(f"{where}: split {text!r}: write one of {', '.join(SPLITS)}")
    return found


def entries(folder: Path) -> list[Path]:
    """What is in a folder, by name, without what is passed over. Raises UserError if it cannot be listed."""
    try:
        return sorted(path for path in folder.iterdir() if not passed_over(path.name))
    except NotADirectoryError:
        raise UserError(f"{folder}: is not a folder; name one that holds the files") from None
    except OSError as error:
        what = "is not a folder" if isinstance(error, FileNotFoundError) else f"cannot be listed ({error.strerror})"
        raise UserError(f"{folder}: {what}; check the path") from error


def places(folder: Path) -> list[Path]:
    """Where the files named by a table in `folder` may be: there, or in one of its subfolders."""
    return [folder, *(entry for entry in entries(folder) if entry.is_dir())]


def located(where: str, places: list[Path], name: str) -> Path:
    r"""The file named in a row: in the first of `places`, else in the only other one that has it.

    The table may compose accents (NFC) that are decomposed (NFD) on the disk, and write \ for /.

    Raises:
        UserError: names the row, as `where`: the name is empty, there is no such file, or there are two.
    """
    if not name:
        raise UserError(f"{where}: its path is empty")
    forms = (unicodedata.normalize(form, name) for form in ("NFC", "NFD"))
    for spelled in dict.fromkeys((name, *forms, name.replace("\\", "/"))):
        if (places[0] / spelled).is_file():
            return places[0] / spelled
        found = [place / spelled for place in places[1:] if (place / spelled).is_file()]
        if len(found) > 1:
            raise UserError(f"{where}: {name} is in {found[0].parent} and in {found[1].parent}; keep one of them")
        if found:
            return found[0]
    raise UserError(f"{where}: no such file: {places[0] / name}")


def left_out(used: Iterable[Path]) -> str:
    """`; passed over: 4 .wav, 1 .m4a`: the unused files in the folders of those that are used; empty if none."""
    taken = {Path(os.path.normpath(path)) for path in used}
    there = [path for folder in {path.parent for path in taken} for path in entries(folder) if path.is_file()]
    others = kinds(path for path in there if path not in taken)
    return f"; passed over: {others}" if others else ""


def walk(folder: Path) -> Iterator[Path]:
    """Every file in a folder and its subfolders, following links, without what is passed over.

    Raises:
        UserError: a folder that cannot be listed, a broken link, or a link to a folder that contains it.
    """
    yield from _walk(folder, {folder.resolve()})


def _walk(folder: Path, above: Collection[Path]) -> Iterator[Path]:
    for path in entries(folder):
        if path.is_dir():
            if (real := path.resolve()) in above:
                raise UserError(f"{path}: is a link to a folder that it lies in; remove it")
            yield from _walk(path, {*above, real})
        elif path.is_symlink() and not path.exists():
            raise UserError(f"{path}: is a link to nothing ({os.readlink(path)}); remove it, or bring back the file")
        elif path.is_file():
            yield path


def below(folder: Path) -> Iterator[Path]:
    """Every folder in a folder, at any depth, without what is passed over. Raises UserError like `entries`."""
    for path in entries(folder):
        if path.is_dir():
            yield path
            yield from below(path)


def files(folder: Path, suffixes: Collection[str]) -> list[Path]:
    """Files in `folder` and its subfolders that have one of these endings in any case, ordered by path.

    Raises:
        UserError: it is not a folder, or holds no matching file, or as in `walk` and `check_name`.
    """
    found = [path for path in walk(folder) if path.suffix.lower() in suffixes]
    for path in found:
        check_name(path)
    if not found:
        raise UserError(f"{folder}: holds no file that ends in {', '.join(sorted(suffixes))}")
    return sorted(found, key=lambda path: path.relative_to(folder).parts)


@dataclass(frozen=True)
class Labelled:
    """A file and its class, the name of its folder below the root or below its split."""

    path: Path
    label: str
    folder: Path
    """of the class; of the split or the root if there are no classes"""


Splits = dict[Split | None, list[Labelled]]
"""files by split, ordered by path; all under None if the folder has no splits"""


def layout(root: Path, suffixes: Collection[str], *, labelled: bool = True) -> Splits:
    """The files of a folder: a subfolder for each class, with or without the splits above the classes.

    Args:
        root: the folder.
        suffixes: endings of the files that count.
        labelled: if False, files need no class and may be at any depth.

    Raises:
        UserError: names what breaks the layout: a folder beside the splits, two folders for a split, no training split,
            an empty split, files without a class, splits within the classes, a single class, a class that training
            lacks.
    """
    folders = _split_folders(root, suffixes)
    if not folders:
        return {None: _members(root, suffixes, labelled)}
    splits: Splits = {
        split: _members(folders[split], suffixes, labelled, least=2 if split == "train" else 1)
        for split in SPLITS
        if split in folders
    }
    known = {member.label for member in splits["train"]}
    for split, members in splits.items():
        for label in sorted({member.label for member in members} - known):
            assert split is not None
            where = folders[split] / label
            raise UserError(f"{where}: no such class in {folders['train']}; {did_you_mean(label, known)}")
    return splits


def _split_folders(root: Path, suffixes: Collection[str]) -> dict[Split, Path]:
    found: dict[Split, Path] = {}
    others = []
    for path in entries(root):
        split = split_of(path.name) if path.is_dir() else None
        if split is None:
            others.append(path)
        elif split in found:
            raise UserError(f"{path}: is a second folder for {split}, beside {found[split].name}; leave one of them")
        else:
            found[split] = path
    if not found:
        return found
    for path in others:
        if any(file.suffix.lower() in suffixes for file in (walk(path) if path.is_dir() else [path])):
            named = " and ".join(folder.name for folder in found.values())
            raise UserError(
                f"{path}: lies beside {named}, by name a split; if it is a split too, call it train, val or test; if "
                f"it is a class, put it into train; if {named} is a class, give it another name"
            )
    if "train" not in found:
        first = next(iter(found.values()))
        raise UserError(f"{root}: has {first.name} and no folder train; add it, or set data.path to {first} itself")
    return found


def _members(folder: Path, suffixes: Collection[str], labelled: bool, least: int = 2) -> list[Labelled]:
    if not labelled:
        return [Labelled(path, "", folder) for path in files(folder, suffixes)]
    inside = entries(folder)
    classes = [path for path in inside if path.is_dir()]
    loose = [path for path in inside if path.is_file() and path.suffix.lower() in suffixes]
    if len(classes) < least:
        has = f"{len(classes)} subfolder{'' if len(classes) == 1 else 's'}"
        beside = f" and files without a class ({loose[0].name}, ...)" if loose else ""
        inner = f"; or is {classes[0]} meant?" if classes and not loose else ""
        raise UserError(f"{folder}: has {has}{beside}; give each class its own, two classes at least{inner}")
    if loose:
        raise UserError(f"{loose[0]}: lies beside the classes ({classes[0].name}, ...); move it into one of them")
    for path in classes:
        for part in entries(path):
            if part.is_dir() and split_of(part.name):
                raise UserError(
                    f"{part}: is a split within a class; put the splits above the classes: {part.name}/{path.name}"
                )
    # Some systems write accents composed (NFC), others decomposed (NFD).
    return [
        Labelled(file, unicodedata.normalize("NFC", path.name), path)
        for path in classes
        for file in files(path, suffixes)
    ]


def described(root: Path, splits: Splits, suffixes: Collection[str]) -> str:
    """What was recognised: `DIR: splits train (cat 12, dog 12), val (cat 3, dog 3); test is drawn from train`."""
    whole = splits.get(None)
    if whole is None:
        found = "splits " + ", ".join(f"{split} ({_counts(members)})" for split, members in splits.items())
    else:
        found = f"{'classes' if any(member.label for member in whole) else 'files'} {_counts(whole)}"
    missing = [split for split in ("val", "test") if split not in splits]
    drawn = f"; {' and '.join(missing)} drawn from {'these' if whole else 'train'}" if missing else ""
    others = kinds(path for path in walk(root) if path.suffix.lower() not in suffixes)
    return f"{root}: {found}{drawn}" + (f"; passed over: {others}" if others else "")


def kinds(files: Iterable[Path]) -> str:
    """Counts of the most frequent kinds of files, and of others: `12 .md, 3 .txt, 2 .csv, 4 others`."""
    counts = Counter(file.suffix.lower() or file.name for file in files)
    shown = counts.most_common(SHOWN)
    if others := counts.total() - sum(count for _, count in shown):
        shown.append(("others" if others > 1 else "other", others))
    return ", ".join(f"{count:,} {kind}" for kind, count in shown)


def _counts(members: list[Labelled]) -> str:
    counts = Counter(member.label for member in members)
    shown = [f"{label} {count:,}".strip() for label, count in list(counts.items())[: 3 * SHOWN]]
    return ", ".join(shown) + (f" and {len(counts) - len(shown)} more" if len(counts) > len(shown) else "")
