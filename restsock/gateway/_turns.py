"""`Turns`: sessions begin calls in turn, a few in each pass of the loop.

Whatever is begun in a pass is begun before any answer of a backend is read. With many sessions that
have many messages each, all these would be begun first, and nobody be answered until then.

A session is busy while it has calls under way, or several messages that wait. Busy sessions share
one part of a pass and the others another one, so that a single message is answered soon, whatever
else comes.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

import trio

from restsock.connection import pass_end

__all__ = ["Turns", "turns"]

# Messages of busy sessions, and of the others, that are taken in a pass. Each takes about a tenth
# of a millisecond, in which all else waits.
_BUSY = 12
_OTHERS = 16
# And in a turn of a session: what is taken together leaves together.
_IN_A_TURN = 2


class _Queue:
    """Sessions that wait for their turn.

    Attributes:
        left: Messages that may still be taken in this pass.
        most: Likewise, at its beginning.
        waiting: To be called.
        called: Messages that may be taken by the one that is called.
    """

    __slots__ = ("called", "left", "most", "waiting")

    def __init__(self, most: int) -> None:
        self.left = self.most = most
        self.waiting: deque[Callable[[], object]] = deque()
        self.called = 0

    def go_on(self) -> None:
        """Calls those that wait, as far as this pass goes."""
        while self.left and self.waiting:
            self.called = _IN_A_TURN
            self.waiting.popleft()()
        self.called = 0


class Turns:
    """Whose turn it is. All calls are made on the loop."""

    def __init__(self) -> None:
        self._busy = _Queue(_BUSY)
        self._others = _Queue(_OTHERS)
        self._pass_end = pass_end()
        self._counts = False  # whether this pass has begun to be counted
        self._runs = False

    def come(self, again: Callable[[], object], *, busy: bool) -> bool:
        """Whether one message may be taken now. If not, it is asked for again in a later pass.

        Args:
            again: Is called then; raises nothing.
            busy: Whether the session has calls under way, or more messages that wait.
        """
        if not self._counts:
            self._counts = True
            self._pass_end.call(self._begin_pass)
        queue = self._busy if busy else self._others
        if queue.left and (queue.called or not queue.waiting):
            queue.called = max(0, queue.called - 1)
            queue.left -= 1
            return True
        queue.waiting.append(again)
        if not self._runs:
            self._runs = True
            trio.lowlevel.spawn_system_task(self._run, name="restsock-gateway-turns")
        return False

    def _begin_pass(self) -> None:
        self._counts = False
        for queue in (self._others, self._busy):
            queue.left = queue.most

    async def _run(self) -> None:
        """Calls those that wait, as long as there are any."""
        try:
            while self._others.waiting or self._busy.waiting:
                await trio.lowlevel.checkpoint()
                self._others.go_on()
                self._busy.go_on()
        finally:
            self._runs = False


_turns: trio.lowlevel.RunVar[Turns] = trio.lowlevel.RunVar("restsock-gateway-turns")


def turns() -> Turns:
    """Those of this trio run."""
    try:
        return _turns.get()
    except LookupError:
        found = Turns()
        _turns.set(found)
        return found
