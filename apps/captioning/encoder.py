"""From a picture to its annotations: a grid of feature vectors, one for each place."""

import importlib
from pathlib import Path
from typing import Any, Protocol

import torch
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn import functional as F

from unroll.errors import UserError

WAVES = 4
"""cosines along each side that encode where a place is"""
WEIGHTS = "backbone.safetensors"
"""a backbone's published weights in a prepared set"""


class Encoder(Protocol):
    """What a decoder needs to know about an encoder."""

    features: int
    """D, of each place"""

    def __call__(self, pictures: Tensor) -> Tensor:
        """Pictures uint8 [B, H, W, 3] -> annotations [S, B, D], row by row from the top left."""


class ResidualCNN(nn.Module):
    """A small residual network (He et al. 2016), trained from scratch; its annotations also encode their place.

    Args:
        width: channels of the first layer.
        stages: each halves the sides and doubles the channels; the first layer halves them as well.
    """

    def __init__(self, width: int, stages: int) -> None:
        super().__init__()
        self.first = nn.Sequential(_convolution(3, width, stride=2, side=5), nn.ReLU())
        self.stages = nn.Sequential(*(_Block(width << stage, width << (stage + 1)) for stage in range(stages)))
        self.features = (width << stages) + 2 * WAVES

    def forward(self, pictures: Tensor) -> Tensor:
        # [B, H, W, 3] seen as [B, 3, H, W] is channels-last already, which the CPU's convolutions prefer.
        x = pictures.permute(0, 3, 1, 2).to(next(self.first.parameters()).dtype) / 127.5 - 1
        maps = self.stages(self.first(x))
        # Convolutions do not know where they are, but the decoder has to find places and name them.
        return _annotations(torch.cat((maps, _places(maps)), 1))


class Backbone(nn.Module):
    """Any convolutional network or vision transformer of the package timm, by name.

    Args:
        name: as timm lists it.
        pretrained: fetch its published weights.

    Raises:
        UserError: timm is not installed, does not know the name, or cannot fetch the weights.
    """

    def __init__(self, name: str, *, pretrained: bool = False) -> None:
        super().__init__()
        try:
            timm = importlib.import_module("timm")
        except ImportError as error:
            raise UserError(f"model.backbone={name} needs timm: pip install 'unroll[backbones]'") from error
        try:
            self.network = timm.create_model(name, pretrained=pretrained, num_classes=0)
        except Exception as error:  # timm, torch hub and the network raise errors of many kinds
            reason = str(error).splitlines()[0] if str(error) else type(error).__name__
            raise UserError(f"model.backbone={name}: timm cannot make it ({reason}); see timm.list_models()") from error
        self.features: int = self.network.num_features
        known: dict[str, Any] = getattr(self.network, "pretrained_cfg", {})
        for kind, value in (("mean", (0.485, 0.456, 0.406)), ("std", (0.229, 0.224, 0.225))):
            self.register_buffer(kind, torch.tensor(known.get(kind, value))[:, None, None], persistent=False)
        self.mean: Tensor
        self.std: Tensor

    def forward(self, pictures: Tensor) -> Tensor:
        x = (pictures.permute(0, 3, 1, 2) / 255 - self.mean) / self.std
        x = self.network.forward_features(x)
        # Transformers give [B, N, D] with the class tokens first, which have no place.
        return x[:, getattr(self.network, "num_prefix_tokens", 0) :].transpose(0, 1) if x.ndim == 3 else _annotations(x)


def pretrained(name: str, weights: Path | None) -> Backbone:
    """A backbone with the weights in this folder, see `unroll.apps.captioning.annotations.backbone`.

    Elsewhere than where the data were prepared they are not found: a saved model brings its own.
    """
    encoder = Backbone(name)
    if weights is not None and (weights / WEIGHTS).is_file():
        encoder.load_state_dict(load_file(weights / WEIGHTS))
    return encoder


class _Block(nn.Module):
    """Two convolutions and a shortcut, at half the resolution."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.first, self.second = _convolution(inputs, outputs, stride=2), _convolution(outputs, outputs)
        self.short = _convolution(inputs, outputs, stride=2, side=1)

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.second(F.relu(self.first(x))) + self.short(x))


def _convolution(inputs: int, outputs: int, *, stride: int = 1, side: int = 3) -> nn.Sequential:
    layer = nn.Conv2d(inputs, outputs, side, stride, padding=side // 2, bias=False)
    nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
    return nn.Sequential(layer, nn.BatchNorm2d(outputs))


def _places(maps: Tensor) -> Tensor:
    """Where each place is, as WAVES cosines along each side: [B, 2 x WAVES, h, w]."""
    waves = torch.arange(1, WAVES + 1, dtype=maps.dtype, device=maps.device) * torch.pi
    down, across = (
        torch.cos(waves[:, None] * (torch.arange(size, device=maps.device) + 0.5) / size) for size in maps.shape[2:]
    )
    grid = torch.cat((down[:, :, None].expand(-1, -1, maps.shape[3]), across[:, None].expand(-1, maps.shape[2], -1)))
    return grid.expand(len(maps), -1, -1, -1)


def _annotations(maps: Tensor) -> Tensor:
    """[B, D, h, w] -> [h x w, B, D]."""
    return maps.flatten(2).permute(2, 0, 1)
