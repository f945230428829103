"""What a thread has to send on its exchange, and the credit that it owes the peer.

Steps that are queued together are taken together: by the thread itself, in `Writer.run_here`, or by
the loop, which is woken once for them, and not at all while it has yet to take the last ones.

All counters count bytes and have one writer each, so that no step needs a lock of its own.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from restsock.connection import Exchange, Writable

from ._event_queue import EventQueue, guarded

if TYPE_CHECKING:
    from restsock.connection import Carrier

    from ._loop_access import LoopAccess

__all__ = ["ThreadCredit", "ThreadSender"]

# What a thread sends itself is at most this long, in bytes. A long body is left to the loop, which
# would otherwise wait for the lock, again and again, while the thread is quicker to take it; unless
# the thread stays until all of it has left.
_SHORT = 16 * 1024


class ThreadSender:
    """The steps of a thread that wait to be taken.

    Attributes:
        blocked: whether the thread waits for room, and is to be told of it.
        limit: how many bytes may be outstanding.
    """

    __slots__ = (
        "_event_queue",
        "_exchange",
        "_loop",
        "_posted",
        "_pumped",
        "_queued",
        "_steps",
        "blocked",
        "limit",
    )

    def __init__(
        self, exchange: Exchange, event_queue: EventQueue, loop: LoopAccess, limit: int
    ) -> None:
        self.blocked = False
        self.limit = limit
        self._exchange = exchange
        self._event_queue = event_queue
        self._loop = loop
        self._steps: deque[tuple[Callable[..., None], Any]] = deque()
        self._queued = 0  # the thread's
        self._pumped = 0  # whoever takes the steps
        self._posted = False

    @property
    def outstanding(self) -> int:
        """Body bytes that have not left."""
        return self._queued - self._pumped + self._exchange.buffered

    @property
    def short(self) -> bool:
        """Whether what waits is little enough for the thread to send it in passing."""
        return self._queued - self._pumped <= _SHORT

    def step(self, function: Callable[..., None], argument: Any) -> None:
        """Queues a step: a call of the exchange."""
        self._steps.append((function, argument))

    def send_data(self, data: bytes) -> None:
        """Queues body bytes."""
        self._queued += len(data)
        self._steps.append((self._send_data, data))

    def flush(self, *, stays: bool = False) -> None:
        """See `ThreadExchange.flush`."""
        if self._steps and not self._posted:
            connection = self._exchange.connection
            short = self.short
            if connection is not None and self._exchange.can_run_here and (short or stays):
                self._loop.check_process()
                connection.writer.run_here(self._pump_here, connection, stays=stays and not short)
            else:
                self._post()

    def _post(self) -> None:
        self._posted = True
        self._loop.post(self._pump)

    def _pump_here(self, host: Carrier) -> None:
        # Meanwhile the peer may have refused the exchange, and another connection may have it.
        if self._exchange.connection is host:
            self._pump()
        else:
            self._post()

    def _pump(self) -> None:  # on the loop, or in `run_here`
        self._posted = False
        steps = self._steps
        connection = self._exchange.connection
        if connection is not None:
            connection.writer.cork()
        try:
            while steps:
                function, argument = steps.popleft()
                guarded(self._event_queue, self._exchange, function, argument)
        finally:  # a KeyboardInterrupt must not leave the lock to a thread that has gone
            if connection is not None:
                connection.writer.uncork()
        # Above the limit the exchange itself reports, later, that there is room.
        if self.blocked and self._exchange.buffered <= self.limit:
            self._event_queue.put(Writable())

    def _send_data(self, data: bytes) -> None:  # by `_pump`
        try:
            self._exchange.send_data(data)
        finally:
            self._pumped += len(data)


class ThreadCredit:
    """The credit for body bytes that a thread has taken. It goes back in batches.

    A batch is a part of the window: the peer is told of half a window at once, so that smaller
    steps than an eighth only cost.
    """

    __slots__ = (
        "_batch",
        "_consumed",
        "_credited",
        "_event_queue",
        "_exchange",
        "_loop",
        "_posted",
    )

    def __init__(
        self, exchange: Exchange, event_queue: EventQueue, loop: LoopAccess, batch: int
    ) -> None:
        self._exchange = exchange
        self._event_queue = event_queue
        self._loop = loop
        self._batch = batch
        self._consumed = 0  # the thread's
        self._credited = 0  # whoever gives it back
        self._posted = False

    def note_taken(self, nbytes: int) -> None:
        """The thread has taken bytes; gives credit back if that is a batch."""
        self._consumed += nbytes
        if self._consumed - self._credited < self._batch:
            return
        connection = self._exchange.connection
        if connection is not None and self._exchange.can_run_here:
            self._loop.check_process()
            connection.writer.run_here(self._consume)
        elif not self._posted:
            self._posted = True
            self._loop.post(self._consume)

    def _consume(self) -> None:  # on the loop, or in `run_here`
        self._posted = False  # first: a batch that comes now is posted again, not lost
        nbytes = self._consumed - self._credited
        if nbytes > 0:
            self._credited += nbytes
            guarded(self._event_queue, self._exchange, self._exchange.consume, nbytes)
            self._batch = max(self._batch, self._exchange.window // 8)
