"""What the tasks share: options, one line for a missing extra, and a task that takes any number of arguments."""

import shlex
import sys
from functools import partial
from typing import Any

from invoke.parser.argument import Argument
from invoke.tasks import Task as InvokeTask
from invoke.tasks import task as invoke_task

from unroll.extras import missing

__all__ = ["HELP", "SEVERAL", "Given", "Inputs", "Several", "Task", "after_double_dash", "helps", "quoted", "task"]

Given = str | None
"""an option that defaults to None"""
Several = list[str] | None
"""an option that may be repeated"""

HELP = {
    "app": "name of the application; `invoke apps` lists them",
    "apps": "name of the application, several as a,b,c, or all",
    "preset": "named set of settings to start from (default: default)",
    "set": "override a setting: key=value, for example --set model.cell=gru; may be repeated",
    "run": "latest, an MLflow run id or a prefix of one, or models:/name@alias",
    "json": "print one line of JSON at the end, for programs",
    "debug": "show the traceback of an error",
}
SEVERAL = HELP["run"] + "; several form an ensemble, if the application supports it"


def helps(*names: str, **more: str) -> dict[str, str]:
    """Help texts, keyed by parameter name as invoke expects them."""
    several = {"app": HELP["apps"]} if "apps" in names else {}
    return {**{name: HELP[name] for name in (*names, "json", "debug") if name != "apps"}, **several, **more}


class Task(InvokeTask[Any]):
    """A task that ends with one line where an extra is not installed: what its body imports needs `unroll[apps]`."""

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Run the body."""
        try:
            return super().__call__(*args, **kwargs)
        except ModuleNotFoundError as error:
            if line := missing(error):
                sys.exit(f"error: {line}")
            raise


task = partial(invoke_task, klass=Task)
"""the decorator of a task, as invoke's own"""


class Inputs(Task):
    """A task that takes any number of arguments after its options: FILE ... without a `--` before them.

    Invoke supports a fixed number of positional arguments; this task declares as many as the command line has.
    """

    def get_arguments(self, ignore_unknown_help: bool | None = None) -> list[Argument]:
        """The declared options, and one positional argument for each word that is neither an option nor its value."""
        options = [option for option in super().get_arguments(ignore_unknown_help) if option.name != "inputs"]
        takes_value = {flag for option in options if option.takes_value for flag in _flags(option)}
        count, words = 0, sys.argv[sys.argv.index(self.name) + 1 :] if self.name in sys.argv else []
        while words:
            word = words.pop(0)
            if word in takes_value:
                words = words[1:]
            elif word == "--":
                break
            elif not word.startswith("-"):
                count += 1
        return [Argument(name=f"input{i}", positional=True) for i in range(count)] + options


def _flags(option: Argument) -> list[str]:
    return [("-" if len(name) == 1 else "--") + name.strip("_").replace("_", "-") for name in option.names]


def after_double_dash() -> list[str]:
    """The words of the command line after `--`."""
    return sys.argv[sys.argv.index("--") + 1 :] if "--" in sys.argv else []


def quoted(words: list[str]) -> str:
    """The words as typed in a shell."""
    return shlex.join(words)
