"""The network, its losses, evaluation, baselines, predictions and the online session."""

import os
import time

import numpy as np
import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from tests.apps.quality import train_and_test
from unroll.app import Report, load
from unroll.apps.recommend import results, train
from unroll.apps.recommend.baselines import baselines
from unroll.apps.recommend.catalogue import Catalogue
from unroll.apps.recommend.data import NOTHING, Batch
from unroll.apps.recommend.figures import figures
from unroll.apps.recommend.model import Recommender
from unroll.apps.recommend.objective import Objective
from unroll.apps.recommend.online import Session
from unroll.apps.recommend.options import Decoding
from unroll.apps.recommend.predict import predict
from unroll.data.arrays import write_arrays
from unroll.errors import UserError
from unroll.training.evaluation import evaluate

LOSSES = ["softmax", "sampled-softmax", "bpr-max", "top1-max"]
N = 12


def catalogue(features=0, cold=0):
    counts = np.array([N - i for i in range(N - cold)] + [0] * cold)
    names = tuple(str(100 + i) for i in range(N))
    values = np.random.default_rng(0).random((N, features)).astype(np.float32)
    return Catalogue(names, tuple(f"Title {name}" for name in names), counts, values)


def network(items=None, loss=None, decoding=None, **options):
    torch.manual_seed(0)
    items = items or catalogue()
    objective = Objective(torch.from_numpy(items.counts), **{"samples": 6, **(loss or {})})
    return Recommender(items, objective, decoding, **{"hidden": 8, **options})


def clicks(steps=6, rows=5, reset=True):
    """Rows in which item i is followed by i + 1."""
    items = (torch.arange(steps)[:, None] + torch.arange(rows)) % N
    starts = torch.zeros(steps, rows, dtype=torch.bool)
    starts[0] = True
    zeros = torch.zeros_like(items)
    names = [f"s{row}" for row in range(rows)]
    return Batch(items, zeros, (items + 1) % N, torch.full((rows,), steps), starts if reset else None, zeros, names)


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("options", [{}, {"shared": False, "layers": 2, "gaps": True, "dropout": 0.1}])
def test_every_loss_learns_the_next_item(loss, options):
    model = network(loss={"name": loss, "penalty": 0.1, "elu": 0.5}, **{"hidden": 16, **options})
    optimizer = torch.optim.Adam(model.parameters(), lr=0.02)
    batch = clicks()
    for _ in range(120):
        optimizer.zero_grad()
        train.step(model, batch).loss.backward()
        optimizer.step()
    report = evaluate(load("recommend"), model, [clicks(reset=False)])
    assert report.metrics["recall@1"] > 0.9


def test_state_is_carried_between_windows_and_not_between_whole_sessions():
    model, batch = network().eval(), clicks()
    assert train.step(model, batch._replace(reset=None)).state is None
    whole, _ = model(batch.items, batch.gaps, reset=batch.reset)
    first = Batch(*(part[:3] if isinstance(part, torch.Tensor) and part.ndim == 2 else part for part in batch))
    _, state = model(first.items, first.gaps, reset=first.reset)
    rest, _ = model(batch.items[3:], batch.gaps[3:], state, reset=batch.reset[3:])
    torch.testing.assert_close(rest, whole[3:])


def test_cold_items_live_by_their_features():
    items = catalogue(features=3, cold=2)
    model = network(items, cold=0.5).eval()
    model.output.own.data[-2:] = 1e6  # never learned, so never used
    vectors = model.output()
    torch.testing.assert_close(vectors[-2:], model.output.described(model.output.features[-2:]))
    torch.testing.assert_close(model.output(torch.tensor([3, 11])), vectors[[3, 11]])
    model.train()
    assert not torch.equal(model.output(), model.output())  # own vectors come and go


def test_shared_and_separate_vectors():
    assert network().input is None
    separate = network(shared=False)
    assert separate.input.own.shape == separate.output.own.shape
    assert {name for name, _ in separate.named_parameters() if "input" in name} == {"input.own"}


def test_report_has_every_figure_and_a_record_per_session():
    batch = clicks(reset=False)._replace(best=torch.ones(6, 5, dtype=torch.int64))
    model = network(decoding=Decoding(sampled=4)).eval()
    report = train.evaluate(model, [batch])
    for name in ("recall", "mrr", "ndcg"):
        assert [f"{name}@{k}" in report.metrics for k in (1, 5, 10, 20)] == [True] * 4
    assert list(report.metrics)[:4] == ["recall@20", "mrr@20", "ndcg@10", "share_of_optimum"]
    assert report.metrics["recall@20"] == 1.0  # twelve items
    assert report.metrics["share_of_optimum_mrr"] == report.metrics["mrr@20"]
    assert 0 < report.metrics["coverage@20"] <= 1
    sampled = [name for name in report.metrics if "sampled" in name]
    assert sampled and all(name.startswith("not_comparable/") for name in sampled)
    assert [record["id"] for record in report.records] == [f"s{row}" for row in range(5)]
    mean = np.mean([1 / rank for record in report.records for rank in record["ranks"]])
    assert mean == pytest.approx(report.metrics["mrr@20"])
    assert "ties:conservative" in report.signature


def test_figure_shows_recall_by_clicks_seen():
    record = {"ranks": [30, 3], "best_ranks": [5, 1]}
    [(name, figure)] = figures(None, [], Report({}, [record, record | {"ranks": [2]}])).items()
    network, best = figure.axes[0].lines
    assert name == "recall_by_clicks"
    assert network.get_xydata().tolist() == [[1, 0.5], [2, 1]]
    assert best.get_ydata().tolist() == [1, 1]
    assert figures(None, [], Report({}, [{"ranks": [1], "best_ranks": [0]}])) == {}


def test_ranks_follow_the_order_of_each_session():
    model = network().eval()
    together = train.evaluate(model, [clicks(reset=False)]).records
    for row in range(5):
        alone = clicks(reset=False)
        alone = Batch(*(p[:, row : row + 1] if getattr(p, "ndim", 0) == 2 else p for p in alone))
        alone = alone._replace(lengths=torch.tensor([6]), names=[f"s{row}"])
        assert train.evaluate(model, [alone]).records == [together[row]]


def test_what_was_seen_can_be_left_out():
    batch = clicks(reset=False)
    seen = results.history(batch)
    assert seen[7].tolist() == [2, 3, 3, 3, 3, 3]  # row 2 after its second click
    model = network(decoding=Decoding(exclude_seen=True)).eval()
    hidden, _ = model(batch.items)
    scores = model.scores(hidden[1, :1], torch.tensor([[4, 4, 7]]))
    assert scores.isinf().nonzero()[:, 1].tolist() == [4, 7]
    assert "seen:left out" in train.evaluate(model, [batch]).signature


class Split:
    """What baselines need of a loader."""

    def __init__(self, dataset, batches):
        self.dataset, self.batches = dataset, batches

    def __iter__(self):
        return iter(self.batches)


def test_baselines_by_hand(tmp_path):
    sessions_ = [[0, 1, 2], [0, 1, 3], [1, 0, 3], [3, 4]]
    flat = np.concatenate(sessions_).astype(np.int32)
    offsets = np.append(0, np.cumsum([len(s) for s in sessions_]))
    zeros = np.zeros(len(flat), dtype=np.int32)
    write_arrays(
        tmp_path / "train",
        {
            "items": flat,
            "gaps": zeros,
            "target": zeros > 0,
            "best": zeros,
            "offsets": offsets,
            "names": offsets[1:].astype(str),
        },
    )
    counts = np.bincount(flat, minlength=5)
    items = Catalogue(tuple("abcde"), tuple("abcde"), counts, np.zeros((5, 0), np.float32))
    zero = torch.zeros(2, 1, dtype=torch.int64)
    batch = Batch(torch.tensor([[0], [1]]), zero, torch.tensor([[NOTHING], [3]]), torch.tensor([2]), None, zero, ["s"])
    test = Split(type("Part", (), {"folder": tmp_path / "test"}), [batch])
    result = baselines(test, items)
    # After b: a, c, d once each, and a and d are the more popular; ties count against.
    assert result["markov"]["mrr@20"] == 1 / 2
    # a, b and d occur three times each: three stand before or beside d.
    assert result["popularity"]["mrr@20"] == 1 / 3
    # What was seen is no candidate; d was in two sessions with a and with b, c in one.
    assert baselines(test, items, exclude_seen=True)["item-knn"]["mrr@20"] == 1.0


@pytest.fixture(scope="module")
def trained():
    model = network(hidden=16)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.02)
    for _ in range(80):
        optimizer.zero_grad()
        train.step(model, clicks()).loss.backward()
        optimizer.step()
    return model.eval()


def test_prediction_and_its_reasons(trained):
    [output] = predict(trained, ["103,104,105"])
    assert output["history"] == ["Title 103", "Title 104", "Title 105"]
    best = output["recommended"][0]
    assert best["item"] == "106" and best["title"] == "Title 106" and 0 < best["probability"] <= 1
    assert best["because"][0]["click"] == "Title 105" and best["because"][0]["times"] > 1
    given = [{"session": "s", "history": ["103"]}, ["Title 104", 105]]
    first, second = predict(trained, given)
    assert first["session"] == "s" and first["recommended"][0]["item"] == "104"
    assert second["recommended"][0]["item"] == "106"


def test_reasons_are_differences_of_log_probability(trained):
    [whole] = predict(trained, [["103", "104", "105"]])
    [without] = predict(trained, [["103", "104"]])
    best = whole["recommended"][0]
    before = next(row for row in without["recommended"] if row["item"] == best["item"])
    times = next(reason["times"] for reason in best["because"] if reason["click"] == "Title 105")
    assert times == pytest.approx(best["probability"] / before["probability"], rel=0.02)


def test_an_online_session_is_the_same_as_the_whole_history(trained):
    session = Session(trained)
    for place, name in enumerate(["103", "104", "Title 105"], start=1):
        ranking = session.click(name)
        [whole] = predict(trained, [["103", "104", "105"][:place]])
        for online, offline in zip(ranking, whole["recommended"], strict=True):
            assert online["item"] == offline["item"]
            assert online["probability"] == pytest.approx(offline["probability"], abs=2e-6)


def test_an_online_session_is_kept_and_refused_by_another_model(trained, tmp_path):
    session = Session(trained)
    session.click("103", time=10.0)
    session.save(tmp_path / "session.safetensors")
    assert Session.load(tmp_path / "session.safetensors", trained).click("104", 20.0) == session.click("104", 20.0)
    with pytest.raises(ValueError, match="another model"):
        Session.load(tmp_path / "session.safetensors", network(hidden=16))
    before = session.click("105")
    with pytest.raises(UserError, match="none of these items is known"):
        session.click("nothing")
    again = Session(trained)
    for name in ("103", "104"):
        again.click(name, 10.0 if name == "103" else 20.0)
    assert again.click("105") == before


def test_a_click_costs_the_same_after_a_thousand(trained):
    class Numbers(TorchDispatchMode):
        """How many numbers all operations of torch make."""

        made = 0

        def __torch_dispatch__(self, func, types, args=(), kwargs=None):
            result = func(*args, **(kwargs or {}))
            self.made += sum(part.numel() for part in tree_leaves(result) if isinstance(part, torch.Tensor))
            return result

    def cost(session):
        with Numbers() as numbers:
            session.click("103")
        return numbers.made

    session = Session(trained)
    session.click("103")
    early = cost(session)
    assert early > 0
    size = sum(part.numel() for part in (*session._state, session._seen))
    for _ in range(1000):
        session.click("104")
    assert sum(part.numel() for part in (*session._state, session._seen)) == size
    assert cost(session) == early


@pytest.mark.slow
def test_the_default_reaches_95_percent_of_the_optimum(tmp_path, monkeypatch):
    began = time.process_time()
    _, report = train_and_test(load("recommend"), tmp_path, "default")
    assert report.metrics["share_of_optimum"] > 0.95
    assert time.process_time() - began < 120


@pytest.mark.slow
def test_movielens_beats_every_baseline(tmp_path):
    if not os.environ.get("UNROLL_MIRROR"):
        pytest.skip("UNROLL_MIRROR names no folder with ml-100k")
    app = load("recommend")
    data, report = train_and_test(app, tmp_path, "ml-100k")
    metrics, simple = report.metrics, app.baselines(app.config("ml-100k"), data)
    for name in ("recall@10", "ndcg@10", "recall@20", "mrr@20"):
        assert all(metrics[name] > row[name] for row in simple.values()), name
