"""Self-critical training: captions are sampled, and become more probable by how much better they are than greedy ones.

Rennie, Marcheret, Mroueh, Ross and Goel, Self-critical Sequence Training for Image Captioning, 2017.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from unroll.app import Step
from unroll.sequence.batching import pad
from unroll.sequence.decoding import Hypothesis, Sampling

from .data import Batch
from .decode import sample
from .decoder import IGNORE
from .model import Captioner, as_used


def step(model: Captioner, batch: Batch) -> Step:
    """The policy gradient of CIDEr, with the greedy caption as the baseline.

    Log probabilities are computed after sampling, all words at once, by the network as it writes (`as_used`): so they
    are those that the captions were sampled with, and nothing has to be kept while they are.
    """
    count, references = model.objective.rollouts, [record["captions"] for record in batch.records]
    with as_used(model):
        seen = model.see(batch.pictures)
        sampled = sample(model, seen, count, Sampling())
        rewards = _rewards(model, sampled, [wanted for wanted in references for _ in range(count)])
        baseline = _rewards(model, sample(model, seen, 1, Sampling(top_k=1)), references)
        told = model.decoder(_tokens(model, sampled), seen, model.end)
        log_probs = model.decoder.log_probs(told.hidden)
    own = told.targets != IGNORE
    chosen = log_probs[own].gather(1, told.targets[own, None])[:, 0]
    advantage = (rewards - baseline.repeat_interleave(count)).to(chosen.device)
    loss = -(advantage[told.rows[own]] * chosen).mean()
    logs = {"reward": rewards.mean().item(), "reward_greedy": baseline.mean().item()}
    return Step(loss, size=len(rewards), logs=logs)


def _rewards(model: Captioner, captions: Sequence[Hypothesis], references: Sequence[Sequence[str]]) -> Tensor:
    """CIDEr of captions, each with its references: [R]."""
    assert model.reward is not None
    texts = [(model.tokeniser.decode(caption.tokens), caption.ended) for caption in captions]
    return torch.tensor(model.reward(texts, references))


def _tokens(model: Captioner, captions: Sequence[Hypothesis]) -> Tensor:
    """Captions with their ends, and IGNORE past them, [T, R]."""
    rows = [[*caption.tokens, model.end] if caption.ended else caption.tokens for caption in captions]
    return pad([torch.tensor(row) for row in rows], IGNORE)[0].to(model.decoder.embedding.weight.device)
