"""Traces the graph of a cell from its own `step`: a cell is described once, and fused from that description.

`step` (and what `project` does after its one product) runs once on symbols instead of tensors. Its operations are
recorded, in segments of H units; an unsupported one (indexing by data, a view into heads) is named, and the cell stays
on the loop.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from unroll.recurrence.cell import Cell
from unroll.recurrence.kernels.graph import SCALAR, ByDesign, CannotFuse, Graph, Node, broadcast
from unroll.recurrence.kernels.operations import OPERATIONS
from unroll.recurrence.kernels.reads import Reads


@dataclass(frozen=True)
class StepGraph:
    """A step as a graph.

    Attributes:
        graph: owns its nodes.
        units: H, the width of a segment if it divides the vector.
        inputs: P, width of u.
        direct: whether u is the product of x in `project`, and what follows it there is part of the graph.
        output: segments of the output.
        states: segments of each state after the step.
        widths: units of each state.
    """

    graph: Graph
    units: int
    inputs: int
    direct: bool
    output: tuple[Node, ...]
    states: tuple[tuple[Node, ...], ...]
    widths: tuple[int, ...]


def trace(cell: Cell, inputs: int | None, *, masked: bool = False, reads: Reads | None = None) -> StepGraph:
    """Runs `cell.step` on symbols.

    Args:
        cell: any cell over vectors.
        inputs: P, width of what `project` returns; None: `project` is traced, too.
        masked: with a mask of variational dropout.
        reads: records what is read from the cell, so that a change can be noticed.

    Raises:
        CannotFuse: it does something that the graph does not support.
    """
    if any(len(shape) != 1 for shape in cell.state_shapes.values()) or cell.extent_dims:
        raise ByDesign("its states are maps, not vectors")
    if masked and "mask" not in inspect.signature(cell.step).parameters:
        raise CannotFuse("its step takes no mask")
    maker = _Maker(Graph(), cell.hidden_size)
    widths = tuple(shape[0] for shape in cell.state_shapes.values())
    state = tuple(maker.symbol("state", k, width) for k, width in enumerate(widths))
    extra = (maker.symbol("mask", 0, widths[0]),) if masked else ()
    try:
        watch = (Reads() if reads is None else reads).watch
        symbolic = shadow(cell, lambda name, weight: Weights(maker, name, 0, weight.shape), also=watch)
        given = _Input(maker, cell.input_size)
        u = symbolic.project(given) if inputs is None else maker.symbol("u", 0, inputs)
        output, after = symbolic.step(u, state, *extra)
    except CannotFuse:
        raise
    except Exception as error:
        raise CannotFuse(f"on symbols: {type(error).__name__}: {error}") from error
    if not isinstance(output, Symbol) or not all(isinstance(tensor, Symbol) for tensor in after):
        raise CannotFuse("step returns something that does not depend on u or the state")
    wrong = [k for k, (tensor, width) in enumerate(zip(after, widths, strict=True)) if tensor.width != width]
    if wrong or output.width != cell.output_size:
        raise CannotFuse("step returns rows of another width than it says")
    states = tuple(tensor.segments for tensor in after)
    width = given.outputs if inputs is None else inputs
    return StepGraph(maker.graph, cell.hidden_size, width, inputs is None, output.segments, states, widths)


def projected_width(cell: Cell) -> int:
    """P, the width of what `project` returns; found without side effects on statistics, generators or hooks.

    Raises:
        CannotFuse: that is not a vector.
    """
    if cell.extent_dims:
        raise ByDesign("its rows are maps, not vectors")
    like = next(cell.parameters())
    with torch.no_grad(), torch.random.fork_rng([like.device] if like.is_cuda else []):
        unnoticed: Cell = shadow(cell, lambda _, weight: weight, also=_unnoticed)
        return unnoticed.project(like.new_zeros(2, 2, cell.input_size)).shape[-1]  # two: batch norm needs more than one


def _unnoticed(twin: Any, _: str) -> None:
    """Gives a copy its own buffers, and no hooks."""
    twin.__dict__["_buffers"] = {name: None if one is None else one.clone() for name, one in twin._buffers.items()}
    twin.__dict__.update({name: {} for name in ("_forward_hooks", "_forward_pre_hooks")})


@dataclass(frozen=True)
class _Maker:
    graph: Graph
    units: int

    def cut(self, width: int) -> list[tuple[int, int]]:
        """(offset, width) of the segments of a vector: of H units if that divides it, else a single one."""
        size = self.units if width % self.units == 0 else width
        return [(offset, size) for offset in range(0, width, size)]

    def symbol(self, op: str, name: object, width: int, offset: int = 0) -> Symbol:
        return Symbol(self, tuple(self.graph.leaf(op, name, offset + at, size) for at, size in self.cut(width)))


@dataclass(frozen=True)
class Weights:
    """A parameter inside `step`, or rows of it: [width] of a vector, [rows, columns] of a matrix."""

    maker: _Maker
    name: str
    offset: int
    shape: torch.Size

    @classmethod
    def __torch_function__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return _dispatch(func, args, kwargs or {})

    def __getitem__(self, key: Any) -> Weights:
        rows = self.shape[0]
        if isinstance(key, int) and len(self.shape) == 2:
            row = range(rows)[key]
            return Weights(self.maker, self.name, self.offset + row * self.shape[1], torch.Size(self.shape[1:]))
        if isinstance(key, slice) and key.step in (None, 1):
            begin, end, _ = key.indices(rows)
            stride = self.shape[1] if len(self.shape) == 2 else 1
            shape = torch.Size((end - begin, *self.shape[1:]))
            return Weights(self.maker, self.name, self.offset + begin * stride, shape)
        raise CannotFuse(f"a parameter is indexed with {key!r}")

    def __len__(self) -> int:
        return self.shape[0]

    def __iter__(self) -> Any:
        return (self[row] for row in range(len(self)))

    def chunk(self, chunks: int, dim: int = 0) -> tuple[Weights, ...]:
        size = -(-self.shape[0] // chunks)
        if dim not in (0, -len(self.shape)):
            raise CannotFuse("a parameter is cut along its columns")
        return tuple(self[begin : begin + size] for begin in range(0, self.shape[0], size))

    def vector(self) -> Symbol:
        """The parameter as values, the same for every row."""
        if len(self.shape) != 1:
            raise CannotFuse(f"{self.name} of shape {list(self.shape)} is used other than in a product")
        return self.maker.symbol("param", self.name, self.shape[0], self.offset)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return getattr(self.vector(), name)


class Symbol:
    """[R, width] inside `step`: the part of a tensor's interface that cells use, over graph nodes."""

    def __init__(self, maker: _Maker, segments: Sequence[Node]) -> None:
        self.maker, self.segments = maker, tuple(segments)

    @property
    def width(self) -> int:
        return sum(node.width for node in self.segments) if self.segments[0].width > 0 else self.segments[0].width

    @property
    def shape(self) -> tuple[Any, int]:
        """(the unknown batch size, width)."""
        return (object(), self.width)

    @classmethod
    def __torch_function__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return _dispatch(func, args, kwargs or {})

    def __getitem__(self, key: Any) -> Symbol:
        if isinstance(key, tuple) and len(key) == 2 and key[0] is Ellipsis and isinstance(key[1], slice):
            begin, end, step = key[1].indices(self.width)
            if step == 1:
                return self.narrow(begin, end)
        raise CannotFuse(f"a value is indexed with {key!r}")

    def narrow(self, begin: int, end: int) -> Symbol:
        """Units begin to end, which must be segment boundaries."""
        at, chosen = 0, []
        for node in self.segments:
            if begin <= at and at + node.width <= end:
                chosen.append(node)
            elif at < end and begin < at + node.width:
                raise CannotFuse(f"a value is cut inside {node.width} units")
            at += node.width
        return Symbol(self.maker, chosen)

    def chunk(self, chunks: int, dim: int = -1) -> tuple[Symbol, ...]:
        if dim not in (-1, 1):
            raise CannotFuse("a value is cut along the batch")
        size = -(-self.width // chunks)
        return tuple(self.narrow(at, min(at + size, self.width)) for at in range(0, self.width, size))

    def split(self, size: int, dim: int = -1) -> tuple[Symbol, ...]:
        return self.chunk(-(-self.width // size), dim)

    def to(self, *_: Any, **__: Any) -> Symbol:
        return self

    float = contiguous = to

    @property
    def dtype(self) -> torch.dtype:
        return torch.float32

    def __bool__(self) -> bool:
        raise CannotFuse("step branches on a value")

    def __getattr__(self, name: str) -> Any:
        function = None if name.startswith("__") else getattr(torch.Tensor, name, None)
        if function is None:
            raise AttributeError(name)
        return lambda *args, **kwargs: _dispatch(function, (self, *args), kwargs)


class _Input:
    """x inside `project`: it may only be used in one product, whose result is u."""

    def __init__(self, maker: _Maker, width: int) -> None:
        self.maker, self.width, self.outputs = maker, width, 0

    @property
    def shape(self) -> tuple[Any, Any, int]:
        """(the unknown number of steps, the unknown batch size, width)."""
        return (object(), object(), self.width)

    @classmethod
    def __torch_function__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        given, weight = args[:2] if len(args) > 1 else (None, None)
        if func is not F.linear or not isinstance(given, _Input) or not isinstance(weight, Weights) or given.outputs:
            raise CannotFuse("project is more than one product and what follows it")
        given.outputs = weight.shape[0]
        return given.maker.symbol("u", 0, given.outputs)


def _method(function: Any, swapped: bool = False) -> Any:
    if swapped:
        return lambda self, other: _dispatch(function, (other, self), {})
    return lambda self, *others: _dispatch(function, (self, *others), {})


_name: str
_function: Any
for _name, _function in (("add", torch.add), ("sub", torch.sub), ("mul", torch.mul), ("truediv", torch.div)):
    for _kind in (Symbol, Weights):
        setattr(_kind, f"__{_name}__", _method(_function))
        setattr(_kind, f"__r{_name}__", _method(_function, swapped=True))
for _name, _function in (("neg", torch.neg), ("ge", torch.ge), ("gt", torch.gt), ("le", torch.le), ("lt", torch.lt)):
    for _kind in (Symbol, Weights):
        setattr(_kind, f"__{_name}__", _method(_function))


def shadow(
    module: Any, replace: Callable[[str, Tensor], Any], prefix: str = "", also: Callable[[Any, str], None] | None = None
) -> Any:
    """A shallow copy of a module with other values in place of its parameters. The module is not changed.

    `also` is called with the copy of each module in it and its path ("norm.").
    """
    twin = object.__new__(type(module))  # not copy.copy, which leaves out what must not be pickled
    twin.__dict__.update(module.__dict__)
    twin.__dict__["_parameters"] = {
        name: None if weight is None else replace(prefix + name, weight) for name, weight in module._parameters.items()
    }
    twin.__dict__["_modules"] = {
        name: None if child is None else shadow(child, replace, f"{prefix}{name}.", also)
        for name, child in module._modules.items()
    }
    if also is not None:
        also(twin, prefix)
    return twin


def _dispatch(func: Any, args: Sequence[Any], kwargs: dict[str, Any]) -> Any:
    rule = _RULES.get(func)
    if rule is None:
        raise CannotFuse(f"{getattr(func, '__name__', func)} has no fused form")
    return rule(*args, **kwargs)


def _symbol(x: Any, like: _Maker) -> Symbol:
    if isinstance(x, Symbol):
        return x
    if isinstance(x, Weights):
        return x.vector()
    if isinstance(x, bool | int | float):
        return Symbol(like, (like.graph.const(x),))
    raise CannotFuse(f"a {type(x).__name__} that is not a parameter enters the step")


def _pointwise(op: str) -> Callable[..., Symbol]:
    def rule(*args: Any) -> Symbol:
        maker = next(arg.maker for arg in args if isinstance(arg, Symbol | Weights))
        symbols = [_symbol(arg, maker) for arg in args]
        try:
            broadcast([symbol.width for symbol in symbols])
        except ValueError as error:
            raise CannotFuse(str(error)) from error
        count = max(len(symbol.segments) for symbol in symbols)
        rows = [symbol.segments * (count if len(symbol.segments) == 1 else 1) for symbol in symbols]
        return Symbol(maker, [maker.graph.point(op, *nodes) for nodes in zip(*rows, strict=True)])

    return rule


def _linear(x: Any, weight: Any, bias: Any = None) -> Any:
    if not isinstance(x, Symbol) or not isinstance(weight, Weights) or len(weight.shape) != 2:
        raise CannotFuse("a product of something other than a value and a parameter")
    rows, columns = weight.shape
    if weight.offset % columns or x.width != columns:
        raise CannotFuse(f"a product of {x.width} units with {columns} columns")
    maker = x.maker
    dot = maker.graph.make("dot", *x.segments, data=(weight.name, weight.offset // columns, rows), width=rows)
    result = Symbol(maker, [maker.graph.part(dot, offset, size) for offset, size in maker.cut(rows)])
    return result if bias is None else _RULES[torch.add](result, bias)


def _layer_norm(x: Symbol, shape: Sequence[int], weight: Any = None, bias: Any = None, eps: float = 1e-5) -> Symbol:
    if tuple(shape) != (x.width,):
        raise CannotFuse("a layer norm over something other than the whole row")
    graph, width, add, mul = x.maker.graph, x.width, _RULES[torch.add], _RULES[torch.mul]

    def mean(value: Symbol) -> Symbol:
        total = graph.make("sum", *value.segments, width=SCALAR)
        return Symbol(x.maker, (graph.point("mul", total, graph.const(1 / width)),))

    centred = _RULES[torch.sub](x, mean(x))
    spread = _RULES[torch.sqrt](add(mean(mul(centred, centred)), eps))
    # Of a row whose variance float32 cannot hold torch makes NaN or 0, by its width: 0 would hide it.
    too_large = _RULES[torch.gt](spread, torch.finfo(torch.float32).max)
    scale = _RULES[torch.where](too_large, math.nan, _RULES[torch.div](1.0, spread))
    normal: Symbol = _RULES[torch.mul](centred, scale)
    normal = normal if weight is None else mul(normal, weight)
    return normal if bias is None else add(normal, bias)


def _cat(symbols: Sequence[Any], dim: int = 0) -> Symbol:
    if dim not in (-1, 1) or not all(isinstance(symbol, Symbol) for symbol in symbols):
        raise CannotFuse("cat along the batch, or of something other than values")
    return Symbol(symbols[0].maker, [node for symbol in symbols for node in symbol.segments])


def _clamp(x: Any, min: Any = None, max: Any = None) -> Symbol:
    result: Symbol = x
    if min is not None:
        result = _at_least(result, min)
    if max is not None:
        result = _RULES[torch.neg](_at_least(_RULES[torch.neg](result), -max))
    return result


_at_least = _pointwise("clamp_min")
_RULES: dict[Any, Callable[..., Any]] = {
    function: _pointwise(name) for name, operation in OPERATIONS.items() for function in operation.torch
}
_RULES.update(
    {
        torch.rsub: lambda a, b: _RULES[torch.sub](b, a),
        torch.Tensor.__rsub__: lambda a, b: _RULES[torch.sub](b, a),
        torch.le: lambda a, b: _RULES[torch.ge](b, a),
        torch.lt: lambda a, b: _RULES[torch.gt](b, a),
        torch.square: lambda x: _RULES[torch.mul](x, x),
        torch.Tensor.square: lambda x: _RULES[torch.mul](x, x),
        torch.addcmul: lambda base, a, b: _RULES[torch.add](base, _RULES[torch.mul](a, b)),
        torch.clamp: _clamp,
        torch.Tensor.clamp: _clamp,
        torch.cat: _cat,
        torch.chunk: lambda x, chunks, dim=0: x.chunk(chunks, dim),
        F.linear: _linear,
        F.layer_norm: _layer_norm,
    }
)
