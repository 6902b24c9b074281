"""The network: an encoder and a decoder, and the settings that it carries."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, cast

import torch
from torch import Tensor, nn

from unroll.sequence.tokens import Tokeniser

from .decoder import Annotated, Decoder
from .encoder import Encoder
from .options import Decoding, Objective
from .reward import CiderReward


class Captioner(nn.Module):
    """Pictures to captions.

    Args:
        tokeniser: of words; its end of line ends a caption, and precedes the first word.
        encoder: pictures to annotations.
        side: of the square that pictures are fitted into, in pixels.
        frozen: do not train the encoder; batches hold annotations.
        objective, decoding: what is trained for, and how captions are written.
        ramp: epochs over which scheduled sampling rises to its final fraction.
        reward: of self-critical training.
        options: of `Decoder`.
    """

    def __init__(
        self, tokeniser: Tokeniser, encoder: Encoder, *, side: int, frozen: bool = False,
        objective: Objective | None = None, decoding: Decoding | None = None, ramp: int = 1,
        reward: CiderReward | None = None, **options: Any,
    ) -> None:  # fmt: skip
        super().__init__()
        self.tokeniser, self.side, self.frozen = tokeniser, side, frozen
        self.encoder = cast(nn.Module, encoder)
        self.decoder = Decoder(len(tokeniser), encoder.features, unknown=tokeniser.unknown, **options)
        self.objective, self.decoding = objective or Objective(), decoding or Decoding()
        self.ramp, self.reward = ramp, reward
        self.encoder.requires_grad_(not frozen)

    @property
    def end(self) -> int:
        """The token that ends a caption."""
        return self.tokeniser.first

    def annotations(self, pictures: Tensor) -> Tensor:
        """[S, B, D] from pictures uint8 [B, H, W, 3], or from precomputed annotations [B, S, D] of another dtype."""
        if pictures.dtype != torch.uint8:
            return pictures.float().transpose(0, 1)
        return cast(Tensor, self.encoder(pictures))

    def see(self, pictures: Tensor) -> Annotated:
        """What the decoder knows about pictures, given as for `annotations`."""
        return self.decoder.annotated(self.annotations(pictures))

    def advance(self, tokens: Tensor, state: Any, seen: Annotated) -> tuple[Tensor, Any]:
        """Log probabilities [R, V] of the words after tokens [R], and the state; "<unk>" is no word of a caption."""
        hidden, state, _ = self.decoder.step(tokens, state, seen)
        log_probs = self.decoder.log_probs(hidden)
        if self.tokeniser.unknown is not None:
            log_probs[:, self.tokeniser.unknown] = -torch.inf
        return log_probs, state


@contextmanager
def as_used(model: nn.Module) -> Iterator[None]:
    """Evaluation mode with gradients: no dropout, and batch normalisation as when captions are written."""
    training = model.training
    model.eval()
    try:
        yield
    finally:
        model.train(training)
