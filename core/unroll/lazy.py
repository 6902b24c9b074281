"""A package's public names, loaded when they are first used: importing the package brings nothing heavy."""

from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any

from unroll.extras import missing


def lazily(
    package: str, modules: Mapping[str, tuple[str, ...]]
) -> tuple[Callable[[str], Any], Callable[[], list[str]]]:
    """`__getattr__` and `__dir__` of a package.

    Args:
        package: its `__name__`.
        modules: the names that it offers, by the module of it that holds them.

    Raises:
        ModuleNotFoundError: on use, where a library is not installed; the message names the extra that brings it.
    """
    places = {name: module for module, names in modules.items() for name in names}

    def load(name: str) -> Any:
        if name not in places:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        try:
            return getattr(import_module(f"{package}.{places[name]}"), name)
        except ModuleNotFoundError as error:
            if line := missing(error):
                raise ModuleNotFoundError(f"{package}.{name}: {line}", name=error.name) from error
            raise

    return load, lambda: sorted(places)
