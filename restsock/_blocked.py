"""Event loops that something blocks: a thread looks after them, and stands in for one of them.

A loop that is blocked cannot say so itself. The thread has each loop call a function every few
seconds; one that has not by the next time is reported, with what its thread is doing, and reported
again when it goes on. As long as it is the loop of the connections that is blocked, the thread
reads for them, so that their peers go on hearing from this side. There is one such thread for each
trio run, and only while it has loops.
"""

from __future__ import annotations

import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import islice

import trio

from restsock._logging import PartLog

__all__ = ["LoopWatch", "loop_watch", "watched"]

_log = PartLog("restsock.connection")

# Seconds between two looks, at most: well below what a heartbeat allows, which is looked at for
# each connection (`Heartbeat`).
_PAUSE = 5.0
# Of the interval of a heartbeat: a block is noticed after two pauses at the latest.
_SHARE = 1 / 3
# Seconds between two reads for connections whose loop is blocked.
_TICK = 0.25
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

    @property
    def blocked(self) -> bool:
        """Whether it was at the last look, and still is."""
        return self._reported and self._answered_at is None

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


class LoopWatch:
    """The loops of one trio run, and the thread. Loops come and go on the trio thread."""

    def __init__(self) -> None:
        token = trio.lowlevel.current_trio_token()
        self.trio = _Loop(
            "the trio loop of the connections", threading.get_ident(), token.run_sync_soon
        )
        self._loops: list[_Loop] = []
        # What to call while the trio loop is blocked, and the pauses that these ask for.
        self._stand_ins: dict[Callable[[], object], float] = {}
        self._pause = _PAUSE
        self._ended = False
        self._changed = threading.Event()
        self._thread: threading.Thread | None = None

    def add(self, loop: _Loop) -> None:
        loop.users += 1
        if loop.users == 1:
            self._loops.append(loop)
        if self._thread is None:
            self._ended = False
            self._thread = threading.Thread(target=self._run, name="restsock-watch", daemon=True)
            self._thread.start()

    def remove(self, loop: _Loop) -> None:
        loop.users -= 1
        if not loop.users:
            self._loops.remove(loop)
        if not self._loops:
            assert self._thread is not None
            self._ended = True
            self._changed.set()
            self._thread.join(_SLACK)  # a moment, unless a handler of the log holds it up
            self._thread = None

    def stand_in(self, function: Callable[[], object], interval: float | None) -> None:
        """Has a function called in another thread, several times a second, while trio is blocked.

        Args:
            function: until `stop_standing_in`, which has to follow. It may be given again, with the
                interval of another heartbeat.
            interval: of the heartbeat that must not stop, in seconds: the first call is made before
                two thirds of it are over.
        """
        pause = _PAUSE if interval is None else min(_PAUSE, interval * _SHARE)
        known = self._stand_ins.get(function)
        self._stand_ins[function] = pause if known is None else min(pause, known)
        if pause < self._pause:
            self._pause = pause
            self._changed.set()
        if known is None:
            self.add(self.trio)

    def stop_standing_in(self, function: Callable[[], object]) -> None:
        """Ends what `stand_in` began."""
        del self._stand_ins[function]
        self.remove(self.trio)

    def _run(self) -> None:
        due = time.monotonic() + self._pause
        while not self._ended:
            left = max(0.0, due - time.monotonic())
            if self._changed.wait(min(left, _TICK) if self.trio.blocked else left):
                self._changed.clear()
                due = min(due, time.monotonic() + self._pause)
                continue
            now = time.monotonic()
            if now >= due:
                if now < due + _SLACK:
                    for loop in list(self._loops):
                        loop.look()
                self._pause = min([_PAUSE, *list(self._stand_ins.values())])
                due = time.monotonic() + self._pause
            if self.trio.blocked:
                for function in list(self._stand_ins):
                    self._stand_in(function)

    @staticmethod
    def _stand_in(function: Callable[[], object]) -> None:
        try:
            function()
        except Exception:  # noqa: BLE001  # a bug of ours in one connection is not the others' end
            _log.exception("a thread could not read for a loop that is blocked")


_watch: trio.lowlevel.RunVar[LoopWatch] = trio.lowlevel.RunVar("restsock-watch")


def loop_watch() -> LoopWatch:
    """That of the trio run that this is called in."""
    try:
        return _watch.get()
    except LookupError:
        watch = LoopWatch()
        _watch.set(watch)
        return watch


@contextmanager
def watched(
    name: str, thread: int, call: Callable[[Callable[[], object]], object]
) -> Iterator[None]:
    """Looks after another loop. Called on trio, as long as that runs.

    Args:
        name: what the log calls it.
        thread: the identity of its thread.
        call: has a function called on it, from any thread; raises `RuntimeError` once it is closed.
    """
    watch = loop_watch()
    loop = _Loop(name, thread, call)
    watch.add(loop)
    try:
        yield
    finally:
        watch.remove(loop)
