"""What `predict` does: settings that a network carries beside its weights."""

from pathlib import Path
from typing import Annotated

from pydantic import Field

from unroll.config import Section
from unroll.reads import Only


class Predicting(Section):
    """Settings of `invoke predict`."""

    keep: Annotated[float, Only("train.task=complete")] = Field(0.5, ge=0, lt=1)
    """complete: fraction of the rows, from the top, to keep; the rest is filled in"""
    temperature: Annotated[float, Only("train.task=complete")] = Field(1.0, gt=0)
    """complete: sampling temperature; below 1 favours the more probable grey levels"""
    seed: Annotated[int, Only("train.task=complete")] = Field(0, ge=0)
    """complete: random seed"""
    invert: bool = False
    """invert black and white first: for dark writing on paper, if the model was trained on bright writing on black"""
    folder: Path = Path("predicted")
    """complete, denoise: folder to write the pictures to"""
