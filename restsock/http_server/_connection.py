"""One connection of a client of plain HTTP: a `Connection` on which nothing but HTTP is spoken."""

from __future__ import annotations

import logging
import math
import socket
import struct
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import trio

from restsock._http_date import http_date
from restsock._logging import about
from restsock.connection import Closed, Connection, Peer, TLSStream, heartbeat_timer
from restsock.http1 import CREDIT, Downstream, Due
from restsock.protocol import CloseCode, Multiplexer, Pipeline, Settings

if TYPE_CHECKING:
    from restsock._buffered import Buffered
    from restsock._limit_log import LimitLog
    from restsock._options import Options
    from restsock.connection import Handler

__all__ = ["NEXT_REQUEST", "HTTPConnection"]

# Seconds within which a client that asks without a pause has sent its next request, or got an end.
NEXT_REQUEST = 0.5
# What each client would say of itself.
_CLIENT = Settings(max_frame=64 * 1024, initial_window=CREDIT, max_streams=0)

# SO_LINGER of zero seconds: a close that the client cannot take for the end of a response.
_ABORT = struct.pack("ii", 1, 0)


class HTTPConnection(Connection):
    """A connection of a client that sends HTTP/1.1 or HTTP/1.0 instead of an upgrade.

    It has no name and no heartbeat, and takes no requests: the client alone asks.

    Args:
        stream: what was accepted; after the handshake of TLS, if that is spoken.
        received: bytes that have been read from it.
        peer: where the client is.
        options: of this side. `Timeouts.handshake` bounds each head, `Timeouts.keep_alive` the time
            between two requests, `Timeouts.idle` that in which nothing moves in the middle of one.
        clock: gives the time, to any thread; one function for all connections.
        limit_log: notes what goes over a limit, together with other connections.
        buffered: counts what they hold, together.
        on_active: is told, every few seconds, that it is in use.
    """

    __slots__ = ("_entry", "_layer", "_moved", "_on_active", "_parting", "_since")

    def __init__(
        self,
        stream: trio.abc.Stream,
        received: bytes,
        *,
        peer: Peer,
        options: Options,
        clock: Callable[[], float],
        limit_log: LimitLog | None = None,
        buffered: Buffered | None = None,
        on_active: Callable[[Connection], object] | None = None,
    ) -> None:
        tls = stream.tls if isinstance(stream, TLSStream) else None
        scheme = "http" if tls is None else "https"
        layer = self._layer = Downstream(options.limits, scheme, http_date, clock)
        multiplexer = Multiplexer(
            dialer=False,
            limits=options.limits,
            heartbeat=options.heartbeat,
            new_id=str,
            unix_ms=int,
            buffered=buffered,
        )
        multiplexer.skip_handshake(str(uuid4()), _CLIENT)
        pipeline = Pipeline(layer, multiplexer, tls)
        pipeline.ping_frames = True  # which the client has not said that it answers: none are sent
        super().__init__(
            stream.transport_stream if isinstance(stream, TLSStream) else stream,
            pipeline,
            name=None,
            metadata=None,
            peer=peer,
            options=options,
            limit_log=limit_log,
        )
        layer.receive_data(received)
        layer.on_turn = self._turn_soon
        self._parting = False
        self._entry: list[Any] | None = None
        # What was seen at the last check, and since when it has not changed.
        self._on_active = on_active
        self._moved = self._where()
        self._since = trio.current_time()

    def begin(self, handler: Handler | None, need: Callable[[Connection], object]) -> None:
        """As `Connection.begin`."""
        super().begin(handler, need)
        self._entry = heartbeat_timer().add(trio.current_time() + self._interval, self._check)
        if self._layer.over:
            self._turn_soon()

    @property
    def idle_time(self) -> float:
        """Seconds since the latest response left; 0 while more is to be done. On the loop."""
        if self._layer.due is not Due.REQUEST or self.writer.writing:
            return 0.0
        return trio.current_time() - self._layer.answered_at

    def serve_last(self) -> None:
        """Answers one more request, and tells the client that it is the last."""
        with self.lock:
            self._layer.serve_last()

    @property
    def layer(self) -> Downstream:
        """What speaks HTTP/1.1; to be changed with the lock."""
        return self._layer

    def read_more(self) -> None:
        """There is room again for what the client sends. On the loop."""
        self._turn_soon()

    # --- turns ----------------------------------------------------------------------------

    def _turn_soon(self) -> None:
        self.writer.leave_to_loop(self._turn)

    def _turn(self) -> None:
        """Goes on with what has come before, or ends the connection. On the loop."""
        layer = self._layer
        layer.take_turn()
        if self.closed is not None:
            return
        if layer.over:
            self._part()
            return
        with self.lock:
            layer.receive_data(b"")
        self.reader.resume()

    def _part(self) -> None:
        """Ends the connection after what is due."""
        if self._layer.problem is not None and not self._parting:
            self.limit_log.note(
                "malformed",
                "connection %s from %s:%d: %s",
                self.id,
                self.peer.host,
                self.peer.port,
                self._layer.problem,
                level=logging.INFO,
                extra=about(self),
            )
        self.reader.resume()  # frames that are still to be told
        if not self._parting:
            self._parting = True
            self.lifecycle.start_soon(self._say_goodbye)

    async def _say_goodbye(self) -> None:
        """Tells the client, after the last byte, that no more will come.

        Then it drops what still comes until the client closes, for `Timeouts.close` seconds: closed
        at once, the system would break the connection off, and the client might lose the response
        (RFC 9112, section 9.6). A client that is idle has its response, and may not look: that is
        not waited for.
        """
        if self._layer.broken:
            self._abort("a response was cut off")
            return
        # However long that takes: a client that takes nothing is left to `_check`.
        await self.writer.wait_written()
        self.close_soon(CloseCode.NORMAL)
        if await self.writer.wait_written():
            with suppress(OSError, trio.BrokenResourceError, trio.ClosedResourceError):
                if isinstance(self._stream, trio.SocketStream):
                    await self._stream.send_eof()
        if self._layer.closed_idle:
            self.lifecycle.bound(self._layer.answered_at + NEXT_REQUEST)

    async def end(self, ending: Closed | Exception) -> None:
        """See `Owner` of the reader. What is complete is still sent to one that says no more."""
        if not (self._layer.answering or self._layer.broken):
            await self.writer.wait_written()
        await super().end(ending)

    def _abort(self, reason: str) -> None:
        """Breaks the connection off, so that the client sees it."""
        with self.lock:
            self._layer.broken = True
        self.lifecycle.abort(Closed(False, CloseCode.ABNORMAL, reason, by_peer=False))

    # --- time -----------------------------------------------------------------------------

    @property
    def _interval(self) -> float:
        times = self.timeouts
        return min(times.handshake, times.keep_alive, times.idle) / 2

    def _where(self) -> tuple[Due, int, bool, int]:
        """Changes whenever the client does what it is waited for, or is waited for anew."""
        layer, counters = self._layer, self.counters
        nbytes = 0  # a head is waited for as a whole, however its bytes come
        if self.writer.writing:
            nbytes = counters.bytes_sent
        elif layer.waiting:
            nbytes = counters.bytes_received
        return layer.due, layer.stream_id, self.writer.writing, nbytes

    def _check(self, now: float) -> float:
        """Ends it if the client lets it wait for too long; returns when to look again."""
        layer, times = self._layer, self.timeouts
        moved = self._where()
        if moved != self._moved:
            self._moved = moved
            self._since = now
            if self._on_active is not None:
                self._on_active(self)
        if self.writer.writing:
            bound = times.idle
        elif layer.due is Due.REQUEST:
            bound = times.keep_alive
        elif layer.due is Due.HEAD:
            bound = times.handshake
        else:
            bound = times.idle if layer.waiting else math.inf
        if now - self._since >= bound:
            try:
                self._give_up()
            except Exception as exc:  # noqa: BLE001  # a bug in one connection is not the others' end
                self.lifecycle.crash(exc)
        return now + self._interval

    def _give_up(self) -> None:
        """The client has let it wait for too long."""
        if self.writer.writing:
            self._abort(f"the client has taken no byte for {self.timeouts.idle:g} s")
            return
        with self.lock:
            if self._layer.due is Due.REQUEST:
                self._layer.close()
            else:
                self._layer.time_out()
            self.writer.flush()

    def _finish(self) -> None:
        entry, self._entry = self._entry, None
        if entry is not None:
            heartbeat_timer().remove(entry)
        if self._layer.cut_off and isinstance(self._stream, trio.SocketStream):
            with suppress(OSError):
                self._stream.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _ABORT)
        super()._finish()
