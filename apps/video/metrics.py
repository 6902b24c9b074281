"""Errors of predicted frames: squared error, peak signal-to-noise ratio, structural similarity.

Frames are [..., C, Y, X] with values from 0 to 1; each function returns one number per frame, [...].
"""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

DEVIATION, WINDOW = 1.5, 11
"""standard deviation and width, in pixels, of the Gaussian window of SSIM (Wang et al. 2004, section III.C)"""
STABLE = (0.01**2, 0.03**2)
"""(K1 L)^2 and (K2 L)^2 in the same paper, for values up to L = 1"""
LOUDEST = 100.0
"""PSNR of frames without any error, in dB"""
SIGNATURE = f"mse|psnr|ssim:wang2004,gaussian{WINDOW}|values:0-1"
Errors = dict[str, Tensor]
"""by name of the measure: the error of each predicted frame of each clip, [horizon, N]"""


def mse(predicted: Tensor, true: Tensor) -> Tensor:
    """Mean squared error over pixels and channels; multiplied by their number, the error per frame in papers."""
    return (predicted - true).square().mean((-3, -2, -1))


def psnr(predicted: Tensor, true: Tensor) -> Tensor:
    """Peak signal-to-noise ratio in dB: -10 log10(mse), at most LOUDEST."""
    return -10 * mse(predicted, true).clamp(min=10 ** (-LOUDEST / 10)).log10()


def ssim(predicted: Tensor, true: Tensor) -> Tensor:
    """Structural similarity, 1 for equal frames (Wang et al. 2004, "Image quality assessment", equation 13).

    Means, variances and covariance are taken under a Gaussian window of 11 x 11 pixels (in smaller frames, of the
    largest odd width that fits); the result is averaged over channels and all positions of the window in the frame.
    """
    x, y = (frames.reshape(-1, 1, *frames.shape[-2:]).double() for frames in (predicted, true))
    window = _window(min(WINDOW, *((side - 1) // 2 * 2 + 1 for side in x.shape[-2:]))).to(x)
    mean_x, mean_y, xx, yy, xy = (_smoothed(maps, window) for maps in (x, y, x * x, y * y, x * y))
    variance_x, variance_y, covariance = xx - mean_x**2, yy - mean_y**2, xy - mean_x * mean_y
    luminance = (2 * mean_x * mean_y + STABLE[0]) / (mean_x**2 + mean_y**2 + STABLE[0])
    structure = (2 * covariance + STABLE[1]) / (variance_x + variance_y + STABLE[1])
    values = (luminance * structure).mean((-2, -1))
    return values.view(predicted.shape[:-2]).mean(-1).to(predicted.dtype)


def _window(width: int) -> Tensor:
    places = torch.arange(width) - width // 2
    weights = torch.exp(-places.double().square() / (2 * DEVIATION**2))
    return weights / weights.sum()


def _smoothed(maps: Tensor, window: Tensor) -> Tensor:
    """Convolved with the window, without padding: [N, 1, Y, X] -> [N, 1, Y - width + 1, X - width + 1]."""
    return F.conv2d(F.conv2d(maps, window.view(1, 1, -1, 1)), window.view(1, 1, 1, -1))


MEASURES = {"mse": mse, "ssim": ssim, "psnr": psnr}


def errors(predicted: Tensor, true: Tensor) -> Errors:
    """The errors of each predicted frame; both are [horizon, B, C, Y, X]."""
    return {name: measure(predicted, true) for name, measure in MEASURES.items()}


def over_the_horizon(parts: Sequence[Errors]) -> Errors:
    """The mean over all clips at each step, [horizon]."""
    return {name: torch.cat([part[name] for part in parts], 1).mean(1) for name in MEASURES}


def totals(parts: Sequence[Errors]) -> dict[str, float]:
    """`mse`, `ssim`, `psnr` over all frames of all clips, and `mse@1` and so on at each step of the horizon."""
    steps = over_the_horizon(parts)
    means = {name: float(values.mean()) for name, values in steps.items()}
    return means | {f"{name}@{h}": float(v) for name, values in steps.items() for h, v in enumerate(values, start=1)}
