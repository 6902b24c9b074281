import math

import pytest
import torch

from unroll.apps.video import metrics


def frames(seed, *shape):
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed))


def slow_ssim(x, y, width):
    """Wang et al. 2004, equations 13 to 16, place by place, for one map."""
    weights = [
        [math.exp(-((i - width // 2) ** 2 + (j - width // 2) ** 2) / 4.5) for j in range(width)] for i in range(width)
    ]
    total = sum(map(sum, weights))
    values = []
    for top in range(len(x) - width + 1):
        for left in range(len(x[0]) - width + 1):
            cells = [
                (weights[i][j] / total, x[top + i][left + j], y[top + i][left + j])
                for i in range(width)
                for j in range(width)
            ]
            mx, my = sum(w * a for w, a, _ in cells), sum(w * b for w, _, b in cells)
            vx, vy = sum(w * (a - mx) ** 2 for w, a, _ in cells), sum(w * (b - my) ** 2 for w, _, b in cells)
            cov = sum(w * (a - mx) * (b - my) for w, a, b in cells)
            c1, c2 = 1e-4, 9e-4
            values.append((2 * mx * my + c1) * (2 * cov + c2) / ((mx**2 + my**2 + c1) * (vx + vy + c2)))
    return sum(values) / len(values)


@pytest.mark.parametrize(("height", "width", "window"), [(16, 14, 11), (8, 10, 7), (9, 9, 9)])
def test_ssim_is_the_papers(height, width, window):
    x = frames(0, 2, 3, 1, height, width)
    y = (0.7 * x + 0.3 * frames(1, 2, 3, 1, height, width)).clamp(0, 1)
    got = metrics.ssim(x, y)
    assert got.shape == (2, 3)
    for i in range(2):
        for j in range(3):
            assert float(got[i, j]) == pytest.approx(
                slow_ssim(x[i, j, 0].tolist(), y[i, j, 0].tolist(), window), abs=1e-6
            )


def test_ssim_of_colours_is_their_mean_and_of_equal_frames_one():
    x, y = frames(0, 4, 3, 12, 12), frames(1, 4, 3, 12, 12)
    channels = torch.stack([metrics.ssim(x[:, [c]], y[:, [c]]) for c in range(3)])
    assert torch.allclose(metrics.ssim(x, y), channels.mean(0), atol=1e-6)
    assert torch.allclose(metrics.ssim(x, x), torch.ones(4))
    assert torch.allclose(metrics.ssim(x, y), metrics.ssim(y, x))
    flat = torch.zeros(1, 1, 12, 12)
    assert metrics.ssim(flat, flat + 1e-4).isfinite().all()


def test_mse_and_psnr():
    true = torch.zeros(2, 1, 4, 4)
    predicted = true.clone()
    predicted[0, 0, 0, 0] = 0.4
    assert torch.allclose(metrics.mse(predicted, true), torch.tensor([0.01, 0.0]))
    assert torch.allclose(metrics.psnr(predicted, true), torch.tensor([20.0, metrics.LOUDEST]))


def test_totals_are_means_over_all_frames_of_all_clips():
    true = torch.rand(3, 5, 1, 12, 12)
    predicted = (true + 0.1 * torch.rand(3, 5, 1, 12, 12)).clamp(0, 1)
    parts = [metrics.errors(predicted[:, :2], true[:, :2]), metrics.errors(predicted[:, 2:], true[:, 2:])]
    found = metrics.totals(parts)
    assert found["mse"] == pytest.approx(float((predicted - true).square().mean()), rel=1e-5)
    assert found["mse@2"] == pytest.approx(float((predicted - true)[1].square().mean()), rel=1e-5)
    assert found["psnr"] == pytest.approx(sum(found[f"psnr@{h}"] for h in (1, 2, 3)) / 3)
    assert list(found)[:4] == ["mse", "ssim", "psnr", "mse@1"]
