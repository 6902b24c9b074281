"""Metrics, the trainer, the application from its settings to its pictures."""

import io
import os
import sys
from pathlib import Path

import pytest
import torch

from tests.apps.quality import train_and_test
from unroll.apps.translation import APP, train
from unroll.apps.translation.config import PRESETS, TranslationConfig
from unroll.apps.translation.decode import translate
from unroll.apps.translation.figures import _shown, figures, scores
from unroll.apps.translation.metrics import measure, sentence_scores
from unroll.apps.translation.options import Decoding
from unroll.apps.translation.sources import own
from unroll.errors import UserError

REFERENCES = ["ein Mann geht über die Straße .", "zwei Hunde spielen im Schnee", "drei Kinder lachen laut auf"]


def test_perfect_translations():
    metrics, signature = measure(REFERENCES, REFERENCES, "de")
    assert metrics["bleu"] == pytest.approx(100) and metrics["chrf"] == pytest.approx(100)
    assert metrics["nltk_bleu"] == pytest.approx(100)
    assert metrics["length_ratio"] == 1
    assert "tok:13a" in signature and "case:mixed" in signature and "chrf" in signature


def test_what_goes_wrong_is_counted():
    rows = [{"id": "", "source": a, "target": b} for a, b in zip(["x", "zwei Hunde", "y"], REFERENCES, strict=True)]
    predictions = ["", "zwei Hunde", REFERENCES[2]]
    records = [train._record(row, prediction, 0.0) for row, prediction in zip(rows, predictions, strict=True)]
    shares = {name: mean.of(records) for name, mean in train.MEANS.items()}
    assert shares == dict.fromkeys(("exact_match", "copied", "empty"), pytest.approx(1 / 3))
    metrics, _ = measure(REFERENCES, ["", "zwei Hunde", "drei Kinder lachen laut auf"], "de")
    assert metrics["length_ratio"] == pytest.approx(7 / 17)


def test_bleu_of_sacrebleu_and_nltk_agree_on_the_same_tokens():
    predictions = ["ein Mann geht auf der Straße .", "zwei Hunde spielen im Gras", "drei Kinder lachen laut"]
    metrics, _ = measure(REFERENCES, predictions, "de")
    assert 0 < metrics["bleu"] < 100
    assert metrics["nltk_bleu"] == pytest.approx(metrics["bleu"], abs=0.01)


@pytest.mark.parametrize(("language", "tokeniser"), [("zh", "zh"), ("zh_Hant", "zh"), ("ja", "char"), ("pt_BR", "13a")])
def test_scripts_without_spaces_have_words_too(language, tokeniser):
    metrics, signature = measure(["两个人在街上走"], ["两个人在路上走"], language)
    assert f"tok:{tokeniser}" in signature
    assert (metrics["bleu"] > 1) == (tokeniser != "13a")


def test_short_sentences_cost_only_nltk():
    metrics, _ = measure([REFERENCES[0], "zwei Hunde"], [REFERENCES[0], "zwei Hunde"], "de")
    assert metrics["bleu"] == pytest.approx(100) and metrics["nltk_bleu"] < 99


def test_nothing_in_common_is_zero_without_a_warning():
    metrics, _ = measure(["aaa bbb"], [""], "de")
    assert metrics["bleu"] == 0 and metrics["length_ratio"] == 0
    assert sentence_scores(["aaa"], ["aaa"]) == [pytest.approx(100)]


def test_a_step_counts_the_target_tokens(make, loaders):
    batch = next(iter(loaders.train))
    step = train.step(make().train(), batch)
    assert step.size == sum(len(record["target"].split()) + 1 for record in batch.records)
    assert step.loss.isfinite() and step.state is None


def test_evaluation_is_free_running_and_its_records_are_the_predictions(make, loaders):
    model = make()
    report = train.evaluate(model, loaders.test)
    [record] = report.records
    assert record["prediction"] == translate(model, [record["source"]])[0][0][0]
    assert next(iter(report.metrics)) == "bleu" and "decode:beam5" in report.signature
    assert "decode:beam1" in train.evaluate(model, loaders.val).signature


def test_predictions_are_lines_or_lists(make):
    model = make()
    lines = APP.predict(model, ["one two", "", "four"])
    assert lines[1] == "" and all(isinstance(line, str) for line in lines)
    model.decoding = Decoding(n_best=2)
    several = APP.predict(model, ["one two", ""])
    assert [len(texts) for texts in several] == [2, 0]
    assert several[0][0]["text"] == lines[0] and several[0][0]["score"] >= several[0][1]["score"]


def test_a_model_learns_to_translate_what_it_has_seen(make, loaders):
    model = make(hidden=24, embedding=24)
    torch.manual_seed(0)
    for module in (model.embed_source, model.embed_target):
        torch.nn.init.uniform_(module.weight, -0.1, 0.1)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    for _ in range(40):
        for batch in loaders.train:
            optimizer.zero_grad()
            train.step(model.train(), batch).loss.backward()
            optimizer.step()
    assert APP.predict(model.eval(), ["three four", "two two"]) == ["drei vier", "zwei zwei"]


def test_pictures_and_forced_scores(make, loaders, tmp_path, monkeypatch):
    monkeypatch.setattr(sys.modules["unroll.apps.translation.figures"], "LENGTHS", (1, 24))
    model = make()
    report = train.evaluate(model, loaders.test)
    drawn = figures(model, loaders.test, report)
    assert set(drawn) <= {"attention-1"}
    path = tmp_path / "pairs.tsv"
    path.write_text("one two\teins zwei\nfour\tvier\n", encoding="utf-8")
    rows, pictures = scores(model, path)
    assert [row["line"] for row in rows] == [1, 2] and rows[0]["tokens"] == 3
    assert rows[0]["per_token"] == pytest.approx(rows[0]["log_prob"] / 3, abs=1e-3)
    axes = pictures["attention-1"].axes[0]
    assert [label.get_text() for label in axes.get_xticklabels()] == ["one", "two"]
    assert [label.get_text() for label in axes.get_yticklabels()] == ["eins", "zwei", "(end)"]
    path.write_text("one two\n", encoding="utf-8")
    with pytest.raises(UserError, match="row 1 has 1 value for 2 columns"):
        scores(model, path)


def test_labels_that_the_font_lacks_are_boxes():
    assert _shown(" ab", "DejaVu Sans") == "ab"
    assert _shown(" ", "DejaVu Sans") == "␣"
    assert _shown("街a", "DejaVu Sans") == "□a"


def test_lines_from_standard_input(monkeypatch):
    class Input:
        def __init__(self):
            self.buffer = io.BytesIO("eins\n\nzwei\u2028drei\r\n".encode())

    for read in (own.read_lines, APP.read):
        monkeypatch.setattr(sys, "stdin", Input())
        assert read(Path("-")) == ["eins", "", "zwei\u2028drei"]


def test_the_score_goes_by_the_data():
    assert APP.with_score_for(PRESETS["default"]).score.name == "exact_match"
    assert APP.with_score_for(PRESETS["multi30k"]).score.name == "bleu"


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        (["data.target_locale=fr"], ["en to fr", "translates en to de"]),
        (["data.source_locale=enn"], ["data.source_locale=enn"]),
    ],
)
def test_a_model_that_is_not_what_was_asked_for(loaders, settings, words):
    config = TranslationConfig().override(settings)
    with pytest.raises(UserError) as caught:
        APP.model(config, loaders.facts)
    for word in words:
        assert word in str(caught.value)


def test_settings_that_do_not_fit_each_other():
    with pytest.raises(UserError, match=r"data\.joint=true"):
        TranslationConfig().override(["model.tied=all"])


def test_settings_reach_the_model(loaders):
    config = TranslationConfig().override(
        ["decode.sample=true", "decode.temperature=0.5", "train.smoothing=0.2", "model.attention=dot"]
    )
    model = APP.model(config, loaders.facts)
    assert model.decoding.sampling.temperature == 0.5 and model.smoothing == 0.2
    assert type(model.attention).__name__ == "Dot" and model.headline == "exact_match"


@pytest.mark.slow
def test_builtin_on_unseen_combinations(tmp_path):
    _, report = train_and_test(APP, tmp_path, "default")
    assert report.metrics["exact_match"] >= 0.97


@pytest.mark.slow
@pytest.mark.skipif(
    not (Path(os.environ.get("UNROLL_MIRROR", "")) / "multi30k").is_dir(),
    reason="UNROLL_MIRROR does not name a folder with multi30k/",
)
def test_multi30k_english_to_german(tmp_path):
    _, report = train_and_test(APP, tmp_path, "multi30k")
    assert report.metrics["bleu"] >= 33
