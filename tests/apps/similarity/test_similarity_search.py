import pytest
import torch

from tests.apps.similarity.test_similarity_model import HEADS, siamese
from unroll.apps.similarity import search
from unroll.apps.similarity.predict import predict
from unroll.apps.similarity.search import Index
from unroll.errors import UserError

SENTENCES = ["a dog runs", "the cat sleeps", "a cat sleeps on the sofa", "a dog runs in the park", "the sofa ."]
QUERY = "the dog runs"


@pytest.mark.parametrize("head", HEADS)
@torch.inference_mode()
def test_the_best_by_trying_every_pair(head):
    model = siamese(head=head)
    found = Index(model, SENTENCES).search(QUERY, 3)
    pairs = predict(model, [(QUERY, sentence) for sentence in SENTENCES])
    wanted = sorted(range(5), key=lambda row: -pairs[row]["score"])[:3]
    assert [row for _, row, _ in found] == wanted
    assert [round(score, 3) for score, _, _ in found] == [pairs[row]["score"] for row in wanted]
    assert [sentence for _, _, sentence in found] == [SENTENCES[row] for row in wanted]


@pytest.mark.parametrize("head", HEADS)
@torch.inference_mode()
def test_large_files_by_neighbours(head, monkeypatch):
    model = siamese(head=head)
    exact = Index(model, SENTENCES).search(QUERY, 2)
    monkeypatch.setattr(search, "LARGE", 3)
    monkeypatch.setattr(search, "CANDIDATES", 4)
    index = Index(model, SENTENCES)
    found = index.search(QUERY, 2)
    if head in ("manhattan", "cosine"):  # the candidates are chosen by what these score by
        assert [row for _, row, _ in found] == [row for _, row, _ in exact]
    assert len(found) == 2 and found[0][0] >= found[1][0]
    assert len(index._candidates(model.encode([QUERY]), 2)) == 4


@torch.inference_mode()
def test_every_sentence_is_encoded_once(monkeypatch):
    model = siamese()
    rows = []
    forward = model.encoder.forward
    monkeypatch.setattr(model.encoder, "forward", lambda t, n: rows.append(len(n)) or forward(t, n))
    index = Index(model, SENTENCES)
    index.search(QUERY, 2)
    index.search("a cat", 2)
    assert sum(rows) == 7
    rows.clear()
    predict(model, ["a dog | a cat", "a dog | the sofa", "a cat | a dog"])
    assert sum(rows) == 3


@torch.inference_mode()
def test_predict_scores_pairs_as_they_are_typed():
    model = siamese(low=1.0, high=5.0, entailment=1.0)
    typed, tabbed, tupled = predict(model, ["a dog | A cat", "a dog\tA cat", ("a dog", "A cat")])
    assert typed == tabbed == tupled
    assert typed.keys() == {"score", "a", "b", "entailment"} and 1 <= typed["score"] <= 5


@torch.inference_mode()
def test_predict_ranks_against_the_first_input():
    model = siamese(rank=True, top=2)
    lines = [SENTENCES[0], "", *SENTENCES[1:3], "  "]
    found = predict(model, [QUERY, *lines])
    assert [row["rank"] for row in found] == [1, 2]
    assert all(lines[row["line"] - 1] == row["sentence"] for row in found)
    for nothing in ([QUERY], [QUERY, "", " "]):
        with pytest.raises(UserError, match="give the query first"):
            predict(model, nothing)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("a dog", "'a dog' is no pair"),
        ("a | b | c", "is no pair"),
        ("a dog | ", "has an empty sentence"),
        ("", "no pair"),
    ],
)
def test_what_is_no_pair_is_named(given, message):
    with pytest.raises(UserError, match=f"input 2: .*{message}.*write: first sentence | second"):
        predict(siamese(), ["a dog | a cat", given])
