"""Mutants: programs that differ in one operator, each a fault that a test should detect.

Only code that affects results is changed: texts, messages, annotations, documentation and assertions are left alone.
"""

import ast
import os
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple


class Mutant(NamedTuple):
    """One change of one file."""

    path: str
    """from the root of the tree"""
    line: int
    kind: str
    function: str
    """qualified name of the innermost function that holds it; "" at the module's level"""
    start: int
    end: int
    """bytes of the file that are replaced"""
    new: bytes

    def applied(self, text: bytes) -> bytes:
        return text[: self.start] + self.new + text[self.end :]

    def shown(self, text: bytes) -> str:
        """The changed line, as it was and as it is."""
        begin, stop = text.rfind(b"\n", 0, self.start) + 1, text.find(b"\n", self.end)
        before, after = text[begin:stop], text[begin : self.start] + self.new + text[self.end : stop]
        place = f"{self.path}:{self.line} {self.kind}"
        return f"{place}\n    - {before.decode().strip()}\n    + {after.decode().strip()}"


COMPARISONS = {"<": "<=", "<=": "<", ">": ">=", ">=": ">", "==": "!=", "!=": "==", "in": "not in", "not in": "in",
               "is": "is not", "is not": "is"}  # fmt: skip
ARITHMETIC = {"+": "-", "-": "+", "*": "/", "/": "*", "//": "*", "%": "//", "**": "*", "&": "|", "|": "&"}
EXTREMES = {"min": "max", "max": "min", "minimum": "maximum", "maximum": "minimum", "amin": "amax", "amax": "amin",
            "argmin": "argmax", "argmax": "argmin", "any": "all", "all": "any", "ceil": "floor", "floor": "ceil",
            "nlargest": "nsmallest", "clamp_min": "clamp_max", "clamp_max": "clamp_min"}  # fmt: skip
DROPPED = ("detach", "strip", "lower", "abs", "square", "mean", "flip", "transpose")
"""methods without which an expression has the same type"""
PLAIN = {"sorted": "list", "reversed": "list", "abs": "+", "set": "list"}
SYMMETRIC = {
    *EXTREMES,
    "mul",
    "add",
    "gcd",
    "cosine_similarity",
    "mse_loss",
    "hypot",
    "isclose",
    "print",
    "cast",
    "isinstance",
    "issubclass",
    "hasattr",
    "getattr",
    "zip",
}
"""calls whose arguments may change places, or that fail at once when they do"""
SPOKEN = re.compile(
    r"print|say|_tell|warn|show_\w+|note|\w*Error|Notice|log|debug|info|TypeVar|NewType|cast|setLevel|simplefilter|filterwarnings"
)
"""calls that only say something, and what silences others"""
UNTOUCHED = ("strict", "title", "figsize", "dpi", "alpha", "linewidth", "fontsize")
"""arguments that assert, or that are about looks"""
DESCRIBING = ("__repr__", "__str__", "extra_repr", "__dir__")


class Finder(ast.NodeVisitor):
    """All mutants of one Python file."""

    def __init__(self, path: str, text: bytes) -> None:
        self.path, self.text, self.scope = path, text, list[str]()
        self.starts = [0]
        for line in text.splitlines(keepends=True):
            self.starts.append(self.starts[-1] + len(line))
        self.found: list[Mutant] = []

    def span(self, node: ast.AST) -> tuple[int, int]:
        start = self.starts[node.lineno - 1] + node.col_offset  # type: ignore[attr-defined]
        return start, self.starts[node.end_lineno - 1] + node.end_col_offset  # type: ignore[attr-defined]

    def source(self, node: ast.AST) -> bytes:
        start, end = self.span(node)
        return self.text[start:end]

    def add(self, kind: str, start: int, end: int, new: bytes) -> None:
        line = self.text.count(b"\n", 0, start) + 1
        self.found.append(Mutant(self.path, line, kind, ".".join(self.scope), start, end, new))

    def replace_between(self, kind: str, left: ast.AST, right: ast.AST, known: dict[str, str]) -> None:
        """The operator between two nodes; brackets and line ends may stand around it."""
        start, end = self.span(left)[1], self.span(right)[0]
        words = "|".join(r"\s+".join(map(re.escape, word.split())) for word in sorted(known, key=len, reverse=True))
        found = re.search(rf"(?:\\\n|[\s)]|#.*)*({words})(?=[\s(\w.\"'\[{{~-]|$)".encode(), self.text[start:end])
        if found:
            old = b" ".join(found[1].split()).decode()
            self.add(kind, start + found.start(1), start + found.end(1), known[old].encode())

    # What is not looked into.
    def visit_JoinedStr(self, node: ast.JoinedStr) -> None:
        pass

    def visit_Raise(self, node: ast.Raise) -> None:
        pass

    def visit_Assert(self, node: ast.Assert) -> None:
        pass

    def visit_AnnAssign(self, node: ast.AnnAssign) -> None:
        if node.value:
            self.visit(node.value)

    # The ways through a function.
    def visit_ClassDef(self, node: ast.ClassDef) -> None:
        self.scope.append(node.name)
        for part in node.body:
            self.visit(part)
        self.scope.pop()

    def visit_FunctionDef(self, node: ast.FunctionDef) -> None:
        if node.name in DESCRIBING:
            return
        for default in filter(None, (*node.args.defaults, *node.args.kw_defaults)):
            self.visit(default)
        self.scope.append(node.name)
        body_scope, self.scope = self.scope, [*self.scope]
        for part in node.body:
            self.visit(part)
        self.scope = body_scope
        self.scope.pop()

    def visit_If(self, node: ast.If | ast.IfExp) -> None:
        if "TYPE_CHECKING" in ast.dump(node.test):
            return
        self.negate(node.test)
        self.generic_visit(node)

    visit_IfExp = visit_If  # noqa: N815

    def negate(self, test: ast.expr) -> None:
        """The other way is taken; a lone comparison has its own operators for that."""
        if not isinstance(test, ast.Compare | ast.UnaryOp):
            start, end = self.span(test)
            self.add("condition", start, end, b"(not (" + self.text[start:end] + b"))")

    def visit_Break(self, node: ast.Break) -> None:
        self.add("jump", *self.span(node), b"continue")

    def visit_Continue(self, node: ast.Continue) -> None:
        self.add("jump", *self.span(node), b"break")

    def visit_Expr(self, node: ast.Expr) -> None:
        if isinstance(node.value, ast.Constant):
            return
        call = node.value.value if isinstance(node.value, ast.Await) else node.value
        if isinstance(call, ast.Call) and not spoken(call):
            self.add("statement", *self.span(node), b"pass")
        self.generic_visit(node)

    # Operators.
    def visit_Compare(self, node: ast.Compare) -> None:
        for left, right in zip([node.left, *node.comparators], node.comparators, strict=False):
            self.replace_between("comparison", left, right, COMPARISONS)
        self.generic_visit(node)

    def visit_BinOp(self, node: ast.BinOp) -> None:
        if not is_type_or_text(node):
            self.replace_between("arithmetic", node.left, node.right, ARITHMETIC)
            self.generic_visit(node)

    def visit_AugAssign(self, node: ast.AugAssign) -> None:
        if not is_text(node.value):
            known = {f"{old}=": f"{new}=" for old, new in ARITHMETIC.items()}
            self.replace_between("arithmetic", node.target, node.value, known)
        self.generic_visit(node)

    def visit_BoolOp(self, node: ast.BoolOp) -> None:
        for left, right in zip(node.values, node.values[1:], strict=False):
            self.replace_between("boolean", left, right, {"and": "or", "or": "and"})
        self.generic_visit(node)

    def visit_UnaryOp(self, node: ast.UnaryOp) -> None:
        start, end = self.span(node)
        if isinstance(node.op, ast.Not):
            self.add("boolean", start, end, b"bool(" + self.source(node.operand) + b")")
        elif isinstance(node.op, ast.USub) and not isinstance(node.operand, ast.Constant):
            self.add("arithmetic", start, end, self.source(node.operand))
        self.generic_visit(node)

    def visit_Constant(self, node: ast.Constant) -> None:
        start, end = self.span(node)
        if isinstance(node.value, bool):
            self.add("flag", start, end, str(not node.value).encode())
        elif isinstance(node.value, int | float) and node.value + 1 != node.value:
            self.add("constant", start, end, f"({self.source(node).decode()} + 1)".encode())

    def visit_Call(self, node: ast.Call) -> None:
        if spoken(node):
            return
        name, function = name_of(node), node.func
        start, end = self.span(function)
        start = end - len(name)
        if name in EXTREMES:
            self.add("extreme", start, end, EXTREMES[name].encode())
        if isinstance(function, ast.Attribute) and name in DROPPED and not is_module(function.value):
            self.add("call", *self.span(node), self.source(function.value))
        elif isinstance(function, ast.Name) and name in PLAIN and len(node.args) == 1:
            self.add("call", start, end, PLAIN[name].encode())
        self.swap(node, name)
        for part in (function, *node.args, *(word for word in node.keywords if word.arg not in UNTOUCHED)):
            self.visit(part)

    def swap(self, node: ast.Call, name: str) -> None:
        """The first two arguments change places, where both are plain names or attributes."""
        if len(node.args) < 2 or name in SYMMETRIC or not all(isinstance(arg, ast.Name) for arg in node.args[:2]):
            return
        (a, b), (c, d) = map(self.span, node.args[:2])
        self.add("swapped", a, d, self.text[c:d] + self.text[b:c] + self.text[a:b])


def name_of(call: ast.Call) -> str:
    if isinstance(call.func, ast.Attribute):
        return call.func.attr
    return call.func.id if isinstance(call.func, ast.Name) else ""


def is_module(node: ast.AST) -> bool:
    return isinstance(node, ast.Name) and node.id in ("np", "torch", "F", "math", "stats")


def spoken(call: ast.Call) -> bool:
    return bool(SPOKEN.fullmatch(name_of(call)))


def is_text(node: ast.AST) -> bool:
    return isinstance(node, ast.JoinedStr) or (isinstance(node, ast.Constant) and isinstance(node.value, str | bytes))


def is_type_or_text(node: ast.BinOp) -> bool:
    """`int | None` and the like, text that is put together, formats."""
    sides = (node.left, node.right)
    if isinstance(node.op, ast.BitOr) and any(
        (isinstance(side, ast.Constant) and side.value is None)
        or (isinstance(side, ast.Name) and side.id in ("int", "float", "str", "bool", "Tensor", "Path"))
        or isinstance(side, ast.Subscript)
        for side in sides
    ):
        return True
    return any(map(is_text, sides))


def of_python(path: str, text: bytes) -> list[Mutant]:
    """All mutants of a Python file."""
    finder = Finder(path, text)
    finder.visit(ast.parse(text))
    return finder.found


def differs(mutant: Mutant, root: Path) -> bool:
    """Whether it is a program, and another one: C that a processor like this one does not see is none."""
    before = (root / mutant.path).read_bytes()
    after = mutant.applied(before)
    if mutant.path.endswith(".c"):
        seen = preprocessed(after, root / mutant.path)
        return seen is not None and seen != preprocessed(before, root / mutant.path)
    try:
        return ast.dump(ast.parse(after)) != ast.dump(ast.parse(before))
    except SyntaxError:
        return False


def preprocessed(text: bytes, path: Path) -> bytes | None:
    """What the compiler gets to see on this machine; None where it refuses."""
    compiler = os.environ.get("CC", "gcc").split()
    command = [*compiler, "-E", "-P", "-march=native", "-fopenmp", f"-I{path.parent}", "-xc", "-"]
    done = subprocess.run(command, input=text, capture_output=True, check=False)
    return None if done.returncode else done.stdout


C_OPERATORS = (
    ("comparison", re.compile(rb" (<=|>=|==|!=|<|>) "), COMPARISONS),
    ("arithmetic", re.compile(rb" (\+=|\+|-|\*|/|%) "), {**ARITHMETIC, "+=": "-=", "%": "/"}),
    ("boolean", re.compile(rb" (&&|\|\|) "), {"&&": "||", "||": "&&"}),
    ("constant", re.compile(rb"(?<![\w.\[])(\d+)(?![\w.\]])"), {}),
)
C_SILENT = re.compile(rb"^\s*(#|/\*|\*|//|_Pragma)|prefetch|pragma|GCC unroll")


def of_c(path: str, text: bytes) -> Iterator[Mutant]:
    """Mutants of a C file: the same operators, found line by line outside comments and preprocessor lines."""
    plain = re.sub(rb"/\*.*?\*/", lambda found: re.sub(rb"[^\n]", b" ", found[0]), text, flags=re.DOTALL)
    at = 0
    for number, line in enumerate(plain.splitlines(keepends=True), 1):
        if not C_SILENT.search(line):
            for kind, pattern, known in C_OPERATORS:
                for found in pattern.finditer(line):
                    old = found[1].decode()
                    new = known.get(old) if kind != "constant" else f"({old} + 1)"
                    if new:
                        start = at + found.start(1)
                        yield Mutant(path, number, kind, "", start, start + len(found[1]), new.encode())
        at += len(line)


def mutants(root: Path, path: str) -> list[Mutant]:
    text = (root / path).read_bytes()
    return of_python(path, text) if path.endswith(".py") else list(of_c(path, text))
