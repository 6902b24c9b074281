"""For mkdocs: the README of every application, and the top level's pages, become pages of the site."""

import re
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

ROOT = Path(__file__).parent.parent


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Every application and every example has its entry in the navigation."""
    pages = [f"{folder}/{path.parent.name}.md" for folder in ("apps", "examples") for path in _readmes(folder)]
    for entry in config.nav or []:
        if "Applications" in entry:
            entry["Applications"] = pages
    return config


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add what lies outside docs/."""
    outside = {f"{folder}/{path.parent.name}.md": path for folder in ("apps", "examples") for path in _readmes(folder)}
    outside |= {"changelog.md": ROOT / "CHANGELOG.md", "security.md": ROOT / "SECURITY.md"}
    for target, source in outside.items():
        files.append(File.generated(config, target, content=_plain(source.read_text(encoding="utf-8"))))
    return files


def _readmes(folder: str) -> list[Path]:
    return sorted(ROOT.glob(f"{folder}/*/README.md"))


def _plain(text: str) -> str:
    """Without links and pictures that point into the repository: they would lead nowhere on the site."""
    text = re.sub(r"!\[([^\]]*)\]\((?!https?:)[^)]*\)", r"*\1*", text)
    return re.sub(r"\[([^\]]*)\]\((?!https?:|#)[^)]*\)", r"\1", text)
