"""Bounds the work that one message, or one document, can make.

The author of a document chooses how its schemas multiply, and the sender of a message how often
they are applied. So code that walks over schemas and values calls `spend()` at each step; the step
that goes too far raises `TooMuchWork`. What happens between two steps is linear in the size of what
is looked at. The measure is the processor time of the thread, so a busy machine refuses no honest
message.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

__all__ = ["SECONDS", "TooMuchWork", "afford", "remembered", "spend", "within"]

SECONDS = 5.0
"""Processor time for one message, by default. A plain MiB takes one or two."""

_STRIDE = 2000  # steps between two looks at the clock: one to ten milliseconds


class TooMuchWork(Exception):  # a result more than an error
    """The work takes more than is allowed, or its result is not needed any more."""


class _Here(threading.local):
    work: _Work | None = None


_here = _Here()


class _Work:
    def __init__(self, seconds: float, stopped: Callable[[], bool] | None) -> None:
        self.steps = 0
        self.memory: dict[int, tuple[object, Any]] = {}
        self._seconds = seconds
        self._end = time.thread_time() + seconds
        self._stopped = stopped

    def look(self, more: float = 0.0) -> None:
        self.steps = 0
        if time.thread_time() + more > self._end:
            raise TooMuchWork(f"takes more than {self._seconds:g} s of processor time to check")
        if self._stopped is not None and self._stopped():
            raise TooMuchWork("is not wanted any more")


@contextmanager
def within(seconds: float, stopped: Callable[[], bool] | None = None) -> Iterator[None]:
    """Bounds the work that this thread does in the block.

    A block within another one is a part of it, with the bound of the outer one.

    Args:
        seconds: Of processor time.
        stopped: Asked now and then whether to give up before that.
    """
    if _here.work is not None:
        yield
        return
    _here.work = _Work(seconds, stopped)
    try:
        yield
    finally:
        _here.work = None


def spend(steps: int = 1) -> None:
    """Counts steps of the current work; raises `TooMuchWork` when they are too many."""
    work = _here.work
    if work is not None:
        work.steps += steps
        if work.steps >= _STRIDE:
            work.look()


def afford(seconds: float) -> None:
    """Raises `TooMuchWork` if so many seconds, for a step without interruption, are not left."""
    work = _here.work
    if work is not None:
        work.look(seconds)


def remembered(source: object, make: Callable[[], Any]) -> Any:
    """What `make` makes of `source`, which is immutable: once during the current work."""
    work = _here.work
    if work is None:
        return make()
    found = work.memory.get(id(source))
    if found is None:
        # With the source, so that its id stays its own.
        found = work.memory[id(source)] = (source, make())
    return found[1]
