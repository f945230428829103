"""Event loops that something blocks: a thread looks after them and names them in the log.

A loop that is blocked cannot say so itself. The thread has each loop call a function every few
seconds; one that has not by the next time is reported, with what its thread is doing, and reported
again when it goes on. There is one such thread for each trio run, and only while it has loops.
"""

from __future__ import annotations

import logging
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from itertools import islice

import trio

__all__ = ["watched", "watched_trio"]

_log = logging.getLogger("restsock.connection")

# Seconds between two looks, well below what a heartbeat allows (`Heartbeat`): the line is in the
# log before the connection is lost.
_PAUSE = 5.0
# Seconds by which a look may be late. Later, the process itself was stopped, and not a loop in it.
_SLACK = 1.0
# Of the stack of a blocked thread, the innermost ones.
_FRAMES = 10


class _Loop:
    """A loop that is looked after.

    Args:
        name: what the log calls it.
        thread: the identity of its thread.
        call: has a function called on it; raises `RuntimeError` once it is closed.
    """

    def __init__(
        self, name: str, thread: int, call: Callable[[Callable[[], object]], object]
    ) -> None:
        self.users = 0
        self._name = name
        self._thread = thread
        self._call = call
        self._asked_at = 0.0
        self._answered_at: float | None = 0.0
        self._reported = False

    def look(self) -> None:
        """Reports what has changed since the last look, and asks again."""
        if self._answered_at is None:
            if not self._reported:
                self._reported = True
                blocked = time.monotonic() - self._asked_at
                _log.warning(
                    "%s is blocked: it has not run for %.0f s; its thread is at %s",
                    self._name,
                    blocked,
                    _whereabouts(self._thread),
                )
            return
        if self._reported:
            self._reported = False
            blocked = self._answered_at - self._asked_at
            _log.warning("%s runs again; it was blocked for %.0f s", self._name, blocked)
        self._asked_at = time.monotonic()
        self._answered_at = None
        try:
            self._call(self._answer)
        except RuntimeError:  # it is closed, and about to be forgotten
            self._answer()

    def _answer(self) -> None:
        self._answered_at = time.monotonic()


def _whereabouts(thread: int) -> str:
    frame = sys._current_frames().get(thread)
    if frame is None:
        return "its end"
    calls = islice(traceback.walk_stack(frame), _FRAMES)
    return ", called from ".join(
        f"{frame.f_code.co_filename}:{line} in {frame.f_code.co_name}" for frame, line in calls
    )


class _Watch:
    """The loops of one trio run, and the thread. Loops come and go on the trio thread."""

    def __init__(self) -> None:
        token = trio.lowlevel.current_trio_token()
        self.trio = _Loop(
            "the trio loop of the connections", threading.get_ident(), token.run_sync_soon
        )
        self._loops: list[_Loop] = []
        self._end = threading.Event()
        self._thread: threading.Thread | None = None

    @contextmanager
    def looking_after(self, loop: _Loop) -> Iterator[None]:
        loop.users += 1
        if loop.users == 1:
            self._loops.append(loop)
        if self._thread is None:
            self._end.clear()
            self._thread = threading.Thread(target=self._run, name="restsock-watch", daemon=True)
            self._thread.start()
        try:
            yield
        finally:
            loop.users -= 1
            if not loop.users:
                self._loops.remove(loop)
            if not self._loops:
                self._end.set()
                self._thread.join(_SLACK)  # a moment, unless a handler of the log holds it up
                self._thread = None

    def _run(self) -> None:
        due = time.monotonic() + _PAUSE
        while not self._end.wait(_PAUSE):
            if time.monotonic() < due + _SLACK:
                for loop in list(self._loops):
                    loop.look()
            due = time.monotonic() + _PAUSE


_watch: trio.lowlevel.RunVar[_Watch] = trio.lowlevel.RunVar("restsock-watch")


def _current() -> _Watch:
    try:
        return _watch.get()
    except LookupError:
        watch = _Watch()
        _watch.set(watch)
        return watch


def watched_trio() -> AbstractContextManager[None]:
    """Looks after the trio loop that runs this."""
    watch = _current()
    return watch.looking_after(watch.trio)


def watched(
    name: str, thread: int, call: Callable[[Callable[[], object]], object]
) -> AbstractContextManager[None]:
    """Looks after another loop. Called on trio, as long as that runs.

    Args:
        name: what the log calls it.
        thread: the identity of its thread.
        call: has a function called on it, from any thread; raises `RuntimeError` once it is closed.
    """
    return _current().looking_after(_Loop(name, thread, call))
