"""`Turns`: sessions begin calls in turn, a few in each pass of the loop.

Whatever is begun in a pass is begun before any answer of a backend is read. With many sessions that
have many messages each, all these would be begun first, and nobody be answered until then.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

import trio

from restsock.connection import pass_end

__all__ = ["Turns", "turns"]

# Messages that are taken in a pass. Each costs some tenths of a millisecond, and all others wait.
_AT_ONCE = 16
# And in a turn of a session: what is taken together leaves together.
_IN_A_TURN = 2


class Turns:
    """Whose turn it is. All calls are made on the loop."""

    def __init__(self) -> None:
        self._left = _AT_ONCE  # in this pass
        self._pass_end = pass_end()
        self._counts = False  # whether this pass has begun to be counted
        self._waiting: deque[Callable[[], object]] = deque()
        self._called = 0  # messages that may be taken by whoever has waited, and is called
        self._runs = False

    def come(self, again: Callable[[], object]) -> bool:
        """Whether one message may be taken now. If not, it is asked for again in a later pass.

        Args:
            again: Is called then; raises nothing.
        """
        if not self._counts:
            self._counts = True
            self._pass_end.call(self._begin_pass)
        if self._left and (self._called or not self._waiting):
            self._called = max(0, self._called - 1)
            self._left -= 1
            return True
        self._waiting.append(again)
        if not self._runs:
            self._runs = True
            trio.lowlevel.spawn_system_task(self._run, name="restsock-gateway-turns")
        return False

    def _begin_pass(self) -> None:
        self._left, self._counts = _AT_ONCE, False

    async def _run(self) -> None:
        """Calls those that wait, as long as there are any."""
        try:
            while self._waiting:
                await trio.lowlevel.checkpoint()
                while self._left and self._waiting:
                    self._called = _IN_A_TURN
                    self._waiting.popleft()()
                self._called = 0
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
