"""Under which conditions a setting is read, and which data source a path belongs to.

Applications declare both beside their settings, as `DataConfig.sources` and as `Only` in a field's annotation. This
way, a setting that would be ignored is detected in one place for all of them.
"""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path
from stat import S_ISDIR, S_ISREG
from typing import Any

from unroll.errors import UserError

Values = Mapping[str, Any]
"""settings by their full key, as plain JSON values"""
Conditions = Mapping[str, tuple[str, ...]]
"""for each key, the conditions of which at least one must hold for it to be read; see `Only`"""


@dataclass(frozen=True, init=False)
class Only:
    """In a field's annotation: the setting is read only while one of these conditions holds.

    A condition is `key=a,b` (one of these values), `key!=a` (any other value) or `key` (any value but the
    default). A condition on a setting that is itself not read does not hold.
    """

    conditions: tuple[str, ...]

    def __init__(self, *conditions: str) -> None:
        object.__setattr__(self, "conditions", conditions)


@dataclass(frozen=True)
class Reads:
    """What one value of `data.source` reads, in addition to the data settings that every source reads."""

    settings: tuple[str, ...] = ()
    """names of fields of the data section; a field that no source names is read by all"""
    path: str = ""
    """description of what `data.path` may be; empty: it is not read"""
    files: tuple[str, ...] = ()
    """lower-case patterns for the names of files that `data.path` may be"""
    folders: tuple[str, ...] = ()
    """lower-case patterns; `data.path` may be a folder with an entry that matches one of them"""
    needs: tuple[str, ...] = ()
    """names of fields that must be given, besides the path, for this source to be inferred"""

    def takes(self, path: Path) -> bool:
        """Whether `path` looks like one of this source's files or folders."""
        if not path.is_dir():
            return _matches(path, self.files)
        return bool(self.folders) and any(_matches(entry, self.folders) for entry in path.iterdir())


def patterns(*endings: str) -> tuple[str, ...]:
    """Patterns for file names with these extensions, optionally gzipped: "csv" -> "*.csv", "*.csv.gz"."""
    return tuple(f"*.{ending}{packed}" for ending in endings for packed in ("", ".gz"))


def _matches(path: Path, patterns: tuple[str, ...]) -> bool:
    return any(fnmatch(path.name.lower(), pattern) for pattern in patterns)


def by_source(sources: Mapping[str, Reads]) -> Conditions:
    """The conditions of the settings that only some sources read."""
    readers: dict[str, list[str]] = {}
    for name, reads in sources.items():
        for setting in (*reads.settings, *(["path"] if reads.path else [])):
            readers.setdefault(setting, []).append(name)
    if sources:
        readers.setdefault("path", [])
    return {f"data.{setting}": (f"data.source={','.join(names)}",) for setting, names in readers.items()}


def refuse_unread(given: Iterable[str], values: Values, defaults: Values, conditions: Conditions) -> None:
    """Raise UserError for the first key of `given` that would not be read with these values."""
    for key in given:
        if not _read(key, values, defaults, conditions):
            wanted = " or ".join(condition.replace(",", " or ") for condition in conditions[key])
            others = dict.fromkeys(_parts(condition)[0] for condition in conditions[key])
            here = ", ".join(f"{other}={_text(values[other])}" for other in others)
            raise UserError(
                f"{key}={_text(values[key])}: is read only with {wanted}, not with {here}; change one of them"
            )


def _read(key: str, values: Values, defaults: Values, conditions: Conditions) -> bool:
    if key not in conditions:
        return True
    return any(_holds(condition, values, defaults, conditions) for condition in conditions[key])


def _holds(condition: str, values: Values, defaults: Values, conditions: Conditions) -> bool:
    key, sign, wanted = _parts(condition)
    if not _read(key, values, defaults, conditions):
        return False
    if not sign:
        return bool(values[key] != defaults[key])
    return (_text(values[key]) in wanted.split(",")) == (sign == "=")


def _parts(condition: str) -> tuple[str, str, str]:
    """(key, "=", "!=" or "", values)."""
    key, sign, wanted = condition.partition("!=") if "!=" in condition else condition.partition("=")
    return key, sign, wanted


def _text(value: Any) -> str:
    """The value as a user would type it."""
    return value if isinstance(value, str) else json.dumps(value)


def check_path(key: str, path: Path) -> None:
    """Raise UserError if the path is neither a file nor a folder, or cannot be accessed; it need not exist.

    A pipe (`<(zcat FILE)` in a shell) can be read only once, and data are first read for their digest.
    """
    try:
        mode = path.stat().st_mode
    except (FileNotFoundError, NotADirectoryError):
        return
    except OSError as error:
        raise UserError(f"{key}={path}: cannot be accessed ({error.strerror})") from error
    if not (S_ISREG(mode) or S_ISDIR(mode)):
        raise UserError(f"{key}={path}: is a pipe or a device, but data are read more than once; write it to a file")


def source_of(path: Path, sources: Mapping[str, Reads], given: Iterable[str]) -> str:
    """The one source that fits `path`.

    Args:
        path: of the user's data.
        sources: those of the application.
        given: keys of all settings that were given; a source that does not read one of them is excluded.

    Raises:
        UserError: there is nothing at `path`, or no source or several fit; the message lists what they read.
    """
    given, conditions = set(given), by_source(sources)
    try:
        if not path.exists():
            raise UserError(f"data.path={path}: no such file or folder")
        fitting = [name for name, reads in sources.items() if reads.path and reads.takes(path)]
    except OSError as error:
        raise UserError(f"data.path={path}: cannot be accessed ({error.strerror})") from error
    meant = [
        name
        for name in fitting
        if all(f"data.{need}" in given for need in sources[name].needs)
        and all(name in conditions[key][0].partition("=")[2].split(",") for key in given & conditions.keys())
    ]
    if len(meant) == 1:
        return meant[0]
    known = [f"data.source={name} takes {sources[name].path}" for name in meant or sources if sources[name].path]
    fits = "which of these is it?" if meant else f"this {'folder' if path.is_dir() else 'file'} fits none of these:"
    raise UserError(f"data.path={path}: {fits} {'; '.join(known) or 'no source reads a path'}")
