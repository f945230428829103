"""Limits the work that one message, or one document, can cause.

The author of a document chooses how its schemas multiply, and the sender of a message how often
they are applied. So code that walks over schemas and values calls `spend()` at each step; the step
that exceeds the limit raises `TooMuchWork`. The work between two steps is linear in the size of the
data. The limit is on the processor time of the thread, so a busy machine does not refuse an honest
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
"""The default limit for one message, in seconds of processor time. A plain MiB takes one or two."""

_STRIDE = 2000  # steps between two readings of the clock: one to ten milliseconds


class TooMuchWork(Exception):  # a result more than an error
    """The work exceeds its limit, or its result is no longer needed."""


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
    """Limits the work of this thread in the block.

    A nested block belongs to the outer one, and has its limit.

    Args:
        seconds: Seconds of processor time.
        stopped: Called now and then; returns whether to stop earlier.
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
    """Counts steps of the current work; raises `TooMuchWork` if the limit is exceeded."""
    work = _here.work
    if work is not None:
        work.steps += steps
        if work.steps >= _STRIDE:
            work.look()


def afford(seconds: float) -> None:
    """Raises `TooMuchWork` if fewer seconds are left; for a step that cannot be interrupted."""
    work = _here.work
    if work is not None:
        work.look(seconds)


def remembered(source: object, make: Callable[[], Any]) -> Any:
    """The result of `make` for `source`, which is immutable; cached during the current work."""
    work = _here.work
    if work is None:
        return make()
    found = work.memory.get(id(source))
    if found is None:
        # With the source, so that its id is not reused.
        found = work.memory[id(source)] = (source, make())
    return found[1]
