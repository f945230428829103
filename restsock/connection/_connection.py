"""Connection: one handshaken WebSocket, whichever end, with many exchanges on it both ways.

It is composed of objects that own their state, and each is where to look for what it does:

- `Lifecycle`: open, draining, closing, closed; its tasks, and how it ends;
- `Writer`: the lock, and all that sends; opens with the rules for threads;
- `Reader`: the task, or the thread, that reads;
- `ConnectionHeartbeat`: whether the peer lives;
- `ExchangeTable`: the exchanges, and what happens to them;
- `ConnectionCounters`: what is counted, and told to an instrument.

While it is idle it has no task. One task of the loop reads for all its connections (`ReadyPoll`),
and one says when their peers are to be checked (`HeartbeatTimer`); both make plain calls. What
takes time is a task: to write while the socket takes less than there is to send, to close. These
run in `run_tasks()`, which the owner is told to call: `run()` is one that waits until it has to.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

import trio

from restsock._exceptions import RemoteProtocolError
from restsock._limit_log import LimitLog
from restsock._logging import PartLog
from restsock._options import Options
from restsock._principal import ConnectionInfo, Principal
from restsock.protocol import TLS, CloseCode, Pipeline

from ._close import Closed, Peer, check_close_code
from ._counters import ConnectionCounters
from ._deadlines import bound_idleness, bound_lifetime
from ._exchange import Exchange, Lane
from ._exchange_table import ExchangeTable
from ._health import Health, HealthReport
from ._heartbeat import ConnectionHeartbeat
from ._heartbeat_calls import heartbeat_calls
from ._idle import Idle
from ._lifecycle import CLOSED, CLOSING, OPEN, Lifecycle
from ._reader import Reader
from ._requester import Requester
from ._statistics import Counters, Statistics
from ._writer import Writer

if TYPE_CHECKING:
    from ._instruments import Instruments
    from ._interfaces import Handler

__all__ = ["Connection"]

_log = PartLog("restsock.connection")

# For connections that no client and no server looks after, each on its own: all is logged.
_NOBODYS = LimitLog(_log, pause=0)

_HOST_NAME = re.compile(r"[A-Za-z0-9.-]+")

# Seconds to go on reading after a close frame of ours: unread bytes might cost the peer that frame.
_LINGER = 1.0


class Connection(Requester):
    """A handshaken connection. Made by `open_dialed()` or `open_accepted()`.

    Order of calls: `run()`; or `begin()` and, whenever it asks for it, `run_tasks()`.

    Attributes:
        id: The same at both ends.
        name: What the dialer calls itself, at both ends; `None` when it has no name.
        metadata: What the dialer told, at both ends.
        peer: Where the other end is.
        principal: Whom authentication has found the peer to be; `None` without authentication.
        lane: The way of messages, if there is one.
        multiplexer: Carries the exchanges on it.
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
        "id",
        "instrument",
        "lane",
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
        self.lane: Lane | None = None
        self.multiplexer = multiplexer
        self._stream = stream
        self._pipeline = pipeline
        self._websocket = pipeline.websocket
        lifecycle = self.lifecycle = Lifecycle(self, pipeline.websocket, options.timeouts.close)
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
        heartbeat.calls = heartbeat_calls(
            options.heartbeat,
            lambda: ConnectionInfo(self.id, self.name, self.metadata, self.principal),
            partial(writer.call_on_loop, lifecycle.start_soon),
            self.limit_log,
        )
        self.reader = Reader(pipeline, writer, heartbeat, counters, table)

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

    def offer(self, exchange: Exchange) -> bool:
        """See `ExchangeTable.offer`."""
        return self.exchange_table.offer(exchange)

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
    def urls(self) -> tuple[str, ...]:
        """Where plain HTTP reaches the dialer, the best first; empty if the listener tells none.

        The same at both ends.
        """
        return self.multiplexer.urls

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
            handler: Serves the peer's requests, and is running; without one they get a 503.

        Returns:
            How it ended. No error but cancellation comes out; it closes the socket without a word.
        """
        idle = Idle()
        try:
            self.begin(handler, idle)
            while not await self.run_tasks():
                await idle.wait()
        finally:
            if self.closed is None:
                await self._close()
        assert self.closed is not None
        return self.closed

    def begin(self, handler: Handler | None, need: Callable[[Connection], object]) -> None:
        """Carries exchanges from now on. On the loop; to be called once.

        Args:
            handler: As for `run`.
            need: Is called with this connection, on the loop, when there is a first task. The
                owner runs `run_tasks()` once for that; with the last task this returns.
        """
        self.exchange_table.handler = handler
        self.lifecycle.begin(need)
        self.writer.writing = False
        if self.timeouts.connection_idle is not None:
            self.lifecycle.start_soon(bound_idleness, self, self.timeouts.connection_idle)
        if self.timeouts.lifetime is not None:
            self.lifecycle.start_soon(bound_lifetime, self, self.timeouts.lifetime)
        try:
            self.heartbeat.start()
            self.reader.begin(self, self.options.heartbeat.interval)
        except Exception as exc:  # noqa: BLE001  # raised where its tasks run, as all of its bugs
            self.lifecycle.crash(exc)

    async def run_tasks(self) -> bool:
        """Runs its tasks until there are none.

        Returns:
            Whether it has ended.

        Raises:
            Exception: A bug. The connection has ended, with 1011.
        """
        over = True
        try:
            over = await self.lifecycle.run_tasks()
        except Exception:
            error = Closed(False, CloseCode.INTERNAL_ERROR, "an internal error", by_peer=False)
            self.lifecycle.end(error)
            raise
        finally:
            if over:
                await self._close()
        return over

    def drop(self) -> None:
        """Ends it without a word if it is idle. On the loop; for an owner that ends.

        Where it has a task, `run_tasks()` is to be cancelled instead.
        """
        if self.closed is None and not self.lifecycle.running:
            assert isinstance(self._stream, trio.SocketStream)  # what else there is needs a task
            self._finish()
            self._stream.socket.close()
            self.lifecycle.tell_finished()

    async def _close(self) -> None:
        self._finish()
        with trio.CancelScope(shield=True):
            await trio.aclose_forcefully(self._stream)
        self.lifecycle.tell_finished()

    async def aclose(self, code: int = CloseCode.NORMAL, reason: str = "") -> None:
        """Closes the connection, and waits until it is closed, at most `timeouts.close`.

        What is in flight fails with `ConnectionClosed`. A second call only waits.

        Args:
            code: 1000 ends the peer's client for good, 1001 lets it dial again.
            reason: At most 123 bytes of UTF-8 reach the peer.

        Raises:
            ValueError: The code cannot be sent.

        If cancelled, the closing goes on without this.
        """
        self.close_soon(code, reason)
        await self.wait_closed()

    async def drain(
        self, grace: float | None = None, code: int = CloseCode.GOING_AWAY, reason: str = ""
    ) -> Closed:
        """Closes the connection after what is in flight, and waits until it is closed.

        The peer is told at once (GOAWAY), and neither side starts a request from then on: what the
        peer has on its way is refused, and repeated by it elsewhere. What is in flight, both ways,
        goes on. With nothing in flight the connection closes immediately.

        If cancelled, it closes without waiting for what is in flight.

        Args:
            grace: Seconds that this may take, before what is left fails with `ConnectionClosed`;
                `None` is `Timeouts.grace`.
            code: 1001 and 1012 let the peer's client dial again, which it does right away; 1000
                ends it for good.
            reason: At most 123 bytes of UTF-8 reach the peer.

        Returns:
            How it ended.

        Raises:
            ValueError: The code cannot be sent.
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
            ValueError: The code cannot be sent.
        """
        check_close_code(code)
        with self.lock:
            if self.lifecycle.close(code, reason):
                self.multiplexer.send_goaway(code, reason)
                self.writer.wake()

    def drain_soon(self, code: int = CloseCode.GOING_AWAY, reason: str = "") -> None:
        """Begins to drain; returns at once. On the loop.

        No request is started any more, by neither side; what is in flight goes on, and after the
        last of it the connection is closed. There is no end to the time that this may take.

        Raises:
            ValueError: The code cannot be sent.
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
        """Waits for the end, and tells how it was: no error is raised. Can be cancelled."""
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

    def _reject(self, error: RemoteProtocolError) -> Closed:
        """The peer broke the protocol: closes with the reason."""
        self.limit_log.note_about(
            self, error.limit or "malformed", "closing with %d: %s", error.close_code, error
        )
        self.counters.tell_error("protocol")
        with self.lock:
            self._websocket.close(error.close_code, str(error))
        return Closed(False, error.close_code, str(error), by_peer=False)

    async def end(self, ending: Closed | Exception) -> None:
        """See `Owner` of the reader."""
        if isinstance(ending, RemoteProtocolError):
            ending = self._reject(ending)
        elif isinstance(ending, Exception):
            why = str(ending.__cause__ or "") or str(ending) or type(ending).__name__
            ending = self.lifecycle.lost(f"the socket failed: {why}")
        self.lifecycle.end(ending)
        await self._finish_close()
        self.lifecycle.abort(ending)

    async def _finish_close(self) -> None:
        """After the last byte was read: lets the close frame leave, and awaits the peer's."""
        if self._websocket.close_sent:
            self.lifecycle.bound(trio.current_time() + min(_LINGER, self.timeouts.close))
            if not await self.writer.wait_written():
                return
            while not self._websocket.close_received and await self.reader.drop_some():
                pass

    def _finish(self) -> None:
        """Fails all that is under way. From here on nothing is sent."""
        self.lifecycle.stop_tasks()
        with self.lock:
            self.writer.direct_socket = None
            self.reader.close()
            self.lifecycle.finish()
            self.exchange_table.fail_all()
        self.heartbeat.stop()
        if self.instrument is not None:
            assert self.closed is not None
            self.instrument.connection_closed(self, self.closed)
