"""The network's options: shapes, tied weights, dropout, regularisation, and the published sizes."""

import pytest
import torch

from unroll.apps.language.model import LanguageModel
from unroll.apps.language.presets import PRESETS
from unroll.sequence.tokens import Tokeniser

WORDS = 50
TOKENISER = Tokeniser("words", ("<eos>", "<unk>", *(f"w{i}" for i in range(WORDS - 2))))
TOKENS = torch.randint(WORDS, (12, 3), generator=torch.Generator().manual_seed(0))


def make(**options):
    torch.manual_seed(0)
    return LanguageModel(TOKENISER, **{"hidden": 16, "layers": 2, **options})


@pytest.mark.parametrize(
    "options",
    [
        {}, {"cell": "gru"}, {"cell": "mingru"}, {"tied": False}, {"embedding": 8}, {"embedding": 8, "tied": False},
        {"cutoffs": (10, 30)}, {"mixtures": 3}, {"mixtures": 2, "embedding": 8},
        {"locked": True, "dropout": 0.3, "dropout_input": 0.3, "dropout_output": 0.3, "dropout_words": 0.2,
         "weight_drop": 0.3, "activation": 2.0, "slowness": 1.0},
    ],
    ids=str,
)  # fmt: skip
def test_step_by_step_is_the_window_and_every_parameter_learns(options):
    model = make(**options)
    total, surprisal, _ = model.train().loss(TOKENS[:-1], TOKENS[1:])
    assert total >= surprisal > 0
    total.backward()
    assert not [name for name, p in model.named_parameters() if p.grad is None]
    model.eval()
    with torch.no_grad():
        hidden, _ = model(TOKENS)
        whole = model.output.log_probs(hidden.flatten(0, 1)).view(*TOKENS.shape, -1)
        state = None
        for t, tokens in enumerate(TOKENS):
            log_probs, state = model.step(tokens, state)
            torch.testing.assert_close(log_probs, whole[t], rtol=1e-4, atol=1e-5)


def test_tied_weights_are_one_parameter():
    tied, free = make(), make(tied=False)
    assert tied.output.weight is tied.embedding.weight
    assert sum(p.numel() for p in free.parameters()) - sum(p.numel() for p in tied.parameters()) == WORDS * 16


def test_without_regularisation_the_loss_is_the_surprisal():
    total, surprisal, _ = make().loss(TOKENS[:-1], TOKENS[1:])
    assert torch.equal(total, surprisal)


def test_ar_and_tar_are_what_they_are_called():
    model = make(activation=2.0, slowness=3.0).eval()
    total, surprisal, _ = model.loss(TOKENS[:-1], TOKENS[1:])
    raw, _ = model(TOKENS[:-1])
    wanted = surprisal + 2 * raw.pow(2).mean() + 3 * raw.diff(dim=0).pow(2).mean()
    torch.testing.assert_close(total, wanted)


def test_a_dropped_word_is_dropped_everywhere_and_locked_dropout_for_all_steps():
    model = make(dropout_words=0.5).train()
    tokens = torch.arange(WORDS).repeat(4)[:, None]
    gone = (model._embed(tokens) == 0).all(-1).view(4, WORDS)
    assert 0.2 < gone.float().mean() < 0.8 and (gone == gone[0]).all()
    locked, free = (make(dropout_input=0.5, locked=how).train()._embed(TOKENS) == 0 for how in (True, False))
    assert (locked == locked[0]).all() and not (free == free[0]).all()
    assert torch.equal(make(dropout_words=0.5, dropout_input=0.5).eval()._embed(TOKENS), make()._embed(TOKENS))


def test_init_bounds_every_weight():
    assert all(p.abs().max() <= 0.05 for p in make(init=0.05, tied=False).parameters())


@pytest.mark.parametrize(
    ("preset", "millions"), [("ptb-small", 4.65), ("ptb-medium", 19.8), ("ptb-large", 66.0), ("awd", 24.2)]
)
def test_presets_have_the_published_sizes(preset, millions):
    config = PRESETS[preset]
    tokeniser = Tokeniser("words", tuple(map(str, range(10_000))))
    with torch.device("meta"):
        model = LanguageModel(tokeniser, **config.model.model_dump() | {"init": 0.0})
    assert sum(p.numel() for p in model.parameters()) / 1e6 == pytest.approx(millions, abs=0.05)
