import pytest
import torch

from unroll.apps.video.data import Batch
from unroll.apps.video.forecasting import Forecaster
from unroll.apps.video.train import step
from unroll.recurrence import state


def forecaster(cell="convgru", channels=1, **options):
    torch.manual_seed(0)
    return Forecaster(channels=channels, size=8, context=3, horizon=4, cell=cell, hidden=6, **options).eval()


def clips(*shape):
    return torch.rand(shape, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("cell", ["convlstm", "convgru"])
@pytest.mark.parametrize("channels", [1, 3])
@torch.no_grad()
def test_frames_in_pieces_are_the_whole(cell, channels):
    model, frames = forecaster(cell, channels), clips(6, 2, channels, 8, 8)
    whole, after = model(frames, 4)
    assert whole.shape == (9, 2, channels, 8, 8)
    first, carried = model(frames[:2], 1)
    rest, again = model(frames[2:], 4, carried)
    assert torch.allclose(torch.cat([first, rest]), whole, atol=1e-6)
    assert all(torch.allclose(a, b, atol=1e-6) for a, b in zip(state.tensors(after), state.tensors(again), strict=True))
    chosen, _ = model(frames[2:, [1]], 4, state.select(carried, torch.tensor([1])))
    assert torch.allclose(chosen, rest[:, [1]], atol=1e-6)


@torch.no_grad()
def test_what_is_predicted_is_read_next():
    model, frames = forecaster(), clips(3, 2, 1, 8, 8)
    predicted, _ = model(frames, 3)
    longer, _ = model(torch.cat([frames, predicted[2:4]]), 1)
    assert torch.allclose(longer[-1], predicted[-1], atol=1e-5)


@pytest.mark.parametrize(("y", "x"), [(0, 0), (1, -2), (-2, 2)])
@torch.no_grad()
def test_filters_move_pixels_by_up_to_their_reach(y, x):
    model, frames = forecaster(), clips(3, 2, 1, 8, 8)
    last = model.write[0]
    last.weight.zero_()
    last.bias.zero_()
    last.bias[((2 - y) * 5 + 2 - x) * 4 :][:4] = 50.0  # all weight on the pixel that lies (-y, -x) from each
    predicted, _ = model(frames, 1)
    inside = (slice(None), slice(None), slice(None), slice(2, 6), slice(2, 6))
    assert torch.allclose(predicted[inside], frames.roll((y, x), (-2, -1))[inside], atol=1e-6)


def test_a_fresh_forecaster_copies_and_every_weight_gets_a_gradient():
    model, frames = forecaster(), clips(7, 2, 1, 8, 8)
    predicted, _ = model(frames[:3], 4)
    assert ((predicted[0] - frames[0]) ** 2).mean() < ((frames[0] - frames[0].mean()) ** 2).mean()
    batch = Batch(frames, torch.tensor([7, 7]), torch.zeros(2), [])
    step(model.train(), batch).loss.backward()
    assert all(parameter.grad is not None and parameter.grad.any() for parameter in model.parameters())


def test_the_loss_is_that_of_all_predictions():
    model, frames = forecaster(), clips(7, 2, 1, 8, 8)
    batch = Batch(frames, torch.tensor([7, 7]), torch.zeros(2), [])
    predicted, _ = model(frames[:3], 4)
    assert torch.allclose(step(model, batch).loss, (predicted - frames[1:]).square().mean())
    losses = {round(step(model.train(), batch).loss.item(), 9) for _ in range(30)}
    assert len(losses) == 4  # 3, 4, 5 or 6 frames are seen


@pytest.mark.parametrize(("raised", "wanted"), [(9.0, 1.0), (-9.0, 0.0)])
@torch.no_grad()
def test_what_is_predicted_is_a_picture(raised, wanted):
    """From black to white, whatever the network says."""

    class Overdone(Forecaster):
        def forward(self, frames, horizon, state=None):
            return frames.new_full((len(frames) - 1 + horizon, *frames.shape[1:]), raised), None

    model = Overdone(channels=1, size=4, context=2, horizon=3, hidden=2)
    assert torch.equal(model.predict(torch.rand(5, 1, 1, 4, 4)), torch.full((3, 1, 1, 4, 4), wanted))
