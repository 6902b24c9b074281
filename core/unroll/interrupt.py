"""Ctrl-C and SIGTERM as a request: finish this step, save, and stop with the right status."""

import signal
import threading
from collections.abc import Iterable, Iterator
from types import FrameType
from typing import Any, Self, TypeVar

Item = TypeVar("Item")


class Interrupted(BaseException):
    """A request to stop training. Not an `Exception`, so that no application's error handling swallows it."""

    def __init__(self, number: int) -> None:
        super().__init__(signal.Signals(number).name)
        self.number = number


class StopRequest:
    """Turns the first SIGINT or SIGTERM into a flag that the loop reads between steps; a second one stops at once.

    Outside the main thread, where Python does not deliver signals, it does nothing.
    """

    signals = (signal.SIGINT, signal.SIGTERM)

    def __init__(self) -> None:
        self.number: int | None = None
        self._before: dict[int, Any] = {}

    def __enter__(self) -> Self:
        self.install()
        return self

    def install(self) -> None:
        """Install the signal handlers; called again after a library has installed its own."""
        if threading.current_thread() is threading.main_thread():
            for number in self.signals:
                handler = signal.signal(number, self._receive)
                self._before.setdefault(number, handler)

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def check(self) -> None:
        """Raise Interrupted if a signal has arrived."""
        if self.number is not None:
            raise Interrupted(self.number)

    def watch(self, items: Iterable[Item]) -> Iterator[Item]:
        """The items, with a check before each."""
        for item in items:
            self.check()
            yield item

    def _receive(self, number: int, _: FrameType | None) -> None:
        if self.number is not None:
            raise Interrupted(number)
        self.number = number
