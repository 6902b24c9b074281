"""Names of languages and regions, as CLDR has them."""

import difflib
from collections.abc import Sequence
from functools import cache
from pathlib import Path

from babel import Locale, localedata
from babel.core import get_global

from unroll.data.tables import column_of, places_of
from unroll.errors import UserError

ROLES = {
    "source": ("source", "src", "source_text", "source_sentence"),
    "target": ("target", "tgt", "trg", "target_text", "target_sentence", "translation"),
}
"""names of the columns of a table of translations, where they are not the names of languages"""


def locale(name: str, key: str) -> Locale:
    """The locale of that name, "pt_BR" or "pt-BR".

    Raises:
        UserError: names `key` and the nearest known names.
    """
    known = localedata.locale_identifiers()
    wanted = name.replace("-", "_")
    if wanted in known:
        return Locale.parse(wanted)
    near = difflib.get_close_matches(wanted, known, n=3) or ["en", "de", "pt_BR", "zh_Hans"]
    raise UserError(f"{key}={name}: CLDR has no such locale; write for example {', '.join(near)}")


def pair(source: str, target: str) -> tuple[str, str]:
    """The CLDR names of the locales in data.source_locale and data.target_locale. Raises UserError as `locale`."""
    return str(locale(source, "data.source_locale")), str(locale(target, "data.target_locale"))


class Header:
    """What the first row of a table of translations may say about its columns.

    Args:
        languages: from which into which, as CLDR names them.
    """

    def __init__(self, languages: tuple[str, str]) -> None:
        self.languages = languages
        # Languages come first: on the Hugging Face hub "source" often says where a pair comes from.
        self.known = {
            role: (*_spellings(own, other), *ROLES[role])
            for role, own, other in zip(ROLES, languages, reversed(languages), strict=True)
        }

    def bare(self, columns: Sequence[str]) -> tuple[str, ...]:
        """The columns; one named by another region of a wanted language (en_US) is renamed to the language alone."""
        exact = {spelled.casefold() for known in self.known.values() for spelled in known}
        asked = {language.partition("_")[0] for language in self.languages}
        found = ((name, name.rpartition(".")[2].casefold(), _language(name)) for name in columns)
        return tuple(code if code in asked and last not in exact else name for name, last, code in found)

    def names(self, first: Sequence[str]) -> bool:
        """Whether these are names of columns rather than a sentence and its translation."""
        places = [places_of(spelled, self.bare(first)) for spelled in self.known.values()]
        return (all(places) and places[0] != places[1]) or len(_codes(first)) == len(first) == 2

    def check(self, path: Path, columns: Sequence[str]) -> None:
        """Raise UserError if the columns are named by two languages other than the ones wanted."""
        there = _codes(columns)
        found = [column_of(path, spelled, columns) for spelled in self.known.values()]
        if len(there) >= 2 and None in found:
            raise UserError(
                f"{path}: its columns are {', '.join(columns)}, but {' to '.join(self.languages)} was asked for; set "
                "data.source_locale and data.target_locale"
            )


def _codes(cells: Sequence[str]) -> set[str]:
    """The languages that the cells name, by their codes (en, pt_BR) or in English (French)."""
    found = {_language(cell) for cell in cells}
    return {code for code in found if code}


def _language(cell: str) -> str:
    word = cell.rpartition(".")[2].strip().replace("-", "_")
    if word in localedata.locale_identifiers() or word.lower() in _english():
        return _english().get(word.lower(), word.partition("_")[0].lower())
    return ""


@cache
def _english() -> dict[str, str]:
    """The code of each language that CLDR has a locale for, by its English name."""
    codes = {identifier.partition("_")[0] for identifier in localedata.locale_identifiers()}
    names = Locale.parse("en").languages
    return {names[code].lower(): code for code in sorted(codes) if code in names}


def _spellings(name: str, other: str) -> tuple[str, ...]:
    """Its codes, with and without the region; its name in English, in the language itself and in the other one."""
    here, code = Locale.parse(name), name.partition("_")[0]
    longer = (alias for alias, meant in get_global("language_aliases").items() if meant == code and len(alias) == 3)
    said = (Locale.parse(into).languages.get(code, "") for into in ("en", code, other.partition("_")[0]))
    return tuple(dict.fromkeys(spelled for spelled in (str(here), code, *said, *longer) if spelled))
