"""Names whose modules are imported on first use, so that importing a package is cheap."""

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
    """Stands for a function or class of a module, which is imported when it is called or inspected."""

    module: str
    name: str

    def __call__(self, *given: Any, **named: Any) -> Any:
        return self._found(*given, **named)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return getattr(self._found, name)

    @property
    def _found(self) -> Any:
        return getattr(import_module(self.module), self.name)


@dataclass(frozen=True)
class _Module:
    """Stands for a module of which only functions and classes are used."""

    module: str

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return _Function(self.module, name)


def deferred(package: str, *modules: str) -> tuple[Any, ...]:
    """Stand-ins for modules of a package, whose functions and classes can be named without importing them.

    For the `__init__` of an application: its help, its settings and their errors then do not need torch. Type checkers
    see the modules themselves:

        if TYPE_CHECKING:
            from . import data, train
        else:
            data, train = deferred(__name__, "data", "train")
    """
    return tuple(_Module(f"{package}.{module}") for module in modules)
