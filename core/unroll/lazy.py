"""Names whose modules are imported on first use, so that importing a package is cheap."""

import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import import_module
from typing import Any

from unroll.extras import missing


def lazily(
    package: str, modules: Mapping[str, tuple[str, ...]]
) -> tuple[Callable[[str], Any], Callable[[], list[str]]]:
    """`__getattr__` and `__dir__` of a package.

    Args:
        package: its `__name__`.
        modules: its public names, by the submodule that holds them.

    Raises:
        ModuleNotFoundError: on use, if a library is not installed; the message names the extra that installs it.
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


@dataclass(frozen=True)
class _Function:
    """Stands for a function of a module, which is imported when it is called."""

    module: str
    name: str

    def __call__(self, *given: Any, **named: Any) -> Any:
        return resolved(self)(*given, **named)


def resolved(function: Any) -> Any:
    """The function itself where a stand-in for it is given: for what is called at every step."""
    return getattr(import_module(function.module), function.name) if isinstance(function, _Function) else function


@dataclass(frozen=True)
class _Module:
    """Stands for a module of a package: its functions while the package is being imported, all of it afterwards."""

    package: str
    name: str

    def __getattr__(self, name: str) -> Any:
        package, module = sys.modules[self.package], f"{self.package}.{self.name}"
        if all(hasattr(package, public) for public in package.__all__):
            return getattr(import_module(module), name)
        return _Function(module, name)


def deferred(package: str, *modules: str) -> tuple[Any, ...]:
    """Stand-ins for modules of a package, whose functions its `__init__` can name without importing them.

    For applications, whose help, settings and errors in settings then do not need torch. Once the package has every
    name of its `__all__`, a stand-in gives whatever its module holds. Type checkers see the modules themselves:

        if TYPE_CHECKING:
            from . import data, train
            from .sources import folder
        else:
            data, train, folder = deferred(__name__, "data", "train", "sources.folder")
    """
    return tuple(_Module(package, module) for module in modules)
