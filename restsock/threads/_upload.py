"""A request body on its way from a thread to the peer, piece by piece."""

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

# Body bytes handed on in one piece, and read from a file at once.
_PIECE = 64 * 1024


class ThreadUpload:
    """Sends a body while it is being made: a file, an iterable, or bytes too many for one post.

    Attributes:
        begun: Whether anything was taken from the body.
        done: Whether all of it was sent, or no more of it is wanted.
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
        while it reads stops reading once its answer is not taken; when that much of it has come,
        the rest of the upload is left to `step`, between reads.

        Args:
            timeout: Seconds in which the peer takes nothing at all.
            unread: How many bytes of a response are too many.
            deadline: By `time.monotonic`, for all of it.

        Raises:
            RequestTimeout: Phase "write".
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
                # There may be a response all the same; else `receive_head` raises the error.
                self.done = True
            elif inbox.stopped or exchange.drain(timeout, unread=unread) or inbox.stopped:
                self.step()  # after what was sent before: the next piece may take its time
            else:
                return

    def step(self) -> None:
        """Sends one piece. There should be room for it."""
        self.begun = True
        try:
            piece = None if self._exchange.inbox.stopped else next(self._pieces, None)
        except Exception:
            # Anything, for the body is the caller's. What it gave before is to arrive.
            self._exchange.close(ResetCode.INTERNAL, "the body of the request failed")
            raise
        if piece is None:
            self.done = True
            self._exchange.send_end()
        else:
            self._exchange.send_data(piece)

    def receive_data(self, timeout: float | None = None) -> bytes:
        """Like `ThreadExchange.receive_data`, and sends what is left while nothing has come.

        Args:
            timeout: Seconds in which nothing happens, neither way.

        Raises:
            RequestTimeout: Phase "body".
            RestsockError: What the exchange failed with.
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
        body: What is to be sent.
        anew: Whether an iterable that is no iterator may be begun anew.

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
            with suppress(OSError):  # a pipe has none
                self._position = body.tell()

    @property
    def possible(self) -> bool:
        """Whether it can, as far as that can be told without trying."""
        body = self._body
        if not self.begun or isinstance(body, bytes):
            return True
        if hasattr(body, "read"):
            return isinstance(self._position, int) and hasattr(body, "seek")
        return self._anew and iter(body) is not body  # an iterable, not an iterator: it begins anew

    def rewind(self) -> bool:
        """Goes back to where the body began; tells whether that could be done."""
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
    """Sends a request with a body that is sent while it is being made; waits for the response head.

    Nothing is taken from the body before there is a stream. When the peer provably did not start on
    the request, it is sent again, for as long as it may take to connect and if its body can be.

    Args:
        requester: What carries it.
        head: The request's.
        body: Bytes, a file or an iterable.
        replay: Of this body.
        connect: Seconds until it has a stream where it is started.
        write: Seconds in which the peer takes nothing at all.
        read: Seconds to the response head.
        total: Seconds for all of that.
        upload_by: When the body is to be sent, by `time.monotonic`.

    Raises:
        RestsockError: There is no response; the stream is reset.
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
            # When half a window of the response waits unread, the peer may be about to wait for us.
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
        except BaseException:  # Ctrl-C too: whatever it is, the peer's app is to know
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
