"""How much work one message, or one document, may make.

Whoever wrote a document chooses how its schemas multiply, and whoever sends a message how often
they are applied. Neither shall keep a thread for longer than is said here. So what walks over
schemas and values says `spend()` with each step, and the step that goes too far raises
`TooMuchWork`. What is done between two steps is linear in the size of what is looked at.

The measure is the processor time of the thread, so that a busy machine refuses no honest message.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

__all__ = ["SECONDS", "TooMuchWork", "afford", "remembered", "spend", "within"]

SECONDS = 5.0
"""Processor time for one message, unless it is said otherwise. A plain MiB takes one or two."""

_STRIDE = 2000  # steps between two looks at the clock: one to ten milliseconds


class TooMuchWork(Exception):  # a result more than an error
    """The work that was allowed is done, or nobody wants the result any more."""


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
        seconds: of processor time.
        stopped: tells, now and then, whether to give up before that.
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
    """Counts steps of the work that is going on.

    Raises:
        TooMuchWork: they are too many.
    """
    work = _here.work
    if work is not None:
        work.steps += steps
        if work.steps >= _STRIDE:
            work.look()


def afford(seconds: float) -> None:
    """Asks for one step that cannot be interrupted.

    Args:
        seconds: how long it may take.

    Raises:
        TooMuchWork: there is not that much left.
    """
    work = _here.work
    if work is not None:
        work.look(seconds)


def remembered(source: object, make: Callable[[], Any]) -> Any:
    """What is made of something that does not change: once, for as long as the work goes on.

    Args:
        source: what it is made of; by identity.
        make: makes it.
    """
    work = _here.work
    if work is None:
        return make()
    found = work.memory.get(id(source))
    if found is None:
        # With the source, so that its id stays its own.
        found = work.memory[id(source)] = (source, make())
    return found[1]
