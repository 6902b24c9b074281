"""README.zh.md says what README.md says: the same sections, commands, code, figures, names, links and pictures."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def sections(name: str) -> list[str]:
    """The page by sections, each with its heading; the line that leads to the other language is left out."""
    text = (ROOT / name).read_text(encoding="utf-8")
    text = re.sub(r"^\[\S+\]\(README\S*\)$", "", text, flags=re.MULTILINE)
    return re.split(r"^(?=#)", without_comments(text), flags=re.MULTILINE)


def without_comments(text: str) -> str:
    """Comments in code and the right column of the list of files are language, like the text around them."""
    text = re.sub(r"```\w+\n.*?```", lambda block: re.sub(r" +# .*", "", block[0]), text, flags=re.DOTALL)
    return re.sub(r"^(    \S+) .*", r"\1", text, flags=re.MULTILINE)


ENGLISH, CHINESE = sections("README.md"), sections("README.zh.md")
KINDS = {
    "level": r"^#+",
    "code": r"```\w+\n.*?```",
    "files": r"^    \S+",
    "names": r"(?<!`)`[^`\n]+`(?!`)",
    "figures": r"(?<![\w.-])\.?\d[\d.,]*(?<![.,])(?: %)?",
    "links": r"(?<=\]\()[^)]+(?=\))",
    "table rows": r"^\|",
    "list items": r"^- ",
}


def test_both_have_the_same_number_of_sections() -> None:
    assert len(ENGLISH) == len(CHINESE) > 5


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("place", range(len(ENGLISH)), ids=[section.partition("\n")[0] for section in ENGLISH])
def test_a_section_has_the_same_in_both_languages(place: int, kind: str) -> None:
    english, chinese = (found(kind, text[place]) for text in (ENGLISH, CHINESE))
    assert english == chinese


def found(kind: str, text: str) -> list[str]:
    """What a section has of a kind, sorted: a sentence in another language has another order."""
    return sorted(re.findall(KINDS[kind], text, re.MULTILINE | re.DOTALL if kind == "code" else re.MULTILINE))


def test_there_is_something_to_compare() -> None:
    assert all(any(found(kind, section) for section in ENGLISH) for kind in KINDS)
