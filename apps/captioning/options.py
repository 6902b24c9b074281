"""What captions are trained for, and how they are decoded: settings that a captioner carries besides its weights."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from unroll.config import Section
from unroll.reads import Only


class Objective(Section):
    """What captions are trained for."""

    coverage: float = Field(0.0, ge=0)
    """weight of the doubly stochastic attention loss: every region should be attended to once"""
    forget: float = Field(0.0, ge=0, le=1)
    """scheduled sampling: final fraction of inputs that the model predicted, reached over train.epochs (0: over 12)"""
    self_critical_from: int = Field(0, ge=0)
    """epochs before self-critical training on CIDEr begins; 0: never"""
    rollouts: Annotated[int, Only("train.self_critical_from!=0")] = Field(5, ge=1)
    """captions sampled per picture in self-critical training"""


class Decoding(Section):
    """How captions are decoded. These may be changed on a trained model."""

    method: Literal["beam", "diverse", "sample"] = "beam"
    """beam: beam search; diverse: beam search in groups that avoid each other's words; sample: random sampling"""
    beam: Annotated[int, Only("decode.method!=sample")] = Field(3, ge=1)
    """beam width"""
    groups: Annotated[int, Only("decode.method=diverse")] = Field(3, ge=1)
    """diverse: number of groups that the beam is divided into"""
    diversity: Annotated[float, Only("decode.method=diverse")] = Field(0.5, ge=0)
    """diverse: penalty, in nats, for a word that another group has just chosen"""
    length_penalty: Annotated[float, Only("decode.method!=sample")] = Field(0.7, ge=0)
    """exponent of the length that log probabilities are divided by; 0 favours short captions"""
    n_best: int = Field(1, ge=1)
    """captions per picture; metrics use the first"""
    longest: int = Field(50, ge=1)
    """maximum number of words"""
    temperature: Annotated[float, Only("decode.method=sample")] = Field(1.0, gt=0)
    """sample: softmax temperature; below 1 sharper, above 1 flatter"""
    top_p: Annotated[float, Only("decode.method=sample")] = Field(1.0, gt=0, le=1)
    """sample: restrict to the most probable words that together have this probability (top-p)"""
    seed: Annotated[int, Only("decode.method=sample")] = Field(0, ge=0)
    """sample: random seed"""

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.method != "sample" and self.n_best > self.beam:
            raise ValueError(f"decode.n_best={self.n_best} is more than decode.beam={self.beam}; raise the beam")
        if self.method == "diverse" and self.beam % self.groups:
            raise ValueError(f"decode.groups={self.groups} must divide decode.beam={self.beam}")
        return self
