"""A page of text, tables and figures in one self-contained file: no network, no scripts, opens from disk."""

import base64
import html
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from unroll.console import number
from unroll.data.files import writing
from unroll.drawing.style import png
from unroll.errors import noted

STYLE = """
:root { color-scheme: light dark; --ink: #1a1a1a; --paper: #fff; --line: #d0d0d0; --soft: #f4f4f4; --mark: #0072b2 }
@media (prefers-color-scheme: dark) {
  :root { --ink: #e8e8e8; --paper: #16181b; --line: #3a3d42; --soft: #22252a; --mark: #56b4e9 } }
body { font: 16px/1.55 system-ui, sans-serif; color: var(--ink); background: var(--paper); max-width: 54rem;
       margin: 2rem auto; padding: 0 1rem }
h1 { font-size: 1.5rem; margin-bottom: .2rem } h2 { font-size: 1.15rem; margin-top: 2.2rem }
.verdict { border-left: .4rem solid var(--mark); background: var(--soft); padding: .7rem 1rem }
.verdict b { font-size: 1.2rem } .small { opacity: .75; font-size: .85rem }
figure { margin: 1rem 0 } figure img { max-width: 100%; background: #fff; border: 1px solid var(--line) }
figcaption { font-size: .9rem } .wide { overflow-x: auto }
table { border-collapse: collapse; font-size: .9rem }
th, td { padding: .3rem .7rem; border-bottom: 1px solid var(--line); text-align: left; vertical-align: top }
td.number { text-align: right; font-variant-numeric: tabular-nums }
"""


class Page:
    """A report under construction; parts appear in the order in which they are added."""

    def __init__(self, title: str, subtitle: str) -> None:
        self.title = title
        self._parts = [f"<h1>{html.escape(title)}</h1>", f'<p class="small">{html.escape(subtitle)}</p>']

    def heading(self, text: str) -> None:
        """A section begins."""
        self._parts.append(f"<h2>{html.escape(text)}</h2>")

    def text(self, text: str) -> None:
        """A paragraph."""
        self._parts.append(f"<p>{html.escape(text)}</p>")

    def verdict(self, word: str, sentences: Sequence[str]) -> None:
        """The verdict, and what speaks for it."""
        lines = "".join(f"<br>{html.escape(sentence)}." for sentence in sentences)
        self._parts.append(f'<p class="verdict"><b>{html.escape(word)}</b>{lines}</p>')

    def figure(self, figure: Figure, alternative: str, caption: str) -> None:
        """A picture with what it shows, for those who cannot see it, and how to read it."""
        with noted(f"picture: {alternative}"):
            image = picture(png(figure), alternative)
            self._parts.append(f"<figure>{image}<figcaption>{html.escape(caption)}</figcaption></figure>")

    def table(self, rows: Sequence[Mapping[str, Any]]) -> None:
        """Rows of the same keys."""
        if rows:
            self._parts.append(f'<div class="wide">{table(rows)}</div>')

    def write(self, path: Path) -> None:
        """To a file, whose folder is made when missing. Raises UserError where that cannot be."""
        with writing(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(str(self), encoding="utf-8")

    def __str__(self) -> str:
        """The file's content."""
        return (
            f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{html.escape(self.title)}</title>'
            f'<meta name="viewport" content="width=device-width, initial-scale=1"><style>{STYLE}</style></head>'
            f"<body>{''.join(self._parts)}</body></html>\n"
        )


def table(rows: Sequence[Mapping[str, Any]]) -> str:
    """Rows of the same keys in HTML, all of it escaped; a value that brings HTML of its own stands as that."""
    head = "".join(f"<th>{html.escape(key)}</th>" for key in rows[0]) if rows else ""
    body = "".join(f"<tr>{''.join(_cell(value) for value in row.values())}</tr>" for row in rows)
    return f"<table><tr>{head}</tr>{body}</table>"


def picture(content: bytes, alternative: str, kind: str = "png", width: int | None = None) -> str:
    """An image in HTML, which holds it, with what it shows for those who cannot see it.

    Args:
        content: of the file.
        alternative: what it shows.
        kind: of file.
        width: in pixels of the screen, for an image of few pixels, each of which then shows as a square.
    """
    data = base64.b64encode(content).decode()
    enlarged = f' width="{width}" style="image-rendering: pixelated"' if width else ""
    return f'<img src="data:image/{kind};base64,{data}" alt="{html.escape(alternative, quote=True)}"{enlarged}>'


def framed(page: str, height: int = 600) -> str:
    """A whole page as a part of another, such as a notebook, whose styles neither change it nor are changed."""
    return f'<iframe srcdoc="{html.escape(page, quote=True)}" style="width:100%;height:{height}px;border:0"></iframe>'


@dataclass(frozen=True)
class Markup:
    """HTML that is made already, for a cell of a table."""

    html: str


def _cell(value: Any) -> str:
    if isinstance(value, Markup):
        return f"<td>{value.html}</td>"
    kind = ' class="number"' if isinstance(value, int | float) and not isinstance(value, bool) else ""
    return f"<td{kind}>{html.escape(number(value))}</td>"
