import pytest
import torch

from unroll.apps.similarity import heads
from unroll.apps.similarity.encoder import Encoder
from unroll.apps.similarity.model import Siamese
from unroll.errors import UserError
from unroll.sequence.tokens import Tokeniser

TEXT = "a dog runs in the park a cat sleeps on the sofa . plays playing played "
HEADS = ("manhattan", "cosine", "regression", "distribution")


def siamese(units="words", **changed):
    settings = {
        "embedding": 8, "cell": "lstm", "hidden": 6, "layers": 1, "bidirectional": True, "pooling": ("max",),
        "bag": True, "spelling": False, "head": "regression", "dropout": 0.0, "word_dropout": 0.0, "weight_drop": 0.0,
    }  # fmt: skip
    torch.manual_seed(0)
    return Siamese(Tokeniser.fit([TEXT], units, 50), **settings | changed).eval()


@pytest.fixture
def vectors():
    return torch.randn(2, 5, 12, generator=torch.Generator().manual_seed(1)).unbind(0)


@pytest.mark.parametrize("kind", HEADS)
def test_a_score_is_symmetric_between_0_and_1_and_the_table_agrees(kind, vectors):
    u, v = vectors
    head = heads.make(kind, 12, 7, 0.0).eval()
    score = head.score(u, v)
    assert score.shape == (5,) and (score >= 0).all() and (score <= 1).all()
    assert torch.allclose(score, head.score(v, u))
    table = head.table(u, v)
    assert table.shape == (5, 5)
    assert torch.allclose(table.diagonal(), score, atol=1e-6)
    assert torch.allclose(table[1, 3], head.score(u[1], v[3]), atol=1e-6)


@pytest.mark.parametrize("kind", ["manhattan", "cosine"])
def test_equal_vectors_score_one(kind, vectors):
    head = heads.make(kind, 12, 7, 0.0)
    assert torch.allclose(head.score(vectors[0], vectors[0]), torch.ones(5))


def test_an_unknown_head_is_refused():
    with pytest.raises(ValueError, match="got 'euclid'"):
        heads.make("euclid", 12, 7, 0.0)


def test_the_target_distribution_has_the_score_as_its_mean():
    # Tai et al.: y = 3.6 on 1..5 -> 0.4 at 3 and 0.6 at 4.
    target = torch.tensor([0.65, 0.0, 1.0, 0.25])
    wanted = torch.tensor([[0, 0, 0.4, 0.6, 0], [1, 0, 0, 0, 0], [0, 0, 0, 0, 1], [0, 1, 0, 0, 0]])
    assert torch.allclose(heads.spread(target, 5), wanted, atol=1e-6)


def test_the_distributions_loss_is_the_divergence_and_zero_at_the_target(vectors):
    head = heads.Distribution(12, 7, 0.0)
    target = torch.tensor([0.0, 0.1, 0.5, 0.9, 1.0])
    loss = head.loss(*vectors, target)
    p, q = heads.spread(target, 5), head.logits(*vectors).softmax(-1)
    assert torch.allclose(loss, torch.special.xlogy(p, p).sum(1) - (p * q.log()).sum(1), atol=1e-6)
    assert (loss > 0).all()


@pytest.mark.parametrize("pooling", [("last",), ("mean",), ("max",), ("attention",), ("mean", "max")])
@pytest.mark.parametrize("spelling", [False, True])
def test_a_sentence_alone_is_the_sentence_in_a_batch(pooling, spelling):
    made = siamese(pooling=pooling, spelling=spelling)
    sentences = ["a dog", "a cat sleeps on the sofa", "runs", "the dog runs in the park ."]
    with torch.no_grad():
        together = made.encode(sentences)
        alone = torch.cat([made.encode([sentence]) for sentence in sentences])
    assert together.shape == (4, made.encoder.output_size)
    assert torch.allclose(together, alone, atol=1e-6)


@pytest.mark.parametrize("units", ["words", "characters"])
def test_one_word_unknown_words_and_capitals(units):
    made = siamese(units)
    with torch.no_grad():
        small, capital, unknown = made.encode(["dog", " DOG ", "Ωmega"])
    assert torch.equal(small, capital)
    assert unknown.isfinite().all() and not torch.equal(small, unknown)


def test_an_empty_sentence_is_named():
    with pytest.raises(UserError, match="sentence 2: a sentence is empty"):
        siamese().encode(["dog", " \t"], "sentence")


def test_words_spelled_alike_are_nearer():
    made = siamese(spelling=True)
    with torch.no_grad():
        made.encoder.embedding.weight.zero_()
        rows = dict(zip(made.tokeniser.symbols, made.encoder._vectors(), strict=True))
    near = torch.cosine_similarity(rows["playing"], rows["played"], 0)
    assert near > 0.4 > torch.cosine_similarity(rows["playing"], rows["sofa"], 0)


def test_words_are_dropped_in_training_only():
    tokeniser = Tokeniser.fit([TEXT], "words", 50)
    encoder = Encoder(tokeniser.symbols, 8, "gru", 6, 1, word_dropout=0.9, unknown=tokeniser.unknown)
    tokens, lengths = torch.arange(10)[:, None], torch.tensor([10])
    unknown = encoder.eval()(torch.full((10, 1), tokeniser.unknown), lengths)
    assert torch.equal(encoder(tokens, lengths), encoder(tokens, lengths))
    encoder.train()
    drawn = torch.stack([encoder(tokens, lengths) for _ in range(40)])
    assert len(drawn.unique(dim=0)) > 5
    assert (drawn == unknown).all(2).any()


@pytest.mark.parametrize("options", [{}, {"entailment": 1.0}, {"spelling": True, "pooling": ("mean", "attention")}])
def test_both_sides_share_their_weights_and_all_get_a_gradient(options):
    made = siamese(**options)
    tokens = torch.tensor([made.tokeniser.encode("a dog runs"), made.tokeniser.encode("a cat sleeps")]).T
    u, v = made(tokens, torch.tensor([3, 3]))
    swapped = made(tokens.flip(1), torch.tensor([3, 3]))
    assert torch.equal(u, swapped[1]) and torch.equal(v, swapped[0])
    loss = made.head.loss(u, v, torch.tensor([0.3])).sum()
    if made.entailment is not None:
        loss = loss + made.entailment(u, v).square().sum()
    loss.backward()
    assert all(parameter.grad is not None for parameter in made.parameters())


def test_manhattan_starts_where_it_can_learn(vectors):
    u, v = (side.repeat(1, 20) for side in vectors)
    distance = (u - v).abs().sum(-1)
    score = heads.Manhattan(240).score(u, v)
    assert (torch.exp(-distance) < 1e-20).all()  # MaLSTM's own form, on so many features
    assert torch.allclose(score, torch.exp(-distance / 240)) and (score > 0.1).all()
