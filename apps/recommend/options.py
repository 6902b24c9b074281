"""How recommendations are chosen and evaluated: settings that a recommender carries beside its weights."""

from pydantic import Field

from unroll.config import Section


class Decoding(Section):
    """How recommendations are chosen."""

    k: int = Field(10, ge=1)
    """number of items to recommend"""
    exclude_seen: bool = False
    """exclude items that the session has already clicked, also in evaluation"""
    sampled: int = Field(0, ge=0)
    """also rank among this many random items; such figures are named so and not comparable with full ranking; 0: off"""
