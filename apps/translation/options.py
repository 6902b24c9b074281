"""How translations are decoded: settings that a translator carries besides its weights."""

from typing import TYPE_CHECKING, Annotated, Self

from pydantic import Field, model_validator

from unroll.config import Section
from unroll.reads import Only

if TYPE_CHECKING:
    from unroll.sequence.decoding import Sampling


class Decoding(Section):
    """How translations are decoded. None of these settings changes the weights."""

    beam: Annotated[int, Only("decode.sample=false")] = Field(5, ge=1)
    """beam width; 1: greedy"""
    length_penalty: Annotated[float, Only("decode.sample=false")] = Field(1.0, ge=0)
    """length normalisation: exponent of the length that log probabilities are divided by"""
    coverage_penalty: Annotated[float, Only("decode.sample=false")] = Field(0.0, ge=0)
    """weight of the penalty for parts of the source that were not attended to (Wu et al. 2016)"""
    n_best: int = Field(1, ge=1)
    """number of translations per sentence"""
    no_repeat: Annotated[int, Only("decode.sample=false")] = Field(0, ge=0)
    """no n-gram of this length may occur twice in a translation; 0: no limit"""
    sample: bool = False
    """sample translations instead of using beam search"""
    temperature: Annotated[float, Only("decode.sample=true")] = Field(1.0, gt=0)
    """sample: softmax temperature; below 1 sharper, above 1 flatter"""
    top_k: Annotated[int, Only("decode.sample=true")] = Field(0, ge=0)
    """sample: restrict to the k most probable tokens (top-k); 0: no restriction"""
    top_p: Annotated[float, Only("decode.sample=true")] = Field(1.0, gt=0, le=1)
    """sample: restrict to the most probable tokens that together have this probability (top-p)"""
    seed: Annotated[int, Only("decode.sample=true")] = Field(0, ge=0)
    """sample: random seed"""

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.n_best > self.beam and not self.sample:
            raise ValueError(f"decode.n_best={self.n_best}: is more than decode.beam={self.beam}; raise that as well")
        return self

    @property
    def sampling(self) -> "Sampling | None":
        """The restrictions of sampling together; None: beam search."""
        if not self.sample:
            return None
        from unroll.sequence.decoding import Sampling  # not at the top: settings are read without waiting for torch

        return Sampling(temperature=self.temperature, top_k=self.top_k, top_p=self.top_p)

    @property
    def signature(self) -> str:
        """For reports: how texts were chosen."""
        if self.sample:
            return "sampled"
        found = f"beam{self.beam}|length:{self.length_penalty:g}|coverage:{self.coverage_penalty:g}"
        return found + (f"|no_repeat:{self.no_repeat}" if self.no_repeat else "")


GREEDY = Decoding(beam=1, length_penalty=0.0)
