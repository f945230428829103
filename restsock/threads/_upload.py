"""Sends a request body from a thread to the peer, piece by piece."""

from __future__ import annotations

import io
import time
from collections.abc import Iterable, Iterator
from contextlib import suppress
from typing import TYPE_CHECKING, Any, cast

from restsock._exceptions import RequestTimeout, RestsockError
from restsock.connection import pause_if_refused
from restsock.protocol import ResetCode

from ._exchange import ThreadExchange

if TYPE_CHECKING:
    from restsock.connection import Requester
    from restsock.protocol import RequestHead, ResponseHead

__all__ = ["Replay", "ThreadUpload", "send_upload"]

# Body bytes that are sent in one piece, and read from a file at once.
_PIECE = 64 * 1024


class ThreadUpload:
    """Sends a body while it is produced: a file, an iterable, or too many bytes for one post.

    Attributes:
        begun: Whether anything was taken from the body.
        done: Whether all of it was sent, or the peer wants no more.
    """

    __slots__ = ("_exchange", "_pieces", "begun", "done")

    def __init__(self, body: Any, exchange: ThreadExchange) -> None:
        self._exchange = exchange
        self._pieces = _pieces(body)
        self.begun = False
        self.done = False

    def run(self, timeout: float | None, unread: int, deadline: float | None = None) -> None:
        """Sends until all is sent, the peer wants no more, or too much of the response is unread.

        As over a socket, the body is sent before the response is read. But a peer that answers
        while it reads may stop reading until its response is read. So at this point the rest of the
        upload is left to `step`, between reads.

        Args:
            timeout: Seconds in which the peer reads nothing at all.
            unread: The number of unread response bytes at which to stop.
            deadline: The end of the whole upload, by `time.monotonic`.

        Raises:
            RequestTimeout: The peer read nothing, or the deadline has passed; phase "write".
        """
        exchange = self._exchange
        inbox = exchange.inbox
        while not self.done:
            if deadline is not None:
                left = deadline - time.monotonic()
                if left <= 0:
                    raise RequestTimeout("the body was not sent in time", phase="write")
                timeout = left
            if inbox.error is not None:
                # There may be a response nevertheless; otherwise `receive_head` raises the error.
                self.done = True
            elif inbox.stopped or exchange.drain(timeout, unread=unread) or inbox.stopped:
                self.step()  # after sending the previous piece: the next one may take long
            else:
                return

    def step(self) -> None:
        """Sends one piece. There should be room for it."""
        self.begun = True
        try:
            piece = None if self._exchange.inbox.stopped else next(self._pieces, None)
        except Exception:
            # Any exception, since the body is the caller's. What was sent before must arrive.
            self._exchange.close(ResetCode.INTERNAL, "the body of the request failed")
            raise
        if piece is None:
            self.done = True
            self._exchange.send_end()
        else:
            self._exchange.send_data(piece)

    def receive_data(self, timeout: float | None = None) -> bytes:
        """Like `ThreadExchange.receive_data`, but sends the rest while nothing has arrived.

        Args:
            timeout: Seconds without progress in either direction.

        Raises:
            RequestTimeout: There was no progress in time; phase "body".
            RestsockError: The exchange has failed.
        """
        exchange = self._exchange
        inbox = exchange.inbox
        while not (self.done or inbox.unread or inbox.received or inbox.error is not None):
            if exchange.writable or inbox.stopped:
                self.step()
                exchange.flush()
            elif not exchange.wait_either(timeout):
                raise RequestTimeout(f"nothing within {timeout} s", phase="body")
        return exchange.receive_data(timeout)


class Replay:
    """Whether and how a body can be sent a second time: bytes, a file, or an iterable.

    Args:
        body: The body.
        anew: Whether an iterable that is not an iterator may be iterated again.

    Attributes:
        begun: Whether anything may have been taken from the body.
    """

    __slots__ = ("_anew", "_body", "_position", "begun")

    def __init__(self, body: Any, *, anew: bool = True) -> None:
        self._body = body
        self._anew = anew
        self._position: int | None = None
        self.begun = False
        if hasattr(body, "tell"):
            with suppress(OSError):  # a pipe has no position
                self._position = body.tell()

    @property
    def possible(self) -> bool:
        """Whether the body can be sent again, as far as known without trying."""
        body = self._body
        if not self.begun or isinstance(body, bytes):
            return True
        if hasattr(body, "read"):
            return isinstance(self._position, int) and hasattr(body, "seek")
        return self._anew and iter(body) is not body  # an iterable, not an iterator

    def rewind(self) -> bool:
        """Goes back to the beginning of the body; returns whether that was possible."""
        if not self.possible:
            return False
        if self.begun and hasattr(self._body, "read"):
            try:
                self._body.seek(self._position)
            except OSError:
                return False
        self.begun = False
        return True


def send_upload(
    requester: Requester,
    head: RequestHead,
    body: Any,
    replay: Replay,
    *,
    connect: float,
    write: float | None,
    read: float | None,
    total: float | None = None,
    upload_by: float | None = None,
) -> tuple[ThreadExchange, ResponseHead, ThreadUpload]:
    """Sends a request whose body is sent while it is produced; waits for the response head.

    Nothing is read from the body before there is a stream. If the peer provably did not start the
    request, it is sent again, within the connect timeout and if its body can be sent again.

    Args:
        requester: Sends the request.
        head: The head of the request.
        body: Bytes, a file or an iterable.
        replay: The `Replay` of this body.
        connect: Seconds until the request has started on a stream.
        write: Seconds in which the peer reads nothing at all.
        read: Seconds to the response head.
        total: Seconds for everything.
        upload_by: The deadline for the body, by `time.monotonic`.

    Raises:
        RestsockError: There is no response; the stream was reset. A retry is safe if `may_have_run`
            is false.
    """
    opened = time.monotonic()
    attempt = 0
    while True:
        late = time.monotonic() - opened
        left = max(0.0, connect - late)
        exchange = ThreadExchange.open(requester, head, end=False, announce=True)
        upload: ThreadUpload | None = None
        try:
            exchange.wait_started(left)
            upload = ThreadUpload(body, exchange)
            replay.begun = True
            # If half a window of the response is unread, the peer may soon wait for us.
            upload.run(write, requester.limits.initial_window // 2, upload_by)
            response = exchange.receive_head(left, read, None if total is None else total - late)
        except RestsockError as exc:
            exchange.close()
            attempt += 1
            pause = pause_if_refused(
                exc,
                attempt,
                started=upload is not None,
                replayable=replay.possible,
                left=opened + connect - time.monotonic(),
            )
            if pause is None:
                raise
            error = exc
        except BaseException:  # also Ctrl-C: in any case the peer's app must learn of it
            exchange.close()
            raise
        else:
            return exchange, response, upload
        time.sleep(pause)
        if not replay.rewind():
            raise error


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
