"""Where pictures and their captions come from: builtin, flickr8k, flickr30k, coco, folder."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from PIL import Image

from unroll.data import images, source
from unroll.data.source import Split
from unroll.errors import UserError
from unroll.reads import Reads, patterns

__all__ = ["READS", "Picture", "Source"]


class Picture(NamedTuple):
    """A picture and the captions that people (or the built-in grammar) gave it."""

    id: str
    """for people: its file, or its number in the built-in data"""
    split: Split
    captions: tuple[str, ...]
    image: Path | Callable[[], Image.Image]
    """its file, or what draws it"""
    scene: Any = None
    """builtin: what is in it, as plain JSON values"""
    where: str = ""
    """how an error refers to it: the table and the row"""

    def load(self) -> Image.Image:
        """The picture itself, in RGB.

        Raises:
            UserError: it cannot be read; names the table's row, the file, and what is wrong with it.
        """
        if not isinstance(self.image, Path):
            return self.image()
        try:
            return images.load(self.image)
        except UserError as error:
            raise UserError(f"{self.where}: {error}" if self.where else str(error)) from error


Source = source.Source[[], Iterator[Picture]]

READS = {
    "builtin": Reads(("pictures", "seed")),
    "flickr8k": Reads(
        ("images",),
        path="the folder of dataset_flickr8k.json or Flickr8k.token.txt",
        folders=("dataset_flickr8k.json", "flickr8k.token.txt"),
    ),
    "flickr30k": Reads(
        ("images",),
        path="the folder of dataset_flickr30k.json or results_20130124.token",
        folders=("dataset_flickr30k.json", "results_20130124.token"),
    ),
    "coco": Reads(
        ("images",),
        path="the folder of dataset_coco.json or captions_train2017.json",
        folders=("dataset_coco.json", "captions_train20*.json", "annotations"),
    ),
    "folder": Reads(
        path="a folder of pictures and the table of their captions, or that table",
        files=(*patterns("csv", "tsv", "jsonl", "ndjson", "json"), "captions.txt"),
        folders=(*patterns("csv", "tsv", "jsonl", "ndjson", "json"), "captions.txt"),
    ),
}
"""the settings that each source reads, and the paths that it takes"""
