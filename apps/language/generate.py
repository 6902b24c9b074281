"""Generation: from a prompt to text, token by token."""

import warnings
from collections.abc import Iterator, Sequence
from itertools import islice
from typing import Any

import torch
from torch import Tensor

from unroll.errors import Notice, UserError
from unroll.sequence.beam import beam_search, no_repeats
from unroll.sequence.decoding import sample, until_stop
from unroll.sequence.tokens import Tokeniser

from .model import LanguageModel

LONGEST_PROMPT = 100_000
"""characters"""
CHUNK = 1000
"""tokens of a prompt read at a time"""


def predict(model: LanguageModel, inputs: Sequence[str]) -> list[str]:
    """Each prompt with its continuation."""
    return ["".join(stream(model, prompt)) for prompt in inputs]


def stream(model: LanguageModel, prompt: str) -> Iterator[str]:
    """The prompt, and then its continuation piece by piece, each at the same cost.

    Raises:
        UserError: the prompt is too long, or has characters that the model has never seen.
    """
    numbers = _encoded(model.tokeniser, prompt)
    with torch.no_grad():
        state = _read(model, numbers[:-1])
        yield prompt
        fresh = not prompt or prompt.endswith("\n")
        tokens = _tokens(model, numbers, state, model.generation.length)
        yield from until_stop(model.tokeniser.stream(tokens, fresh=fresh), model.generation.stop)


def write(model: LanguageModel, last: Sequence[int], state: Any, length: int) -> str:
    """A continuation of `length` tokens after the token `last`, given the state before it."""
    return "".join(model.tokeniser.stream(_tokens(model, last, state, length), fresh=True))


def _encoded(tokeniser: Tokeniser, prompt: str) -> list[int]:
    if len(prompt) > LONGEST_PROMPT:
        raise UserError(
            f"the prompt has {len(prompt):,} characters; the most is {LONGEST_PROMPT:,}: shorten it to its end"
        )
    missing = tokeniser.missing(prompt)
    if missing:
        shown = ", ".join(repr(one) for one in missing[:5]) + (", ..." if len(missing) > 5 else "")
        if tokeniser.units == "characters":
            raise UserError(f"the prompt holds {shown}, which the model has never seen; write it without")
        warnings.warn(f"the model does not know {shown}; it reads <unk> there", Notice, stacklevel=2)
    return [tokeniser.first, *tokeniser.encode(prompt)]


def _read(model: LanguageModel, numbers: Sequence[int]) -> Any:
    """The state after these tokens."""
    state = None
    device = model.embedding.weight.device
    for start in range(0, len(numbers), CHUNK):
        _, state = model(torch.tensor(numbers[start : start + CHUNK], device=device)[:, None], state)
    return state


def _tokens(model: LanguageModel, numbers: Sequence[int], state: Any, length: int) -> Iterator[int]:
    """The continuation of `numbers`, given the state before the last of them."""
    how = model.generation
    last = torch.tensor([numbers[-1]], device=model.embedding.weight.device)
    if how.beam:
        end = model.tokeniser.first if model.tokeniser.units == "words" else None
        adjust = [no_repeats(how.block_repeats)] if how.block_repeats else []
        state = model.recurrent.initial(1) if state is None else state
        [[best]] = beam_search(
            _known(model), last, state, width=how.beam, longest=length, end=end,
            length_penalty=how.length_penalty, adjust=adjust,
        )  # fmt: skip
        return iter(best.tokens)
    generator = torch.Generator(last.device).manual_seed(how.seed)
    drawn = sample(_known(model), last, state, how.sampling, generator, numbers)
    return (int(token) for token in islice(drawn, length))


def _known(model: LanguageModel) -> Any:
    """The model's step; among characters, `<unk>` is not text and is never written."""
    unknown = model.tokeniser.unknown if model.tokeniser.units == "characters" else None
    if unknown is None:
        return model.step

    def step(tokens: Tensor, state: Any) -> tuple[Tensor, Any]:
        log_probs, state = model.step(tokens, state)
        log_probs[:, unknown] = -torch.inf
        return log_probs, state

    return step
