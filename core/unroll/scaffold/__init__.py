"""Creates new applications and new cells: working files, in the usual layout, to start from."""

import keyword
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from string import Template

from unroll import app as apps
from unroll.data.files import atomic_write, writing
from unroll.errors import UserError, did_you_mean
from unroll.places import checkout

__all__ = ["KINDS", "Kind", "new_app", "new_cell"]

TEMPLATES = Path(__file__).parent / "templates"


@dataclass(frozen=True)
class Kind:
    """A kind of application that has templates, in the folder of that name."""

    about: str
    """what it does with its generated data"""
    unit: str
    """what its training counts"""
    cell: str
    epochs: int
    batch: int
    record: str
    """one line of the user's data"""


KINDS = {
    "classify": Kind(
        "which kind of wave a noisy sequence is", "sequences", "gru", 5, 1500,
        '{"values": [0.1, 0.8, 1.1], "label": "sine"}',
    ),
    "tag": Kind(
        "a tag for each word of a sentence", "words", "lstm", 5, 300, '{"tagged": "the/DET light/NOUN falls/VERB"}'
    ),
    "generate": Kind(
        "lines of text, and how they continue", "characters", "lstm", 8, 1500, '{"text": "the baker forgets."}'
    ),
    "translate": Kind(
        "numbers in digits to numbers in words", "words", "gru", 20, 600, '{"source": "17", "target": "seventeen"}'
    ),
    "recommend": Kind(
        "the next item of a session of clicks", "clicks", "gru", 8, 400, '{"items": ["tea-3", "tea-5", "books-1"]}'
    ),
}  # fmt: skip
"""the kinds by name"""


def new_app(name: str, kind: str, path: Path | None = None) -> list[Path]:
    """Write a working application.

    Args:
        name: of the new application: lower-case letters, digits and underscores.
        kind: one of KINDS.
        path: a folder for a separate package, installable with pip; None: into this checkout.

    Returns:
        the files written.

    Raises:
        UserError: a name that is taken or invalid, an unknown kind, or a folder that already exists.
    """
    _check_name("--name", name)
    if kind not in KINDS:
        raise UserError(f"--kind {kind}: no such kind; {did_you_mean(kind, KINDS)}")
    if name in apps.names():
        raise UserError(f"--name {name}: an application of that name already exists; choose another")
    package = f"unroll_{name}"
    fields = {"name": name, "Name": _camel(name), "kind": kind, "package": package, **asdict(KINDS[kind])}
    if path is None:
        top = _checkout()
        code, tests, root = top / "apps" / name, top / "tests" / "apps" / name, top / "apps" / name
        fields["module"] = f"unroll.apps.{name}"
    else:
        code, tests, root = path / package, path / "tests", path
        fields["module"] = package
    common, own = TEMPLATES / "common", TEMPLATES / kind
    files = {code / source.stem: source for source in (*common.glob("*.py.txt"), *own.glob("*.py.txt"))}
    files |= {root / "README.md": common / "README.md.txt", tests / f"test_{name}.py": common / "test_of_app.txt"}
    if path is not None:
        files |= {path / "pyproject.toml": common / "pyproject.toml.txt"}
        files |= {path / "tests" / f"test_{name}_conformance.py": common / "test_conformance.txt"}
    return _write(files, fields)


def new_cell(name: str, path: Path | None = None) -> list[Path]:
    """Write a working cell and its tests; arguments, result and errors as for `new_app`.

    In this checkout it is written to `core/unroll/recurrence/contributed/`, where it is found by its name.
    """
    from unroll.recurrence import CELLS

    _check_name("--name", name)
    if name in CELLS:
        raise UserError(f"--name {name}: a cell of that name already exists; choose another")
    package = f"unroll_{name}"
    fields = {"name": name, "Name": _camel(name), "package": package}
    common = TEMPLATES / "cell"
    if path is None:
        top = _checkout()
        files = {
            top / "core" / "unroll" / "recurrence" / "contributed" / f"{name}.py": common / "cell.py.txt",
            top / "tests" / "unroll" / "recurrence" / f"test_cell_{name}.py": common / "test_cell.txt",
        }
    else:
        files = {
            path / package / "__init__.py": common / "cell.py.txt",
            path / "tests" / f"test_cell_{name}.py": common / "test_cell.txt",
            path / "pyproject.toml": common / "pyproject.toml.txt",
        }
    return _write(files, fields)


def _check_name(option: str, name: str) -> None:
    if not re.fullmatch(r"[a-z][a-z0-9_]{0,40}", name) or keyword.iskeyword(name):
        raise UserError(f"{option} {name}: use lower-case letters, digits and underscores, starting with a letter")


def _checkout() -> Path:
    if root := checkout():
        return root
    raise UserError("--path is missing: Unroll is installed, not checked out; name a folder for a separate package")


def _camel(name: str) -> str:
    return "".join(part.capitalize() for part in name.split("_"))


def _write(files: Mapping[Path, Path], fields: Mapping[str, object]) -> list[Path]:
    """Fill in the templates; nothing is written if any of the files already exists."""
    for target in files:
        if target.exists():
            raise UserError(f"{target}: already exists; choose another name or folder")
    for target, source in files.items():
        with writing(target.parent):
            target.parent.mkdir(parents=True, exist_ok=True)
        atomic_write(target, Template(source.read_text(encoding="utf-8")).substitute(fields).encode())
    return list(files)
