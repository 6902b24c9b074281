"""Pictures as people have them: any file of a common format becomes one upright 8-bit picture, or one clear error.

Applications get pictures in only two modes, L (grey) and RGB; whatever else cameras, scanners and paint programs write
(rotation flags, alpha, palettes, CMYK, 16 bits, more frames) is handled here and nowhere else.
"""

import warnings
from contextlib import suppress
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError
from typing_extensions import TypeIs

from unroll.data import numbers
from unroll.errors import UserError
from unroll.values import Value, is_path

LARGEST = 50_000_000
"""most pixels that a picture may declare; a small file that unpacks into more is taken for a decompression bomb"""
SUFFIXES = frozenset(
    f".{ending}" for ending in (
        "avif", "bmp", "gif", "ico", "jfif", "jp2", "jpeg", "jpg", "pbm",
        "pcx", "pgm", "png", "pnm", "ppm", "tga", "tif", "tiff", "webp",
    )
)  # fmt: skip
"""endings of pictures in a folder; a file given by name is read whatever its ending"""
FORMATS = ("AVIF", "BMP", "GIF", "ICO", "JPEG", "JPEG2000", "PCX", "PNG", "PPM", "TGA", "TIFF", "WEBP")
"""formats that Pillow may detect, whatever the file's name: its EPS reader would start another program, Ghostscript"""
Size = tuple[int, int]
Mode = Literal["L", "RGB"]
Picture = Image.Image | NDArray[Any] | list[Any]
"""a picture in memory: Pillow's, or an array (or lists) [H, W] or [H, W, C] with 1 (grey), 3 (RGB) or 4 channels (with
alpha); integers from 0 to 255 or floating-point numbers from 0 to 1"""
Given = str | Path | Picture
"""a picture's file, or the picture itself"""


def load(path: Path, mode: Mode = "RGB") -> Image.Image:
    """The picture in a file: rotated by its EXIF flag, the first frame of an animation, alpha blended over white.

    16-bit, 32-bit and floating-point grey is scaled to 8 bits, never clipped: 16-bit values by 257, floating-point ones
    by the smallest of 1, 255, 65535 and their own maximum that covers them all.

    Raises:
        UserError: names the file and the cause: missing, empty, not a picture, truncated or damaged, or larger than
            LARGEST pixels by its own header, which is read before any pixel is decoded.
    """
    if not path.exists():
        raise UserError(f"{path}: there is no such file; check the path")
    if not path.is_file():
        raise UserError(f"{path}: is a folder or device, not a picture")
    # The size is checked here, with a lower limit than Pillow's warning; its other warnings (odd metadata, a palette
    # with transparency) are about what is handled below.
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return _load(path, mode)
        except UserError:
            raise
        except Image.DecompressionBombError as error:
            raise _too_large(path, "far too many") from error
        except Exception as error:  # Pillow's decoders raise errors of every kind on damaged files
            raise UserError(f"{path}: {_cause(path, error)}") from error


def is_picture(value: object) -> TypeIs[Picture]:
    """Whether a value is a picture in memory, by its type and shape."""
    if isinstance(value, Image.Image):
        return True
    values = numbers.array(value)
    return values is not None and {2: 1, 3: values.shape[-1]}.get(values.ndim) in (1, 3, 4)


def taken(given: Given, mode: Mode = "RGB", name: str = "picture") -> Image.Image:
    """A picture as `load` returns it, from a file or from memory; errors call the latter `name`.

    Raises:
        UserError: as in `load`; or values that are not a picture's.
    """
    if isinstance(given, str | Path):
        return load(Path(given), mode)
    image = given if isinstance(given, Image.Image) else Image.fromarray(_bytes(np.asarray(given), name))
    try:
        return _converted(_upright(image), mode)
    except Exception as error:  # Pillow reads an opened file only now
        raise UserError(f"{name}: cannot be read ({' '.join(str(error).split())})") from error


def _bytes(values: NDArray[Any], name: str) -> NDArray[np.uint8]:
    """The array as 8-bit values, [H, W] if it is grey."""
    if not values.size:
        raise UserError(f"{name}: has no pixels {list(values.shape)}")
    full = 255 if values.dtype.kind in "ui" else 1
    if not (values.min() >= 0 and values.max() <= full):  # NaN is neither
        kind = "integers" if full == 255 else "fractions"
        raise UserError(f"{name}: its {kind} lie between {values.min()} and {values.max()}, not between 0 and {full}")
    levels = np.round(values.astype(np.float64) * (255 / full)).astype(np.uint8)
    return levels[..., 0] if levels.ndim == 3 and levels.shape[-1] == 1 else levels


VALUES = (
    Value[Path]("the path of a picture", is_path, Path),
    Value[Picture](
        "a picture: Pillow's, or an array [H, W] or [H, W, 1, 3 or 4] of integers to 255 or fractions to 1",
        is_picture,
        lambda name: load(Path(name)),
    ),
)
"""values of an application that takes pictures: see `unroll.app.App.values`"""


def pixels(image: Image.Image, size: Size | None = None) -> NDArray[np.uint8]:
    """The values of a picture in mode L, [height, width], or RGB, [height, width, 3].

    Args:
        image: as `load` returns it.
        size: target (height, width). Proportions are kept: the picture is cropped at its centre to the proportions of
            `size`, then resized (bicubic, with antialiasing when it gets smaller).
    """
    if size is not None and size != (image.height, image.width):
        image = ImageOps.fit(image, (size[1], size[0]), method=Image.Resampling.BICUBIC)
    return np.asarray(image, dtype=np.uint8)


def _load(path: Path, mode: Mode) -> Image.Image:
    with Image.open(path, formats=FORMATS) as image:
        if image.width * image.height > LARGEST:
            raise _too_large(path, f"{image.width:,} x {image.height:,}")
        image.load()
        return _converted(_upright(image), mode)


def _upright(image: Image.Image) -> Image.Image:
    """Rotated as its EXIF flag says. Broken metadata is ignored."""
    with suppress(Exception):
        return ImageOps.exif_transpose(image)
    return image


def _converted(image: Image.Image, mode: Mode) -> Image.Image:
    if image.mode.startswith(("I", "F")):  # Pillow's own conversion of these clips at 255
        return Image.fromarray(_eight_bits(np.asarray(image))).convert(mode)
    if image.has_transparency_data:
        colours = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", colours.size, "white"), colours)
    if image.mode in ("CMYK", "P", "YCbCr", "HSV"):
        image = image.convert("RGB")
    return image.convert(mode)


def _eight_bits(values: NDArray[Any]) -> NDArray[np.uint8]:
    known = (1.0, 255.0, 65535.0) if np.issubdtype(values.dtype, np.floating) else (65535.0,)
    values = np.nan_to_num(values.astype(np.float64)).clip(min=0)
    largest = float(values.max())
    full = next((limit for limit in known if largest <= limit), largest)
    return np.round(values * (255 / full)).astype(np.uint8)


def _too_large(path: Path, declared: str) -> UserError:
    return UserError(f"{path}: declares {declared} pixels, more than {LARGEST:,} in all; make it smaller first")


def _cause(path: Path, error: Exception) -> str:
    if path.stat().st_size == 0:
        return "is empty (0 bytes); copy it again"
    if isinstance(error, UnidentifiedImageError):
        return "is not a picture of a kind that is read, or its header is damaged; convert it to PNG or JPEG"
    if isinstance(error, PermissionError):
        return "cannot be read (permission denied)"
    text = " ".join(str(error).split()) or type(error).__name__
    return f"is truncated or damaged ({text}); copy it again"
