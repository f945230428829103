"""What a thread has to send on its exchange, and the credit that it has to return to the peer.

Steps that are queued together are taken together: by the thread itself, in `Writer.run_here`, or by
the loop, which is woken once for them, and not at all if earlier steps still wait there.

All counters count bytes and have one writer each, so that no step needs its own lock.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from restsock.connection import Exchange

from ._inbox import ThreadInbox, guarded

if TYPE_CHECKING:
    from restsock._options import Limits
    from restsock.connection import Carrier

__all__ = ["ThreadFlow"]

# A thread sends at most this many bytes itself. A longer body is left to the loop, which otherwise
# would repeatedly lose the race for the lock against the thread; unless the thread stays until all
# of it is sent.
_SHORT = 16 * 1024


class ThreadFlow:
    """The queued steps of a thread, and the bytes that it has taken itself.

    Attributes:
        blocked: Whether the thread waits for room, and must be told of it.
        limit: How many bytes may be outstanding.
        steps: The queued steps: for each the number of body bytes, a method of the exchange, and
            its arguments.
    """

    __slots__ = (
        "_batch",
        "_credit_posted",
        "_credited",
        "_exchange",
        "_inbox",
        "_posted",
        "_pumped",
        "_queued",
        "_taken",
        "blocked",
        "limit",
        "steps",
    )

    def __init__(self, exchange: Exchange, inbox: ThreadInbox, limits: Limits) -> None:
        self.blocked = False
        self.limit = limits.send_buffer
        self.steps: deque[tuple[int, Callable[..., None], tuple[Any, ...]]] = deque()
        self._exchange = exchange
        self._inbox = inbox
        self._queued = 0  # the thread's
        self._pumped = 0  # of the one who takes the steps
        self._posted = False
        self._batch = limits.initial_window // 4 or 1
        self._taken = 0  # the thread's
        self._credited = 0  # of the one who gives it back
        self._credit_posted = False

    # --- sending ------------------------------------------------------------------------------

    @property
    def outstanding(self) -> int:
        """Body bytes that are not sent yet."""
        return self._queued - self._pumped + self._exchange.buffered

    @property
    def short(self) -> bool:
        """Whether the queue is short enough for the thread to send it itself."""
        return self._queued - self._pumped <= _SHORT

    def add(self, nbytes: int, function: Callable[..., None], *args: Any) -> None:
        """Queues a step that sends this many body bytes."""
        self._queued += nbytes
        self.steps.append((nbytes, function, args))

    def flush(self, *, stays: bool = False) -> None:
        """See `ThreadExchange.flush`."""
        if not self.steps or self._posted:
            return
        short = self._queued - self._pumped <= _SHORT
        connection = self._exchange.connection
        if connection is not None and self._exchange.can_run_here and (short or stays):
            connection.writer.run_here(self._take_steps, connection, stays=stays and not short)
        else:
            self._post()

    def _post(self) -> None:
        self._posted = True
        self._inbox.post(self._pump)

    def _pump(self) -> None:  # on the loop
        self._posted = False
        connection = self._exchange.connection
        if connection is None:
            self._take_steps(None)
        else:
            connection.writer.run_on_loop(self._take_steps, connection)

    def _take_steps(self, host: Carrier | None) -> None:
        """Takes the steps, for the connection that has the exchange, with its lock."""
        if self._exchange.connection is not host:
            # Meanwhile the peer may have refused the exchange, and another connection may have it.
            self._post()
            return
        guarded(self._inbox, self._exchange, self._take)
        # Above the limit, the exchange itself will report when there is room.
        if self.blocked and self._exchange.buffered <= self.limit:
            self._inbox.wake()

    def _take(self) -> None:
        steps = self.steps
        try:
            while steps:
                nbytes, function, args = steps.popleft()
                try:
                    function(*args)
                finally:
                    self._pumped += nbytes
        except BaseException:
            while steps:  # the exchange has ended, so drop them
                self._pumped += steps.popleft()[0]
            raise

    # --- credit -------------------------------------------------------------------------------

    def note_taken(self, nbytes: int) -> None:
        """Notes that the thread has taken bytes; returns credit if that completes a batch.

        A batch is a part of the window: the peer gets credit for half a window at once, so batches
        below an eighth would only add cost.
        """
        self._taken += nbytes
        if self._taken - self._credited < self._batch:
            return
        connection = self._exchange.connection
        if connection is not None and self._exchange.can_run_here:
            connection.writer.run_here(self._consume)
        elif not self._credit_posted:
            self._credit_posted = True
            self._inbox.post(self._consume)

    def leave(self) -> None:
        """Notes that the thread will not continue with a long body."""
        self._inbox.more = False
        connection = self._exchange.connection
        if connection is not None and connection.pid == os.getpid():
            connection.reader.leave()

    def _consume(self) -> None:  # on the loop, or in `run_here`
        self._credit_posted = False  # first, so that a batch from now on is posted, not lost
        nbytes = self._taken - self._credited
        if nbytes > 0:
            self._credited += nbytes
            guarded(self._inbox, self._exchange, self._exchange.consume, nbytes)
            self._batch = max(self._batch, self._exchange.window // 8)
