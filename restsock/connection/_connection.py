"""Connection: one handshaken WebSocket, whichever end, with many exchanges on it both ways.

It is composed of objects that own their state, and each is where to look for what it does:

- `Lifecycle`: open, draining, closing, closed; its tasks, and how it ends;
- `Writer`: the lock, and all that sends; opens with the rules for threads;
- `Reader`: the task, or the thread, that reads;
- `ConnectionHeartbeat`: whether the peer lives;
- `ExchangeTable`: the exchanges, and what happens to them;
- `ConnectionCounters`: what is counted, and told to an instrument.

One task, in `run()`, reads: it awaits nothing but the socket. Another writes while the socket takes
less than there is to send. A `HeartbeatTimer`, which many share, says when its peer is to be
checked. Everything else happens in plain calls.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import trio

from restsock._blocked import loop_watch
from restsock._exceptions import RemoteProtocolError
from restsock._limit_log import LimitLog
from restsock._logging import about
from restsock._options import Options
from restsock._principal import Principal
from restsock.protocol import TLS, CloseCode, Pipeline

from ._close import Closed, Peer, check_close_code
from ._counters import ConnectionCounters
from ._deadlines import bound_idleness, bound_lifetime
from ._exchange import Exchange
from ._exchange_table import ExchangeTable
from ._health import Health, HealthReport
from ._heartbeat import ConnectionHeartbeat, HeartbeatTimer
from ._lifecycle import CLOSED, CLOSING, OPEN, Lifecycle
from ._reader import Reader
from ._requester import Requester
from ._statistics import Counters, Statistics
from ._writer import Writer

if TYPE_CHECKING:
    from ._instruments import Instruments
    from ._interfaces import Handler

__all__ = ["Connection"]

_log = logging.getLogger("restsock.connection")

# For connections that no client and no server looks after, each on its own: all is logged.
_NOBODYS = LimitLog(_log, pause=0)

_HOST_NAME = re.compile(r"[A-Za-z0-9.-]+")

# How long to go on reading (and dropping) behind a close frame of ours, so that the peer's unread
# bytes do not make the system throw that frame away. Seconds.
_LINGER = 1.0


class Connection(Requester):
    """A handshaken connection. Made by `open_dialed()` or `open_accepted()`; lives in `run()`.

    Attributes:
        id: the same at both ends.
        name: what the dialer calls itself, at both ends; `None` when it has no name.
        metadata: what the dialer told, at both ends.
        peer: where the other end is.
        principal: whom authentication has found the peer to be; `None` without authentication.
        heartbeat_timer: checks its peer, and is running; without one it has its own.
        multiplexer: carries the exchanges on it.
    """

    # Thousands of connections may be idle; without slots each would carry 1.5 KiB of dictionary.
    __slots__ = (
        "__weakref__",
        "_pipeline",
        "_stream",
        "_websocket",
        "admit",
        "counters",
        "exchange_table",
        "heartbeat",
        "heartbeat_timer",
        "id",
        "instrument",
        "lifecycle",
        "limit_log",
        "lock",
        "metadata",
        "multiplexer",
        "name",
        "on_leaving",
        "options",
        "peer",
        "pid",
        "principal",
        "reader",
        "token",
        "writer",
    )

    def __init__(
        self,
        stream: trio.abc.Stream,
        pipeline: Pipeline,
        *,
        name: str | None,
        metadata: Any,
        peer: Peer,
        options: Options,
        limit_log: LimitLog | None = None,
    ) -> None:
        multiplexer = pipeline.multiplexer
        assert multiplexer.connection_id is not None
        self.id = multiplexer.connection_id
        self.name = name
        self.metadata = metadata
        self.peer = peer
        self.principal: Principal | None = None
        self.options = options
        self.limit_log = _NOBODYS if limit_log is None else limit_log
        self.instrument: Instruments | None = None
        self.admit: Callable[[Exchange], bool] | None = None
        self.on_leaving: Callable[[int], object] | None = None
        self.heartbeat_timer: HeartbeatTimer | None = None
        self.multiplexer = multiplexer
        self._stream = stream
        self._pipeline = pipeline
        self._websocket = pipeline.websocket
        lifecycle = self.lifecycle = Lifecycle(pipeline.websocket, options.timeouts.close)
        counters = self.counters = ConnectionCounters(self)
        writer = self.writer = Writer(stream, pipeline, lifecycle, counters)
        self.lock = writer.lock
        self.pid = writer.pid
        self.token = writer.token
        table = self.exchange_table = ExchangeTable(self, multiplexer, lifecycle, writer, counters)
        writer.traffic = table
        heartbeat = self.heartbeat = ConnectionHeartbeat(
            options.heartbeat, pipeline, lifecycle, writer, counters
        )
        self.reader = Reader(stream, pipeline, lifecycle, writer, heartbeat, counters, table)

    def __repr__(self) -> str:
        state = "open" if self.closed is None else f"closed: {self.closed}"
        return f"<Connection {self.id} name={self.name!r} {state}>"

    @property
    def closed(self) -> Closed | None:
        """How it ended; `None` while it lives."""
        return self.lifecycle.outcome if self.lifecycle.state is CLOSED else None

    # --- as a requester -------------------------------------------------------------------

    @property
    def connection(self) -> Connection:
        """Itself: what is submitted here goes nowhere else."""
        return self

    @property
    def can_run_here(self) -> bool:
        """Whether threads can use it directly (`Writer.run_here`). For any thread."""
        return self.writer.direct_socket is not None

    def submit(self, exchange: Exchange) -> None:
        self.exchange_table.submit(exchange)

    @property
    def takes_requests(self) -> bool:
        """Whether it will ever carry a request of this side again.

        No more once it is ending, once either side has announced that it will close it (GOAWAY), or
        once its stream numbers are used up. The requests on it may well go on.
        """
        going = self.lifecycle.state is OPEN and not self.reader.ended
        return going and self.multiplexer.accepts_streams

    @property
    def leaving(self) -> bool:
        """Whether either side has announced that it will close it."""
        return self.lifecycle.state is not OPEN or self.multiplexer.leaving

    @property
    def outstanding(self) -> int:
        """Requests of this side that are under way here, or wait for a free stream. Any thread."""
        return self.multiplexer.own_streams + self.exchange_table.waiting

    @property
    def refused_lately(self) -> bool:
        """Whether the peer has refused a request within the last second. For any thread."""
        return self.exchange_table.refused_lately

    @property
    def turn(self) -> int:
        """See `ExchangeTable.turn`."""
        return self.exchange_table.turn

    # --- what it is -----------------------------------------------------------------------

    @property
    def round_trip(self) -> float | None:
        """Seconds, from the latest pong; `None` before the first."""
        return self.multiplexer.round_trip

    @property
    def authority(self) -> str:
        name = self.name or ""
        return name if _HOST_NAME.fullmatch(name) else "restsock"

    @property
    def tls(self) -> TLS | None:
        """What encrypts it, to be looked at under the lock; `None` when nothing does."""
        return self._pipeline.tls

    # --- living and ending ----------------------------------------------------------------

    async def run(self, handler: Handler | None = None) -> Closed:
        """Carries exchanges until the connection ends. To be called once.

        Args:
            handler: serves the peer's requests, and is running; without one they get a 503.

        Returns:
            How it ended. No error but cancellation comes out; it closes the socket without a word.
        """
        self.exchange_table.handler = handler
        watch = loop_watch()
        watch.stand_in(self.reader.read_here, self.options.heartbeat.interval)
        try:
            async with trio.open_nursery() as nursery:
                self.lifecycle.begin(nursery)
                self.writer.writing = False
                if self.timeouts.connection_idle is not None:
                    nursery.start_soon(bound_idleness, self, self.timeouts.connection_idle)
                if self.timeouts.lifetime is not None:
                    nursery.start_soon(bound_lifetime, self, self.timeouts.lifetime)
                try:
                    self.heartbeat.start(self.heartbeat_timer)
                    try:
                        outcome = await self.reader.run()
                    except RemoteProtocolError as exc:
                        outcome = self._reject(exc)
                    self.lifecycle.end(outcome)
                    await self._finish_close()
                finally:
                    # It takes no task from here on, and what threads have left to the loop, or an
                    # app sends, may still want one for its bytes before `_finish`.
                    self.lifecycle.stop_tasks()
                nursery.cancel_scope.cancel()
        finally:
            watch.stop_standing_in(self.reader.read_here)
            self._finish()
            self.heartbeat.stop()
            if self.instrument is not None:
                assert self.closed is not None
                self.instrument.connection_closed(self, self.closed)
            with trio.CancelScope(shield=True):
                await trio.aclose_forcefully(self._stream)
            self.lifecycle.tell_finished()
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
        await self.wait_closed()

    async def drain(
        self, grace: float | None = None, code: int = CloseCode.GOING_AWAY, reason: str = ""
    ) -> Closed:
        """Closes the connection behind what is in flight, and waits until it is closed.

        The peer is told at once (GOAWAY), and neither side starts a request from then on: what the
        peer has on its way is refused, and repeated by it elsewhere. What is in flight, both ways,
        goes on. With nothing in flight the connection closes immediately.

        If cancelled, it closes without waiting for what is in flight.

        Args:
            grace: seconds that this may take, before what is left fails with `ConnectionClosed`;
                `None` is `Timeouts.grace`.
            code: 1001 and 1012 let the peer's client dial again, which it does right away; 1000
                ends it for good.
            reason: at most 123 bytes of UTF-8 reach the peer.

        Returns:
            How it ended.

        Raises:
            ValueError: the code cannot be sent.
        """
        self.drain_soon(code, reason)
        try:
            with trio.move_on_after(self.timeouts.grace if grace is None else grace):
                return await self.wait_closed()
        finally:
            self.close_soon(code, reason)
        return await self.wait_closed()

    def close_soon(self, code: int = CloseCode.NORMAL, reason: str = "") -> None:
        """Begins to close; returns at once. `run()` returns when it is done.

        Raises:
            ValueError: the code cannot be sent.
        """
        check_close_code(code)
        with self.lock:
            if self.lifecycle.close(code, reason):
                self.multiplexer.send_goaway(code, reason)
                self.writer.wake()

    def drain_soon(self, code: int = CloseCode.GOING_AWAY, reason: str = "") -> None:
        """Begins to drain; returns at once. On the loop.

        No request is started any more, by neither side; what is in flight goes on, and behind the
        last of it the connection is closed. There is no end to the time that this may take.

        Raises:
            ValueError: the code cannot be sent.
        """
        check_close_code(code)
        with self.lock:
            if self.lifecycle.drain(code, reason):
                self.multiplexer.send_goaway(code, reason)
                self.writer.wake()
                if self.on_leaving is not None:
                    self.on_leaving(code)
                self.exchange_table.settle()

    async def wait_closed(self) -> Closed:
        """Waits for the end, and tells how it was. Can be cancelled without harm."""
        return await self.lifecycle.wait_finished()

    def statistics(self) -> Statistics:
        """Its counters now."""
        counters = Counters()
        self.count_into(counters)
        return counters.statistics(self.round_trip)

    def observe(self, instrument: Instruments | None) -> None:
        """Has an instrument told of what happens from here on. In front of the first request."""
        self.instrument = self.counters.instrument = instrument
        if instrument is not None:
            instrument.connection_opened(self)

    def count_into(self, counters: Counters) -> None:
        """Adds its counters to a sum. For any thread."""
        with self.lock:
            self.counters.add_to(counters)
            self.exchange_table.count_into(counters)

    def health(self) -> Health:
        """Whether requests have a fair chance on it now, and if not, why. For any thread."""
        report = HealthReport()
        if self.closed is not None:
            report.error(f"the connection has ended: {self.closed}")
        elif self.lifecycle.state is CLOSING:
            report.error("the connection is being closed")
        elif not self.takes_requests:
            report.error("the connection takes no new requests: it is draining")
        else:
            silence = self.heartbeat.late
            if silence is not None:
                report.error(f"the heartbeat is late: no byte from the peer for {silence:.1f} s")
            waiting = self.exchange_table.waiting
            if waiting:
                report.warning(f"{waiting} requests wait for a free stream")
        return report.health()

    # --- in -------------------------------------------------------------------------------

    def _reject(self, error: RemoteProtocolError) -> Closed:
        """The peer broke the protocol: closes with the reason."""
        self.limit_log.note(
            error.limit or "malformed",
            "connection %s (%s): closing with %d: %s",
            self.id,
            self.name,
            error.close_code,
            error,
            extra=about(self),
        )
        self.counters.tell_error("protocol")
        with self.lock:
            self._websocket.close(error.close_code, str(error))
        return Closed(False, error.close_code, str(error), by_peer=False)

    async def _finish_close(self) -> None:
        """After the last byte was read: lets the close frame leave, and awaits the peer's."""
        if self._websocket.close_sent:
            self.lifecycle.bound(min(_LINGER, self.timeouts.close))
            if not await self.writer.wait_written():
                return
            while not self._websocket.close_received and await self.reader.drop_some():
                pass

    def _finish(self) -> None:
        """Fails all that is under way. From here on nothing is sent, by nobody."""
        with self.lock:
            self.writer.direct_socket = None
            self.reader.close()
            self.lifecycle.finish()
            self.exchange_table.fail_all()
