"""Connection: one handshaken WebSocket, whichever end, with many exchanges on it both ways.

Three tasks, all in `run()`: a reader that awaits nothing but the socket, a writer, a heartbeat.
Everything else happens in plain calls on the loop: what comes in goes to the observers of the
exchanges, what goes out waits in the session until the writer takes it.
"""

from __future__ import annotations

import itertools
import logging
import re
from typing import Any

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
from ._facts import CLEAN, Closed, Peer, Statistics, check_close_code, printable, stream_error
from ._lane import lane_of

__all__ = ["Connection"]

_log = logging.getLogger("restsock.connection")

_HOST_NAME = re.compile(r"[A-Za-z0-9.-]+")

_READ = 64 * 1024
# What leaves in one send: enough to make the system call cheap, little enough that a frame that
# becomes due meanwhile does not wait long.
_BATCH = 64 * 1024
# How long to go on reading (and dropping) behind a close frame of ours, so that the peer's unread
# bytes do not make the system throw that frame away. Seconds.
_LINGER = 1.0
# How long a close frame to a peer that does not answer may take to leave. Seconds.
_GOODBYE = 0.1


class Connection(Dispatcher):
    """A handshaken connection. Made by `open_dialed()` or `open_accepted()`; lives in `run()`.

    Attributes:
        id: the same at both ends.
        name: what the dialer calls itself, at both ends; `None` when it has no name.
        metadata: what the dialer told, at both ends.
        peer: where the other end is.
        session: for the exchanges on it.
        closed: how it ended; `None` while it lives.
        round_trip: seconds, from the latest pong; `None` before the first.
    """

    def __init__(
        self,
        stream: trio.abc.Stream,
        websocket: WebSocket,
        session: Session,
        *,
        name: str | None,
        metadata: Any,
        peer: Peer,
        options: Options,
    ) -> None:
        assert session.connection_id is not None
        self.id = session.connection_id
        self.name = name
        self.metadata = metadata
        self.peer = peer
        self.options = options
        self.token = trio.lowlevel.current_trio_token()
        self.session = session
        self.closed: Closed | None = None
        self.round_trip: float | None = None
        self._stream = stream
        self._lane = lane_of(stream)
        self._websocket = websocket
        self._handler: Handler | None = None
        self._exchanges: dict[int, Exchange] = {}
        self._clogged: set[Exchange] = set()
        self._waiting: dict[Exchange, None] = {}  # in order; they wait for a free stream
        self._due = trio.Event()
        self._held = 0
        self._writing = True  # the writer is not waiting for `_due`
        self._unsent = b""  # left over from a flush
        self._finished = trio.Event()
        self._closing: tuple[int, str] | None = None
        self._outcome: Closed | None = None
        self._scope: trio.CancelScope | None = None
        self._written = trio.Event()
        self._dispatching = False
        self._last_byte = trio.current_time()
        self._ping: tuple[bytes, float] | None = None
        self._ping_numbers = itertools.count(1)
        self._bytes_sent = self._bytes_received = 0
        self._requests_sent = self._requests_received = 0

    def __repr__(self) -> str:
        state = "open" if self.closed is None else f"closed: {self.closed}"
        return f"<Connection {self.id} name={self.name!r} {state}>"

    @property
    def authority(self) -> str:
        name = self.name or ""
        return name if _HOST_NAME.fullmatch(name) else "restsock"

    # --- living and ending ----------------------------------------------------------------

    async def run(self, handler: Handler | None = None) -> Closed:
        """Carries exchanges until the connection ends. To be called once.

        Args:
            handler: serves the peer's requests, and is running; without one they get a 503.

        Returns:
            How it ended. No error but cancellation comes out; it closes the socket without a word.
        """
        self._handler = handler
        try:
            async with trio.open_nursery() as nursery:
                self._scope = nursery.cancel_scope
                self._bound_closing()
                nursery.start_soon(self._write)
                nursery.start_soon(self._beat)
                self._end(await self._read())
                await self._part()
        finally:
            self._finish()
            with trio.CancelScope(shield=True):
                await trio.aclose_forcefully(self._stream)
            self._finished.set()
        assert self.closed is not None
        return self.closed

    async def aclose(self, code: int = CloseCode.NORMAL, reason: str = "") -> None:
        """Closes the connection, and waits until it is closed, at most `timeouts.close`.

        What is in flight fails with `ConnectionClosed`. A second call only waits.

        Args:
            code: 1000 ends the peer's client for good, 1001 lets it dial again.
            reason: at most 123 bytes of UTF-8 reach the peer.
        """
        self.close_soon(code, reason)
        await self._finished.wait()

    def close_soon(self, code: int = CloseCode.NORMAL, reason: str = "") -> None:
        """Begins to close; returns at once. `run()` returns when it is done.

        Raises:
            ValueError: the code cannot be sent.
        """
        check_close_code(code)
        if self._closing is None and self._outcome is None:
            self._closing = (code, reason)
            self.session.send_goaway(code, reason)
            self.wake_writer()
            self._bound_closing()

    def _bound_closing(self) -> None:
        if self._closing is not None and self._scope is not None:
            self._scope.deadline = trio.current_time() + self.timeouts.close

    async def wait_closed(self) -> Closed:
        """Waits for the end, and tells how it was. Can be cancelled without harm."""
        await self._finished.wait()
        assert self.closed is not None
        return self.closed

    def statistics(self) -> Statistics:
        """Its counters now."""
        return Statistics(
            bytes_sent=self._bytes_sent,
            bytes_received=self._bytes_received,
            requests_sent=self._requests_sent,
            requests_received=self._requests_received,
            open_streams=self.session.open_streams,
            waiting_requests=len(self._waiting),
            round_trip=self.round_trip,
        )

    def _end(self, outcome: Closed) -> None:
        """Notes how it ends; the first word counts."""
        if self._outcome is None:
            self._outcome = outcome

    def _abort(self, outcome: Closed) -> None:
        """Ends it without waiting for anybody."""
        assert self._scope is not None
        self._end(outcome)
        self._scope.cancel()

    def _finish(self) -> None:
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

    # --- for exchanges --------------------------------------------------------------------

    def submit(self, exchange: Exchange) -> None:
        if exchange.closed:
            return
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
        exchange.start(self)
        if not exchange.closed:
            self._exchanges[exchange.id] = exchange
            self._requests_sent += 1
            exchange.observer(Started())
            self.note_sent(exchange)
        self.flush()

    def _retire(self) -> None:
        """Ends a connection that cannot open streams any more, once nothing is under way."""
        if self.session.exhausted and not self._exchanges:
            self.close_soon(CloseCode.GOING_AWAY, "out of stream numbers")

    def _start_waiting(self) -> None:
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

    def consume(self, exchange: Exchange, nbytes: int) -> None:
        """Gives credit back for an exchange."""
        self.session.consume(exchange.id, nbytes, trio.current_time())
        if self.session.has_output:  # mostly the credit is not worth a frame yet
            self.wake_writer()

    def reset(self, exchange: Exchange, code: int, reason: str) -> None:
        """Cuts an exchange off."""
        self.session.reset_stream(exchange.id, code, reason)
        self._exchanges.pop(exchange.id, None)
        self._clogged.discard(exchange)
        self._dispatch()
        self.wake_writer()

    def note_sent(self, exchange: Exchange) -> None:
        """Looks whether an exchange has more waiting than it should."""
        if not exchange.clogged and exchange.buffered > self.limits.send_buffer:
            exchange.clogged = True
            self._clogged.add(exchange)

    def wake_writer(self) -> None:
        """Something may be due to be sent."""
        if not self._held:
            self._due.set()

    def hold(self) -> None:
        """Several things are going to be sent in this tick: they shall leave together."""
        self._held += 1

    def release(self) -> None:
        """Ends a `hold()`; sends what is due."""
        self._held -= 1
        if not self._held and (self.session.has_output or self._websocket.has_output):
            self.flush()

    def flush(self) -> None:
        """Sends what is due: at once if the socket takes it, else by the writer.

        To be called where all that belongs together has been queued. It spares a short message the
        way through the writer's task, and changes neither order nor batches.
        """
        if self._held:
            return
        if self._lane is None or self._writing or self._unsent:
            self._due.set()
            return
        self._writing = True  # what is told to observers in between is not to come back here
        data = self._take_output()
        self._writing = False
        if data:
            taken = self._lane.write(data)
            self._bytes_sent += taken
            self._unsent = data[taken:]
        if self._unsent or self._websocket.close_sent or self.session.has_output:
            self._due.set()

    # --- in -------------------------------------------------------------------------------

    async def _read(self) -> Closed:
        """Reads until the end, and tells how it was."""
        try:
            # What came with the last bytes of the handshake is there already.
            closed = self._receive(b"")
            while closed is None:
                data = await self._stream.receive_some(_READ)
                if not data:
                    return self._lost("the socket ended without a close")
                closed = self._receive(bytes(data))
            return closed
        except (trio.BrokenResourceError, trio.ClosedResourceError, OSError) as exc:
            why = str(exc.__cause__ or "") or str(exc) or type(exc).__name__
            return self._lost(f"the socket failed: {why}")
        except RemoteProtocolError as exc:
            _log.warning(
                "connection %s (%s): closing with %d: %s", self.id, self.name, exc.close_code, exc
            )
            self._websocket.close(exc.close_code, str(exc))
            return Closed(False, exc.close_code, str(exc), by_peer=False)

    def _lost(self, reason: str) -> Closed:
        if self._closing is not None and self._websocket.close_sent:
            return self._closed_here()
        return Closed(False, CloseCode.ABNORMAL, reason, by_peer=True)

    def _receive(self, data: bytes) -> Closed | None:
        """Takes bytes in; tells how the connection ended, if it has.

        Raises:
            RemoteProtocolError: what the peer sent; all that was whole before it has been handled.
        """
        websocket = self._websocket
        self._bytes_received += len(data)
        self._last_byte = trio.current_time()
        problem: RemoteProtocolError | None = None
        try:
            websocket.receive_data(data)
        except RemoteProtocolError as exc:
            problem = exc
        closed: Closed | None = None
        self.hold()
        try:
            while (event := websocket.next_event()) is not None:
                if isinstance(event, (BinaryMessage, TextMessage)):
                    self.session.receive_message(event.data)
                elif isinstance(event, Pong):
                    self._receive_pong(event.payload)
                elif isinstance(event, CloseReceived):
                    closed = self._receive_close(event)
        finally:
            self._dispatch()
            self.release()
        if problem is not None:
            raise problem
        return closed

    def _receive_pong(self, payload: bytes) -> None:
        if self._ping is not None and payload == self._ping[0]:
            self.round_trip = self.session.round_trip = trio.current_time() - self._ping[1]
            self._ping = None

    def _closed_here(self) -> Closed:
        """The outcome of a close that this side began: clean if the peer has answered it."""
        assert self._closing is not None
        code, reason = self._closing
        clean = code in CLEAN and self._websocket.close_received
        return Closed(clean, code, reason, by_peer=False)

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
        if freed and self._waiting:
            self._start_waiting()
        if freed:
            self._retire()

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
        exchange = Exchange(event.head, _unobserved).accept(self, event.stream_id)
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

    # --- out ------------------------------------------------------------------------------

    async def _write(self) -> None:
        try:
            while True:
                data, self._unsent = self._unsent or self._take_output(), b""
                if data:
                    await self._stream.send_all(data)
                    self._bytes_sent += len(data)
                    continue
                if self._websocket.close_sent:
                    self._written.set()
                    return
                self._writing = False
                await self._due.wait()
                self._due = trio.Event()
                self._writing = True
        except (trio.BrokenResourceError, trio.ClosedResourceError, OSError):
            # The reader meets the same end and knows more of it, unless nothing more comes in.
            await trio.sleep(_LINGER)
            self._abort(self._lost("the socket takes no more bytes"))

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
            self._unclog()
        return data

    def _unclog(self) -> None:
        low = self.limits.send_buffer // 2
        for exchange in [e for e in self._clogged if e.buffered <= low]:
            self._clogged.discard(exchange)
            exchange.clogged = False
            exchange.observer(Writable())

    async def _part(self) -> None:
        """Behind the last that was read: lets the close frame leave, then lets go."""
        assert self._scope is not None
        self.wake_writer()
        if self._websocket.close_sent:
            self._scope.deadline = min(
                self._scope.deadline, trio.current_time() + min(_LINGER, self.timeouts.close)
            )
            await self._written.wait()
            while not self._websocket.close_received and await self._drop_some():
                pass
        self._scope.cancel()

    async def _drop_some(self) -> bool:
        """Reads and forgets; tells whether there may be more."""
        try:
            return bool(await self._stream.receive_some(_READ))
        except (trio.BrokenResourceError, trio.ClosedResourceError, OSError):
            return False

    # --- heartbeat ------------------------------------------------------------------------

    async def _beat(self) -> None:
        interval = self.options.heartbeat.interval
        self._send_ping()  # also without heartbeats: windows grow by the round trip
        if interval is None:
            return
        silence = interval + self.options.heartbeat.timeout
        next_ping = trio.current_time() + interval
        while True:
            await trio.sleep_until(min(next_ping, self._last_byte + silence))
            if trio.current_time() >= self._last_byte + silence:
                # What has come while the loop was busy, or the machine asleep, is read first.
                for _ in range(2):
                    await trio.lowlevel.checkpoint()
            now = trio.current_time()
            if now >= self._last_byte + silence:
                await self._give_up(f"no byte from the peer for {silence:g} s")
                return
            if now >= next_ping:
                self._send_ping()
                next_ping = now + interval

    async def _give_up(self, reason: str) -> None:
        """Ends it because of silence; says so, as far as that still goes."""
        outcome = Closed(False, CloseCode.HEARTBEAT_TIMEOUT, reason, by_peer=False)
        self._end(outcome)
        self._websocket.close(CloseCode.HEARTBEAT_TIMEOUT, reason)
        self.wake_writer()
        with trio.move_on_after(_GOODBYE):
            await self._written.wait()
        self._abort(outcome)

    def _send_ping(self) -> None:
        if not self._websocket.close_sent:
            payload = next(self._ping_numbers).to_bytes(8, "big")
            self._ping = (payload, trio.current_time())
            self._websocket.send_ping(payload)
            self.wake_writer()


def _unobserved(event: ExchangeEvent) -> None:
    raise AssertionError("an event before there is an observer")


def _ignore(event: ExchangeEvent) -> None:
    """Observes nothing."""
