"""Writing captions: by beam search, in diverse groups, or by sampling."""

import torch
from torch import Tensor

from unroll.sequence.beam import beam_search
from unroll.sequence.decoding import Hypothesis, Sampling, sample_texts

from .decoder import Annotated
from .model import Captioner


def write(model: Captioner, pictures: Tensor) -> list[list[str]]:
    """Captions of pictures, given as for `Captioner.annotations`: `n_best` of each, the best first."""
    seen, wanted = model.see(pictures), model.decoding
    if wanted.method == "sample":
        own = torch.Generator(pictures.device).manual_seed(wanted.seed)
        sampled = sample(model, seen, wanted.n_best, Sampling(temperature=wanted.temperature, top_p=wanted.top_p), own)
        texts = [model.tokeniser.decode(caption.tokens) for caption in sampled]
        return [texts[i : i + wanted.n_best] for i in range(0, len(texts), wanted.n_best)]
    groups, diversity = (wanted.groups, wanted.diversity) if wanted.method == "diverse" else (1, 0.0)
    found = beam_search(
        lambda tokens, state: model.advance(tokens, state, seen),
        _first(model, seen), model.decoder.begin(seen, 1),
        width=wanted.beam, longest=wanted.longest, end=model.end,
        length_penalty=wanted.length_penalty, n_best=wanted.n_best, groups=groups, diversity=diversity,
    )  # fmt: skip
    return [[model.tokeniser.decode(hypothesis.tokens) for hypothesis in row] for row in found]


def sample(
    model: Captioner, seen: Annotated, captions: int, sampling: Sampling, generator: torch.Generator | None = None
) -> list[Hypothesis]:
    """Sample `captions` captions of each picture; those of a picture are next to each other."""
    return sample_texts(
        lambda tokens, state: model.advance(tokens, state, seen), _first(model, seen).repeat_interleave(captions),
        model.decoder.begin(seen, captions), sampling,
        longest=model.decoding.longest, end=model.end, generator=generator,
    )  # fmt: skip


def _first(model: Captioner, seen: Annotated) -> Tensor:
    """The token before the first word, for each picture."""
    return torch.full((len(seen.mean),), model.end, device=seen.mean.device)
