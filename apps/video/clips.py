"""Reading a clip from a video file or a folder of numbered frames, with one clear error for a bad one.

Frames are cropped to a square and scaled by `unroll.data.images.pixels` one by one as they are decoded, so a clip is
never in memory at its original resolution.
"""

import re
from collections.abc import Iterable, Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from typing_extensions import TypeIs

from unroll.data import folders, images, numbers
from unroll.data.containers import lacking
from unroll.data.images import Picture, is_picture
from unroll.errors import UserError

from .sources import Frames

VIDEOS = frozenset(
    f".{ending}" for ending in ("avi", "gif", "m4v", "mjpeg", "mkv", "mov", "mp4", "mpeg", "mpg", "webm", "wmv")
)
"""endings of video files"""
PICTURES = images.SUFFIXES - VIDEOS
"""endings of files of single frames"""
LONGEST = 5_000
"""maximum number of frames that are kept of a clip"""
MOST = 20_000_000_000
"""maximum number of pixels of a video, declared or decoded: about five minutes of Full HD"""
OPTIONS = {
    "protocol_whitelist": "file",
    "format_whitelist": "asf,avi,flv,gif,h264,hevc,ivf,jpeg_pipe,m4v,matroska,mjpeg,mov,mpeg,mpegts,mpegvideo,ogg",
}
"""the only protocol and formats for FFmpeg: some of its formats are lists of other files to open"""
Clip = Sequence[Picture] | NDArray[np.generic]
"""in memory: pictures, or an array [T, H, W] or [T, H, W, C]"""
Input = str | Path | Clip
"""a clip by its file or folder, or itself"""


def read(path: Path, size: int, channels: int, every: int = 1) -> Frames:
    """The clip in a file, or in a folder of frames: uint8 [T, C, size, size].

    Args:
        path: of the file or folder.
        size: side of the square frames, in pixels.
        channels: 1 for grey, 3 for colour.
        every: keep every n-th frame.

    Raises:
        UserError: names the file and the cause: missing, not a video, without pictures, truncated, too long, too large;
            or a frame that is missing in the numbering, differs in size from the first, or cannot be read.
    """
    if not path.exists():
        raise UserError(f"{path}: there is no such file or folder; check the path")
    frames = _folder(path, _mode(channels), every) if path.is_dir() else _video(path, every)
    return _stacked(str(path), frames, size, channels)


def is_clip(value: object) -> TypeIs[Clip]:
    """Whether a value is some frames: pictures, or an array of them."""
    if isinstance(value, list | tuple) and value and all(map(is_picture, value)):
        return True
    found = numbers.array(value)
    return found is not None and found.ndim in (3, 4) and (found.ndim == 3 or found.shape[-1] in (1, 3, 4))


def taken(given: Input, size: int, channels: int, every: int = 1, name: str = "clip") -> Frames:
    """The clip as `read` gives it, from its file or folder, or from memory, where it is called `name`.

    Raises:
        UserError: as `read`; an empty text.
    """
    if isinstance(given, str | Path):
        if not str(given).strip():
            raise UserError(f"{name}: is empty; name a video file, or a folder of numbered frames")
        return read(Path(given), size, channels, every)
    named = ((f"{name}, frame {number}", given[number]) for number in range(0, len(given), every))
    frames = ((where, images.taken(frame, _mode(channels), where)) for where, frame in named)
    return _stacked(name, _of_one_size(frames), size, channels)


def _stacked(name: str, frames: Iterable[Image.Image], size: int, channels: int) -> Frames:
    kept: list[NDArray[np.uint8]] = []
    for frame in frames:
        if len(kept) == LONGEST:
            raise UserError(f"{name}: has more than {LONGEST:,} frames; cut it into clips, or raise data.every")
        values = images.pixels(frame.convert(_mode(channels)), (size, size))
        kept.append(values[None] if channels == 1 else values.transpose(2, 0, 1))
    if not kept:
        raise UserError(f"{name}: holds no frames")
    return np.stack(kept)


def _mode(channels: int) -> images.Mode:
    return "L" if channels == 1 else "RGB"


def _folder(path: Path, mode: images.Mode, every: int) -> Iterator[Image.Image]:
    return _of_one_size((str(file), images.load(file, mode)) for file in _numbered(path)[::every])


def _of_one_size(frames: Iterable[tuple[str, Image.Image]]) -> Iterator[Image.Image]:
    first: Image.Image | None = None
    for name, frame in frames:
        first = first or frame
        if frame.size != first.size:
            sizes = " instead of ".join(f"{one.width} x {one.height}" for one in (frame, first))
            raise UserError(f"{name}: has {sizes} pixels, unlike the frames before it; give all of a clip one size")
        yield frame


def _numbered(folder: Path) -> list[Path]:
    """The frames ordered by the last number in their names, so that 9 comes before 10."""
    frames: dict[int, Path] = {}
    for file in folders.files(folder, PICTURES):
        digits = re.findall(r"\d+", file.stem)
        if not digits:
            raise UserError(f"{file}: has no number in its name; number the frames of a clip: frame_001.png")
        if int(digits[-1]) in frames:
            raise UserError(f"{file}: has the number of {frames[int(digits[-1])].name}; one frame for each number")
        frames[int(digits[-1])] = file
    for before, after in pairwise(sorted(frames)):
        if after != before + 1:
            first, last = before + 1, after - 1
            missing = f"frame {first} is missing" if first == last else f"frames {first} to {last} are missing"
            raise UserError(
                f"{folder}: {missing}, between {frames[before].name} and {frames[after].name}; "
                f"add what is missing, or number the frames without a gap"
            )
    return [frames[number] for number in sorted(frames)]


def _video(path: Path, every: int) -> Iterator[Image.Image]:
    try:
        import av
    except ImportError:
        raise UserError(f"{path}: reading video files needs PyAV; install it: pip install 'unroll[video]'") from None
    if not path.stat().st_size:
        raise UserError(f"{path}: is empty (0 bytes); copy it again")
    if cut := lacking(path):
        raise UserError(f"{path}: {cut}; copy it again")
    try:
        # Metadata in a legacy encoding must not make the file unreadable.
        with av.open(str(path), options=OPTIONS, metadata_errors="replace") as container:
            # The cover of a sound file is no clip.
            cover = av.stream.Disposition.attached_pic
            stream = next((one for one in container.streams.video if not one.disposition & cover), None)
            if stream is None:
                raise _without_pictures(path, sorted({one.type for one in container.streams} - {"video"}))
            if stream.codec_context is None:
                raise UserError(f"{path}: no decoder for its pictures, or its header is damaged; convert it to MPEG-4")
            _check_declared(path, stream, every)
            yield from _decoded(path, container.decode(stream), every)
    except av.FFmpegError as error:
        raise UserError(
            f"{path}: is not a video, or is truncated or damaged ({error.strerror}); copy it again"
        ) from None


def _without_pictures(path: Path, kinds: list[str]) -> UserError:
    if kinds:
        return UserError(f"{path}: holds no pictures, only {' and '.join(kinds)}; is it a sound file?")
    return UserError(f"{path}: is not a video, or is truncated or damaged (nothing is in it); copy it again")


def _check_declared(path: Path, stream: Any, every: int) -> None:
    """Checks the header alone, so that a false or enormous one costs neither time nor memory.

    The number of frames is trusted only in MP4 and related containers, which list every frame; elsewhere it is an
    estimate, or counts the gaps of a variable frame rate.
    """
    picture = stream.codec_context
    pixels = picture.width * picture.height
    if pixels > images.LARGEST:
        raise UserError(f"{path}: declares frames of {picture.width:,} x {picture.height:,} pixels; make them smaller")
    frames = stream.frames if stream.container.format.name.startswith("mov") else 0
    if frames > LONGEST * every:
        raise UserError(f"{path}: declares {frames:,} frames, more than {LONGEST:,}; cut it, or raise data.every")
    if frames * pixels > MOST:
        raise UserError(f"{path}: declares {frames:,} frames of {pixels:,} pixels; cut it into clips, or scale it down")


def _decoded(path: Path, frames: Iterable[Any], every: int) -> Iterator[Image.Image]:
    """Every n-th frame, upright, within limits that do not rely on the header."""
    pixels = 0
    for count, frame in enumerate(frames):
        pixels += frame.width * frame.height
        if pixels > MOST or frame.width * frame.height > images.LARGEST:
            raise UserError(f"{path}: unpacks into more than {pixels:,} pixels; cut it into clips, or scale it down")
        if count % every == 0:
            yield _upright(frame)


def _upright(frame: Any) -> Image.Image:
    """The picture rotated and mirrored by the display matrix, which cameras write and players apply.

    It maps (x, y) to (a x + c y, b x + d y), and is stored as nine 32-bit numbers a, b, u, c, d, v, x, y, w (FFmpeg's
    libavutil/display.h).
    """
    image: Image.Image = frame.to_image()
    matrix = frame.side_data.get("DISPLAYMATRIX")
    if matrix is None:
        return image
    a, b, _, c, d = np.frombuffer(matrix, "=i4")[:5].tolist()
    if abs(b) > abs(a):
        image, a, d = image.transpose(Image.Transpose.TRANSPOSE), c, b
    if a < 0:
        image = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    return image.transpose(Image.Transpose.FLIP_TOP_BOTTOM) if d < 0 else image
