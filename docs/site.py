"""For mkdocs: the READMEs and the top level's pages become pages of the site, with their pictures and links."""

import json
import os
import re
from pathlib import Path
from posixpath import dirname, relpath

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).parent.parent
TOP = {"README.md": "overview.md", "README.zh.md": "overview.zh.md", "CHANGELOG.md": "changelog.md",
       "CONTRIBUTING.md": "contributing.md", "SECURITY.md": "security.md"}  # fmt: skip
PICTURES = {".png", ".svg", ".jpg", ".gif"}
CHINESE = "[\u3000-\u303f\u4e00-\u9fff\uff00-\uffef]"
WORD_END = "\u200b"  # zero width; a separator in mkdocs.yml


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Every application and every example has its entry in the navigation."""
    for entry in config.nav or []:
        if "Applications" in entry:
            entry["Applications"] = [target for source, target in _outside().items() if source not in TOP]
    config.theme.static_templates.discard("404.html")  # its links begin at the root of a server, which nobody named
    return config


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add what lies outside docs/: pages, and the pictures that they show."""
    for source, target in _outside().items():
        text, pictures = _moved((ROOT / source).read_text(encoding="utf-8"), source)
        files.append(File.generated(config, target, content=text))
        for picture in pictures:
            files.append(File.generated(config, picture, abs_src_path=str(ROOT / picture)))
    return files


def on_page_content(html: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Break lines as a reader would: not inside --an-option, in Chinese without a space, in code with an indent."""
    parts = re.split(r"(<pre.*?</pre>)", html, flags=re.DOTALL)
    return "".join(_code(part) if part.startswith("<pre") else _text(part) for part in parts)


def on_post_build(config: MkDocsConfig) -> None:
    """Make each Chinese character a word of the search index: the theme cuts a query by the words that it finds there.

    A separator that matches between two characters cannot do that: the parser of queries asks of every single character
    whether it is a separator, and a query of several Chinese ones would match everything.
    """
    path = Path(config.site_dir, "search", "search_index.json")
    index = json.loads(path.read_text(encoding="utf-8"))
    for entry in index["docs"]:
        for field in ("title", "text"):
            entry[field] = re.sub(rf"(?<={CHINESE})(?=[^\s<])|(?<=[^\s>])(?={CHINESE})", WORD_END, entry[field])
    path.write_text(json.dumps(index, ensure_ascii=False, separators=(",", ":")), encoding="utf-8")


def _text(html: str) -> str:
    html = re.sub(rf"(?<={CHINESE})\n(?={CHINESE})", "", html)
    html = re.sub(r"(?<=\d) (?=%)", "&nbsp;", html)
    return re.sub(r"<code>[^<]*</code>", lambda code: _options(code[0]), html)


def _code(html: str) -> str:
    """Pygments marks the lines of what it knows; those of plain text are marked here."""
    plain = re.sub(r"(?<=<code>)[^<]+(?=</code>)", lambda text: re.sub(".*\n", _line, text[0]), html)
    return _options(plain)


def _line(match: re.Match[str]) -> str:
    return f'<span class="line">{match[0]}</span>'


def _options(html: str) -> str:
    return re.sub(r"(?<=[\s>(])--?[a-z][\w-]*", r'<span class="option">\g<0></span>', html)


def _moved(text: str, source: str) -> tuple[str, list[str]]:
    """A page with its links as they are in the site, and the pictures that have to come along.

    What looks like a link and names no file of the repository stays as it is; `mkdocs build --strict` then says so.
    """
    pages, pictures = _outside(), []

    def link(match: re.Match[str]) -> str:
        path = Path(os.path.normpath(Path(source).parent / match[1])).as_posix()
        if not (ROOT / path).is_file():
            return match[0]
        if not path.startswith("docs/") and Path(path).suffix in PICTURES:
            pictures.append(path)
        return relpath(pages.get(path, path.removeprefix("docs/")), dirname(pages[source]) or ".")

    return re.sub(r"(?<=\]\()([^)#:\s]+)(?=[)#])", link, text), pictures


def _outside() -> dict[str, str]:
    """Pages that lie outside docs/: where in the repository, and where in the site."""
    readmes = [*sorted(ROOT.glob("apps/*/README.md")), *sorted(ROOT.glob("examples/*/README.md"))]
    folders = [path.parent.relative_to(ROOT).as_posix() for path in readmes]
    return TOP | {f"{folder}/README.md": f"{folder}.md" for folder in folders}
