"""Predictions of a trained network on pictures of the user."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from unroll.data import images
from unroll.data.files import atomic_file, writing
from unroll.errors import UserError

from .classification import Classifier
from .completion import PixelRNN
from .data import quantised
from .denoising import Denoiser
from .model import Network

NEW = "new"
"""complete: the input for a picture that is sampled from scratch; new:9 for nine of them"""
SIDE = 256
"""approximate side of the pictures that are written, in pixels"""


@torch.no_grad()
def predict(model: Network, inputs: Sequence[images.Given]) -> list[dict[str, Any]]:
    """The class and the probability of each class; or the file name of the completed or denoised picture.

    Args:
        inputs: files that Pillow reads, or pictures in memory; to complete, also "new" or "new:9".

    Raises:
        UserError: a file that is not a picture, or a folder that cannot be written to.
    """
    names = [
        str(given) if isinstance(given, str | Path) else f"input-{number}"
        for number, given in enumerate(inputs, start=1)
    ]
    asked = list(zip(inputs, names, _stems(names), strict=True))
    match model:
        case Classifier():
            return [_class(model, given, name) for given, name, _ in asked]
        case PixelRNN():
            return [_completed(model, *one) for one in asked]
        case Denoiser():
            return [_denoised(model, *one) for one in asked]
        case _:
            raise TypeError(f"{type(model).__name__} is no network of this application")


def read(model: Network, given: images.Given, name: str = "") -> Tensor:
    """A picture in the size, channels and grey levels of the training data, [1, H, W, C] uint8.

    `name` is what errors call a picture in memory.
    """
    shape = model.shape
    mode: images.Mode = "RGB" if shape.channels == 3 else "L"
    pixels = images.pixels(images.taken(given, mode, name), (shape.height, shape.width))
    levels = quantised(pixels, 256, shape.levels).reshape(1, *shape.extents)
    return torch.from_numpy(shape.levels - 1 - levels if model.asked.invert else levels.copy()).to(_device(model))


def _class(model: Classifier, given: images.Given, name: str) -> dict[str, Any]:
    chances = model(read(model, given, name))[0].softmax(0)
    ranked = sorted(zip(model.classes, chances.tolist(), strict=True), key=lambda pair: -pair[1])
    return {
        "picture": name,
        "class": ranked[0][0],
        "probability": round(ranked[0][1], 4),
        "probabilities": {label: round(chance, 4) for label, chance in ranked},
    }


def _stems(names: Sequence[str]) -> list[str]:
    """Names of the files without suffix, made unique: a/1.png and b/1.png become 1 and 1-2."""
    seen: Counter[str] = Counter()
    stems = []
    for name in names:
        stem = Path(name).stem
        seen[stem] += 1
        stems.append(stem if seen[stem] == 1 else f"{stem}-{seen[stem]}")
    return stems


def _completed(model: PixelRNN, given: images.Given, name: str, stem: str) -> dict[str, Any]:
    # A generator for each input: what is sampled does not depend on the other inputs.
    own = torch.Generator(_device(model)).manual_seed(model.asked.seed)
    kind, _, count = name.partition(":")
    if kind == NEW:
        empty = torch.zeros(_count(name, count), *model.shape.extents, dtype=torch.uint8, device=_device(model))
        drawn = model.complete(empty, 0, own, model.asked.temperature)
        bits = model.bits(drawn).mean().item()
        path = _write(model, _sheet(drawn), f"new-{model.asked.seed}.png")
        return {"new": len(drawn), "written": path, "bits_per_pixel": round(bits, 4)}
    whole, keep = read(model, given, name), model.kept
    drawn = model.complete(whole, keep, own, model.asked.temperature)
    path = _write(model, drawn[0], f"{stem}.completed.png")
    return {"picture": name, "rows_kept": keep, "written": path}


def _denoised(model: Denoiser, given: images.Given, name: str, stem: str) -> dict[str, Any]:
    clean = model(model.scaled(read(model, given, name))).clamp(0, 1)[0]
    levels = (clean * (model.shape.levels - 1)).round()
    return {"picture": name, "written": _write(model, levels, f"{stem}.denoised.png")}


def _count(name: str, count: str) -> int:
    if count and not (count.isdecimal() and 1 <= int(count) <= 400):
        raise UserError(f"{name}: write new:9 for nine pictures, 400 at most")
    return int(count or 1)


def _sheet(levels: Tensor) -> Tensor:
    """Pictures [N, H, W, C] arranged in a square as far as possible: [rows x H, columns x W, C]."""
    columns = int(np.ceil(np.sqrt(len(levels))))
    missing = -len(levels) % columns
    filled = torch.cat([levels, torch.zeros_like(levels[:1]).expand(missing, -1, -1, -1)])
    sheet: Tensor = filled.unflatten(0, (-1, columns)).transpose(1, 2).flatten(2, 3).flatten(0, 1)
    return sheet


def _write(model: Network, levels: Tensor, name: str) -> str:
    """Write a picture [H, W, C] as PNG, enlarged, and inverted again if it was on reading; returns its path."""
    values = levels.float().cpu().numpy() * (255 / (model.shape.levels - 1))
    values = np.round(255 - values if model.asked.invert else values).astype(np.uint8)
    times = max(1, SIDE // max(values.shape[:2]))
    large = values.repeat(times, 0).repeat(times, 1)
    image = Image.fromarray(large[..., 0] if large.shape[2] == 1 else large)
    path = model.asked.folder / name
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_file(path) as file:
        image.save(file, "png")
    return str(path)


def _device(model: Network) -> torch.device:
    return next(model.parameters()).device
