"""Serves a WSGI application (PEP 3333) from persistent worker threads.

The loop passes a request to the workers through one `queue.SimpleQueue`; a worker drives it to its
end with a `ThreadExchange`. When the queue is full, the loop itself answers with a 503.

What the PEP leaves open:

- The head is sent with the first bytes of the body, so an app that fails before that gets a 500.
  Each chunk that the app yields or writes is sent at once.
- A body of one chunk (or a list of chunks) gets a Content-Length.
- `wsgi.input` is a stream: credit is returned to the peer as the app reads, and it has its own end
  (`wsgi.input_terminated`), whatever CONTENT_LENGTH says.
- When the peer has left, reading and writing raise an `OSError`; `close()` of the iterable is
  called in any case. A peer that keeps a worker waiting for `Timeouts.idle` is reset, with the same
  effect for the app.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterable
from functools import lru_cache
from types import TracebackType
from typing import TYPE_CHECKING, Any, TypeAlias

from restsock._exceptions import LocalProtocolError, RequestTimeout, RestsockError
from restsock.apps._errors import BadResponseError, Disconnected, log_failure
from restsock.apps._response import CONTINUE, Responder, expects_continue
from restsock.apps._served import begin_serving, end_serving
from restsock.protocol import ResetCode

from ._environ import wsgi_environ

if TYPE_CHECKING:
    from restsock.threads import ThreadExchange

__all__ = ["WsgiApp", "WsgiRequest"]

_EMPTY: tuple[bytes, ...] = ()
_READ_BUFFER = 16 * 1024

ExcInfo: TypeAlias = (
    tuple[type[BaseException], BaseException, TracebackType | None] | tuple[None, None, None]
)
WsgiApp: TypeAlias = Callable[[dict[str, Any], Callable[..., Any]], Iterable[bytes]]


class WsgiRequest:
    """One request, served from start to end by one thread.

    Args:
        exchange: The request.
        threads: How many threads may call the app at once.
        idle: Seconds that the peer may keep the thread waiting.
        root_path: The path at which the app is mounted.
    """

    def __init__(
        self, exchange: ThreadExchange, *, threads: int, idle: float, root_path: str = ""
    ) -> None:
        self._exchange = exchange
        self._threads = threads
        self._idle = idle
        self._root_path = root_path
        self._response = _ThreadResponder(exchange, exchange.exchange.request.method)

    def run(self, app: WsgiApp) -> None:
        """Calls the app and sends its response; its exceptions end here."""
        exchange = self._exchange
        if exchange.inbox.error is not None:
            return  # the peer left while the request was waiting for a worker
        serving = begin_serving(exchange.exchange)
        try:
            self._call(app)
        finally:
            if serving is not None:
                end_serving(exchange.exchange, serving, self._response.status)

    def _call(self, app: WsgiApp) -> None:
        exchange = self._exchange
        result: Iterable[bytes] = _EMPTY
        try:
            environ = wsgi_environ(
                exchange.exchange,
                self._input(),
                threads=self._threads,
                root_path=self._root_path,
            )
            try:
                result = app(environ, self._start_response)
                self._send(result)
            finally:
                close = getattr(result, "close", None)
                if close is not None:
                    close()
        except BaseException as exc:  # noqa: BLE001  # also SystemExit: it would end the worker
            self._fail(exc)

    def _input(self) -> io.BufferedIOBase:
        exchange = self._exchange
        upgrades = not exchange.inbox.received and exchange.exchange.request.upgrade is not None
        # A request for an upgrade, declined here, has no body.
        if upgrades or (exchange.inbox.received and not exchange.inbox.unread):
            return io.BytesIO()
        return io.BufferedReader(_Input(exchange, self._response, self._idle), _READ_BUFFER)

    def _start_response(
        self,
        status: str,
        headers: list[tuple[str, str]],
        exc_info: ExcInfo | None = None,
    ) -> Callable[[bytes], None]:
        response = self._response
        try:
            if exc_info is not None:
                if response.head_sent and exc_info[1] is not None:
                    raise exc_info[1].with_traceback(exc_info[2])
            elif response.started:
                raise BadResponseError("start_response was called twice without exc_info")
            code, reason = _status(status)
            response.start(code, _encoded(headers), reason)
        finally:
            exc_info = None  # otherwise a cycle through this frame (PEP 3333)
        return self._write

    def _write(self, data: bytes) -> None:
        if not isinstance(data, bytes):
            raise TypeError(f"write() takes bytes, not {type(data).__name__}")
        if data:
            self._response.body(data, more=True)
            self._drain()

    def _send(self, result: Iterable[bytes]) -> None:
        response = self._response
        if isinstance(result, (list, tuple)):
            # The whole body is here: one chunk, whose length is known.
            for chunk in result:
                if not isinstance(chunk, bytes):
                    raise _not_bytes(chunk)
            response.body(b"".join(result)[: response.left], more=False)
            return
        single = _is_single(result)
        for chunk in result:
            if not isinstance(chunk, bytes):
                raise _not_bytes(chunk)
            if not chunk:
                continue
            if response.complete:
                break
            # Bytes above Content-Length are not sent, and the iteration stops (PEP 3333). A known
            # end is sent with the last bytes; the app is still iterated to its own end.
            left = response.left
            last = single or (left is not None and len(chunk) >= left)
            response.body(chunk[:left], more=not last)
            if single or response.bodiless or (left is not None and len(chunk) > left):
                break  # the rest is not sent, and there may be no end to it
            if not last:
                self._drain()
        if not response.complete:
            response.body(b"", more=False)

    def _drain(self) -> None:
        try:
            self._exchange.drain(self._idle)
        except LocalProtocolError:
            raise  # the app's fault after all
        except RestsockError as exc:
            raise _disconnected(self._exchange, exc) from exc

    def _fail(self, error: BaseException) -> None:
        request = self._exchange.exchange.request
        if log_failure(error, request) or self._response.complete:
            return
        if self._response.head_sent:
            self._exchange.close(ResetCode.INTERNAL, "the app failed")
        else:
            self._response.plain(500, "Internal Server Error\n")


class _ThreadResponder(Responder):
    """A responder that lets the last chunk and the end of a response wake the loop once."""

    _sender: ThreadExchange

    def _send_data(self, data: bytes, *, last: bool) -> None:
        self._sender.send_data(data, flush=not last)


class _Input(io.RawIOBase):
    """The request body as a raw file; `io.BufferedReader` makes `wsgi.input` of it."""

    def __init__(self, exchange: ThreadExchange, response: Responder, idle: float) -> None:
        self._exchange = exchange
        self._response = response
        self._idle = idle
        self._left: memoryview | None = None
        self._continue_due = expects_continue(exchange.exchange.request)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        if self._left is None:
            self._left = memoryview(self._receive())
        left = self._left
        size = min(len(left), len(buffer))
        buffer[:size] = left[:size]
        self._left = left[size:] if size < len(left) else None
        return size

    def _receive(self) -> bytes:
        exchange = self._exchange
        inbox = exchange.inbox
        if self._continue_due:
            self._continue_due = False
            if not (self._response.head_sent or inbox.unread or inbox.received):
                exchange.send_head(CONTINUE, flush=True)
        # The stream has ended with the response, and no event says so: do not wait for one.
        if self._response.complete and not (inbox.unread or inbox.received):
            raise Disconnected
        try:
            return exchange.receive_data(self._idle)
        except RestsockError as exc:
            raise _disconnected(exchange, exc) from exc


def _disconnected(exchange: ThreadExchange, error: RestsockError) -> Disconnected:
    """The error that the app gets for an error of its exchange; resets an idle peer."""
    if isinstance(error, RequestTimeout):
        exchange.close(ResetCode.TIMEOUT, "the peer let the app wait for too long")
        connection = exchange.exchange.connection
        if connection is not None:
            why = "a request was reset, its peer let the app wait for too long"
            connection.limit_log.note_about(connection, "idle", why)
        exchange.inbox.error = error  # no event reports it, and the app must not wait again
    return Disconnected()


@lru_cache(maxsize=64)
def _status(status: str) -> tuple[int, bytes]:
    if not isinstance(status, str):
        raise TypeError(f"a status is str, not {type(status).__name__}")
    code, _, reason = status.partition(" ")
    if len(code) != 3 or not code.isascii() or not code.isdigit():
        raise BadResponseError(f"not a status like '200 OK': {status!r}")
    return int(code), reason.encode("latin-1")


def _encoded(headers: Iterable[tuple[Any, Any]]) -> list[tuple[bytes, bytes]]:
    fields = []
    for name, value in headers:
        if not (isinstance(name, str) and isinstance(value, str)):
            kinds = f"{type(name).__name__} and {type(value).__name__}"
            raise TypeError(f"a header is two str, not {kinds}")
        fields.append((name.encode("latin-1"), value.encode("latin-1")))
    return fields


def _not_bytes(chunk: object) -> TypeError:
    return TypeError(f"a WSGI app yields bytes, not {type(chunk).__name__}")


def _is_single(result: Iterable[bytes]) -> bool:
    """Whether the app's iterable says that it has one chunk (PEP 3333, Content-Length)."""
    try:
        return len(result) == 1  # type: ignore[arg-type]  # most have no length: the TypeError
    except TypeError:
        return False
