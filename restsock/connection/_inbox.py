"""What has come on an exchange, until it is taken."""

from __future__ import annotations

import threading
import time
from collections import deque
from typing import TYPE_CHECKING

from restsock.protocol import DataReceived, EndReceived, ResponseReceived, StopSending

from ._exchange_events import Failed, Requeued, Started

if TYPE_CHECKING:
    from restsock._exceptions import RestsockError
    from restsock.protocol import Headers, ResponseHead

    from ._exchange_events import ExchangeEvent

__all__ = ["Inbox"]

# Pieces of a body that wait are joined up to this size, in bytes, so that a peer cannot fill memory
# with objects of one byte.
_SMALL = 4096

# From this size on, in bytes, a piece says that more will follow soon.
_LARGE = 16 * 1024


class Inbox:
    """The observer of an exchange. How it is waited for is up to the classes derived from it.

    Any thread may fill it, one at a time, and another one may empty it. What comes first is there
    first: a thread that sees `received` or `error` sees all `pieces`, too.

    Attributes:
        response: the final response head (or a 101), once it has come.
        pieces: the body bytes that have come and were not taken, in as few pieces as may be.
        unread: how many bytes these are.
        received: whether the peer's half is complete (`pieces` may still wait).
        trailers: the peer's trailers, once `received`.
        stopped: whether the peer wants no more of the body that this side sends.
        error: why the exchange has failed, if it has.
        started_at: since when it has a stream, by `time.monotonic`; `None` while it has none.
        requeued: whether it lost its stream, after it had one; the one who waits for it resets it.
        announce: whether its start is waited for.
        more: whether a long body is on its way: what came last was a large piece of it.
    """

    __slots__ = (
        "_lock",
        "announce",
        "error",
        "more",
        "pieces",
        "received",
        "requeued",
        "response",
        "started_at",
        "stopped",
        "trailers",
        "unread",
    )

    def __init__(self) -> None:
        self.response: ResponseHead | None = None
        self.pieces: deque[bytes] = deque()
        self.unread = 0
        self.received = False
        self.trailers: Headers = ()
        self.stopped = False
        self.error: RestsockError | None = None
        self.started_at: float | None = None
        self.requeued = False
        self.announce = True
        self.more = False
        self._lock = threading.Lock()

    def wake(self) -> None:
        """Something has come: what waits for it looks again. For any thread. Does nothing here."""

    def __call__(self, event: ExchangeEvent) -> None:
        """Takes an event in. Does not block."""
        kind = type(event)
        if kind is DataReceived:
            self.add(event.data)  # type: ignore[union-attr]  # see `kind`
        elif kind is ResponseReceived:
            head = event.head  # type: ignore[union-attr]
            if head.status < 200 and head.status != 101:
                return
            self.response = head
        elif kind is EndReceived:
            self.more = False
            self.trailers = event.trailers  # type: ignore[union-attr]
            self.received = True
        elif kind is Started:
            self.started_at = time.monotonic()
            if not self.announce:
                return
        elif kind is StopSending:
            self.stopped = True
        elif kind is Requeued:
            self.started_at = None
            self.requeued = True
            self.announce = True  # who waits for room to send waits for the next start, too
        elif kind is Failed:
            self.more = False
            self.error = event.error  # type: ignore[union-attr]
        self.wake()

    def head(self) -> ResponseHead:
        """The response head, once there is one or the exchange has failed.

        Raises:
            RestsockError: what it failed with, without one.
        """
        if self.response is None:
            self.check()
        assert self.response is not None
        return self.response

    def add(self, data: bytes) -> bool:
        """Adds body bytes; tells whether none have waited before."""
        size = len(data)
        self.more = size >= _LARGE
        with self._lock:
            self.unread += size
            pieces = self.pieces
            first = not pieces
            if not first and len(pieces[-1]) + size <= _SMALL:
                pieces[-1] += data
            else:
                pieces.append(data)
        return first

    def take(self) -> bytes | None:
        """Takes the first piece; `b""` at the end, `None` when there is none now.

        Raises:
            RestsockError: what the exchange failed with, once all that came before is taken.
        """
        received, error = self.received, self.error  # first: what came before them is seen below
        with self._lock:
            if self.pieces:
                data = self.pieces.popleft()
                self.unread -= len(data)
                return data
        if received:
            return b""
        if error is not None:
            raise error.with_traceback(None)
        return None

    def take_all(self) -> bytes:
        """Takes all body bytes that are there."""
        with self._lock:
            pieces, self.pieces = self.pieces, deque()
            self.unread = 0
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def check(self) -> None:
        """Raises what the exchange has failed with, if it has."""
        if self.error is not None:
            raise self.error.with_traceback(None)
