"""How a language model generates text, and how it adapts to text: settings that it carries besides its weights."""

from typing import TYPE_CHECKING, Annotated, Self

from pydantic import Field, model_validator

from unroll.config import Section
from unroll.reads import Only

if TYPE_CHECKING:
    from unroll.sequence.decoding import Sampling

TEMPERATURE = 0.8
"""of sampling, if none is set: beam search refuses one that is"""


class Adaptation(Section):
    """Adaptation to the text during evaluation; each method is reported under its name, beside the plain figure."""

    cache: int = Field(0, ge=0)
    """neural cache: number of past tokens in the cache; 0: no cache"""
    cache_weight: Annotated[float, Only("evaluate.cache!=0")] = Field(0.1, gt=0, lt=1)
    """weight of the cache in the mixture (lambda)"""
    cache_flatness: Annotated[float, Only("evaluate.cache!=0")] = Field(1.0, gt=0)
    """flatness: factor on the similarities of hidden states (theta)"""
    dynamic: float = Field(0.0, ge=0)
    """dynamic evaluation: learning rate of the gradient step after each window; 0: off"""
    dynamic_decay: Annotated[float, Only("evaluate.dynamic!=0.0")] = Field(0.002, ge=0, lt=1)
    """dynamic evaluation: decay towards the trained weights, as a fraction per step"""


class Generation(Section):
    """How text is generated."""

    length: int = Field(400, ge=1)
    """maximum number of tokens"""
    temperature: float | None = Field(None, gt=0)
    """sampling temperature: below 1 safer, above 1 wilder; unset: 0.8"""
    top_k: int = Field(0, ge=0)
    """restrict to the k most probable tokens (top-k); 0: no restriction"""
    top_p: float = Field(1.0, gt=0, le=1)
    """restrict to the most probable tokens that together have this probability (top-p)"""
    min_p: float = Field(0.0, ge=0, lt=1)
    """restrict to tokens at least this fraction as probable as the most probable one (min-p)"""
    repetition_penalty: float = Field(1.0, ge=1)
    """factor that the probability of tokens already generated is divided by"""
    stop: tuple[str, ...] = ()
    """strings at which to stop; they are not part of the output"""
    beam: int = Field(0, ge=0)
    """beam search of this width instead of sampling; 0: sample"""
    length_penalty: float = Field(0.0, ge=0)
    """beam: length normalisation: exponent of the length that scores are divided by"""
    block_repeats: int = Field(0, ge=0)
    """beam: no n-gram of this length is repeated; 0: no limit"""
    seed: Annotated[int, Only("generate.beam=0")] = Field(0, ge=0)
    """random seed of sampling"""

    @model_validator(mode="after")
    def _agree(self) -> Self:
        drawing = {
            "temperature": self.temperature is not None, "top_k": self.top_k > 0, "top_p": self.top_p < 1,
            "min_p": self.min_p > 0, "repetition_penalty": self.repetition_penalty > 1,
        }  # fmt: skip
        if self.beam and any(drawing.values()):
            given = ", ".join(name for name, there in drawing.items() if there)
            raise ValueError(f"beam={self.beam} searches and {given} is for sampling; use one or the other")
        if not self.beam and (self.length_penalty or self.block_repeats):
            raise ValueError("length_penalty and block_repeats are for beam search; set generate.beam")
        return self

    @property
    def sampling(self) -> "Sampling":
        """The restrictions of sampling together."""
        from unroll.sequence.decoding import Sampling  # not at the top: settings are read without waiting for torch

        return Sampling(
            self.repetition_penalty,
            TEMPERATURE if self.temperature is None else self.temperature,
            self.top_k,
            self.top_p,
            self.min_p,
        )
