"""One clip from a video file or a folder of numbered frames, and what is wrong with a bad one.

Frames are cut to a square and brought to one size by `core.data.images.pixels`, one by one as they are decoded: a clip
never lies in memory at its own resolution.
"""

import re
from collections.abc import Iterable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from apps.video.sources import Frames
from core.data import images
from core.errors import UserError

VIDEOS = frozenset(
    f".{ending}" for ending in ("avi", "gif", "m4v", "mjpeg", "mkv", "mov", "mp4", "mpeg", "mpg", "webm", "wmv")
)
"""endings of files that are a clip each"""
PICTURES = images.SUFFIXES - VIDEOS
"""endings of files that are a frame each"""
LONGEST = 5_000
"""frames that a clip may have when all are counted that are kept"""
MOST = 20_000_000_000
"""pixels that a video may declare, or hold: about five minutes of full high definition"""
MISSING = 0.1
"""share of the declared frames that a file may lack: headers round, and editors cut between key frames"""


def read(path: Path, size: int, channels: int, every: int = 1) -> Frames:
    """The clip in a file, or in a folder of frames: uint8 [T, C, size, size].

    Args:
        path: of the file or folder.
        size: of the square frames, in pixels.
        channels: 1 for grey, 3 for colour.
        every: of so many frames one is kept.

    Raises:
        UserError: names the file and the cause: missing, not a video, without pictures, truncated, too long, too large;
            or a frame that is missing in the numbering, has another size than the first, or cannot be read.
    """
    if not path.exists():
        raise UserError(f"{path}: there is no such file or folder; check the path")
    frames = _folder(path, channels, every) if path.is_dir() else _video(path, every)
    kept = []
    for frame in frames:
        if len(kept) == LONGEST:
            raise UserError(f"{path}: has more than {LONGEST:,} frames; cut it into clips, or raise data.every")
        values = images.pixels(frame.convert("L" if channels == 1 else "RGB"), (size, size))
        kept.append(values[None] if channels == 1 else values.transpose(2, 0, 1))
    if not kept:
        raise UserError(f"{path}: holds no frames")
    return np.stack(kept)


def _folder(path: Path, channels: int, every: int) -> Iterator[Image.Image]:
    first: Image.Image | None = None
    for file in _numbered(path)[::every]:
        frame = images.load(file, "L" if channels == 1 else "RGB")
        first = first or frame
        if frame.size != first.size:
            sizes = " instead of ".join(f"{one.width} x {one.height}" for one in (frame, first))
            raise UserError(f"{file}: has {sizes} pixels, unlike the frames before it; give all of a clip one size")
        yield frame


def _numbered(folder: Path) -> list[Path]:
    """The frames in the order of their numbers, the last one in each name: 9 comes before 10."""
    frames: dict[int, Path] = {}
    for file in images.files(folder, PICTURES):
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
    try:
        # A playlist in the file must not make us open addresses, nor a title in an old encoding stop us.
        with av.open(str(path), options={"protocol_whitelist": "file"}, metadata_errors="replace") as container:
            # The cover of a sound file is no clip.
            cover = av.stream.Disposition.attached_pic
            stream = next((one for one in container.streams.video if not one.disposition & cover), None)
            if stream is None:
                raise _without_pictures(path, sorted({one.type for one in container.streams} - {"video"}))
            if stream.codec_context is None:
                raise UserError(f"{path}: no decoder for its pictures, or its header is damaged; convert it to MPEG-4")
            declared = _declared(stream, container.duration)
            _check_declared(path, declared, stream.codec_context, every)
            yield from _decoded(path, container.decode(stream), declared, every)
    except av.FFmpegError as error:
        raise UserError(
            f"{path}: is not a video, or is truncated or damaged ({error.strerror}); copy it again"
        ) from None


def _without_pictures(path: Path, kinds: list[str]) -> UserError:
    if kinds:
        return UserError(f"{path}: holds no pictures, only {' and '.join(kinds)}; is it a sound file?")
    return UserError(f"{path}: is not a video, or is truncated or damaged (nothing is in it); copy it again")


def _declared(stream: Any, microseconds: int | None) -> int:
    """Frames by the header: their number, or what the duration makes of it; 0 where it says neither."""
    if stream.frames or not stream.average_rate:
        return int(stream.frames)
    seconds = stream.duration * stream.time_base if stream.duration else (microseconds or 0) / 1_000_000
    return int(seconds * stream.average_rate)


def _check_declared(path: Path, frames: int, picture: Any, every: int) -> None:
    """By the header alone, so that a false or enormous one costs neither time nor memory."""
    pixels = picture.width * picture.height
    if pixels > images.LARGEST:
        raise UserError(f"{path}: declares frames of {picture.width:,} x {picture.height:,} pixels; make them smaller")
    if frames > LONGEST * every:
        raise UserError(f"{path}: declares {frames:,} frames, more than {LONGEST:,}; cut it, or raise data.every")
    if frames * pixels > MOST:
        raise UserError(f"{path}: declares {frames:,} frames of {pixels:,} pixels; cut it into clips, or scale it down")


def _decoded(path: Path, frames: Iterable[Any], declared: int, every: int) -> Iterator[Image.Image]:
    """One frame of `every`, however many the header declares; what was not declared is bounded as well."""
    count = pixels = 0
    for frame in frames:
        pixels += frame.width * frame.height
        if pixels > MOST or frame.width * frame.height > images.LARGEST:
            raise UserError(f"{path}: unpacks into more than {pixels:,} pixels; cut it into clips, or scale it down")
        if count % every == 0:
            yield frame.to_image()
        count += 1
    if count < declared * (1 - MISSING) - 1:
        raise UserError(f"{path}: is truncated: {count:,} of {declared:,} frames could be read; copy it again")
