import pytest
import torch

from unroll.apps.video.data import Batch, collate
from unroll.apps.video.model import Classifier, Forecaster, watch
from unroll.apps.video.train import step
from unroll.recurrence import CELLS, state

VECTOR_CELLS = [name for name in CELLS if not getattr(CELLS[name], "extent_dims", 0)]
MAP_CELLS = ["convlstm", "convgru"]


def classifier(cell="gru", **options):
    torch.manual_seed(0)
    return Classifier(["a", "b", "c"], channels=1, size=16, width=4, cell=cell, hidden=6, **options).eval()


def forecaster(cell="convgru", channels=1, **options):
    torch.manual_seed(0)
    return Forecaster(channels=channels, size=8, context=3, horizon=4, cell=cell, hidden=6, **options).eval()


def clips(*shape):
    return torch.rand(shape, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("cell", VECTOR_CELLS)
@torch.no_grad()
def test_frame_by_frame_is_the_whole_clip(cell):
    model, frames = classifier(cell, layers=2), clips(9, 1, 1, 16, 16)
    whole, _ = model(frames, torch.tensor([9]))
    watched = torch.stack(list(watch(model, frames[:, 0])))
    assert torch.allclose(watched, whole[:, 0].softmax(-1), atol=1e-6)
    first, carried = model(frames[:4])
    rest, _ = model(frames[4:], state=carried)
    assert torch.allclose(torch.cat([first, rest]), whole, atol=1e-6)


@torch.no_grad()
def test_watching_costs_the_same_for_each_frame(monkeypatch):
    model, calls = classifier(), []
    forward = Classifier.forward
    monkeypatch.setattr(
        Classifier,
        "forward",
        lambda self, frames, lengths=None, state=None: (
            calls.append((frames.shape, state)) or forward(self, frames, lengths, state)
        ),
    )
    list(watch(model, clips(7, 1, 16, 16)))
    assert [shape for shape, _ in calls] == [(1, 1, 1, 16, 16)] * 7
    sizes = {sum(tensor.numel() for tensor in state.tensors(carried)) for _, carried in calls[1:]}
    assert sizes == {6}


@torch.no_grad()
def test_watching_reads_a_frame_only_when_it_is_asked_for():
    read = []

    def frames():
        for number in range(5):
            read.append(number)
            yield clips(1, 16, 16)

    answers = watch(classifier(), frames())
    next(answers)
    assert read == [0]


@torch.no_grad()
def test_a_clip_alone_is_that_clip_in_a_batch():
    model, frames = classifier(), clips(9, 3, 1, 16, 16)
    lengths = torch.tensor([9, 4, 6])
    together, _ = model(frames, lengths)
    for row, length in enumerate(lengths.tolist()):
        alone, _ = model(frames[:length, [row]], lengths[[row]])
        assert torch.allclose(together[:length, row], alone[:, 0], atol=1e-6)


def test_only_answers_from_the_middle_on_count_and_padding_never():
    model = classifier()
    items = [({"id": str(n), "label": ""}, (255 * clips(n, 1, 16, 16)).byte(), n % 3) for n in (4, 7)]
    batch = collate(items)
    wanted, _ = model(batch.frames, batch.lengths)
    values = [
        -wanted[t, row].log_softmax(-1)[label] for row, n, label in ((0, 4, 1), (1, 7, 1)) for t in range(n // 2, n)
    ]
    assert torch.allclose(step(model, batch).loss, torch.stack(values).mean())
    assert step(model, batch).size == 11


@pytest.mark.parametrize("cell", MAP_CELLS)
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
