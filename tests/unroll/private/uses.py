"""Which names that begin with an underscore the source takes from other packages, by reading it."""

import ast
from collections.abc import Iterable, Iterator, Sequence

from torch import nn

PUBLIC = frozenset({"_asdict", "_exit", "_fields", "_make", "_replace"})
"""documented for everyone, by Python itself: `collections.namedtuple` and `os`"""
OF_MODULES = frozenset(name for name in vars(nn.LSTM(1, 1)) if name.startswith("_"))
"""what torch keeps in every module: a text with one of these names is a way to it"""
BY_TEXT = ("getattr", "setattr", "hasattr", "delattr")


def is_private(name: object) -> bool:
    """Whether this is a name with one underscore in front."""
    if not isinstance(name, str) or not name.isidentifier() or name in PUBLIC:
        return False
    return name.startswith("_") and not name.startswith("__") and name.strip("_") != ""


def foreign(sources: Sequence[str]) -> set[str]:
    """The private names of others that these modules use: by import, as attributes, or by a text."""
    trees = [ast.parse(source) for source in sources]
    own = {name for tree in trees for name in _defined(tree)}
    return {name for tree in trees for name in _used(tree, own)}


def mentioned(sources: Iterable[str]) -> set[str]:
    """Every private name in these modules, whoever's it is."""
    nodes = (node for source in sources for node in ast.walk(ast.parse(source)))
    return {name for node in nodes for name in _names(node) if isinstance(name, str) and is_private(name)}


def _names(node: ast.AST) -> Iterator[object]:
    match node:
        case ast.Attribute(attr=name) | ast.Constant(value=name):
            yield name
        case ast.Import(names=aliases):
            yield from (part for alias in aliases for part in alias.name.split("."))
        case ast.ImportFrom(module=module, names=aliases):
            yield from (*(module or "").split("."), *(alias.name for alias in aliases))


def _defined(tree: ast.AST) -> Iterator[str]:
    """What our own classes have: methods, values in their body, what is set on `self`."""
    for node in ast.walk(tree):
        if isinstance(node, ast.ClassDef):
            for inner in node.body:
                yield from _bound(inner)
        elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store) and _root(node) in ("self", "cls"):
            yield node.attr


def _bound(node: ast.stmt) -> Iterator[str]:
    match node:
        case ast.FunctionDef(name=name) | ast.ClassDef(name=name):
            yield name
        case ast.Assign(targets=targets):
            yield from (target.id for target in targets if isinstance(target, ast.Name))
        case ast.AnnAssign(target=ast.Name(id=name)):
            yield name


def _used(tree: ast.Module, own: set[str]) -> Iterator[str]:
    imported = set(_imported(tree))
    for node in ast.walk(tree):
        match node:
            case ast.Import() | ast.ImportFrom() if _is_foreign(node):
                found: Iterable[object] = _names(node)
            case ast.Attribute(attr=name) if name not in own or _root(node) in imported:
                found = [name]
            case ast.Call(func=ast.Name(id=function), args=[_, ast.Constant(value=name), *_]) if function in BY_TEXT:
                found = {name} - own
            case ast.Subscript(value=ast.Attribute(attr="__dict__"), slice=ast.Constant(value=name)):
                found = {name} - own
            case ast.Constant(value=str(name)):
                found = {name} & OF_MODULES
            case _:
                continue
        yield from (name for name in found if isinstance(name, str) and is_private(name))


def _imported(tree: ast.Module) -> Iterator[str]:
    """The names by which modules and members of other packages are known here."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import | ast.ImportFrom) and _is_foreign(node):
            yield from ((alias.asname or alias.name).partition(".")[0] for alias in node.names)


def _is_foreign(node: ast.Import | ast.ImportFrom) -> bool:
    if isinstance(node, ast.ImportFrom):
        return node.level == 0 and (node.module or "").partition(".")[0] != "unroll"
    return any(alias.name.partition(".")[0] != "unroll" for alias in node.names)


def _root(node: ast.expr) -> str:
    """The name that a chain of attributes begins with; empty for any other expression."""
    while isinstance(node, ast.Attribute):
        node = node.value
    return node.id if isinstance(node, ast.Name) else ""
