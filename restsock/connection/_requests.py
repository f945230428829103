"""Requests as tasks make them, on whichever loop: `request`, `stream` and `websocket`."""

from __future__ import annotations

import base64
import math
import os
import sys
from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator, AsyncIterable, Callable, Coroutine, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager, closing
from typing import TYPE_CHECKING, Any

import anyio

from restsock._exceptions import (
    LocalProtocolError,
    RequestTimeout,
    RestsockError,
    without_frames,
)
from restsock.protocol import (
    CloseCode,
    RequestHead,
    ResetCode,
    ResponseHead,
    chosen_subprotocol,
    websocket_fields,
)

from ._client_websocket import ClientWebSocket
from ._messages import FieldsLike, Response, StreamedResponse, fields_of, refused_by

if TYPE_CHECKING:
    from ._interfaces import Submitter, TaskExchange

if sys.version_info < (3, 11):
    from exceptiongroup import BaseExceptionGroup

__all__ = ["AsyncRequests", "head_for"]

# What is kept of the body of an answer that is no 101.
_MAX_REFUSAL = 64 * 1024


class AsyncRequests(ABC):
    """Sends requests from tasks."""

    __slots__ = ()

    @abstractmethod
    def _submitter(self) -> Submitter:
        """The sender of the requests."""

    @abstractmethod
    def _open_exchange(self, head: RequestHead, *, body: bytes = b"", end: bool) -> TaskExchange:
        """Sends a request from the current loop. Does not wait."""

    async def request(
        self,
        method: str,
        target: str,
        *,
        headers: FieldsLike = (),
        body: bytes | str | AsyncIterable[bytes] = b"",
        timeout: float | None = None,
        scheme: str | None = None,
    ) -> Response:
        """Sends a request and reads the whole response.

        A request that the peer provably did not start is sent again automatically, whatever the
        method, within `Timeouts.connect`: after a pause if the peer refused it, or on the next
        connection if this one is ending. A body in pieces can be sent again until more than 64 KiB
        of it were sent. A request that may have run is never sent again.

        Args:
            method: The method, in capitals.
            target: Path and query, percent-encoded; it begins with "/".
            headers: Header fields; Host and Content-Length are added if they are missing.
            body: The whole body, or an iterable of pieces.
            timeout: Seconds for the whole request. With `None` only the connection's heartbeat
                limits it.
            scheme: `"http"` or `"https"`: the scheme of the URL from which the target was taken,
                which the app needs for absolute links and cookies. By default it depends on whether
                the connection uses TLS.

        Raises:
            RequestTimeout: It took longer. The stream was reset. A retry is safe if `may_have_run`
                is false.
            RestsockError: It failed. A retry is safe if `may_have_run` is false.

        If cancelled, the stream is reset and the peer's app learns of it.
        """
        begun = anyio.current_time()
        exchange: TaskExchange | None = None
        phase = "head"
        connect = self._submitter().timeouts.connect
        if timeout is not None:
            connect = min(connect, timeout)
        with anyio.CancelScope() as scope:

            def started(underway: TaskExchange) -> None:
                nonlocal exchange
                exchange = underway
                # Not before: until then it is `connect` that counts, and knows what has run.
                scope.deadline = math.inf if timeout is None else begun + timeout

            opened = self._open(method, target, headers, body, scheme, connect, started)
            try:
                async with opened as response:
                    phase = "body"
                    data = await response.read()
                    return Response(response.status, response.headers, data, response.trailers)
            except RestsockError as exc:
                raise without_frames(exc)  # noqa: B904  # it is the same error
        message = f"no complete response within {timeout} s"
        # It may have been refused, and be waiting for another stream.
        ran = exchange is None or exchange.started
        if exchange is not None and not ran and exchange.exchange.explain is not None:
            raise exchange.exchange.explain()
        raise RequestTimeout(message, phase=phase if ran else "connect", may_have_run=ran)

    def stream(
        self,
        method: str,
        target: str,
        *,
        headers: FieldsLike = (),
        body: bytes | str | AsyncIterable[bytes] = b"",
        scheme: str | None = None,
    ) -> AbstractAsyncContextManager[StreamedResponse]:
        """Sends a request; its block runs once the response head has arrived.

        The arguments are those of `request`, and requests are sent again as by `request`. There is
        no `timeout`: limit the time of the block instead. If it is cancelled, or left before the
        end of the body, the stream is reset and the peer's app learns of it.

        Iterate over the response to read the body. After a 101 this yields raw bytes, and `send()`
        sends them. A request body in pieces continues to be sent while the block runs.

        Raises:
            RequestTimeout: No connection with a free stream within `timeouts.connect`. A retry is
                safe.
            RestsockError: It failed. A retry is safe if `may_have_run` is false.
        """
        connect = self._submitter().timeouts.connect
        return self._open(method, target, headers, body, scheme, connect)

    @asynccontextmanager
    async def websocket(
        self,
        target: str,
        *,
        subprotocols: Sequence[str] = (),
        headers: FieldsLike = (),
        timeout: float | None = None,
        scheme: str | None = None,
    ) -> AsyncGenerator[ClientWebSocket, None]:
        """Opens a WebSocket to the peer's app; its block runs once the app has accepted it.

            async with route.websocket("/chat", subprotocols=["chat.v2"]) as websocket:
                await websocket.send("hello")
                async for message in websocket: ...

        Leaving the block closes it with 1000, or with 1011 after an exception, and waits for the
        app's half of the closing handshake, at most `Timeouts.close`. A cancellation resets the
        stream, and the app learns of it (1006).

        It is an ordinary stream: its messages do not delay requests. A drain waits for it as for
        any request, up to `Timeouts.grace`. A WebSocket is never reopened automatically.

        Args:
            target: Path and query, percent-encoded; it begins with "/".
            subprotocols: The subprotocols of this side, in order of preference.
            headers: Additional header fields.
            timeout: Seconds until the app has accepted it. With `None` only the connection's
                heartbeat limits it. In either case there must be a connection within
                `Timeouts.connect`.
            scheme: As for `request`; with `"https"` the app sees `wss`.

        Raises:
            WebSocketRefused: The app, or its server, gave another response: no such route, for
                example. The response is attached.
            RemoteProtocolError: The app has accepted a protocol that was not offered.
            LocalProtocolError: The target, a field or a subprotocol cannot be sent.
            RequestTimeout: It took longer. The stream was reset.
            RestsockError: It failed. A retry is safe if `may_have_run` is false.
        """
        key = base64.b64encode(os.urandom(16))
        head = head_for(self._submitter(), "GET", target, headers, None, scheme)
        fields = websocket_fields(key, subprotocols, head.headers)
        head = head._replace(headers=[*head.headers, *fields])
        with closing(self._open_exchange(head, end=True)) as exchange:
            try:
                response = await self._upgraded(exchange, timeout)
                chosen = chosen_subprotocol(response.headers, key, subprotocols)
            except RestsockError as exc:
                raise without_frames(exc)  # noqa: B904  # it is the same error
            options = self._submitter().options
            websocket = ClientWebSocket.to_app(exchange, response.headers, chosen, options)
            async with _beside(websocket.run):
                try:
                    yield websocket
                except Exception:
                    await websocket.aclose(CloseCode.INTERNAL_ERROR)
                    raise
                await websocket.aclose()

    async def _upgraded(self, exchange: TaskExchange, timeout: float | None) -> ResponseHead:
        """Waits for the 101; raises the error for any other response."""
        begun = anyio.current_time()
        timeouts = self._submitter().timeouts
        connect = timeouts.connect if timeout is None else min(timeouts.connect, timeout)
        await exchange.wait_started(connect)
        with anyio.CancelScope(deadline=math.inf if timeout is None else begun + timeout):
            head = await exchange.receive_head()
            if head.status == 101:
                return head
            body = b""
            with anyio.move_on_after(timeouts.close):
                while len(body) < _MAX_REFUSAL and (data := await exchange.receive_data()):
                    body += data
            response = Response(head.status, head.headers, body[:_MAX_REFUSAL], exchange.trailers)
            raise refused_by(response)
        ran = exchange.started
        raise RequestTimeout(
            f"no answer to the WebSocket within {timeout} s",
            phase="head" if ran else "connect",
            may_have_run=ran,
        )

    @asynccontextmanager
    async def _open(
        self,
        method: str,
        target: str,
        headers: FieldsLike,
        body: bytes | str | AsyncIterable[bytes],
        scheme: str | None,
        connect: float,
        started: Callable[[TaskExchange], None] | None = None,
    ) -> AsyncGenerator[StreamedResponse, None]:
        if isinstance(body, str):
            body = body.encode()
        head = head_for(self._submitter(), method, target, headers, body, scheme)
        if isinstance(body, bytes):
            exchange = self._open_exchange(head, body=body, end=True)
            sending: AbstractAsyncContextManager[None] = _closing(exchange)
        else:
            exchange = self._open_exchange(head, end=False)
            sending = _sending(exchange, body)
        async with sending:
            try:
                await exchange.wait_started(connect)
                if started is not None:
                    started(exchange)
                response = StreamedResponse(exchange, await exchange.receive_head())
            except RestsockError as exc:
                raise without_frames(exc)  # noqa: B904  # it is the same error
            yield response


def head_for(
    requester: Submitter,
    method: str,
    target: str,
    headers: FieldsLike,
    body: object,
    scheme: str | None = None,
) -> RequestHead:
    """The head of a request, with Host and Content-Length added if they are missing.

    Raises:
        LocalProtocolError: A part of the head cannot be sent.
    """
    try:
        fields = fields_of(headers)
    except UnicodeEncodeError:
        raise LocalProtocolError("a header field has characters beyond latin-1") from None
    if not (method.isascii() and method):
        raise LocalProtocolError(f"the method must be one word of ASCII letters: {method!r}")
    _check_target(method, target)
    names = {name.lower() for name, _ in fields}
    if b"host" not in names:
        fields.insert(0, (b"Host", requester.authority.encode("ascii", "replace")))
    sized = isinstance(body, bytes) and (body or method not in _BODILESS)
    if sized and b"content-length" not in names:
        assert isinstance(body, bytes)
        fields.append((b"Content-Length", b"%d" % len(body)))
    return RequestHead(method.encode("ascii"), target.encode("ascii"), fields, scheme)


def _check_target(method: str, target: str) -> None:
    if target.startswith("/") or (target == "*" and method == "OPTIONS"):
        if target.isascii():
            return
        problem = "must be ASCII: percent-encode the rest (urllib.parse.quote)"
    elif "://" in target:
        # Not quoted: there may be a password in it.
        raise LocalProtocolError(
            'the target must begin with "/", and this is a URL: pass its path and query; the peer'
            " is known without it"
        )
    else:
        problem = 'must begin with "/"'
    path = target.partition("?")[0]  # a query may be a secret
    raise LocalProtocolError(f"the target {problem}: {path[:80]!r}")


# Methods whose request says nothing of a body by having none.
_BODILESS = frozenset(("GET", "HEAD", "OPTIONS", "TRACE", "DELETE"))


@asynccontextmanager
async def _closing(exchange: TaskExchange) -> AsyncGenerator[None, None]:
    with closing(exchange):
        yield


@asynccontextmanager
async def _sending(
    exchange: TaskExchange, body: AsyncIterable[bytes]
) -> AsyncGenerator[None, None]:
    """Sends a body in pieces while the block runs, and closes the exchange after it."""
    async with _beside(_send_body, exchange, body):
        with closing(exchange):
            yield


@asynccontextmanager
async def _beside(
    function: Callable[..., Coroutine[Any, Any, None]], *args: Any
) -> AsyncGenerator[None, None]:
    """Runs a task while the block runs."""
    try:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(function, *args)
            yield
            tasks.cancel_scope.cancel()
    except BaseExceptionGroup as group:
        # The caller must not see the exception group: a single error is raised by itself.
        if len(group.exceptions) > 1:
            raise
        raise group.exceptions[0] from group.exceptions[0].__cause__


async def _send_body(exchange: TaskExchange, body: AsyncIterable[bytes]) -> None:
    try:
        async for piece in body:
            if not await exchange.send_data(piece):
                return  # no more is wanted, or the exchange has failed: its reader will say
        exchange.send_end()
    except LocalProtocolError:
        raise  # too much or too little of it: what was wrong, and that alone, is not sent
    except Exception:
        # Any exception, since the body is the caller's. What was sent before must arrive.
        exchange.close(ResetCode.INTERNAL, "the body of the request failed")
        raise
    finally:
        if isinstance(body, AsyncGenerator):
            # Shielded, since a generator that is left open is closed at some later time.
            with anyio.CancelScope(shield=True):
                await body.aclose()
