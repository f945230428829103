"""Connection: one handshaken WebSocket, whichever end, with many exchanges on it both ways.

One task, in `run()`, reads: it awaits nothing but the socket. Another writes while the socket takes
less than there is to send. A `HeartbeatTimer`, which many share, says when its peer is to be
checked.
Everything else happens in plain calls, in `Traffic`.
"""

from __future__ import annotations

import logging
import re
from typing import Any

import trio

from restsock._blocked import loop_watch
from restsock._exceptions import RemoteProtocolError
from restsock._limit_log import LimitLog
from restsock._logging import about
from restsock._options import Options
from restsock._principal import Principal
from restsock.protocol import TLS, CloseCode, Pipeline

from ._close import Closed, Peer, check_close_code
from ._deadlines import bound_idleness, bound_lifetime, bound_requests, give_up_behind
from ._exchange import Exchange
from ._health import Health, HealthReport
from ._heartbeat import HeartbeatTimer
from ._lifecycle import CLOSED, CLOSING
from ._requester import Handler
from ._statistics import Counters, Statistics
from ._traffic import Traffic

__all__ = ["Connection"]

_log = logging.getLogger("restsock.connection")

_HOST_NAME = re.compile(r"[A-Za-z0-9.-]+")

# How long to go on reading (and dropping) behind a close frame of ours, so that the peer's unread
# bytes do not make the system throw that frame away. Seconds.
_LINGER = 1.0


class Connection(Traffic):
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

    __slots__ = (
        "__weakref__",
        "_stream",
        "heartbeat_timer",
        "metadata",
        "peer",
        "principal",
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
        super().__init__(stream, pipeline, name=name, options=options, limit_log=limit_log)
        self.metadata = metadata
        self.peer = peer
        self.principal: Principal | None = None
        self._stream = stream
        self.heartbeat_timer: HeartbeatTimer | None = None

    @property
    def closed(self) -> Closed | None:
        """How it ended; `None` while it lives."""
        return self.lifecycle.outcome if self.lifecycle.state is CLOSED else None

    def __repr__(self) -> str:
        state = "open" if self.closed is None else f"closed: {self.closed}"
        return f"<Connection {self.id} name={self.name!r} {state}>"

    @property
    def connection(self) -> Connection:
        return self

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
        self._handler = handler
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

    def _watch_requests(self) -> None:
        self.lifecycle.start_soon(bound_requests, self)

    def _give_up_later(self, stream_id: int) -> None:
        self.lifecycle.start_soon(give_up_behind, self, stream_id, self.timeouts.idle)

    def _resubmit_later(self, exchange: Exchange, seconds: float) -> None:
        self.lifecycle.start_soon(self._resubmit_after, exchange, seconds)

    async def _resubmit_after(self, exchange: Exchange, seconds: float) -> None:
        try:
            await trio.sleep(seconds)
        except trio.Cancelled:
            # The connection is ending. What waits goes to the next one when it has ended.
            self._waiting[exchange] = None
            exchange.queue = self._waiting
            raise
        self._resubmit(exchange)

    async def wait_closed(self) -> Closed:
        """Waits for the end, and tells how it was. Can be cancelled without harm."""
        return await self.lifecycle.wait_finished()

    def statistics(self) -> Statistics:
        """Its counters now."""
        counters = Counters()
        self.count_into(counters)
        return counters.statistics(self.round_trip)

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
            waiting = len(self._waiting)
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
