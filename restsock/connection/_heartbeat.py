"""Heartbeats: whether a peer lives, and the one task that keeps the time for many of them."""

from __future__ import annotations

import heapq
import itertools
import math
from collections.abc import Callable
from typing import TYPE_CHECKING

import trio

from restsock.protocol import CloseCode

from ._close import Closed

if TYPE_CHECKING:
    from restsock._options import Heartbeat
    from restsock.protocol import Pipeline

    from ._counters import ConnectionCounters
    from ._lifecycle import Lifecycle
    from ._writer import Writer

__all__ = ["ConnectionHeartbeat", "HeartbeatCheck", "HeartbeatTimer"]

# How long a close frame to a peer that does not answer may take to leave. Seconds.
_GOODBYE = 0.1


class HeartbeatCheck:
    """When one connection is to be checked next. `stop()` forgets it."""

    __slots__ = ("_check", "_number", "due")

    def __init__(self, due: float, number: int, check: Callable[[], float]) -> None:
        self.due = due
        self._number = number
        self._check: Callable[[], float] | None = check

    def __lt__(self, other: HeartbeatCheck) -> bool:
        return (self.due, self._number) < (other.due, other._number)

    def stop(self) -> None:
        """Never calls again. Harmless when repeated."""
        self._check = None

    def check(self) -> float | None:
        """Calls; returns when to call again, or `None` when it was stopped."""
        return None if self._check is None else self._check()


class HeartbeatTimer:
    """Calls each connection when its time has come. A timer for each would cost far more."""

    def __init__(self) -> None:
        self._checks: list[HeartbeatCheck] = []
        self._numbers = itertools.count()
        self._sleep: trio.CancelScope | None = None

    def add(self, due: float, check: Callable[[], float]) -> HeartbeatCheck:
        """Calls `check` at a time (of the loop's clock), and again whenever it says."""
        scheduled = HeartbeatCheck(due, next(self._numbers), check)
        heapq.heappush(self._checks, scheduled)
        if self._sleep is not None and due < self._sleep.deadline:
            self._sleep.deadline = due
        return scheduled

    async def run(self) -> None:
        """Keeps the time until it is cancelled."""
        checks = self._checks
        while True:
            with trio.CancelScope(deadline=checks[0].due if checks else math.inf) as self._sleep:
                await trio.sleep_forever()
            now = trio.current_time()
            while checks and checks[0].due <= now:
                scheduled = checks[0]
                due = scheduled.check()
                if due is None:
                    heapq.heappop(checks)
                else:
                    scheduled.due = max(due, math.nextafter(now, math.inf))
                    heapq.heapreplace(checks, scheduled)


class ConnectionHeartbeat:
    """Whether the peer of one connection lives: pings, how long they take, and its silence.

    Attributes:
        pings: sent so far; each carries its number.
    """

    __slots__ = (
        "_check",
        "_clock",
        "_counters",
        "_last_byte",
        "_lifecycle",
        "_options",
        "_pinged_at",
        "_pipeline",
        "_writer",
        "pings",
    )

    def __init__(
        self,
        options: Heartbeat,
        pipeline: Pipeline,
        lifecycle: Lifecycle,
        writer: Writer,
        counters: ConnectionCounters,
    ) -> None:
        self._options = options
        self._pipeline = pipeline
        self._lifecycle = lifecycle
        self._writer = writer
        self._counters = counters
        self._clock = trio.lowlevel.current_clock()
        self._check: HeartbeatCheck | None = None
        self._last_byte = self._pinged_at = self._clock.current_time()
        self.pings = 0

    def start(self, timer: HeartbeatTimer | None) -> None:
        """Sends the first ping, and has its time kept: by a timer, or by one of its own."""
        self._send_ping()  # also without heartbeats: windows grow by the round trip
        if self._options.interval is None:
            return
        if timer is None:
            timer = HeartbeatTimer()
            self._lifecycle.start_soon(timer.run)
        self._check = timer.add(self._next_check(), self)

    def stop(self) -> None:
        """Ends it. Harmless when repeated."""
        if self._check is not None:
            self._check.stop()

    def note_bytes(self) -> None:
        """Bytes have come. For any thread."""
        self._last_byte = self._clock.current_time()

    def receive_pong(self, payload: bytes) -> None:
        """A pong has come; one that answers the latest ping tells the round trip. With the lock."""
        if payload == _ping_payload(self.pings):
            round_trip = self._clock.current_time() - self._pinged_at
            self._pipeline.multiplexer.round_trip = round_trip
            self._counters.tell_round_trip(round_trip)

    @property
    def late(self) -> float | None:
        """How long the peer has been silent, if that is suspicious. For any thread."""
        options = self._options
        silence = self._clock.current_time() - self._last_byte
        if options.interval is None or silence <= options.interval + options.timeout / 2:
            return None
        return silence

    @property
    def _silence_limit(self) -> float:
        """How long, in seconds, the peer may be silent."""
        options = self._options
        return math.inf if options.interval is None else options.interval + options.timeout

    def _next_check(self) -> float:
        """When a ping will be due, or the peer will have been silent for too long."""
        assert self._options.interval is not None
        next_ping = self._pinged_at + self._options.interval
        return min(next_ping, self._last_byte + self._silence_limit)

    def __call__(self) -> float:
        """Does what is due; returns when to check again. For the timer: a method costs 64 bytes."""
        if not self._lifecycle.has_tasks:  # it is ending
            return math.inf
        if self._is_silent():
            self._lifecycle.start_soon(self._timed_out)
            return trio.current_time() + self._silence_limit
        if trio.current_time() >= self._next_check():
            self._send_ping()
        return self._next_check()

    def _is_silent(self) -> bool:
        return trio.current_time() >= self._last_byte + self._silence_limit

    async def _timed_out(self) -> None:
        """Ends the connection because of silence, and says so, as far as that still goes.

        Unless what the peer has sent was only not read yet.
        """
        # The loop may have been busy, or the machine asleep: what has come meanwhile is read first.
        for _ in range(2):
            await trio.lowlevel.checkpoint()
        if not self._is_silent():
            self._send_ping()
            return
        reason = f"no byte from the peer for {self._silence_limit:g} s"
        outcome = Closed(False, CloseCode.HEARTBEAT_TIMEOUT, reason, by_peer=False)
        self._lifecycle.end(outcome)
        with self._writer.lock:
            self._pipeline.websocket.close(CloseCode.HEARTBEAT_TIMEOUT, reason)
        with trio.move_on_after(_GOODBYE):
            await self._writer.wait_written()
        self._lifecycle.abort(outcome)

    def _send_ping(self) -> None:
        with self._writer.lock:
            self.pings += 1
            self._pinged_at = trio.current_time()
            if not self._pipeline.websocket.close_sent:
                self._pipeline.websocket.send_ping(_ping_payload(self.pings))
                self._writer.flush()


def _ping_payload(number: int) -> bytes:
    """What a ping carries: its number, so that the answer to an earlier one is not taken for it."""
    return number.to_bytes(8, "big")
