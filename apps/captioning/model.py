"""The network: an encoder, a decoder, and how captions are written with them."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, Literal, cast

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from unroll.sequence.attention import Kind
from unroll.sequence.decoding import Sampling, beam_search, sample
from unroll.sequence.tokens import Tokeniser

from .decoder import IGNORE, Annotated, Decoder
from .encoder import Backbone, Encoder, ResidualCNN
from .reward import CiderReward

Method = Literal["beam", "diverse", "sample"]
WEIGHTS = "backbone.safetensors"


@dataclass(frozen=True)
class Objective:
    """What is trained for."""

    coverage: float = 0.0
    """weight of the doubly stochastic term"""
    forget: float = 0.0
    """scheduled sampling: at the end of training, the share of words that are read from the model itself"""
    epochs: int = 1
    """over which `forget` rises from zero"""
    self_critical_from: int = 0
    """epochs before self-critical training begins; 0: never"""
    rollouts: int = 5
    """captions drawn of each picture in self-critical training"""


@dataclass(frozen=True)
class Decoding:
    """How captions are written."""

    method: Method = "beam"
    beam: int = 3
    """hypotheses kept, or captions drawn"""
    groups: int = 3
    """diverse: into which the beam is divided"""
    diversity: float = 0.5
    """diverse: what a word costs that another group has just written, in nats"""
    length_penalty: float = 0.0
    n_best: int = 1
    """captions of each picture"""
    longest: int = 50
    """words at most, the end included"""
    temperature: float = 1.0
    top_p: float = 1.0
    seed: int = 0
    """of the drawing"""


class Captioner(nn.Module):
    """Pictures to captions.

    Args:
        tokeniser: of words; its end of line ends a caption, and stands before the first word.
        encoder: pictures to annotations.
        decoder: annotations to words.
        side: of the square that a picture is fitted into, in pixels.
        frozen: the encoder is not trained, and batches hold annotations.
        objective, decoding: see there.
        reward: of self-critical training.
    """

    def __init__(
        self, tokeniser: Tokeniser, encoder: Encoder, decoder: Decoder, *, side: int, frozen: bool = False,
        objective: Objective = Objective(), decoding: Decoding = Decoding(), reward: CiderReward | None = None,
    ) -> None:  # fmt: skip
        super().__init__()
        self.tokeniser, self.side, self.frozen = tokeniser, side, frozen
        self.encoder, self.decoder = cast(nn.Module, encoder), decoder
        self.objective, self.decoding, self.reward = objective, decoding, reward
        self.encoder.requires_grad_(not frozen)

    @property
    def end(self) -> int:
        """The token that ends a caption."""
        return self.tokeniser.first

    def annotations(self, pictures: Tensor) -> Tensor:
        """[S, B, D] of pictures uint8 [B, H, W, 3], or of annotations made before, [B, S, D] of any other dtype."""
        if pictures.dtype != torch.uint8:
            return pictures.float().transpose(0, 1)
        return cast(Tensor, self.encoder(pictures))

    def write(self, pictures: Tensor) -> list[list[str]]:
        """Captions of pictures as of `annotations`: `n_best` of each, the best first."""
        seen, wanted = self.decoder.annotated(self.annotations(pictures)), self.decoding
        if wanted.method == "sample":
            own = torch.Generator(pictures.device).manual_seed(wanted.seed)
            drawn = self.draw(seen, wanted.n_best, Sampling(temperature=wanted.temperature, top_p=wanted.top_p), own)
            texts = [self.text(tokens) for tokens in drawn.T.tolist()]
            return [texts[i : i + wanted.n_best] for i in range(0, len(texts), wanted.n_best)]
        groups, diversity = (wanted.groups, wanted.diversity) if wanted.method == "diverse" else (1, 0.0)
        found = beam_search(
            lambda tokens, state: self._advance(tokens, state, seen),
            torch.full((len(seen.mean),), self.end, device=seen.mean.device), self.decoder.begin(seen, 1),
            width=wanted.beam, longest=wanted.longest, end=self.end,
            length_penalty=wanted.length_penalty, n_best=wanted.n_best, groups=groups, diversity=diversity,
        )  # fmt: skip
        return [[self.text(hypothesis.tokens) for hypothesis in row] for row in found]

    @torch.no_grad()
    def draw(
        self, seen: Annotated, captions: int, sampling: Sampling, generator: torch.Generator | None = None
    ) -> Tensor:
        """`captions` drawn captions of each picture, all at once: [T, R], ends included, IGNORE past them."""
        last = torch.full((len(seen.mean) * captions,), self.end, device=seen.mean.device)
        ended, steps = torch.zeros_like(last, dtype=torch.bool), []
        words = sample(
            lambda tokens, state: self._advance(tokens, state, seen),
            last, self.decoder.begin(seen, captions), sampling, generator,
        )  # fmt: skip
        for tokens in islice(words, self.decoding.longest):
            steps.append(tokens.masked_fill(ended, IGNORE))
            ended = ended | (tokens == self.end)
            if ended.all():
                break
        return torch.stack(steps)

    def text(self, tokens: Sequence[int]) -> str:
        """The caption in words, without its end."""
        return self.tokeniser.decode(token for token in tokens if token not in (self.end, IGNORE))

    def _advance(self, tokens: Tensor, state: Any, seen: Annotated) -> tuple[Tensor, Any]:
        hidden, state, _ = self.decoder.step(tokens, state, seen)
        log_probs = self.decoder.log_probs(hidden)
        if self.tokeniser.unknown is not None:
            log_probs[:, self.tokeniser.unknown] = -torch.inf  # "<unk>" is no word of a caption
        return log_probs, state


@contextmanager
def as_used(model: nn.Module) -> Iterator[None]:
    """Eval mode inside, with gradients: no dropout, and batch normalisation as when captions are written."""
    training = model.training
    model.eval()
    try:
        yield
    finally:
        model.train(training)


def build(
    tokeniser: Tokeniser,
    *,
    side: int,
    embedding: int,
    cell: str,
    hidden: int,
    layers: int,
    attention: Kind | None,
    feedback: bool,
    dropout: float,
    word_dropout: float,
    width: int,
    stages: int,
    backbone: str,
    frozen: bool,
    weights: Path | None = None,
    **options: Any,
) -> Captioner:
    """The network with fresh weights.

    Args:
        backbone: name in timm of a network that takes the place of our own encoder; "": ours.
        frozen: the backbone is not trained.
        weights: folder with the backbone's published weights, see `data.backbone`.
        options: `objective`, `decoding` and `reward` of `Captioner`.
    """
    encoder: Encoder = pretrained(backbone, weights) if backbone else ResidualCNN(width, stages)
    decoder = Decoder(
        len(tokeniser), encoder.features, embedding=embedding, cell=cell, hidden=hidden, layers=layers,
        look=attention, feedback=feedback, dropout=dropout, word_dropout=word_dropout, unknown=tokeniser.unknown,
    )  # fmt: skip
    return Captioner(tokeniser, encoder, decoder, side=side, frozen=frozen and bool(backbone), **options)


def pretrained(name: str, weights: Path | None) -> Backbone:
    """A backbone with the weights in this folder, see `data.backbone`.

    Elsewhere than where the data were prepared they are not found: a saved model brings its own.
    """
    encoder = Backbone(name)
    if weights is not None and (weights / WEIGHTS).is_file():
        encoder.load_state_dict(load_file(weights / WEIGHTS))
    return encoder
