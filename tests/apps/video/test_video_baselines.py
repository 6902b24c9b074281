import pytest
import torch

from unroll.apps.video import baselines


def blob(height, width, y, x):
    """A soft spot, [Y, X], at a place that may lie between pixels."""
    rows, columns = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    return torch.exp(-((rows - y) ** 2 + (columns - x) ** 2) / 3.0)


def moving(speeds, count, ground=0.0):
    """Frames [count, B, 1, 32, 24] of spots that move by (y, x) per frame."""
    rows = [torch.stack([blob(32, 24, 14 + t * y, 11 + t * x) for t in range(count)]) for y, x in speeds]
    return torch.stack(rows, 1)[:, :, None] + ground


def test_copying_repeats_the_last_frame():
    frames = torch.rand(3, 2, 1, 8, 8)
    copied = baselines.copy_last(frames, 4)
    assert copied.shape == (4, 2, 1, 8, 8) and all(torch.equal(frame, frames[-1]) for frame in copied)


@pytest.mark.parametrize("ground", [0.0, 0.3])
def test_linear_motion_finds_the_displacement_and_goes_on(ground):
    speeds = [(1.0, 0.0), (0.0, -1.5), (-0.6, 0.8), (0.0, 0.0), (2.0, 1.0)]
    frames = 0.6 * moving(speeds, 7) + ground
    seen = frames[:4]
    found = baselines._displacement(seen.diff(dim=0))
    assert torch.allclose(found[[0, 1, 2, 4]], torch.tensor(speeds)[[0, 1, 2, 4]], atol=0.3)
    predicted = baselines.linear_motion(seen, 3)
    errors = (predicted - frames[4:]).square().mean((0, 2, 3, 4))
    copied = (baselines.copy_last(seen, 3) - frames[4:]).square().mean((0, 2, 3, 4))
    assert (errors[[0, 1, 2, 4]] < 0.7 * copied[[0, 1, 2, 4]]).all()
    assert errors[3] < 1e-6


def test_shifting_is_exact_by_whole_pixels_and_brings_in_zeros():
    frames = torch.rand(2, 1, 6, 8)
    shifted = baselines._shifted(frames, torch.tensor([[2.0, -1.0], [0.0, 0.0]]))
    assert torch.allclose(shifted[0, :, 2:, :-1], frames[0, :, :-2, 1:], atol=1e-5)
    assert shifted[0, :, :2].abs().max() < 1e-5
    assert torch.allclose(shifted[1], frames[1], atol=1e-5)
