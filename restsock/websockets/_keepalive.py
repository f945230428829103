"""Whether the other side of a WebSocket lives, and whether the WebSocket is in use."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import trio

from restsock.connection import heartbeat_timer, ping_number
from restsock.protocol import CloseCode

if TYPE_CHECKING:
    from restsock._options import Heartbeat
    from restsock.connection import HeartbeatCalls, OpenWebSocket

__all__ = ["kept_alive"]

# How often the messages are looked at, in the time after which a WebSocket without any is closed.
_LOOKS = 8


@contextmanager
def kept_alive(
    websocket: OpenWebSocket,
    heartbeat: Heartbeat,
    idle: float | None,
    unsent: Callable[[], int],
    calls: HeartbeatCalls | None = None,
) -> Iterator[None]:
    """Pings the other side while the block runs, and closes a WebSocket that is dead or idle.

    Args:
        websocket: Which one.
        heartbeat: When to ping, and when to give up.
        idle: Seconds without a message, either way.
        unsent: Tells how many bytes wait to be sent below the WebSocket.
        calls: The functions that the program has for the heartbeat.
    """
    keepalive = _Keepalive(websocket, heartbeat, idle, unsent, calls)
    timer = heartbeat_timer()
    due = keepalive.due(trio.current_time())
    entry: list[Any] | None = None
    if calls is not None:
        websocket.on_ping = calls.ping
    if due != math.inf:
        websocket.on_received, websocket.on_pong = keepalive.note_bytes, keepalive.note_pong
        entry = timer.add(due, keepalive.check)
    try:
        yield
    finally:
        if entry is not None:
            timer.remove(entry)
        websocket.on_received = websocket.on_ping = websocket.on_pong = None


class _Keepalive:
    """Looks after one WebSocket.

    Its peer is dead when

    - no byte of it has come for `interval + timeout` seconds;
    - or it has answered no ping for twice as long, whatever it sends, and takes nothing: it does
      not read. A slow one that goes on taking bytes is not dead: the ping waits behind these.

    Time in which this side reads nothing, because too much waits to be received, does not count.
    """

    __slots__ = (
        *(
            "_active",
            "_answered",
            "_calls",
            "_data",
            "_heard",
            "_idle",
            "_interval",
            "_messages",
            "_number",
            "_pinged",
        ),
        *("_given", "_silence", "_taken", "_unsent", "_websocket"),
    )

    def __init__(
        self,
        websocket: OpenWebSocket,
        heartbeat: Heartbeat,
        idle: float | None,
        unsent: Callable[[], int],
        calls: HeartbeatCalls | None,
    ) -> None:
        self._websocket = websocket
        self._calls = calls
        self._given = heartbeat.data
        self._data = b""  # of the latest ping
        self._unsent = unsent
        self._idle = math.inf if idle is None else idle
        self._interval = math.inf if heartbeat.interval is None else heartbeat.interval
        self._silence = self._interval + heartbeat.timeout
        self._heard = self._answered = self._pinged = self._active = trio.current_time()
        self._number = 0  # of the latest ping
        self._messages = websocket.messages
        self._taken = (0, 0)

    def note_bytes(self) -> None:
        """Bytes have come."""
        self._heard = trio.current_time()

    def note_pong(self, payload: bytes) -> None:
        """A pong has come; that of the latest ping tells the round trip."""
        now = trio.current_time()
        self._answered = now
        if payload == ping_number(self._number) + self._data:
            self._websocket.round_trip = now - self._pinged
            if self._calls is not None:
                self._calls.pong(self._data, now - self._pinged)

    def due(self, now: float) -> float:
        """When to look again."""
        return min(
            self._pinged + self._interval,
            self._heard + self._silence,
            now + self._idle / _LOOKS,
        )

    def check(self, now: float) -> float:
        """Does what is due; returns when to look again."""
        websocket = self._websocket
        if websocket.close_code is not None:
            return now + 3600  # it is closing, which is bounded
        if websocket.reading_paused:
            self._heard = self._answered = now
        taken = (websocket.messages - websocket.queued, self._unsent())
        if taken[1] and taken != self._taken:
            self._answered = now
        self._taken = taken
        if websocket.messages != self._messages or websocket.awaited:
            self._messages, self._active = websocket.messages, now
        quiet = max(now - self._heard, (now - self._answered) / 2)
        if quiet >= self._silence:
            websocket.fail(CloseCode.INTERNAL_ERROR, f"no sign of life for {self._silence:g} s")
        elif now - self._active >= self._idle:
            websocket.close_soon(CloseCode.GOING_AWAY, f"no message for {self._idle:g} s")
        elif now >= self._pinged + self._interval:
            self._pinged = now
            self._number += 1
            data = self._given if self._calls is None else self._calls.data()
            assert isinstance(data, bytes)
            self._data = data
            websocket.send_ping(ping_number(self._number) + data)
        return self.due(now)
