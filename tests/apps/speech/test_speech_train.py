import json

import pytest
import torch
from matplotlib.figure import Figure

from unroll.app import Mean
from unroll.apps.speech import APP, train
from unroll.apps.speech.figures import confusion, figures
from unroll.apps.speech.model import Recogniser
from unroll.errors import UserError
from unroll.sequence.text import Vocabulary

from .conftest import CONFIG


def test_a_step_learns(model, made):
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    losses = []
    for _ in range(40):
        for batch in made.train:
            step = train.step(model, batch)
            optimizer.zero_grad()
            step.loss.backward()
            optimizer.step()
            losses.append(step.loss.item())
    assert step.size == pytest.approx(batch.lengths.sum() / 100)
    assert step.state is None
    assert losses[-1] < losses[0] / 4


def test_the_loss_is_per_symbol(model, made):
    model.eval()
    (batch,) = made.train
    log_probs, lengths, _ = model(batch.features, batch.lengths)
    each = torch.nn.functional.ctc_loss(log_probs, batch.targets, lengths, batch.target_lengths, reduction="none")
    torch.testing.assert_close(train.step(model, batch).loss, each.sum() / batch.target_lengths.sum())


def test_evaluate_reports_rates_and_every_record(model, made, monkeypatch):
    said = {"u10": "two", "u11": "three tow two"}
    batches = list(made.test)
    order = [record["id"] for batch in batches for record in batch.records]
    spoken = iter(order)
    monkeypatch.setattr(model, "decode", lambda _, lengths: [said[next(spoken)] for _ in lengths])
    report = train.evaluate(model.eval(), batches)
    assert list(report.metrics) == ["wer", "cer"]
    assert report.metrics["wer"] == pytest.approx(1 / 4)
    assert report.metrics["cer"] == pytest.approx(3 / 16)
    by_id = {row["id"]: row for row in report.records}
    assert by_id["u11"] | {"seconds": 0} == {
        "id": "u11", "reference": "three one two", "prediction": "three tow two", "score": 1, "words": 3,
        "character_errors": 3, "characters": 13, "speaker": "nobody", "group": "nobody", "seconds": 0,
    }  # fmt: skip
    assert by_id["u10"]["score"] == 0
    assert report.means == {"wer": Mean("score", "words"), "cer": Mean("character_errors", "characters")}
    assert report.signature == "wer|case:kept|decode:beam3+lexicon|jiwer:4.0.0"
    json.dumps(report.records)


def test_evaluating_text_that_the_model_cannot_write(model, made):
    model.vocabulary = Vocabulary.fit(["one two"], reserved=["<blank>"])
    with pytest.raises(UserError, match="u11: the character 'h' of its text 'three one two' is not among the 6"):
        train.evaluate(model, made.test)


def test_an_unknown_cell_is_named(made):
    with pytest.raises(UserError, match=r"model.cell=gur: .*did you mean .*gru"):
        APP.network(CONFIG.override(["model.cell=gur"]), made.facts)


@pytest.mark.parametrize("units", ["characters", "words"])
def test_pictures(prepared, batches, units):
    made = batches(prepared, units=units)
    model: Recogniser = APP.model(CONFIG, made.facts).eval()
    with torch.no_grad():
        report = train.evaluate(model, made.test)
    pictures = figures(model, made.test, report)
    assert set(pictures) == {"confusion", "alignment"}
    for picture in pictures.values():
        assert isinstance(picture, Figure)
        picture.canvas.draw()
    words = [text.get_text() for text in pictures["alignment"].axes[0].texts]
    assert words == ["three", "one", "two"]


def test_the_confusion_picture_counts():
    rows = [{"id": str(i), "text": "", "speaker": "", "seconds": 1.0} for i in range(3)]
    report = train.report(["one two", "two", "one"], ["one one", "", "one two"], rows, "greedy")
    axes = confusion(report).axes[0]
    assert [label.get_text() for label in axes.get_yticklabels()] == ["one", "two", "(nothing)"]
    counts = {tuple(map(int, text.get_position()[::-1])): text.get_text() for text in axes.texts}
    assert counts == {(0, 0): "2", (1, 0): "1", (1, 2): "1", (2, 1): "1"}
