"""Metrics of ranks: accuracy at several depths, coverage, popularity bias, share of the optimum."""

from collections.abc import Sequence

import torch
from torch import Tensor

from unroll.app import Mean
from unroll.sequence.ranking import Ranking, gain, recall, reciprocal

from .catalogue import Catalogue

DEPTHS = (1, 5, 10, 20)
DEEPEST = 20
SUMMED = {"recall@20": "hits@20", "mrr@20": "reciprocals@20", "ndcg@10": "gains@10"}
"""metric -> column of the records with its sum over the clicks of a session; best_...: the same for the optimum"""
OPTIMA = {"share_of_optimum": "recall@20", "share_of_optimum_mrr": "mrr@20"}
"""metric -> the one that it compares with the best possible predictor's"""
MEASURES = {"recall": recall, "mrr": reciprocal, "ndcg": gain}


def metrics(
    parts: Sequence[Ranking], targets: Tensor, best: Tensor, catalogue: Catalogue, sampled: int = 0
) -> dict[str, float]:
    """All metrics of a split, the headline one first.

    Args:
        parts: rankings of the P predictions, in order.
        targets: next items, [P].
        best: rank of each under the best possible predictor, [P]; 0 if unknown.
        catalogue: the items.
        sampled: M of `unroll.sequence.ranking.rank`.
    """
    ranks = torch.cat([part.ranks for part in parts])
    top = torch.cat([part.top for part in parts])
    figures = accuracy(ranks)
    first = {name: figures.pop(name) for name in ("recall@20", "mrr@20", "ndcg@10")}
    if (best > 0).all():
        optimum = accuracy(best)
        first |= {name: first[of] / optimum[of] for name, of in OPTIMA.items()}
    clicks = torch.from_numpy(catalogue.counts).double().to(top.device)
    figures["coverage@20"] = len(top.unique()) / len(catalogue)
    # 1: recommended items are as popular as clicked ones.
    figures["popularity_bias@20"] = (clicks[top].mean() / clicks[targets].mean().clamp(min=1e-9)).item()
    if sampled:
        # Ranks among a few random items say little about ranks among all items (Krichene and Rendle, 2020).
        few = accuracy(torch.cat([part.sampled for part in parts]))
        figures |= {f"not_comparable/{sampled}_sampled/{name}": few[name] for name in ("recall@10", "ndcg@10")}
    return first | figures


def means(known: bool) -> dict[str, Mean]:
    """How the headline metrics follow from the records; `known`: whether the best possible ranks are."""
    plain = {name: Mean(column, "clicks", share=True) for name, column in SUMMED.items()}
    optima = {name: Mean(SUMMED[of], f"best_{SUMMED[of]}") for name, of in OPTIMA.items()}
    return plain | optima if known else plain


def sums(ranks: Tensor, best: Tensor) -> dict[str, float]:
    """The columns of a session, from its ranks and the best possible ones, [P] each; 0 if these are unknown."""
    found = {}
    for name, column in SUMMED.items():
        measure, k = name.split("@")
        found[column] = MEASURES[measure](ranks, int(k)).double().sum().item()
        found[f"best_{column}"] = MEASURES[measure](best, int(k)).double().sum().item() if (best > 0).all() else 0.0
    return found


def accuracy(ranks: Tensor) -> dict[str, float]:
    """recall@k, MRR@k and NDCG@k of ranks [P]."""
    return {f"{name}@{k}": measure(ranks, k).mean().item() for name, measure in MEASURES.items() for k in DEPTHS}
