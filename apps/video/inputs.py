"""What `predict` takes beside the name of a file or folder. Needs no torch, as all that describes the application."""

from pathlib import Path

from unroll.data import images
from unroll.values import Value, is_path

from .clips import Clip, is_clip


def _clip(folder: str) -> Clip:
    return [images.load(file) for file in sorted(Path(folder).glob("*.png"))]


VALUES = (
    Value[Path]("the path of a clip: a video file or a folder of numbered frames", is_path, Path),
    Value[Clip]("frames: a list or tuple of pictures, or an array [T, H, W] or [T, H, W, 1, 3 or 4]", is_clip, _clip),
)
