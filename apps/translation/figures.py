"""Attention figures: where in the source the decoder attended as it wrote each token."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch
from matplotlib import font_manager
from matplotlib.figure import Figure

from unroll.app import Report
from unroll.errors import UserError

from . import text
from .data import Batch
from .decode import forced
from .ensemble import Ensemble
from .model import Translator
from .sources.own import read_pairs

PICTURES = 3
LENGTHS = (6, 24)
"""source tokens of a sentence that is plotted: with fewer there is little to see, with more it cannot be read"""
FONTS = ("Noto Sans CJK SC", "Noto Sans CJK JP", "WenQuanYi Zen Hei", "PingFang SC", "Microsoft YaHei", "DejaVu Sans")
"""the first one that is installed is used: matplotlib's own has no Chinese"""


def figures(model: Translator, batches: Iterable[Batch], report: Report) -> dict[str, Figure]:
    """`attention-N`: the attention of the first few sentences of the split and their translations."""
    chosen = [row for row in report.records if _fits(model, row["source"]) and row["prediction"]][:PICTURES]
    return {
        f"attention-{number}": attention(model, row["source"], row["prediction"])
        for number, row in enumerate(chosen, start=1)
    }


def _fits(model: Translator, sentence: str) -> bool:
    return LENGTHS[0] <= len(text.encode(model.source, sentence)) <= LENGTHS[1]


@torch.no_grad()
def attention(model: Translator, sentence: str, translation: str) -> Figure:
    """The weights over a sentence's tokens (columns) as each token of the translation (rows) was written."""
    source, target = text.encode(model.source, sentence), text.encode(model.target, translation)
    device = next(model.parameters()).device
    given = torch.tensor(source, device=device)[:, None], torch.tensor([len(source)])
    _, weights = model(*given, torch.tensor([model.end, *target], device=device)[:, None])
    font = next(name for name in FONTS if name in font_manager.get_font_names())
    columns = [_shown(model.source.decode([number]), font) for number in source]
    rows = [_shown(model.target.decode([number]), font) for number in target] + ["(end)"]
    figure = Figure(figsize=(8, 0.28 * len(rows) + 2), layout="constrained")
    axes = figure.add_subplot()
    image = axes.imshow(weights[:, 0].float().cpu().numpy(), cmap="Blues", vmin=0, vmax=1, aspect="auto")
    axes.set_xticks(range(len(columns)), columns, rotation=60, ha="right", rotation_mode="anchor", fontfamily=font)
    axes.set_yticks(range(len(rows)), rows, fontfamily=font)
    axes.set(xlabel=f"source ({model.languages[0]})", ylabel=f"translation ({model.languages[1]})")
    figure.colorbar(image, label="attention", fraction=0.04)
    return figure


def _shown(piece: str, font: str) -> str:
    """A piece as a label: blanks are visible, and what the font lacks is a box."""
    known = font_manager.get_font(font_manager.findfont(font)).get_charmap()
    marked = "␣" if not piece.strip() else piece.strip()
    return "".join(letter if ord(letter) in known else "□" for letter in marked)


def scores(model: Translator | Ensemble, path: Path) -> tuple[list[dict[str, Any]], dict[str, Figure]]:
    """Forced scoring: how probable the model finds each given translation, and its attention for the first ones.

    Args:
        path: a sentence, a tab and its translation on each line, or any table of pairs; plain or gzipped.

    Raises:
        UserError: a row without two columns, or an empty sentence (names the row).
    """
    numbered = [_pair(where, *pair) for where, *pair in read_pairs(path, model.languages)]
    pairs, rows = [pair for _, pair in numbered], []
    for (number, pair), pieces in zip(numbered, forced(model, pairs), strict=True):
        total = sum(value for _, value in pieces)
        worst = min(pieces, key=lambda piece: piece[1])
        means = {"log_prob": round(total, 4), "per_token": round(total / len(pieces), 4), "tokens": len(pieces)}
        named = {"line": number, "source": pair[0], "translation": pair[1]}
        rows.append(named | means | {"least_expected": worst[0].strip() or "(end)"})
    if isinstance(model, Ensemble):
        return rows, {}
    drawn = [pair for pair in pairs if _fits(model, pair[0])][:PICTURES]
    return rows, {f"attention-{n}": attention(model, *pair) for n, pair in enumerate(drawn, start=1)}


def _pair(where: str, sentence: str, translation: str) -> tuple[int, tuple[str, str]]:
    if not sentence or not translation:
        raise UserError(f"{where}: an empty sentence; write a sentence, a tab, its translation")
    return int(where.rpartition(" ")[2]), (sentence, translation)
