import pytest
import torch

from unroll.apps.video.classification import Classifier, watch
from unroll.apps.video.data import collate
from unroll.apps.video.train import step
from unroll.recurrence import CELLS, state

VECTOR_CELLS = [name for name in CELLS if not getattr(CELLS[name], "extent_dims", 0)]


def classifier(cell="gru", **options):
    torch.manual_seed(0)
    return Classifier(["a", "b", "c"], channels=1, size=16, width=4, cell=cell, hidden=6, **options).eval()


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
    record = {"id": "", "label": "", "clip": "", "class": 1}
    batch = collate([(record, (255 * clips(n, 1, 16, 16)).byte().numpy()) for n in (4, 7)])
    wanted, _ = model(batch.frames, batch.lengths)
    values = [
        -wanted[t, row].log_softmax(-1)[label] for row, n, label in ((0, 4, 1), (1, 7, 1)) for t in range(n // 2, n)
    ]
    assert torch.allclose(step(model, batch).loss, torch.stack(values).mean())
    assert step(model, batch).size == 11
