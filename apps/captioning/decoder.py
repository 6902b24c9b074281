"""From annotations to words: show-and-tell, and show-attend-and-tell, over any cell.

Rows are captions: R = B x C, the C captions (or hypotheses) of a picture next to each other. Annotations are kept once
per picture, and its captions are C queries to one row of the memory.
"""

from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from unroll.recurrence import Recurrent
from unroll.recurrence.state import select
from unroll.sequence.attention import Kind, Memory, attention
from unroll.sequence.losses import Softmax

IGNORE = -100
"""in place of a word past the end of a caption; the loss ignores it"""


class Annotated(NamedTuple):
    """What the decoder knows about B pictures."""

    mean: Tensor
    """of the annotations, [B, D]"""
    memory: Memory | None
    """None without attention"""

    def first(self, pictures: int) -> "Annotated":
        """The same for the first pictures only."""
        memory = self.memory and Memory(*(part[:, :pictures] for part in self.memory))
        return Annotated(self.mean[:pictures], memory)


class Told(NamedTuple):
    """The decoder on given captions: N words, step by step, and row by row within a step."""

    hidden: Tensor
    """before the output layer, [N, E]"""
    targets: Tensor
    """the words themselves, [N]; IGNORE past the end of a caption that is shorter than others of the same picture"""
    rows: Tensor
    """the row of each word, [N]"""
    looked: Tensor | None
    """attention weights, summed over the words of each caption, [R, S]"""


class Decoder(nn.Module):
    """A recurrent language model conditioned on a picture.

    It reads the mean of the annotations first (Vinyals et al. 2015, equations 10 to 12), then the words. With attention
    (Xu et al. 2015) each word also has a context z, the gated weighted mean of the annotations, and the word follows
    from L_o(E y + L_h h + L_z z) (their equation 7). With feedback, z is part of the next input, and the query is the
    output before it; otherwise only the output layer reads z, the query is the output itself, and all words are one
    call.

    Args:
        words: V.
        features: D, of the annotations.
        embedding: E, of a word.
        cell: see `Recurrent`.
        hidden: H.
        layers: stacked ones.
        look: kind of attention; None: none (show-and-tell).
        feedback: make the context part of the next input.
        dropout: rate on word embeddings, between layers, and before the output layer.
        word_dropout: fraction of the input words replaced by the unknown one in training (Bowman et al. 2016).
        unknown: number of the unknown word.
    """

    def __init__(
        self, words: int, features: int, *, embedding: int, cell: str, hidden: int, layers: int,
        look: Kind | None, feedback: bool, dropout: float, word_dropout: float = 0.0, unknown: int | None = None,
    ) -> None:  # fmt: skip
        super().__init__()
        self.dropout, self.feedback = dropout, feedback and look is not None
        self.word_dropout, self.unknown = word_dropout, unknown
        self.embedding = nn.Embedding(words, embedding)
        self.picture = nn.Linear(features, embedding)
        width = embedding + features if self.feedback else embedding
        self.recurrent = Recurrent(cell, width, hidden, layers, dropout=dropout if layers > 1 else 0.0)
        out = self.recurrent.output_size
        self.attention = attention(look, out, features) if look else None
        self.gate = nn.Linear(out, 1) if look else None
        self.from_context = nn.Linear(features, embedding, bias=False) if look else None
        self.from_output = nn.Linear(out, embedding)
        self.softmax = Softmax(nn.Parameter(torch.randn(words, embedding) / embedding**0.5))

    def annotated(self, annotations: Tensor) -> Annotated:
        """What is computed once per picture, from annotations [S, B, D]."""
        memory = self.attention.remember(annotations) if self.attention is not None else None
        return Annotated(annotations.mean(0), memory)

    def begin(self, seen: Annotated, captions: int) -> Any:
        """The state before the first word of `captions` captions of each picture."""
        picture = self.picture(seen.mean)
        if self.feedback:
            picture = torch.cat((picture, seen.mean), 1)
        output, state = self.recurrent.step(picture)
        rows = torch.arange(len(output), device=output.device).repeat_interleave(captions)
        return select({"recurrent": state, "output": output[None]}, rows)

    def step(self, tokens: Tensor, state: Any, seen: Annotated) -> tuple[Tensor, Any, Tensor | None]:
        """The words after tokens [R]: hidden [R, E], the state, and the attention weights [R, S]."""
        words = self._drop(self.embedding(tokens))
        context, weights = self._look(state["output"], seen) if self.feedback else (None, None)
        x = words if context is None else torch.cat((words, context[0]), 1)
        output, after = self.recurrent.step(x, state["recurrent"])
        if not self.feedback:
            context, weights = self._look(output[None], seen)
        hidden = self._out(words[None], output[None], context)[0]
        return hidden, {"recurrent": after, "output": output[None]}, None if weights is None else weights[0]

    def forward(self, targets: Tensor, seen: Annotated, first: int, forget: float = 0.0) -> Told:
        """All words of given captions (teacher forcing).

        Args:
            targets: the captions, ends included, and IGNORE past them, [T, R]. A step computes the pictures up to the
                last one with an unfinished caption: put those with the longest captions first.
            seen: what is known about the pictures.
            first: the token before the first word.
            forget: fraction of input words that are sampled from the model's own prediction instead (scheduled
                sampling, Bengio et al. 2015).
        """
        targets = targets[(targets != IGNORE).any(1)]
        before = torch.cat((targets.new_full((1, targets.shape[1]), first), targets[:-1]))
        inputs, own = before.masked_fill(before == IGNORE, first), targets != IGNORE
        if self.training and self.word_dropout and self.unknown is not None:
            missed = torch.rand(inputs.shape, device=inputs.device) < self.word_dropout
            inputs = inputs.masked_fill(missed, self.unknown)
        counts = _counts(own, targets.shape[1] // len(seen.mean))
        state = self.begin(seen, targets.shape[1] // len(seen.mean))
        inside = torch.arange(targets.shape[1], device=targets.device) < counts[:, None]
        if self.feedback or forget:
            hidden, weights = self._unroll(inputs, counts.tolist(), seen, state, forget)
        else:
            words = self._drop(self.embedding(inputs))
            output, _ = self.recurrent(words, state["recurrent"])
            context, weights = self._look(output, seen)
            hidden = self._out(words, output, context)[inside]
        looked = None if weights is None else (weights * own[..., None]).sum(0)
        return Told(hidden, targets[inside], inside.nonzero()[:, 1], looked)

    def log_probs(self, hidden: Tensor) -> Tensor:
        """[N, E] -> [N, V]."""
        return self.softmax.log_probs(hidden)

    def _unroll(
        self, inputs: Tensor, counts: list[int], seen: Annotated, state: Any, forget: float
    ) -> tuple[Tensor, Tensor | None]:
        """Word by word, the first counts[t] rows in step t: hidden [N, E], and weights [T, R, S]."""
        captions = inputs.shape[1] // len(seen.mean)
        hidden: list[Tensor] = []
        looked: list[Tensor] = []
        for words, rows in zip(inputs, counts, strict=True):
            tokens = words[:rows]
            if hidden and rows < len(hidden[-1]):
                seen = seen.first(rows // captions)
                state = select(state, torch.arange(rows, device=inputs.device))
            if hidden and forget:
                tokens = self._forgotten(tokens, hidden[-1][:rows], forget)
            now, state, weights = self.step(tokens, state, seen)
            hidden.append(now)
            if weights is not None:
                looked.append(F.pad(weights, (0, 0, 0, inputs.shape[1] - rows)))
        return torch.cat(hidden), torch.stack(looked) if looked else None

    @torch.no_grad()
    def _forgotten(self, tokens: Tensor, hidden: Tensor, forget: float) -> Tensor:
        own = torch.multinomial(self.log_probs(hidden).exp(), 1)[:, 0]
        return torch.where(torch.rand(len(tokens), device=tokens.device) < forget, own, tokens)

    def _look(self, output: Tensor, seen: Annotated) -> tuple[Tensor | None, Tensor | None]:
        """Gated contexts [T, R, D] and weights [T, R, S] of outputs [T, R, H]."""
        if self.attention is None or self.gate is None or seen.memory is None:
            return None, None
        steps, pictures = len(output), len(seen.mean)
        queries = output.reshape(steps, pictures, -1, output.shape[2]).transpose(1, 2).flatten(0, 1)
        context, weights = self.attention(queries, seen.memory)  # [T x C, B, D], [T x C, B, S]
        context, weights = (
            x.reshape(steps, -1, *x.shape[1:]).transpose(1, 2).flatten(1, 2) for x in (context, weights)
        )
        return torch.sigmoid(self.gate(output)) * context, weights

    def _out(self, words: Tensor, output: Tensor, context: Tensor | None) -> Tensor:
        hidden: Tensor = words + self.from_output(self._drop(output))
        if context is not None and self.from_context is not None:
            hidden = hidden + self.from_context(context)
        return hidden

    def _drop(self, x: Tensor) -> Tensor:
        return F.dropout(x, self.dropout, self.training)


def _counts(own: Tensor, captions: int) -> Tensor:
    """For each step, the number of rows up to the last picture with an unfinished caption: own [T, R] -> [T]."""
    going = own.view(len(own), -1, captions).any(2)
    numbers = torch.arange(1, going.shape[1] + 1, device=own.device)
    return (going * numbers).amax(1) * captions
