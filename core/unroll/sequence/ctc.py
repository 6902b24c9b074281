"""Connectionist temporal classification: greedy and prefix-beam decoding, forced alignment.

Log probabilities are [T, B, K]; symbol 0 is the blank. A path (one symbol per frame) maps to the labels that remain
after merging repeats and then removing blanks.

Sources: Graves, Fernandez, Gomez and Schmidhuber, Connectionist Temporal Classification, 2006; the prefix search as in
Hannun, Maas, Jurafsky and Ng, First-Pass Large Vocabulary Continuous Speech Recognition, 2014, algorithm 1.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields
from itertools import pairwise

import torch
from torch import Tensor

BLANK = 0


def frames_needed(labels: Sequence[int]) -> int:
    """Frames of the shortest path for `labels`: one per label, plus a blank between equal neighbours."""
    return len(labels) + sum(a == b for a, b in pairwise(labels))


def greedy(log_probs: Tensor, lengths: Tensor) -> list[list[int]]:
    """Labels of the most probable path of each row. `log_probs` [T, B, K] (or logits), `lengths` [B] frames."""
    paths = log_probs.argmax(-1).T.tolist()
    return [_collapse(path[:length]) for path, length in zip(paths, lengths.tolist(), strict=True)]


def _collapse(path: Sequence[int]) -> list[int]:
    merged = [label for i, label in enumerate(path) if i == 0 or label != path[i - 1]]
    return [label for label in merged if label != BLANK]


@dataclass(frozen=True)
class Lexicon:
    """The allowed words, as a prefix tree over labels. Node 0 is before the first word."""

    next: Tensor
    """node after each label [nodes, K], -1 if no word continues like that"""
    complete: Tensor
    """whether a text may end at a node, [nodes]"""

    @classmethod
    def of(cls, words: Iterable[Sequence[int]], separator: int | None, symbols: int) -> "Lexicon":
        """A lexicon of `words`, each a sequence of label numbers below `symbols`.

        Words are separated by one `separator`; None: a text is a single word.
        """
        table, complete = [[-1] * symbols, [-1] * symbols], [True, False]  # 1: after a separator, a word must follow
        for word in words:
            place = 1
            for label in word:
                if table[place][label] < 0:
                    table[place][label] = len(table)
                    table.append([-1] * symbols)
                    complete.append(False)
                place = table[place][label]
            complete[place] = True
            if separator is not None:
                table[place][separator] = 1
        table[0] = table[1]
        return cls(torch.tensor(table), torch.tensor(complete))

    @classmethod
    def open(cls, symbols: int) -> "Lexicon":
        """No restriction: every label sequence is allowed."""
        return cls(torch.zeros(1, symbols, dtype=torch.int64), torch.ones(1, dtype=torch.bool))

    def to(self, device: torch.device) -> "Lexicon":
        """The same on `device`."""
        return Lexicon(self.next.to(device), self.complete.to(device))


@dataclass
class _Beam:
    """W prefixes for each of B rows: log probability of the paths ending in a blank, and in the last label [B, W]."""

    blank: Tensor
    label: Tensor
    last: Tensor
    """last label of the prefix, -1 if it is empty"""
    name: Tensor
    """64-bit fingerprint of the prefix"""
    parent: Tensor
    """fingerprint of the prefix without its last label"""
    node: Tensor
    """node of the prefix in the lexicon"""

    @classmethod
    def initial(cls, rows: int, width: int, like: Tensor) -> "_Beam":
        """The empty prefix has probability one; the other slots of the beam are unused."""
        never = like.new_full((rows, width), -math.inf)
        certain = never.clone()
        certain[:, 0] = 0
        # Unused slots get distinct names, so that they merge with nothing.
        name = -torch.arange(1, width + 1, device=like.device).expand(rows, width)
        nothing = torch.zeros_like(name)
        return cls(certain, never, nothing - 1, name, nothing, nothing)

    def where(self, active: Tensor, other: "_Beam") -> "_Beam":
        """The slots of `other` in active rows [B, 1], its own in the rest."""
        return _Beam(*(torch.where(active, getattr(other, f.name), getattr(self, f.name)) for f in fields(self)))


def beam(log_probs: Tensor, lengths: Tensor, width: int, lexicon: Lexicon | None = None) -> list[list[int]]:
    """The most probable labels of each row, summed over their paths, among the `width` prefixes kept at each frame.

    Exact when `width` holds all prefixes. All rows advance together.

    Args:
        log_probs: [T, B, K], normalised over K.
        lengths: frames of each row, [B].
        width: prefixes kept per row.
        lexicon: restricts the output to its words.
    """
    frames, rows, symbols = log_probs.shape
    lexicon = (lexicon or Lexicon.open(symbols)).to(log_probs.device)
    state = _Beam.initial(rows, width, log_probs)
    history = []
    for t in range(frames):
        step, origin, label = _advance(state, log_probs[t], lexicon)
        active = (t < lengths.to(log_probs.device))[:, None]
        state = state.where(active, step)
        stay = torch.arange(width, device=log_probs.device).expand(rows, width)
        history.append((torch.where(active, origin, stay), torch.where(active, label, BLANK)))
    score = torch.logaddexp(state.blank, state.label)
    # An incomplete word is returned only if no complete one is left.
    return _trace(history, (score - 1e6 * ~lexicon.complete[state.node]).argmax(1))


def _advance(beam: _Beam, log_probs: Tensor, lexicon: Lexicon) -> tuple[_Beam, Tensor, Tensor]:
    """One frame, `log_probs` [B, K] -> the new beam, and for each slot where it came from and the label added."""
    rows, width = beam.blank.shape
    total = torch.logaddexp(beam.blank, beam.label)
    own = log_probs.gather(1, beam.last.clamp(min=0))  # an empty prefix has label probability zero, whatever `own` is
    stay_blank, stay_label = total + log_probs[:, BLANK, None], beam.label + own

    # A prefix grows by a label on all its paths; by its own last label only on those that end in a blank.
    added = torch.arange(1, log_probs.shape[1], device=log_probs.device)
    repeat = added == beam.last[..., None]
    grown = torch.where(repeat, beam.blank[..., None], total[..., None]) + log_probs[:, None, 1:]
    grown = grown.masked_fill(lexicon.next[beam.node][..., 1:] < 0, -math.inf)

    # If prefix i plus a label is prefix j of the beam, the two are merged: the paths of both are added up.
    same = beam.parent[:, None, :] == beam.name[..., None]  # [B, i, j]
    label_of_j = (beam.last - 1).clamp(min=0)[:, None, :].expand(rows, width, width)
    arrived = grown.gather(2, label_of_j).masked_fill(~same, -math.inf)
    stay_label = torch.logaddexp(stay_label, arrived.logsumexp(1))
    merged = torch.zeros_like(grown, dtype=torch.int64).scatter_add_(2, label_of_j, same.long()) > 0
    grown = grown.masked_fill(merged, -math.inf)
    return _best(beam, stay_blank, stay_label, grown, lexicon)


def _best(beam: _Beam, blank: Tensor, label: Tensor, grown: Tensor, lexicon: Lexicon) -> tuple[_Beam, Tensor, Tensor]:
    """The W most probable of the W prefixes that stayed and the W (K-1) that grew."""
    _, width, labels = grown.shape
    candidates = torch.cat((torch.logaddexp(blank, label), grown.flatten(1)), 1)
    chosen = candidates.topk(width, 1).indices
    grew = chosen >= width
    index = (chosen - width).clamp(min=0)
    origin = torch.where(grew, index // labels, chosen)
    added = torch.where(grew, index % labels + 1, BLANK)
    never = torch.full_like(blank, -math.inf)
    parent = beam.name.gather(1, origin)
    step = _Beam(
        blank=torch.where(grew, never, blank.gather(1, origin)),
        label=torch.where(grew, grown.flatten(1).gather(1, index), label.gather(1, origin)),
        last=torch.where(grew, added, beam.last.gather(1, origin)),
        name=torch.where(grew, _grow(parent, added), parent),
        parent=torch.where(grew, parent, beam.parent.gather(1, origin)),
        node=torch.where(grew, lexicon.next[beam.node.gather(1, origin), added], beam.node.gather(1, origin)),
    )
    return step, origin, added


def _grow(name: Tensor, label: Tensor) -> Tensor:
    """Fingerprint of a prefix plus one label. Wraps around in 64 bits; the shift mixes the high bits back in."""
    mixed = (name ^ (name >> 29)) * 6364136223846793005 + label * 1442695040888963407
    return mixed ^ (mixed >> 32)


def _trace(history: list[tuple[Tensor, Tensor]], place: Tensor) -> list[list[int]]:
    """The labels of each row, traced back from its final `place` [B]."""
    labels = []
    for origin, added in reversed(history):
        labels.append(added.gather(1, place[:, None])[:, 0])
        place = origin.gather(1, place[:, None])[:, 0]
    if not labels:
        return [[] for _ in range(len(place))]
    return [[label for label in reversed(row) if label != BLANK] for row in torch.stack(labels, 1).tolist()]


@torch.no_grad()
def align(log_probs: Tensor, labels: Sequence[int]) -> list[tuple[int, int]]:
    """The most probable path of `labels`, as the frames [start, end) of each label.

    Args:
        log_probs: one row, [T, K].
        labels: without blanks, [S].

    Raises:
        ValueError: fewer frames than the labels need.
    """
    frames, needed = len(log_probs), frames_needed(labels)
    if frames < needed:
        raise ValueError(f"{len(labels)} labels need {needed} frames, got {frames}")
    if not labels:
        return []
    path = _viterbi(log_probs.cpu().double(), labels)
    return [(path.index(state), len(path) - path[::-1].index(state)) for state in range(1, 2 * len(labels), 2)]


def _viterbi(log_probs: Tensor, labels: Sequence[int]) -> list[int]:
    """State of each frame: 2i+1 is label i, even states are the blanks around the labels."""
    states = torch.tensor([BLANK, *(x for label in labels for x in (label, BLANK))])
    skip = torch.zeros(len(states), dtype=torch.bool)  # over a blank, between labels that differ
    skip[3::2] = states[3::2] != states[1:-2:2]
    score = torch.full((len(states),), -math.inf, dtype=log_probs.dtype)
    score[:2] = log_probs[0, states[:2]]
    back = []
    for frame in log_probs[1:]:
        from_one = torch.cat((score.new_full((1,), -math.inf), score[:-1]))
        from_two = score.roll(2).masked_fill(~skip, -math.inf)
        score, came = torch.stack((score, from_one, from_two)).max(0)
        score = score + frame[states]
        back.append(came)
    state = len(states) - 2 + int(score[-1] > score[-2])
    path = [state]
    for came in reversed(back):
        state -= int(came[state])
        path.append(state)
    return path[::-1]
