"""Blocking requests: what a client, a route and a connection have in common."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from typing import TYPE_CHECKING, BinaryIO, TypeAlias

from restsock._exceptions import RequestTimeout, RestsockError, without_frames
from restsock.connection import Requester, Response, head_for
from restsock.endpoint import Adapters, documented_like
from restsock.endpoint import BlockingClientWebSocket as ClientWebSocket
from restsock.threads import Replay, ThreadExchange, ThreadUpload, send_upload

if TYPE_CHECKING:
    from restsock.connection import FieldsLike
    from restsock.protocol import Headers, ResponseHead
    from restsock.threads import Portal

__all__ = ["BlockingRequester", "BodyLike", "StreamedResponse"]

BodyLike: TypeAlias = "bytes | str | Iterable[bytes] | BinaryIO"

# A body of up to this many bytes is sent together with its head, in one step.
_INLINE = 64 * 1024


class BlockingRequester(Adapters):
    """Sends requests from threads. Any number of threads may share one."""

    def __init__(self, portal: Portal, requester: Requester) -> None:
        self._portal = portal
        self._requester = requester

    @documented_like(Requester.request)
    def request(
        self,
        method: str,
        target: str,
        *,
        headers: FieldsLike = (),
        body: BodyLike = b"",
        timeout: float | None = None,
        scheme: str | None = None,
    ) -> Response:
        """Send a request and read the whole response.

        The body may be bytes, text, an iterable of bytes, or a file, which is read as it is sent.

        Args:
            timeout: Seconds for the whole request. With `None` only the connection's heartbeat
                limits it. In either case there must be a connection within `Timeouts.connect`.

        Raises:
            ConnectionClosed: This was closed.
            RestsockError: A retry is safe if `may_have_run` is false. Also raised if this is called
                after a fork, or on the background thread.
            KeyboardInterrupt: It was interrupted. The stream was reset, and the peer's app learns
                of it.
        """
        deadline = None if timeout is None else time.monotonic() + timeout
        try:
            with self._open(method, target, headers, body, scheme, None, timeout) as response:
                parts = []
                try:
                    while data := response._receive(_left(deadline)):
                        parts.append(data)
                except RequestTimeout:
                    raise RequestTimeout(
                        f"no complete response within {timeout} s", phase="body"
                    ) from None
                return Response(
                    response.status, response.headers, b"".join(parts), response.trailers
                )
        except RestsockError as exc:
            raise without_frames(exc)  # noqa: B904  # it is the same error

    @documented_like(request)
    def stream(
        self,
        method: str,
        target: str,
        *,
        headers: FieldsLike = (),
        body: BodyLike = b"",
        timeout: float | None = None,
        scheme: str | None = None,
    ) -> StreamedResponse:
        """Send a request; return once the response head has arrived.

            with client.stream("GET", "/log") as response:
                for data in response: ...

        Leaving the block before the end of the body resets the stream. The request body is sent
        before the response is read. If the peer answers before it has read all of it, the rest is
        sent between reads.

        Args:
            timeout: Seconds without progress: no head, no more bytes of the body, and the peer
                reads nothing of the request body.

        Raises:
            RequestTimeout: There was no progress in time. The stream was reset.
        """
        try:
            return self._open(method, target, headers, body, scheme, timeout, None)
        except RestsockError as exc:
            raise without_frames(exc)  # noqa: B904  # it is the same error

    @documented_like(Requester.websocket)
    def websocket(
        self,
        target: str,
        *,
        subprotocols: Sequence[str] = (),
        headers: FieldsLike = (),
        timeout: float | None = None,
        scheme: str | None = None,
    ) -> ClientWebSocket:
        """Open a WebSocket to the peer's app; return once the app has accepted it.

            with route.websocket("/chat", subprotocols=["chat.v2"]) as websocket:
                websocket.send("hello")
                for message in websocket: ...

        Leaving the block closes it with 1000, or with 1011 after an exception. A drain waits for
        it as for any request, up to `Timeouts.grace`. A WebSocket is never reopened automatically.

        Raises:
            ConnectionClosed: This was closed.
            KeyboardInterrupt: It was interrupted. The stream was reset, and the peer's app learns
                of it.
        """
        self._portal.check()
        return ClientWebSocket(
            partial(
                self._requester.websocket,
                target,
                subprotocols=subprotocols,
                headers=headers,
                timeout=timeout,
                scheme=scheme,
            )
        )

    def _sender(self) -> Requester:
        return self._requester

    def _open(
        self,
        method: str,
        target: str,
        headers: FieldsLike,
        body: BodyLike,
        scheme: str | None,
        idle: float | None,
        total: float | None,
    ) -> StreamedResponse:
        self._portal.check()
        requester = self._requester
        if isinstance(body, str):
            body = body.encode()
        head = head_for(requester, method, target, headers, body, scheme)
        connect = requester.timeouts.connect
        deadline = None if total is None else time.monotonic() + total
        upload: ThreadUpload | None = None
        if isinstance(body, bytes) and len(body) <= _INLINE:
            exchange = ThreadExchange.open(requester, head, body=body)
            try:
                response = exchange.receive_head(connect, idle, total)
            except BaseException:  # also Ctrl-C: in any case the peer's app must learn of it
                exchange.close()
                raise
        else:
            exchange, response, upload = send_upload(
                requester,
                head,
                body,
                Replay(body),
                connect=connect if total is None else min(connect, total),
                write=idle,
                read=idle,
                total=total,
                upload_by=deadline,
            )
        remaining = None if upload is None or upload.done else upload
        return StreamedResponse(exchange, response, remaining, idle)


class StreamedResponse:
    """A response whose body is still arriving; or, with status 101, a raw two-way stream.

    Only one thread may use it at a time; `close` may be called from another.

    Attributes:
        status: The status code of the final response.
        reason: Its reason phrase.
        headers: Its fields, as pairs of name and value.
    """

    def __init__(
        self,
        exchange: ThreadExchange,
        head: ResponseHead,
        upload: ThreadUpload | None,
        timeout: float | None,
    ) -> None:
        self.status = head.status
        self.reason = head.reason.decode("latin-1")
        self.headers: Headers = head.headers
        self._exchange = exchange
        self._upload = upload
        self._timeout = timeout

    @property
    def trailers(self) -> Headers:
        """The trailers, once the body is read."""
        return self._exchange.inbox.trailers

    def header(self, name: str, default: str | None = None) -> str | None:
        """The value of a header field, or `default`. Of a repeated field, the first value."""
        return Response(headers=self.headers).header(name, default)

    def receive(self) -> bytes:
        """Wait for the next bytes and return them as they arrived; `b""` at the end.

        Raises:
            RequestTimeout: Nothing arrived in time. The stream was reset.
            RestsockError: The response broke off. A retry is safe if `may_have_run` is false.
        """
        try:
            return self._receive(self._timeout)
        except RestsockError as exc:
            raise without_frames(exc)  # noqa: B904  # it is the same error

    def read(self) -> bytes:
        """Read the rest of the body. Raises the same errors as `receive`."""
        return b"".join(self)

    def send(self, data: bytes) -> None:
        """After a 101: send raw bytes. Waits while the send buffer is full.

        Raises:
            RequestTimeout: The peer read nothing in time. The stream was reset.
            RestsockError: The exchange has failed.
        """
        try:
            self._exchange.send_data(data)
            self._exchange.drain(self._timeout)
        except BaseException:
            self.close()
            raise

    def send_end(self) -> None:
        """After a 101: end this direction."""
        self._exchange.send_end()

    def close(self) -> None:
        """End the exchange; reset its stream unless all was read. Raises nothing."""
        self._upload = None
        self._exchange.close()

    def _receive(self, timeout: float | None) -> bytes:
        exchange = self._exchange
        try:
            while self._upload is not None and not exchange.inbox.unread:
                self._continue_upload(self._upload, timeout)
            return exchange.receive_data(timeout)
        except BaseException:
            # Ctrl-C, or the request's body raised: it cannot continue.
            self.close()
            raise

    def _continue_upload(self, upload: ThreadUpload, timeout: float | None) -> None:
        exchange = self._exchange
        if upload.done or exchange.inbox.received or exchange.inbox.error is not None:
            self._upload = None
        elif exchange.inbox.unread:
            return
        elif exchange.writable or exchange.inbox.stopped:
            upload.step()
        elif not exchange.wait_either(timeout):
            raise RequestTimeout(f"nothing within {timeout} s", phase="body")

    def __iter__(self) -> Iterator[bytes]:
        while data := self.receive():
            yield data

    def __enter__(self) -> StreamedResponse:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def __del__(self) -> None:
        # It was dropped unread: the peer's app must not continue without a reader.
        exchange = getattr(self, "_exchange", None)
        if exchange is not None:
            exchange.close()

    def __repr__(self) -> str:
        return f"<StreamedResponse {self.status}>"


def _left(deadline: float | None) -> float | None:
    return None if deadline is None else max(0.0, deadline - time.monotonic())
