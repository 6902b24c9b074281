"""The buffers of a step, and places in them: shared by the plan, the code generators and the callers of a step."""

from __future__ import annotations

from enum import StrEnum
from typing import NamedTuple


class Kind(StrEnum):
    """What a buffer holds. N rows: one per step of every row of the batch; B rows: one per row of the batch."""

    U = "u"
    """[N, P] the input side of a step"""
    KEPT = "kept"
    """[N, P] values saved for the backward step, over u"""
    D_U = "d_u"
    """[N, P] the gradient by u"""
    OUT = "out"
    """[N, O] the output"""
    D_OUT = "d_out"
    """[N, O] the gradient by it"""
    SAVED = "saved"
    """[N, S] other values saved for the backward step"""
    D_PRODUCT = "d_product"
    """[N, rows] the gradient by the result of a product, numbered"""
    BEFORE = "before"
    """[B, n] a state before the step (the previous, the initial or the fresh one); numbered, like the following ones"""
    AFTER = "after"
    """[N, n] a state after the step, or [2, B, n] if nothing is saved"""
    INITIAL = "initial"
    """[B, n] a state before the first step"""
    FINAL = "final"
    """[B, n] a state after each row's last step"""
    FRESH = "fresh"
    """[B, n] the state that rows are reset to"""
    D_STATE = "d_state"
    """[B, n] the gradient by a state"""
    D_NEXT = "d_next"
    """[B, n] the same, for steps that must not overwrite what they read"""
    D_FRESH = "d_fresh"
    """[B, n] the gradient by a fresh state"""
    PARAM = "param"
    """[n] a vector parameter, numbered"""
    D_PARAM = "d_param"
    """[threads or blocks of rows, sum of n] the gradients by the vectors, concatenated"""
    MASK = "mask"
    """[B, H] the mask of variational dropout"""
    SCRATCH = "scratch"
    """[B, scratch] values that a later phase of the same step reads"""
    COUNTS = "counts"
    """[T] how many rows reach each step"""
    OFFSETS = "offsets"
    """[T] where the rows of each step begin"""
    RESET = "reset"
    """[N] whether the row is reset before the step"""


class Buffer(NamedTuple):
    """One buffer.

    Attributes:
        kind: what it holds.
        number: which one of its kind: of the state, the product or the parameter.
    """

    kind: Kind
    number: int | None = None

    @property
    def name(self) -> str:
        """Its name in generated code."""
        return self.kind.value if self.number is None else f"{self.kind.value}{self.number}"

    @property
    def at_input_side(self) -> bool:
        """Whether it is bfloat16 in a kernel for bfloat16."""
        return self.kind in (Kind.U, Kind.KEPT, Kind.D_U, Kind.D_PRODUCT)

    @property
    def state(self) -> int:
        """The number of the state that it belongs to; a mask belongs to the hidden state."""
        return self.number or 0


class Place(NamedTuple):
    """Where a segment is stored: a buffer, and the offset within each of its rows."""

    buffer: Buffer
    offset: int


U, KEPT, D_U = Buffer(Kind.U), Buffer(Kind.KEPT), Buffer(Kind.D_U)
OUT, D_OUT, SAVED = Buffer(Kind.OUT), Buffer(Kind.D_OUT), Buffer(Kind.SAVED)
D_PARAM, MASK, SCRATCH = Buffer(Kind.D_PARAM), Buffer(Kind.MASK), Buffer(Kind.SCRATCH)
COUNTS, OFFSETS, RESET = Buffer(Kind.COUNTS), Buffer(Kind.OFFSETS), Buffer(Kind.RESET)
