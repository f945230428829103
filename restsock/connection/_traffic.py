"""Traffic: what crosses one connection, in plain calls that never wait.

What comes in goes to the observers of the exchanges; what goes out waits in the session until
somebody sends it. The calls are made on the loop or, where the connection has a lane, by a guest:
any other thread, in `visit()`. Nobody touches session and WebSocket without the lock. What a guest
must not do itself (wake a task, call an observer that belongs to the loop, end the connection), it
leaves to the loop.
"""

from __future__ import annotations

import logging
import os
import threading
from abc import abstractmethod
from collections.abc import Callable
from typing import TYPE_CHECKING

import trio

from restsock._config import Options
from restsock._exceptions import ConnectionClosed, RemoteProtocolError, StreamRefused
from restsock.protocol import (
    BinaryMessage,
    CloseCode,
    CloseReceived,
    DataReceived,
    EndReceived,
    GoAwayReceived,
    Pong,
    RequestReceived,
    ResetCode,
    ResponseReceived,
    Session,
    StopSending,
    StreamClosed,
    StreamFailed,
    StreamRejected,
    TextMessage,
    WebSocket,
)

from ._dispatcher import Dispatcher, Handler
from ._exchange import Exchange, ExchangeEvent, Started, Writable, answer
from ._facts import CLEAN, Closed, printable, stream_error
from ._lane import lane_of

if TYPE_CHECKING:
    from ._connection import Connection

__all__ = ["Traffic", "ping_payload"]

_log = logging.getLogger("restsock.connection")

# What leaves in one send: enough to make the system call cheap, little enough that a frame that
# becomes due meanwhile does not wait long.
_BATCH = 64 * 1024


class Traffic(Dispatcher):
    """The exchanges on a connection, and the bytes that they become. `Connection` gives it a life.

    Attributes:
        id: the same at both ends.
        name: what the dialer calls itself, at both ends; `None` when it has no name.
        pid: the process that it belongs to; a fork of it must not touch the socket.
        session: for the exchanges on it.
        lock: held, by whatever thread, while anything of the traffic changes. Reentrant.
        closed: how it ended; `None` while it lives.
        round_trip: seconds, from the latest pong; `None` before the first.
    """

    # Thousands of connections may be idle; without slots each would carry 1.5 KiB of dictionary.
    __slots__ = (
        "_bytes_received",
        "_bytes_sent",
        "_clock",
        "_clogged",
        "_closing",
        "_dispatching",
        "_exchanges",
        "_guest",
        "_handler",
        "_held",
        "_lane",
        "_last_byte",
        "_outcome",
        "_pinged_at",
        "_pings",
        "_requests_received",
        "_requests_sent",
        "_unsent",
        "_waiting",
        "_websocket",
        "_writing",
        "closed",
        "id",
        "lock",
        "name",
        "options",
        "pid",
        "round_trip",
        "session",
        "token",
    )

    def __init__(
        self,
        stream: trio.abc.Stream,
        websocket: WebSocket,
        session: Session,
        *,
        name: str | None,
        options: Options,
    ) -> None:
        assert session.connection_id is not None
        self.id = session.connection_id
        self.name = name
        self.options = options
        self.token = trio.lowlevel.current_trio_token()
        self.session = session
        self.lock = threading.RLock()
        self.pid = os.getpid()
        self.closed: Closed | None = None
        self.round_trip: float | None = None
        self._clock = trio.lowlevel.current_clock().current_time  # for any thread
        self._lane = lane_of(stream)
        self._websocket = websocket
        self._handler: Handler | None = None
        self._exchanges: dict[int, Exchange] = {}
        self._clogged: set[Exchange] = set()
        self._waiting: dict[Exchange, None] = {}  # in order; they wait for a free stream
        self._closing: tuple[int, str] | None = None
        self._outcome: Closed | None = None
        self._writing = True  # a writer is at work (or none can be yet) and will look for output
        self._unsent = b""  # left over from a flush
        self._held = 0
        self._guest = False  # the lock is held by a thread that is not the loop's
        self._dispatching = False
        self._last_byte = self._clock()
        self._pings = 0  # sent so far; each carries its number
        self._pinged_at = self._clock()
        self._bytes_sent = self._bytes_received = 0
        self._requests_sent = self._requests_received = 0

    # --- threads --------------------------------------------------------------------------

    @property
    @abstractmethod
    def connection(self) -> Connection:
        """Itself: what is submitted here goes nowhere else."""

    @property
    def open_to_guests(self) -> bool:
        """Whether threads may `visit()`. Without a lane there is nothing they could do better."""
        return self._lane is not None

    def visit(self, function: Callable[..., object], *args: object) -> None:
        """Runs a function on this thread, which is not the loop's, and sends what came of it.

        It may call whatever an exchange on this connection has to offer.
        """
        with self.lock:
            self._guest = True
            self._held += 1
            try:
                function(*args)
                self._held -= 1
                self._flush_due()
            except BaseException:
                # A KeyboardInterrupt, somewhere between two bytes: nobody knows where. What is held
                # stays so: nobody sends any more until the loop has ended it.
                self._leave_to_loop(self._distrust)
                raise
            finally:
                self._guest = False

    def start_as_guest(self, exchange: Exchange, guard: Callable[..., object]) -> bool:
        """Starts an exchange on this thread, if it need not wait for anything.

        Args:
            exchange: its observer is called here.
            guard: calls the function it is given, and deals with its errors.

        Returns:
            Whether it was started. If not, nothing has happened: `submit()` it on the loop.
        """
        with self.lock:
            if not self.open_to_guests or self._waiting or not self.session.can_open:
                return False
            self.visit(guard, self._start, exchange)
            return True

    def _leave_to_loop(self, function: Callable[..., object], *args: object) -> None:
        try:
            self.token.run_sync_soon(function, *args)
        except trio.RunFinishedError:
            pass  # and the connection with it

    @abstractmethod
    def _distrust(self) -> None:
        """Ends the connection, whose state is not known any more. On the loop."""

    @abstractmethod
    def close_soon(self, code: int = CloseCode.NORMAL, reason: str = "") -> None:
        """Begins to close the connection. On the loop."""

    # --- for exchanges --------------------------------------------------------------------

    def submit(self, exchange: Exchange) -> None:
        if exchange.closed:
            return
        with self.lock:
            if self.closed is not None:
                exchange.fail(self._closed_error(may_have_run=False))
            elif not self.session.accepts_streams:
                exchange.fail(StreamRefused("the connection takes no new requests; it is ending"))
            elif self.session.can_open and not self._waiting:
                self._start(exchange)
            else:
                self._waiting[exchange] = None
                exchange.queue = self._waiting

    def _start(self, exchange: Exchange) -> None:
        exchange.start(self.connection)
        if not exchange.closed:
            self._exchanges[exchange.id] = exchange
            self._requests_sent += 1
            exchange.observer(Started())
            self.note_sent(exchange)
        self.flush()

    def _settle(self) -> None:
        """Behind the end of a stream: another may start, or the connection is used up."""
        with self.lock:
            if not self.session.accepts_streams:
                waiting, self._waiting = self._waiting, {}
                for exchange in waiting:
                    exchange.give_back(
                        StreamRefused("the connection takes no new requests; it is ending")
                    )
            while self._waiting and self.session.can_open:
                exchange = next(iter(self._waiting))
                del self._waiting[exchange]
                if not exchange.closed:
                    self._start(exchange)
            if self.session.exhausted and not self._exchanges:
                self.close_soon(CloseCode.GOING_AWAY, "out of stream numbers")

    def consume(self, exchange: Exchange, nbytes: int) -> None:
        """Gives credit back for an exchange."""
        with self.lock:
            self.session.consume(exchange.id, nbytes, self._clock())
            if self.session.has_output:  # mostly the credit is not worth a frame yet
                self.wake_writer()

    def reset(self, exchange: Exchange, code: int, reason: str) -> None:
        """Cuts an exchange off."""
        with self.lock:
            self.session.reset_stream(exchange.id, code, reason)
            self._exchanges.pop(exchange.id, None)
            self._clogged.discard(exchange)
            self._dispatch()
            self.wake_writer()

    def note_sent(self, exchange: Exchange) -> None:
        """Looks whether an exchange has more waiting than it should. With the lock."""
        if not exchange.clogged and exchange.buffered > self.limits.send_buffer:
            exchange.clogged = True
            self._clogged.add(exchange)

    # --- out ------------------------------------------------------------------------------

    def wake_writer(self) -> None:
        """Something may be due to be sent. With the lock."""
        if self._held or self._writing:
            return
        if self._guest:
            self._leave_to_loop(self._start_writer)
        else:
            self._start_writer()

    @abstractmethod
    def _start_writer(self) -> None:
        """Has a task send what is due, unless one does already. On the loop."""

    def hold(self) -> None:
        """Several things are going to be sent now: they shall leave together. Takes the lock."""
        self.lock.acquire()
        self._held += 1

    def release(self) -> None:
        """Ends a `hold()`; sends what is due."""
        try:
            self._held -= 1
            self._flush_due()
        finally:
            self.lock.release()

    def _flush_due(self) -> None:
        if not self._held and (self.session.has_output or self._websocket.has_output):
            self.flush()

    def flush(self) -> None:
        """Sends what is due: at once if the socket takes it, else by the writer. With the lock.

        To be called where all that belongs together has been queued. It spares a short message the
        way through the writer's task, and changes neither order nor batches.
        """
        if self._held or self._writing or self._unsent:
            return  # the writer knows already
        if self._lane is None:
            self.wake_writer()
            return
        self._writing = True  # what is told to observers in between is not to come back here
        data = self._take_output()
        taken = self._lane.write(data) if data else 0
        self._bytes_sent += taken
        self._unsent = data[taken:]
        self._writing = False  # last: behind a thread that is interrupted above, nobody writes
        if self._unsent or self._websocket.close_sent or self.session.has_output:
            self.wake_writer()

    def _next_batch(self) -> bytes:
        """What the writer is to send; when that is nothing, its work is done."""
        with self.lock:
            data, self._unsent = self._unsent or self._take_output(), b""
            self._writing = bool(data)
            self._bytes_sent += len(data)
            return data

    def _take_output(self) -> bytes:
        websocket = self._websocket
        session = self.session
        size = 0
        while size < _BATCH and not websocket.close_sent:
            message = session.next_message()
            if message is None:
                break
            size += len(message)
            if isinstance(message, bytes):
                websocket.send_binary(message)
            else:
                websocket.send_text(message)
        if self._closing is not None:
            websocket.close(*self._closing)
        data = websocket.data_to_send()
        if size:
            self._dispatch()
            if self._clogged:
                self._unclog()
        return data

    def _unclog(self) -> None:
        low = self.limits.send_buffer // 2
        for exchange in [e for e in self._clogged if e.buffered <= low]:
            self._clogged.discard(exchange)
            exchange.clogged = False
            if self._guest and not exchange.any_thread:
                self._leave_to_loop(exchange.observer, Writable())
            else:
                exchange.observer(Writable())

    # --- in -------------------------------------------------------------------------------

    def _receive(self, data: bytes) -> Closed | None:
        """Takes bytes in, on the loop; tells how the connection ended, if it has.

        Raises:
            RemoteProtocolError: what the peer sent; all that was whole before it has been handled.
        """
        websocket = self._websocket
        problem: RemoteProtocolError | None = None
        closed: Closed | None = None
        self.hold()
        try:
            self._bytes_received += len(data)
            self._last_byte = self._clock()
            try:
                websocket.receive_data(data)
            except RemoteProtocolError as exc:
                problem = exc
            while (event := websocket.next_event()) is not None:
                if isinstance(event, (BinaryMessage, TextMessage)):
                    self.session.receive_message(event.data)
                elif isinstance(event, Pong):
                    self._receive_pong(event.payload)
                elif isinstance(event, CloseReceived):
                    closed = self._receive_close(event)
        finally:
            try:
                self._dispatch()
            finally:
                self.release()
        if problem is not None:
            raise problem
        return closed

    def _receive_pong(self, payload: bytes) -> None:
        if payload == ping_payload(self._pings):
            self.round_trip = self.session.round_trip = self._clock() - self._pinged_at

    def _receive_close(self, event: CloseReceived) -> Closed:
        if self._closing is not None:
            return self._closed_here()
        reason = printable(event.reason)
        return Closed(event.code in CLEAN, event.code, reason, by_peer=True)

    def _dispatch(self) -> None:
        """Tells the session's events to the exchanges that they concern."""
        if self._dispatching:  # an observer has sent something: the loop below takes it along
            return
        self._dispatching = True
        freed = False
        try:
            while (event := self.session.next_event()) is not None:
                kind = type(event)
                if kind is RequestReceived:
                    self._receive_request(event)  # type: ignore[arg-type]  # just looked at
                elif kind is StreamClosed:
                    self._close_exchange(event.stream_id)  # type: ignore[union-attr]
                    freed = True
                elif isinstance(event, (DataReceived, EndReceived, ResponseReceived, StopSending)):
                    self._tell(event.stream_id, event)
                elif isinstance(event, StreamFailed):
                    self._fail_exchange(event)
                elif isinstance(event, StreamRejected):
                    _log.warning(
                        "connection %s (%s): stream %d rejected: %s",
                        self.id,
                        self.name,
                        event.stream_id,
                        event.reason,
                    )
                elif isinstance(event, GoAwayReceived):
                    freed = True
        finally:
            self._dispatching = False
        if freed and (self._waiting or self.session.exhausted):
            if self._guest:
                self._leave_to_loop(self._settle)
            else:
                self._settle()

    def _tell(self, stream_id: int, event: ExchangeEvent) -> None:
        exchange = self._exchanges.get(stream_id)
        if exchange is not None:
            exchange.observer(event)

    def _close_exchange(self, stream_id: int) -> None:
        exchange = self._exchanges.pop(stream_id, None)
        if exchange is not None:
            exchange.closed = True
            self._clogged.discard(exchange)

    def _fail_exchange(self, event: StreamFailed) -> None:
        exchange = self._exchanges.get(event.stream_id)
        if not event.by_peer:
            _log.warning(
                "connection %s (%s): stream %d reset: %s",
                self.id,
                self.name,
                event.stream_id,
                event.reason,
            )
        if exchange is not None:
            exchange.fail(stream_error(event))

    def _receive_request(self, event: RequestReceived) -> None:
        self._requests_received += 1
        exchange = Exchange(event.head, _unobserved).accept(self.connection, event.stream_id)
        self._exchanges[event.stream_id] = exchange
        if self._handler is None:
            exchange.observer = _ignore
            answer(exchange, 503, "This peer serves no app.\n")
            return
        try:
            self._handler.handle(exchange)
        except Exception:  # noqa: BLE001  # anybody's code, and one request must not end all others
            _log.exception("connection %s (%s): a handler failed", self.id, self.name)
            exchange.observer = _ignore
            exchange.reset(ResetCode.INTERNAL, "the handler failed")

    # --- the end --------------------------------------------------------------------------

    def _closed_here(self) -> Closed:
        """The outcome of a close that this side began: clean if the peer has answered it."""
        assert self._closing is not None
        code, reason = self._closing
        clean = code in CLEAN and self._websocket.close_received
        return Closed(clean, code, reason, by_peer=False)

    def _finish(self) -> None:
        """Fails all that is under way. From here on nothing is sent, by nobody."""
        with self.lock:
            self._lane = None
            outcome = self._outcome
            if outcome is None and self._closing is not None:
                outcome = self._closed_here()
            if outcome is None:
                outcome = Closed(False, CloseCode.ABNORMAL, "cancelled", by_peer=False)
            self.closed = self._outcome = outcome
            waiting, self._waiting = self._waiting, {}
            for exchange in waiting:
                exchange.give_back(self._closed_error(may_have_run=False))
            for exchange in list(self._exchanges.values()):
                ran = self.session.announced(exchange.id)
                exchange.fail(self._closed_error(may_have_run=ran))
            self._exchanges.clear()
            self._clogged.clear()

    def _closed_error(self, *, may_have_run: bool) -> ConnectionClosed:
        closed = self.closed
        assert closed is not None
        may = "may have run" if may_have_run else "did not start"
        return ConnectionClosed(
            f"the connection ended ({closed}); the request {may}",
            code=closed.code,
            reason=closed.reason,
            may_have_run=may_have_run,
        )


def ping_payload(number: int) -> bytes:
    """What a ping carries: its number, so that the answer to an earlier one is not taken for it."""
    return number.to_bytes(8, "big")


def _unobserved(event: ExchangeEvent) -> None:
    raise AssertionError("an event before there is an observer")


def _ignore(event: ExchangeEvent) -> None:
    """Observes nothing."""
