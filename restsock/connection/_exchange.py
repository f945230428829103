"""Exchange: one HTTP exchange on a connection, as the loop sees it.

Everything here is called on the loop, or by a guest of the connection (`Traffic.visit`), and
returns at once. What happens is told to one `observer`, a plain function: an async consumer appends
the event and wakes a task, a thread's consumer is the `put` of a queue. So the reader of a
connection never waits for anybody.

Order of calls, for the side that asks: `Dispatcher.submit()`, then `send_data()` and `send_end()`
unless the body was given whole. For the side that answers: `send_head()` (1xx heads first, if
any), `send_data()`, `send_end()`. `reset()` is allowed at any time.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

from restsock._exceptions import LocalProtocolError, RestsockError
from restsock.protocol import (
    DataReceived,
    EndReceived,
    Headers,
    RequestHead,
    ResetCode,
    ResponseHead,
    ResponseReceived,
    StopSending,
)

if TYPE_CHECKING:
    from ._connection import Connection

__all__ = ["Exchange", "ExchangeEvent", "Failed", "Started", "Writable", "answer"]


@dataclass(frozen=True, slots=True)
class Started:
    """An exchange of this side has a stream now. From here on it may run at the peer."""


@dataclass(frozen=True, slots=True)
class Writable:
    """`buffered` has fallen to half of the send buffer, after it had been above the whole."""


@dataclass(frozen=True, slots=True)
class Failed:
    """The exchange is over before its time; the last event."""

    error: RestsockError


ExchangeEvent: TypeAlias = (
    Started | ResponseReceived | DataReceived | EndReceived | Writable | StopSending | Failed
)


class Exchange:
    """One request and its response.

    Args:
        request: the head. Fields that may not cross are left out when it is sent.
        observer: is called with each event; it must neither block nor raise.
        body: the first bytes of the request body.
        end: whether they are all of it.

    Attributes:
        connection: what carries it; `None` while it waits for one.
        id: its stream; 0 while it waits for one.
        closed: whether it is over, either way. What is sent then is dropped.
        clogged: whether a `Writable` is due.
        explain: while it waits for a connection, makes the error for a requester who gives up.
        home: takes it back, when its connection ends before it has a stream there.
        queue: where it waits for a free stream, if it does.
        any_thread: whether the observer may be called on any thread; else it is on the loop.
    """

    __slots__ = (
        "_body",
        "_end",
        "any_thread",
        "clogged",
        "closed",
        "connection",
        "explain",
        "home",
        "id",
        "observer",
        "queue",
        "request",
    )

    def __init__(
        self,
        request: RequestHead,
        observer: Callable[[ExchangeEvent], None],
        *,
        body: bytes = b"",
        end: bool = True,
    ) -> None:
        self.request = request
        self.observer = observer
        self.connection: Connection | None = None
        self.id = 0
        self.closed = False
        self.clogged = False
        self.any_thread = False
        self.explain: Callable[[], RestsockError] | None = None
        self.home: Callable[[Exchange], None] | None = None
        self.queue: dict[Exchange, None] | None = None
        self._body = body
        self._end = end

    @property
    def open_to_guests(self) -> bool:
        """Whether a thread may make these calls in `Traffic.visit`; else the loop makes them."""
        return self.connection is not None and self.connection.open_to_guests

    @property
    def buffered(self) -> int:
        """Body bytes that wait to be sent."""
        if self.connection is None:
            return len(self._body)
        return self.connection.session.buffered(self.id)

    def start(self, connection: Connection) -> None:
        """Opens the stream. For the connection that carries it."""
        session = connection.session
        body, self._body = self._body, b""
        try:
            # Checked before anything is queued, so that a bad body does not open a stream.
            self.id = session.open_stream(self.request, end=self._end and not body)
            self.connection = connection
            if body:
                session.send_data(self.id, body)
                if self._end:
                    session.send_end(self.id)
        except LocalProtocolError as exc:
            session.reset_stream(self.id, ResetCode.INTERNAL)
            self.fail(exc)

    def accept(self, connection: Connection, stream_id: int) -> Exchange:
        """Binds it to a stream that the peer has opened. For the connection that carries it."""
        self.connection = connection
        self.id = stream_id
        return self

    def send_head(self, head: ResponseHead) -> None:
        """Sends a response head.

        Raises:
            LocalProtocolError: it is malformed, or not due. Nothing was sent.
        """
        connection = self.connection
        if connection is not None:
            with connection.lock:
                if not self.closed:
                    connection.session.send_head(self.id, head)
                    connection.wake_writer()

    def send_data(self, data: bytes) -> None:
        """Sends body bytes (or raw ones behind a 101). Look at `buffered` before sending more.

        Raises:
            LocalProtocolError: a body is not due here, or is longer than announced.
        """
        connection = self.connection
        if self.closed:
            return
        if connection is None:
            self._body += data
            return
        with connection.lock:
            try:
                connection.session.send_data(self.id, data)
            except LocalProtocolError as exc:
                raise self._honest(exc)  # noqa: B904  # it is the same one
            connection.wake_writer()
            connection.note_sent(self)

    def send_end(self, trailers: Headers = ()) -> None:
        """Completes this side's half.

        Raises:
            LocalProtocolError: the body is shorter than announced, or the trailers are malformed.
        """
        connection = self.connection
        if self.closed:
            return
        if connection is None:
            if trailers:
                raise LocalProtocolError("trailers before the exchange has started")
            self._end = True
            return
        with connection.lock:
            try:
                connection.session.send_end(self.id, trailers)
            except LocalProtocolError as exc:
                raise self._honest(exc)  # noqa: B904  # it is the same one
            connection.wake_writer()

    def _honest(self, error: LocalProtocolError) -> LocalProtocolError:
        """What was wrong is not sent, but what was sent before it may have begun to run."""
        assert self.connection is not None
        error.may_have_run = self.connection.session.announced(self.id)
        return error

    @contextmanager
    def together(self) -> Iterator[None]:
        """What is sent in the block leaves in as few frames as it needs, and at its end."""
        connection = self.connection
        if connection is None:
            yield
            return
        connection.hold()
        try:
            yield
        finally:
            connection.release()

    def consume(self, nbytes: int) -> None:
        """Gives the peer credit for body bytes that are used up."""
        if self.connection is not None and not self.closed:
            self.connection.consume(self, nbytes)

    def reset(self, code: int = ResetCode.CANCEL, reason: str = "") -> None:
        """Cuts the exchange off, or takes it back while it waits. No event follows. Repeatable."""
        if self.closed:
            return
        self.closed = True
        self._body = b""
        if self.connection is not None:
            self.connection.reset(self, code, reason)
        elif self.queue is not None:
            self.queue.pop(self, None)

    def fail(self, error: RestsockError) -> None:
        """Ends the exchange with an error, once. For whoever carries it."""
        if not self.closed:
            self.closed = True
            self._body = b""
            self.observer(Failed(error))

    def give_back(self, error: RestsockError) -> None:
        """Lets it wait for another connection, where there may be one; else ends it with the error.

        For a connection on which it has no stream.
        """
        if self.home is None or self.closed:
            self.fail(error)
        else:
            self.home(self)


def answer(
    exchange: Exchange, status: int, text: str, headers: tuple[tuple[bytes, bytes], ...] = ()
) -> None:
    """Answers a request with a line of text, for those who have no app to do it."""
    body = b"" if exchange.request.method == b"HEAD" else text.encode()
    fields = [
        (b"Content-Type", b"text/plain; charset=utf-8"),
        (b"Content-Length", b"%d" % len(text.encode())),
        *headers,
    ]
    exchange.send_head(ResponseHead(status, fields))
    exchange.send_data(body)
    exchange.send_end()
