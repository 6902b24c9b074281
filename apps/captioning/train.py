"""The trainer: loss on a batch, metrics on a split, captions of what the user gives."""

from collections.abc import Iterable, Sequence
from typing import Any

import torch
from torch import Tensor

from unroll.app import Report, Step
from unroll.data import images
from unroll.sequence.decoding import Sampling

from .data import Batch
from .decoder import IGNORE
from .metrics import SIGNATURE, measure
from .model import Captioner, as_used

AT_ONCE = 64
"""pictures that `predict` reads and describes at a time"""


def step(model: Captioner, batch: Batch, state: None = None) -> Step:
    """Mean surprisal of the captions' words, and the doubly stochastic term; or a self-critical step, see there."""
    plan = model.objective
    if model.training and 0 < plan.self_critical_from <= batch.epoch:
        return self_critical(model, batch)
    seen = model.decoder.annotated(model.annotations(batch.pictures))
    forget = plan.forget * min(1.0, batch.epoch / max(1, plan.epochs - 1)) if model.training else 0.0
    told = model.decoder(batch.tokens, seen, model.end, forget)
    loss = words = model.decoder.softmax.loss(told.hidden, told.targets)
    if plan.coverage and told.looked is not None:
        # Xu et al. 2015, equation 14: over all words, every place should be looked at about once.
        loss = loss + plan.coverage * (1 - told.looked).square().mean()
    return Step(loss, size=batch.tokens.shape[1], logs={"loss_words": words.item()})


def self_critical(model: Captioner, batch: Batch) -> Step:
    """Rennie et al. 2017: drawn captions become likelier by how much better they are than the greedy one.

    Their log probabilities are computed after the drawing, all words at once, by the network as it is used: so they are
    those that the captions were drawn with, and nothing has to be kept while they are drawn.
    """
    assert model.reward is not None
    count, references = model.objective.rollouts, [record["captions"] for record in batch.records]
    with as_used(model):
        seen = model.decoder.annotated(model.annotations(batch.pictures))
        drawn = model.draw(seen, count, Sampling())
        rewards = _rewards(model, drawn, [wanted for wanted in references for _ in range(count)])
        baseline = _rewards(model, model.draw(seen, 1, Sampling(top_k=1)), references)
        told = model.decoder(drawn, seen, model.end)
        log_probs = model.decoder.log_probs(told.hidden)
    own = told.targets != IGNORE
    chosen = log_probs[own].gather(1, told.targets[own, None])[:, 0]
    advantage = rewards - baseline.repeat_interleave(count)
    loss = -(advantage[told.rows[own]] * chosen).mean()
    logs = {"reward": rewards.mean().item(), "reward_greedy": baseline.mean().item()}
    return Step(loss, size=len(rewards), logs=logs)


def _rewards(model: Captioner, tokens: Tensor, references: Sequence[Sequence[str]]) -> Tensor:
    """CIDEr of captions [T, R], each with its references: [R]."""
    assert model.reward is not None
    captions = [(model.text(row), model.end in row) for row in tokens.T.tolist()]
    return torch.tensor(model.reward(captions, references), device=tokens.device)


def evaluate(model: Captioner, batches: Iterable[Batch]) -> Report:
    """Captions written freely and held against the references; against the facts, where they are known."""
    records = []
    for batch in batches:
        for record, captions in zip(batch.records, model.write(batch.pictures), strict=True):
            best, *others = captions
            shown = {"id": record["id"], "reference": record["captions"][0], "prediction": best}
            records.append(shown | {"references": record["captions"], "others": others, "scene": record["scene"]})
    metrics, columns, means = measure(records)
    records = [record | own for record, own in zip(records, columns, strict=True)]
    return Report(metrics, records, f"{SIGNATURE}|{model.decoding}", means)


def predict(model: Captioner, inputs: Sequence[images.Given]) -> list[Any]:
    """The caption of each picture; with decode.n_best above one, its captions.

    Args:
        inputs: paths of pictures of any kind that Pillow reads, or pictures in memory.

    Raises:
        UserError: a file that is missing or no picture, by its name.
    """
    device = next(model.parameters()).device
    captions = []
    for start in range(0, len(inputs), AT_ONCE):
        read = [
            images.pixels(images.taken(given, name=f"input {number}"), (model.side, model.side))
            for number, given in enumerate(inputs[start : start + AT_ONCE], start=start + 1)
        ]
        captions += model.write(torch.stack([torch.tensor(picture) for picture in read]).to(device))
    return captions if model.decoding.n_best > 1 else [best for [best] in captions]
