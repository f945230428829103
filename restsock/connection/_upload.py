"""A request body on its way from a thread to the peer, piece by piece."""

from __future__ import annotations

import io
import time
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any, cast

from restsock._exceptions import RequestTimeout

if TYPE_CHECKING:
    from ._thread_exchange import ThreadExchange

__all__ = ["ThreadUpload"]

# Body bytes handed on in one piece, and read from a file at once.
_PIECE = 64 * 1024


class ThreadUpload:
    """Sends a body while it is being made: a file, an iterable, or bytes too many for one post.

    Attributes:
        begun: whether anything was taken from the body.
        done: whether all of it was sent, or no more of it is wanted.
    """

    __slots__ = ("_exchange", "_pieces", "begun", "done")

    def __init__(self, body: Any, exchange: ThreadExchange) -> None:
        self._exchange = exchange
        self._pieces = _pieces(body)
        self.begun = False
        self.done = False

    def run(self, timeout: float | None, unread: int, deadline: float | None = None) -> None:
        """Sends until all is sent, the peer wants no more, or its response is in the way.

        Like over a socket, the body goes before the response is read. But a peer that answers
        while it reads stops reading once nobody takes its answer; when that much of it has come,
        the rest of the upload is left to `step`, between reads.

        Args:
            timeout: seconds in which the peer takes nothing at all.
            unread: how many bytes of a response are too many.
            deadline: by `time.monotonic`, for all of it.

        Raises:
            RequestTimeout: phase "write".
        """
        exchange = self._exchange
        while not self.done:
            if deadline is not None:
                left = deadline - time.monotonic()
                if left <= 0:
                    raise RequestTimeout("the body was not sent in time", phase="write")
                timeout = left
            exchange.poll()
            if exchange.error is not None:
                # There may be a response all the same; else `receive_head` raises the error.
                self.done = True
            elif exchange.writable or exchange.stopped:
                self.step()
            elif not exchange.drain(timeout, unread=unread) and not exchange.stopped:
                return

    def step(self) -> None:
        """Sends one piece. There should be room for it."""
        self.begun = True
        piece = None if self._exchange.stopped else next(self._pieces, None)
        if piece is None:
            self.done = True
            self._exchange.send_end()
        else:
            self._exchange.send_data(piece)

    def receive_data(self, timeout: float | None = None) -> bytes:
        """Like `ThreadExchange.receive_data`, and sends what is left while nothing has come.

        Args:
            timeout: seconds in which nothing happens, neither way.

        Raises:
            RequestTimeout: phase "body".
            RestsockError: what the exchange failed with.
        """
        exchange = self._exchange
        while not self.done:
            exchange.poll()
            if exchange.unread or exchange.received or exchange.error is not None:
                break
            if exchange.writable or exchange.stopped:
                self.step()
            elif not exchange.wait_either(timeout):
                raise RequestTimeout(f"nothing within {timeout} s", phase="body")
        return exchange.receive_data(timeout)


def _pieces(body: Any) -> Iterator[bytes]:
    if isinstance(body, bytes):
        yield from _cut(body)
    elif hasattr(body, "read"):
        text = isinstance(body, io.TextIOBase)
        while data := body.read(_PIECE):
            yield from _cut(data.encode("utf-8") if text or isinstance(data, str) else data)
    else:
        for data in cast("Iterable[Any]", body):
            yield from _cut(data.encode("utf-8") if isinstance(data, str) else data)


def _cut(data: Any) -> Iterator[bytes]:
    if isinstance(data, bytes) and len(data) <= _PIECE:
        if data:
            yield data
        return
    view = memoryview(data).cast("B")
    for at in range(0, len(view), _PIECE):
        yield bytes(view[at : at + _PIECE])
