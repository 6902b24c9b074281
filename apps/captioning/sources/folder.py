"""The user's own pictures: a table with the columns `path` and `caption`, one row for each caption.

`path` is relative to the table's folder or to a folder in it: Flickr8k, in its usual form, is `captions.txt` beside
`Images/`. A column `split` (train, val or test) is optional. If no row is in val, or none in test, a tenth
of the pictures of train becomes that split.
"""

from functools import partial
from pathlib import Path
from typing import cast

from unroll.data import copies, folders, splits, tables
from unroll.data.files import sha256
from unroll.data.source import content_digest, own_path
from unroll.errors import UserError

from . import Picture, Source

COLUMNS = {
    "path": ("image", "image_path", "image_name", "file", "file_name"),
    "caption": ("text", "description", "comment"),
}
MORE = {"split": ()}
CAPTIONS = "captions.txt"
"""a table whose name does not say that it is one"""


def source(path: Path | None) -> Source:
    """The pictures that the table at `path` names; in a folder, its only table.

    Raises:
        UserError: no such file, not one table, missing columns, or a row whose picture is missing or whose split is
            unknown. All rows are checked before any picture is read.
    """
    table = _find(path)
    pictures, drawn = _grouped(table)
    digests = [sha256(cast(Path, picture.image)) for picture in pictures]
    found = list(zip(pictures, digests, strict=True))
    content = content_digest((one.id, one.split, one.captions, digest) for one, digest in found)
    items = [copies.Item(one.id, one.split, "", digest) for one, digest in found]
    spec = {"source": "folder", "content": content, "split": "by its column split, else by hash of the name"}
    captions = sum(len(picture.captions) for picture in pictures)
    said = f"{table}: {captions:,} captions of {len(pictures):,} pictures"
    said += folders.left_out([table, *(cast(Path, picture.image) for picture in pictures)])
    return Source(spec, partial(iter, pictures), (said, *drawn, *copies.notes(items, "caption")))


def _find(path: Path | None) -> Path:
    path = own_path(path, "folder", "FOLDER, a folder with a table (columns path,caption)")
    if path.is_dir():
        flickr = [entry for entry in folders.entries(path) if entry.name.lower() == CAPTIONS]
        return flickr[0] if flickr else tables.only_table(path)
    if not path.is_file():
        raise UserError(f"data.path={path}: no such file or folder")
    return path


def _grouped(path: Path) -> tuple[list[Picture], list[str]]:
    """(a picture for each path, with the captions of all its rows; what is to be told of splits that were drawn)."""
    pictures: dict[str, Picture] = {}
    table = tables.read_table(path)
    places = folders.places(path.parent)
    for where, row in table.pick(COLUMNS, MORE):
        name, split = row["path"], folders.split_in(where, row.get("split", ""))
        if name not in pictures:
            pictures[name] = Picture(name, split, (), folders.located(where, places, name), where=where)
        known = pictures[name]
        if known.split != split:
            raise UserError(f"{where}: {name} is in {split} here and in {known.split} above; put it into one split")
        pictures[name] = known._replace(captions=(*known.captions, row["caption"]))
    given, names = [picture.split for picture in pictures.values()], list(pictures)
    divided = splits.completed(given, names, names)
    found = [picture._replace(split=split) for picture, split in zip(pictures.values(), divided, strict=True)]
    return found, list(splits.drawn(given, divided))
