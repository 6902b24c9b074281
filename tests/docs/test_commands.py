"""Every command in a README or a page of docs/ exists: its task, options, application and settings.

They are parsed as by invoke, and their settings are applied; running them all would take hours.
"""

import re
import shlex
import sys
from itertools import takewhile
from pathlib import Path

import pytest
from invoke import Collection
from invoke.parser import Parser
from invoke.program import Program

from unroll import app as apps
from unroll.search.grid import expand

ROOT = Path(__file__).parent.parent.parent
PAGES = [
    path
    for pattern in ("*.md", "apps/*/README.md", "docs/**/*.md", "examples/**/*.md", "benchmarks/*.md")
    for path in sorted(ROOT.glob(pattern))
]


def commands() -> list[tuple[str, str]]:
    """(page, command) of each invoke command in code: fenced, indented or in backticks."""
    found = []
    for page in PAGES:
        text = page.read_text(encoding="utf-8").replace("\\\n", " ")
        for match in re.finditer(r"(?:^ *|`|&& )(invoke (?:--list|[a-z]+)[^`\n]*)", text, re.MULTILINE):
            words = shlex.split(match[1].split("  ")[0], comments=True)
            words = list(takewhile(lambda word: word not in {"&&", "|", ">", ";"}, words))
            if "NAME" not in match[1] and "..." not in words:
                found.append((str(page.relative_to(ROOT)), shlex.join(words)))
    return found


def parser(monkeypatch: pytest.MonkeyPatch, words: list[str]) -> Parser:
    monkeypatch.setattr(sys, "argv", ["invoke", *words])
    from unroll import tasks

    return Parser(contexts=Collection.from_module(tasks).to_contexts())


def test_there_are_commands_to_check() -> None:
    assert ("README.md", "invoke train --app speech") in commands()
    assert ("README.md", "invoke test") in commands()


@pytest.mark.parametrize(("page", "command"), sorted(set(commands())))
def test_the_command_exists(page: str, command: str, monkeypatch: pytest.MonkeyPatch) -> None:
    words = shlex.split(command)[1:]
    if words == ["--list"]:
        assert words[0] in Program().initial_context.flags, "an option of invoke's own"
        return
    [context] = parser(monkeypatch, words).parse_argv(words)
    given = {name: argument.value for name, argument in context.args.items()}
    text = (ROOT / page).read_text(encoding="utf-8")
    made = re.findall(r"new-app --name (\w+)", text)  # tests/unroll/test_scaffold.py trains such ones
    cells = {f"model.cell={name}" for name in re.findall(r"new-cell --name (\w+)", text)}
    for name in (given.get("app") or "").split(","):
        if name and name != "all" and name not in made:
            settings = [setting for setting in given.get("set") or [] if setting not in cells]
            if context.name in ("evaluate", "predict"):  # their settings add to those of a run, whatever it is
                apps.load(name).presets["default"].override(settings)
            else:
                expand(apps.load(name), given.get("preset") or "default", settings)
