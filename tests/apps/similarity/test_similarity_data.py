import gzip
import json

import pytest
import torch

from tests.apps.similarity.conftest import ROWS, prepared
from unroll.apps.similarity import APP
from unroll.apps.similarity.sources import ENTAILMENT, UNLABELLED
from unroll.errors import UserError
from unroll.training.evaluation import evaluate


def test_both_sides_of_a_batch_and_its_targets(tmp_path):
    _, data = prepared(tmp_path)
    (batch,) = data.train
    by_id = {record["id"]: row for row, record in enumerate(batch.records)}
    assert batch.tokens.shape == (5, 6) and batch.lengths.tolist()[by_id["row 3"]] == 1
    assert batch.scores[by_id["row 2"]] == 0.75 and batch.scores[by_id["row 3"]] == 0
    assert batch.labels[by_id["row 4"]] == ENTAILMENT.index("ENTAILMENT") and batch.labels[by_id["row 3"]] == UNLABELLED
    symbols = data.facts["tokeniser"]["symbols"]
    first, second = (batch.tokens[:, by_id["row 4"] + 3 * side] for side in (0, 1))
    assert [symbols[i] for i in first[:2]] == ["one", "man"] and [symbols[i] for i in second[:2]] == ["two", "men"]


@pytest.mark.parametrize("units", ["characters", "words", "pieces"])
def test_every_unit_is_learnt_from_and_unlabelled_batches_have_a_finite_loss(tmp_path, units):
    if units == "pieces":
        pytest.importorskip("tokenizers", reason="data.units=pieces needs the library tokenizers")
    rows = [(split, a, b, score, "") for split, a, b, score, _ in ROWS]
    config, data = prepared(tmp_path, f"data.units={units}", "train.entailment=1", rows=rows)
    model = APP.model(config, data.facts)
    step = APP.step(model, next(iter(data.train)), None)
    assert torch.isfinite(step.loss) and step.size == 3
    report = evaluate(APP, model, data.test)
    assert "entailment_accuracy" not in report.metrics and 1 <= report.records[0]["prediction"] <= 5


def test_the_entailment_is_judged_where_it_is_known(tmp_path):
    config, data = prepared(tmp_path, "train.entailment=0.5")
    report = evaluate(APP, APP.model(config, data.facts), data.test)
    (record,) = report.records
    assert report.metrics["entailment_accuracy"] == float(record["predicted_label"] == "CONTRADICTION")
    assert {"id", "reference", "prediction", "score"} <= record.keys()


def test_word_vectors_are_where_the_model_starts_and_known_in_the_other_splits(tmp_path):
    vectors = tmp_path / "glove.gz"
    vectors.write_bytes(gzip.compress(b"man 1 2 3\nzebra 4 5 6\nunicorn 7 8 9\n"))
    config, data = prepared(tmp_path, f"data.vectors={vectors}")
    symbols = data.facts["tokeniser"]["symbols"]
    weight = APP.model(config, data.facts).encoder.embedding.weight
    assert weight.shape == (len(symbols), 3)
    assert weight[symbols.index("man")].tolist() == [1, 2, 3]
    assert weight[symbols.index("zebra")].tolist() == [4, 5, 6]
    assert "unicorn" not in symbols
    # A saved model is rebuilt on a machine without the prepared set; its weights come from the model's own file.
    elsewhere = json.loads(json.dumps(data.facts))
    elsewhere["vectors"]["folder"] = "/not/here"
    assert APP.model(config, elsewhere).encoder.embedding.weight.shape == weight.shape


def test_the_range_of_scores_must_be_one():
    with pytest.raises(UserError, match=r"data.low=5 must be smaller than data.high=1"):
        APP.config("smoke", ["data.low=5"])
