"""Exchange: one HTTP exchange on a connection, as the loop sees it.

Everything here is called on the loop, or on a thread in `Writer.run_here`, and returns at once.
What happens is told to one `observer`, a plain function: an async consumer appends the event and
wakes a task, a thread's consumer is the `put` of a queue. So the reader of a connection never waits
for anybody.

Order of calls, for the side that asks: `Requester.submit()`, then `send_data()` and `send_end()`
unless the body was given whole. For the side that answers: `send_head()` (1xx heads first, if
any), `send_data()`, `send_end()`. `reset()` is allowed at any time.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Any, Protocol

from restsock._exceptions import LocalProtocolError, RestsockError
from restsock.protocol import (
    EnvelopeReceived,
    EnvelopesSent,
    Headers,
    PlainHead,
    RequestHead,
    ResetCode,
    ResponseHead,
)

from ._exchange_events import ExchangeEvent, Failed, Requeued, ignore

if TYPE_CHECKING:
    import threading

    import trio

    from restsock._limit_log import LimitLog
    from restsock._options import Limits, Options, Timeouts
    from restsock._principal import Principal
    from restsock.protocol import TLS, Multiplexer

    from ._close import Closed, Peer
    from ._health import Health
    from ._instruments import Instruments
    from ._reader import Reader
    from ._statistics import Statistics
    from ._writer import Writer

__all__ = [
    "Carrier",
    "Exchange",
    "Lane",
    "answer",
]

# What was sent of a body is kept up to this size, in bytes, to be sent again should the peer
# refuse the request. A body that was given whole is kept whatever its size: its giver has it too.
_KEPT = 64 * 1024

_NOTHING = nullcontext()


class Table(Protocol):
    """The exchanges of a connection, as one of them knows it. See `ExchangeTable`."""

    def start_here(self, exchange: Exchange, guard: Callable[..., object]) -> bool: ...

    def note_sent(self, exchange: Exchange) -> None: ...

    def consume(self, exchange: Exchange, nbytes: int) -> None: ...

    def reset(self, exchange: Exchange, code: int, reason: str) -> None: ...

    def call_afterwards(self, function: Callable[[], object]) -> None: ...


class Lane(Protocol):
    """The messages of a connection, as its reader knows them. See `MessageLane`."""

    def take(self, event: EnvelopeReceived | EnvelopesSent) -> None: ...


class Carrier(Protocol):
    """A connection, as what it carries and those who serve it know it. See `Connection`."""

    id: str
    name: str | None
    metadata: Any
    peer: Peer
    pid: int
    principal: Principal | None
    options: Options
    instrument: Instruments | None
    limit_log: LimitLog
    admit: Callable[[Exchange], bool] | None
    on_leaving: Callable[[int], object] | None
    lane: Lane | None
    token: trio.lowlevel.TrioToken
    multiplexer: Multiplexer
    lock: threading.RLock
    writer: Writer
    reader: Reader

    def __hash__(self) -> int: ...

    @property
    def exchange_table(self) -> Table: ...

    @property
    def limits(self) -> Limits: ...

    @property
    def timeouts(self) -> Timeouts: ...

    @property
    def can_run_here(self) -> bool: ...

    @property
    def takes_requests(self) -> bool: ...

    @property
    def tls(self) -> TLS | None: ...

    @property
    def closed(self) -> Closed | None: ...

    def statistics(self) -> Statistics: ...

    def health(self) -> Health: ...

    def close_soon(self, code: int = ..., reason: str = ...) -> None: ...

    async def aclose(self, code: int = ..., reason: str = ...) -> None: ...

    async def drain(
        self, grace: float | None = ..., code: int = ..., reason: str = ...
    ) -> Closed: ...

    async def wait_closed(self) -> Closed: ...


class Exchange:
    """One request and its response.

    Args:
        request: the head. Fields that may not cross are left out when it is sent.
        observer: is called with each event; it must neither block nor raise. It is let go when the
            exchange is over.
        body: the first bytes of the request body.
        end: whether they are all of it.
        plain: the head and its bytes, where they are known.

    Attributes:
        body: what is sent, or is to be sent, of the request's body, as long as `replayable`.
        connection: what carries it; `None` while it waits for one.
        id: its stream; 0 while it waits for one.
        closed: whether it is over, either way. What is sent then is dropped.
        write_paused: whether more waits to be sent than should; a `Writable` is due.
        explain: while it waits for a connection, makes the error for a requester who gives up.
        resubmit: takes it when it was not started where it was, to be started elsewhere.
        queue: where it waits for a free stream, if it does.
        refusals: how often in a row a peer that is alive has refused it.
        replayable: whether it could be sent again from its beginning.
        any_thread: whether the observer may be called on any thread; else it is on the loop.
        inbound: whether it is the peer that asks.
        opened_at: when it got its stream, in seconds; kept where an instrument is to be told.
        status: that of its latest response head, kept where an instrument is to be told.
    """

    __slots__ = (
        "_end",
        "any_thread",
        "body",
        "closed",
        "connection",
        "explain",
        "id",
        "inbound",
        "observer",
        "opened_at",
        "plain",
        "queue",
        "refusals",
        "replayable",
        "request",
        "resubmit",
        "status",
        "write_paused",
    )

    def __init__(
        self,
        request: RequestHead,
        observer: Callable[[ExchangeEvent], None],
        *,
        body: bytes = b"",
        end: bool = True,
        plain: PlainHead | None = None,
    ) -> None:
        self.request = request
        self.plain = plain
        self.observer = observer
        self.connection: Carrier | None = None
        self.id = 0
        self.closed = False
        self.write_paused = False
        self.any_thread = False
        self.explain: Callable[[], RestsockError] | None = None
        self.resubmit: Callable[[Exchange], None] | None = None
        self.queue: dict[Exchange, None] | None = None
        self.body = body
        self.refusals = 0
        self.replayable = True
        self.inbound = False
        self.opened_at = 0.0
        self.status = 0
        self._end = end

    @property
    def can_run_here(self) -> bool:
        """Whether a thread may make these calls in `Writer.run_here`; else the loop makes them."""
        connection = self.connection  # once: the loop may take it away meanwhile
        return connection is not None and connection.writer.direct_socket is not None

    @property
    def buffered(self) -> int:
        """Body bytes that wait to be sent."""
        connection = self.connection  # once: the loop may take it away meanwhile
        if connection is None:
            return len(self.body)
        return connection.multiplexer.buffered(self.id)

    @property
    def window(self) -> int:
        """How many body bytes may wait here to be used up; 0 while it has no stream."""
        connection = self.connection  # once: the loop may take it away meanwhile
        return 0 if connection is None else connection.multiplexer.window(self.id)

    def start(self, connection: Carrier) -> None:
        """Opens the stream. For the connection that carries it."""
        multiplexer = connection.multiplexer
        body = self.body  # kept, in case that the peer refuses it
        try:
            # Checked before anything is queued, so that a bad body does not open a stream.
            self.id = multiplexer.open_stream(
                self.request, end=self._end and not body, plain=self.plain
            )
            self.connection = connection
            if body:
                multiplexer.send_data(self.id, body)
                if self._end:
                    multiplexer.send_end(self.id)
        except LocalProtocolError as exc:
            multiplexer.reset_stream(self.id, ResetCode.CANCEL)  # nothing of it has left, nor will
            self.fail(exc)

    def accept(self, connection: Carrier, stream_id: int) -> Exchange:
        """Binds it to a stream that the peer has opened. For the connection that carries it."""
        self.connection = connection
        self.id = stream_id
        self.inbound = True
        self.replayable = False
        return self

    def send_head(self, head: ResponseHead, plain: PlainHead | None = None) -> None:
        """Sends a response head; `plain` is the same and its bytes, where they are known.

        Raises:
            LocalProtocolError: it is malformed, or not due. Nothing was sent.
        """
        connection = self.connection
        if connection is not None:
            with connection.lock:
                if not self.closed:
                    connection.multiplexer.send_head(self.id, head, plain)
                    if connection.instrument is not None:
                        self.status = head.status
                    connection.writer.wake()

    def send_data(self, data: bytes) -> None:
        """Sends body bytes (or raw ones after a 101). Look at `buffered` before sending more.

        Raises:
            LocalProtocolError: a body is not due here, or is longer than announced.
        """
        connection = self.connection
        if self.closed:
            return
        if connection is None:
            self.body += data
            return
        with connection.lock:
            try:
                connection.multiplexer.send_data(self.id, data)
            except LocalProtocolError as exc:
                raise self._honest(exc)  # noqa: B904  # it is the same one
            if self.replayable:
                self._keep(data)
            connection.writer.wake()
            connection.exchange_table.note_sent(self)

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
                connection.multiplexer.send_end(self.id, trailers)
            except LocalProtocolError as exc:
                raise self._honest(exc)  # noqa: B904  # it is the same one
            self._end = True
            if trailers:
                self.replayable = False  # they would have to be kept, for very few
            connection.writer.wake()

    def respond(self, head: ResponseHead, body: bytes, plain: PlainHead | None = None) -> None:
        """Sends a whole response: as `send_head`, `send_data` and `send_end`, in one step.

        Raises:
            LocalProtocolError: it is malformed, or not due.
        """
        connection = self.connection
        if connection is None or self.closed:
            return
        multiplexer = connection.multiplexer
        with connection.lock:
            multiplexer.send_head(self.id, head, plain)
            if connection.instrument is not None:
                self.status = head.status
            multiplexer.send_data(self.id, body)
            multiplexer.send_end(self.id)
            connection.writer.wake()
            connection.exchange_table.note_sent(self)

    def _keep(self, data: bytes) -> None:
        if len(self.body) + len(data) <= _KEPT:
            self.body += data
        else:
            self.replayable = False
            self.body = b""

    def _honest(self, error: LocalProtocolError) -> LocalProtocolError:
        """What was wrong is not sent, but what was sent before it may have begun to run."""
        assert self.connection is not None
        error.may_have_run = self.connection.multiplexer.announced(self.id)
        return error

    def batch(self) -> AbstractContextManager[object]:
        """Has what is sent in the block leave in as few frames as it needs, and at its end."""
        connection = self.connection
        return _NOTHING if connection is None else connection.writer

    def afterwards(self, function: Callable[[], object]) -> None:
        """Calls a function when all events that have come on its connection were handed on.

        To be called from an observer, on the loop, while there is a connection.
        """
        assert self.connection is not None
        self.connection.exchange_table.call_afterwards(function)

    def consume(self, nbytes: int) -> None:
        """Gives the peer credit for body bytes that are used up."""
        if self.connection is not None and not self.closed:
            self.connection.exchange_table.consume(self, nbytes)

    def reset(self, code: int = ResetCode.CANCEL, reason: str = "") -> None:
        """Ends the exchange, or takes it back while it waits. No event follows. Repeatable.

        What was sent before still leaves if the code is INTERNAL: that this side has failed. For at
        most `Timeouts.idle` it waits until the peer takes it. Any other code drops it.
        """
        if self.closed:
            return
        self.closed = True
        self.body = b""
        self.observer = ignore  # they are a ring: cut, both are freed now
        if self.connection is not None:
            self.connection.exchange_table.reset(self, code, reason)
        elif self.queue is not None:
            self.queue.pop(self, None)

    def fail(self, error: RestsockError) -> None:
        """Ends the exchange with an error, once. For the connection that carries it."""
        if not self.closed:
            self.closed = True
            self.body = b""
            observer, self.observer = self.observer, ignore
            observer(Failed(error))

    def requeue(
        self, error: RestsockError, resubmit: Callable[[Exchange], None] | None = None
    ) -> None:
        """Has it sent again, where that may be; else ends it with the error.

        For a connection on which it provably was not started. On the loop.

        Args:
            error: why it was not.
            resubmit: what takes it, instead of that attribute.
        """
        resubmit = resubmit or self.resubmit
        if resubmit is None or not self.replayable:
            self.fail(error)
        elif not self.closed:
            self.queue = None
            if self.connection is not None:
                self.connection = None
                self.id = 0
                self.write_paused = False
                self.observer(Requeued(error))
            resubmit(self)


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
    exchange.respond(ResponseHead(status, fields), body)
