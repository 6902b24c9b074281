"""Where pictures and their captions come from: builtin, flickr8k, flickr30k, coco, folder."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple, get_args

from PIL import Image

from unroll.data import images
from unroll.errors import UserError

__all__ = ["SPLITS", "Picture", "Source", "Split"]

Split = Literal["train", "val", "test"]
SPLITS: tuple[Split, ...] = get_args(Split)


class Picture(NamedTuple):
    """A picture and the captions that people (or the built-in grammar) gave it."""

    id: str
    """for people: the file, or the number in the built-in data"""
    split: Split
    captions: tuple[str, ...]
    image: Path | Callable[[], Image.Image]
    """its file, or what draws it"""
    scene: Any = None
    """builtin: what is in it, as plain JSON values"""
    where: str = ""
    """what names it first in an error: the table and the row"""

    def load(self) -> Image.Image:
        """The picture itself, in RGB.

        Raises:
            UserError: names the table's row, the file, and what is wrong with it.
        """
        if not isinstance(self.image, Path):
            return self.image()
        try:
            return images.load(self.image)
        except UserError as error:
            raise UserError(f"{self.where}: {error}" if self.where else str(error)) from error


@dataclass(frozen=True)
class Source:
    """A set of pictures that can be read, one by one, any number of times."""

    spec: dict[str, Any]
    """plain JSON values that determine every picture and caption"""
    read: Callable[[], Iterator[Picture]]
    """raises UserError naming the record that is at fault"""
    notes: tuple[str, ...] = ()
    """what the user should be told of it"""
