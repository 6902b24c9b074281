"""The pointwise operations: one entry holds everything that the kernels know about an operation.

To add an operation, add an entry. Only one that cannot be expressed by existing operations needs a function of its own,
`v_NAME`, in `cpu/native.h` (a polynomial, say) and in `triton/functions.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from math import copysign, inf, nan
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F


class Cost(Enum):
    """The cost of recomputing a value, compared with reading it from memory."""

    CHEAP = "less: a later phase of the same step computes it again"
    MODERATE = "about the same: the backward step computes it again, phases do not"
    EXPENSIVE = "more: the backward step is given the value"


class Value:
    """A value in the formula of a derivative, with arithmetic operators; `Graph` defines what they create."""

    def number(self, value: float) -> Value:
        """A constant."""
        raise NotImplementedError

    def apply(self, operation: str, *others: Value) -> Value:
        """Applies an operation of the table to this value and others."""
        raise NotImplementedError

    def _value(self, other: Value | float) -> Value:
        return other if isinstance(other, Value) else self.number(other)

    def __neg__(self) -> Value:
        return self.apply("neg")

    def __add__(self, other: Value | float) -> Value:
        return self.apply("add", self._value(other))

    def __radd__(self, other: float) -> Value:
        return self.number(other) + self

    def __rsub__(self, other: float) -> Value:
        return self.number(other).apply("sub", self)

    def __mul__(self, other: Value) -> Value:
        return self.apply("mul", other)

    def __truediv__(self, other: Value) -> Value:
        return self.apply("div", other)

    def __rtruediv__(self, other: float) -> Value:
        return self.number(other) / self

    def past(self, a: Value, b: Value | float) -> Value:
        """This, but 0 where a <= b: not a product with 0, which would make NaN of an infinite gradient."""
        return self.apply("past", a, self._value(b))

    def reached(self, a: Value, b: Value) -> Value:
        """This, but 0 where a < b."""
        return self.apply("reached", a, b)

    def shared(self, a: Value, b: Value) -> Value:
        """This, but half of it where both are equal."""
        return self.apply("shared", a, b)

    def where(self, c: Value) -> Value:
        """This, but 0 where c is 0."""
        return c.apply("select", self, self.number(0))

    def unless(self, c: Value) -> Value:
        """This, but 0 where c is not 0."""
        return c.apply("select", self.number(0), self)

    def sigmoid(self) -> Value:
        """1 / (1 + e^-x)."""
        return self.apply("sigmoid")


Derivative = Callable[..., Sequence[Any]]


@dataclass(frozen=True)
class Operation:
    """One pointwise operation.

    Attributes:
        name: in the graph, and after `v_` in C and in Triton.
        arguments: the names of its arguments in `c` and `triton`, a letter each.
        torch: the torch functions that are recorded as this operation.
        derivative: (gradient by the result, result, *arguments) -> the gradient by each argument.
        cost: of recomputing it.
        sign: its operator, if it is one in C and Triton; else it is a function there.
        c: the expression that this function returns, in terms of native.h; "": native.h has the function.
        triton: the same in Triton; "": triton/functions.py has the function.
        fold: its value for numbers, if constants may be folded.
    """

    name: str
    arguments: str
    torch: tuple[Callable[..., Any], ...]
    derivative: Derivative
    cost: Cost
    sign: str = ""
    c: str = ""
    triton: str = ""
    fold: Callable[..., float] | None = None


def _divide(a: float, b: float) -> float:
    return a / b if b else copysign(inf, a) if a else nan


_TABLE = (
    Operation(
        "add", "ab", (torch.add, Tensor.add, Tensor.__add__), lambda d, y, a, b: (d, d),
        Cost.CHEAP, sign="+", fold=lambda a, b: a + b,
    ),
    Operation(
        "sub", "ab", (torch.sub, Tensor.sub, Tensor.__sub__), lambda d, y, a, b: (d, -d),
        Cost.CHEAP, sign="-", fold=lambda a, b: a - b,
    ),
    Operation(
        "mul", "ab", (torch.mul, Tensor.mul, Tensor.__mul__), lambda d, y, a, b: (d * b, d * a),
        Cost.CHEAP, sign="*", fold=lambda a, b: a * b,
    ),
    Operation(
        "div", "ab", (torch.div, Tensor.div, Tensor.__truediv__), lambda d, y, a, b: (d / b, -(d / b * y)),
        Cost.EXPENSIVE, sign="/", fold=_divide,
    ),
    Operation(
        "neg", "x", (torch.neg, Tensor.neg, Tensor.__neg__), lambda d, y, x: (-d,),
        Cost.CHEAP, sign="-", fold=lambda x: -x,
    ),
    Operation(
        "exp", "x", (torch.exp, Tensor.exp), lambda d, y, x: (d * y,),
        Cost.EXPENSIVE, triton="tl.exp(x)",
    ),
    Operation(
        "log", "x", (torch.log, Tensor.log), lambda d, y, x: (d * (1 / x),),
        Cost.EXPENSIVE, triton="tl.log(x)",
    ),
    Operation(
        "sqrt", "x", (torch.sqrt, Tensor.sqrt), lambda d, y, x: (d * (0.5 / y),),
        Cost.EXPENSIVE, triton="tl.sqrt(x)",
    ),
    Operation(
        "sigmoid", "x", (torch.sigmoid, Tensor.sigmoid, F.sigmoid), lambda d, y, x: (d * (y * (1 - y)),),
        Cost.EXPENSIVE, triton="1.0 / (1.0 + tl.exp(-x))",
    ),
    Operation(
        "tanh", "x", (torch.tanh, Tensor.tanh, F.tanh), lambda d, y, x: (d * (1 - y * y),),
        Cost.EXPENSIVE,
    ),
    Operation(  # NaN stays NaN
        "relu", "x", (torch.relu, Tensor.relu, F.relu), lambda d, y, x: (d.past(y, 0),),
        Cost.EXPENSIVE, c="at_least(x, 0.f)", triton="tl.where(x < 0.0, 0.0, x)",
    ),
    Operation(  # without the cancellation of e^x - 1 near 0
        "expm1", "x", (torch.expm1, Tensor.expm1), lambda d, y, x: (d * (y + 1),),
        Cost.EXPENSIVE, c="v_tanh(splat(.5f) * x) * (v_exp(x) + splat(1.f))",
        triton="v_tanh(0.5 * x) * (tl.exp(x) + 1.0)",
    ),
    Operation(
        "log1p", "x", (torch.log1p, Tensor.log1p), lambda d, y, x: (d * (1 / (1 + x)),),
        Cost.EXPENSIVE,
    ),
    Operation(
        "softplus", "x", (F.softplus,), lambda d, y, x: (d * x.sigmoid(),),
        Cost.EXPENSIVE, c="v_relu(x) + v_log1p(v_exp(blend(x > splat(0.f), -x, x)))",
        triton="v_relu(x) + v_log1p(tl.exp(-tl.abs(x)))",
    ),
    Operation(
        "logsigmoid", "x", (F.logsigmoid,), lambda d, y, x: (d * (-x).sigmoid(),),
        Cost.EXPENSIVE, c="-v_softplus(-x)", triton="-v_softplus(-x)",
    ),
    Operation(  # NaN if either is
        "maximum", "ab", (torch.maximum, Tensor.maximum),
        lambda d, y, a, b: (d.shared(a, b).reached(a, b), d.shared(a, b).reached(b, a)),
        Cost.MODERATE, c="blend((a > b) | (a != a), a, b)", triton="tl.where((a > b) | (a != a), a, b)",
    ),
    Operation(  # the same; if both are equal, a gets the whole gradient, as in torch
        "clamp_min", "ab", (), lambda d, y, a, b: (d.reached(a, b), d.past(b, a)),
        Cost.MODERATE, c="v_maximum(a, b)", triton="v_maximum(a, b)",
    ),
    Operation(
        "gt", "ab", (torch.gt, Tensor.gt, Tensor.__gt__), lambda d, y, a, b: (0, 0),
        Cost.MODERATE, c="blend(a > b, splat(1.f), splat(0.f))", triton="tl.where(a > b, 1.0, 0.0)",
    ),
    Operation(
        "ge", "ab", (torch.ge, Tensor.ge, Tensor.__ge__), lambda d, y, a, b: (0, 0),
        Cost.MODERATE, c="blend(a >= b, splat(1.f), splat(0.f))", triton="tl.where(a >= b, 1.0, 0.0)",
    ),
    Operation(
        "past", "dab", (), lambda d, y, one, a, b: (d.past(a, b), 0, 0),
        Cost.MODERATE, c="blend(a <= b, splat(0.f), d)", triton="tl.where(a <= b, 0.0, d)",
    ),
    Operation(
        "reached", "dab", (), lambda d, y, one, a, b: (d.reached(a, b), 0, 0),
        Cost.MODERATE, c="blend(a < b, splat(0.f), d)", triton="tl.where(a < b, 0.0, d)",
    ),
    Operation(
        "shared", "dab", (), lambda d, y, one, a, b: (d.shared(a, b), 0, 0),
        Cost.MODERATE, c="blend(a == b, splat(.5f) * d, d)", triton="tl.where(a == b, 0.5 * d, d)",
    ),
    Operation(
        "select", "cab", (torch.where,), lambda d, y, c, a, b: (0, d.where(c), d.unless(c)),
        Cost.MODERATE, c="blend(c != splat(0.f), a, b)", triton="tl.where(c != 0.0, a, b)",
    ),
)  # fmt: skip
OPERATIONS: Mapping[str, Operation] = {operation.name: operation for operation in _TABLE}
"""by name; operations composed of others come after those"""


def expression(name: str, arguments: Sequence[str]) -> str:
    """An operation on expressions, for both C and Triton."""
    sign = OPERATIONS[name].sign
    if sign:
        return f" {sign} ".join(arguments) if len(arguments) > 1 else f"{sign}{arguments[0]}"
    return f"v_{name}({', '.join(arguments)})"


def c_functions() -> str:
    """The functions in C that native.h does not have."""
    made = (operation for operation in _TABLE if operation.c)
    return "".join(
        f"static inline vec v_{one.name}({', '.join(f'vec {name}' for name in one.arguments)}) {{ return {one.c}; }}\n"
        for one in made
    )


def triton_functions() -> str:
    """The functions in Triton that triton/functions.py does not have."""
    made = (operation for operation in _TABLE if operation.triton)
    return "".join(
        f"\n\n@triton.jit\ndef v_{one.name}({', '.join(one.arguments)}):\n    return {one.triton}\n" for one in made
    )
