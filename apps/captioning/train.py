"""The loss on a batch, and the metrics on a split."""

from collections.abc import Iterable

from unroll.app import Report, Step

from . import self_critical
from .data import Batch
from .decode import write
from .metrics import SIGNATURE, measure
from .model import Captioner


def step(model: Captioner, batch: Batch, state: None = None) -> Step:
    """Mean surprisal of the captions' words, plus the doubly stochastic term; or a self-critical step."""
    plan = model.objective
    if model.training and 0 < plan.self_critical_from <= batch.epoch:
        return self_critical.step(model, batch)
    seen = model.see(batch.pictures)
    forget = plan.forget * min(1.0, batch.epoch / max(1, model.ramp - 1)) if model.training else 0.0
    told = model.decoder(batch.tokens, seen, model.end, forget)
    loss = words = model.decoder.softmax.loss(told.hidden, told.targets)
    if plan.coverage and told.looked is not None:
        # Xu et al. 2015, equation 14: over all words, each place should be attended to about once.
        loss = loss + plan.coverage * (1 - told.looked).square().mean()
    return Step(loss, size=batch.tokens.shape[1], logs={"loss_words": words.item()})


def evaluate(model: Captioner, batches: Iterable[Batch]) -> Report:
    """Captions generated freely, compared with the references, and with the facts where they are known."""
    records = []
    for batch in batches:
        for record, captions in zip(batch.records, write(model, batch.pictures), strict=True):
            best, *others = captions
            shown = {"id": record["id"], "reference": record["captions"][0], "prediction": best}
            records.append(shown | {"references": record["captions"], "others": others, "scene": record["scene"]})
    metrics, columns, means = measure(records)
    records = [record | own for record, own in zip(records, columns, strict=True)]
    return Report(metrics, records, f"{SIGNATURE}|{model.decoding!r}", means)
