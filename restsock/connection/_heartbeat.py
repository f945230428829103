"""Heartbeats: whether a peer lives, and the one task that keeps the time for all of them."""

from __future__ import annotations

import heapq
import itertools
import math
from typing import TYPE_CHECKING, Any, Protocol

import trio

from restsock.protocol import CloseCode

from ._close import Closed
from ._heartbeat_calls import PING_NUMBER, ping_number

if TYPE_CHECKING:
    from restsock._options import Heartbeat
    from restsock.protocol import Pipeline

    from ._counters import ConnectionCounters
    from ._heartbeat_calls import HeartbeatCalls
    from ._lifecycle import Lifecycle
    from ._writer import Writer

__all__ = ["ConnectionHeartbeat", "HeartbeatTimer", "heartbeat_timer"]

# Pings that leave before the other tasks of the loop have their turn.
_AT_ONCE = 64
# Where there are more than that in all, seconds to sleep at least between two turns: of those that
# are due one after the other, some leave together and a little late. To be woken costs more than a
# ping.
_PAUSE = 0.05

# How long a close frame to a peer that does not answer may take to leave. Seconds.
_GOODBYE = 0.1


class Check(Protocol):
    """What is called when its time has come."""

    def __call__(self, now: float) -> float:
        """Does what is due; returns when to be called again. Raises nothing."""


class HeartbeatTimer:
    """Calls each connection of a loop when its time has come. A timer for each would cost far more.

    Its task belongs to the trio run, and exists while there is anything to call.
    """

    def __init__(self) -> None:
        # A heap of due time, number and call: lists, which the heap compares without our code.
        self._entries: list[list[Any]] = []
        self._numbers = itertools.count()
        self._living = 0  # entries that were not removed
        self._sleep = trio.CancelScope()

    def add(self, due: float, check: Check) -> list[Any]:
        """Calls `check` at a time (of the loop's clock), and again whenever it says.

        Returns:
            What `remove` needs.
        """
        entry = [due, next(self._numbers), check]
        heapq.heappush(self._entries, entry)
        self._living += 1
        if self._living == 1:
            trio.lowlevel.spawn_system_task(self._run, name="restsock-heartbeats")
        elif due < self._sleep.deadline:
            self._sleep.deadline = due
        return entry

    def remove(self, entry: list[Any]) -> None:
        """Never calls it again. To be called once."""
        entry[2] = None  # it leaves the heap when it is due
        self._living -= 1
        if not self._living:
            _timer.set(None)
            self._sleep.cancel()

    async def _run(self) -> None:
        entries = self._entries
        earliest = -math.inf
        while self._living:
            with trio.CancelScope(deadline=max(entries[0][0], earliest)) as self._sleep:
                await trio.sleep_forever()
            now = earliest = trio.current_time()
            for _ in range(_AT_ONCE):
                if not entries or entries[0][0] > now:
                    if len(entries) > _AT_ONCE:
                        earliest = now + _PAUSE
                    break
                entry = entries[0]
                if entry[2] is None:
                    heapq.heappop(entries)
                else:
                    entry[0] = max(entry[2](now), math.nextafter(now, math.inf))
                    heapq.heapreplace(entries, entry)


_timer: trio.lowlevel.RunVar[HeartbeatTimer | None] = trio.lowlevel.RunVar(
    "restsock-heartbeats", None
)


def heartbeat_timer() -> HeartbeatTimer:
    """That of this trio run."""
    found = _timer.get()
    if found is None:
        found = HeartbeatTimer()
        _timer.set(found)
    return found


class ConnectionHeartbeat:
    """Whether the peer of one connection lives: pings, how long they take, and its silence.

    Attributes:
        last_byte: when the latest bytes have come, on the clock of the loop. Set by any thread.
        pings: sent so far; each carries its number.
        calls: the functions that a program has for it; `None` where it has none.
    """

    __slots__ = (
        "_clock",
        "_counters",
        "_data",
        "_entry",
        "_lifecycle",
        "_options",
        "_pinged_at",
        "_pipeline",
        "_writer",
        "calls",
        "last_byte",
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
        self._entry: list[Any] | None = None  # in the timer
        self.last_byte = self._pinged_at = self._clock.current_time()
        self.pings = 0
        self._data = b""  # of the latest ping
        self.calls: HeartbeatCalls | None = None

    def start(self) -> None:
        """Sends the first ping, and has the timer of the loop send the others."""
        if not self._pipeline.can_ping:
            return  # that the peer lives is for whatever is in between to find out
        now = trio.current_time()
        self._send_ping(now)  # also without heartbeats: windows grow by the round trip
        if self._options.interval is not None:
            self._entry = heartbeat_timer().add(now + self._options.interval, self)

    def stop(self) -> None:
        """Ends it. Harmless when repeated."""
        entry, self._entry = self._entry, None
        if entry is not None:
            heartbeat_timer().remove(entry)
        self.calls = None  # which knows the connection: without it, both are freed at once

    def receive_pong(self, payload: bytes) -> None:
        """A pong has come; one that answers the latest ping tells the round trip. With the lock."""
        if payload == ping_number(self.pings) + self._data:
            round_trip = self._clock.current_time() - self._pinged_at
            self._pipeline.multiplexer.round_trip = round_trip
            self._counters.tell_round_trip(round_trip)
            if self.calls is not None:
                self.calls.pong(self._data, round_trip)

    def receive_ping(self, payload: bytes) -> None:
        """A ping has come, and is answered elsewhere. With the lock."""
        if self.calls is not None:
            numbered = self._pipeline.multiplexer.numbered_pings
            self.calls.ping(payload[PING_NUMBER:] if numbered else payload)

    @property
    def late(self) -> float | None:
        """How long the peer has been silent, if that is suspicious. For any thread."""
        options = self._options
        silence = self._clock.current_time() - self.last_byte
        if options.interval is None or silence <= options.interval + options.timeout / 2:
            return None
        return silence

    @property
    def _silence_limit(self) -> float:
        """How long, in seconds, the peer may be silent."""
        options = self._options
        return math.inf if options.interval is None else options.interval + options.timeout

    def __call__(self, now: float) -> float:
        """Does what is due; returns when to check again. For the timer: a method costs 64 bytes."""
        interval = self._options.interval
        assert interval is not None
        if self._pipeline.websocket.paused:
            self.last_byte = now  # it is this side that reads nothing
        silent_at = self.last_byte + interval + self._options.timeout
        try:
            if now >= silent_at:
                self._lifecycle.start_soon(self._timed_out)
                return now + interval + self._options.timeout
            if now >= self._pinged_at + interval:
                self._send_ping(now)
        except Exception as exc:  # noqa: BLE001  # a bug in one connection is not the others' end
            self._lifecycle.crash(exc)
        return min(self._pinged_at + interval, silent_at)

    @property
    def _silent(self) -> bool:
        return trio.current_time() >= self.last_byte + self._silence_limit

    async def _timed_out(self) -> None:
        """Ends the connection because of silence, and says so, as far as that still goes.

        Unless what the peer has sent was only not read yet.
        """
        # The loop may have been busy, or the machine asleep: what has come meanwhile is read first.
        for _ in range(2):
            await trio.lowlevel.checkpoint()
        if not self._silent:
            self._send_ping(trio.current_time())
            return
        reason = f"no byte from the peer for {self._silence_limit:g} s"
        outcome = Closed(False, CloseCode.HEARTBEAT_TIMEOUT, reason, by_peer=False)
        self._lifecycle.end(outcome)
        with self._writer.lock:
            self._pipeline.websocket.close(CloseCode.HEARTBEAT_TIMEOUT, reason)
        with trio.move_on_after(_GOODBYE):
            await self._writer.wait_written()
        self._lifecycle.abort(outcome)

    def _send_ping(self, now: float) -> None:
        data = self._next_data()
        with self._writer.lock:
            self.pings += 1
            self._pinged_at = now
            self._data = data
            self._pipeline.send_ping(ping_number(self.pings) + data)
            self._writer.flush()

    def _next_data(self) -> bytes:
        """What the next ping carries beside its number."""
        if self._pipeline.ping_frames:
            return b""  # they have no room for it
        if self.calls is not None:
            return self.calls.data()
        data = self._options.data
        return data if isinstance(data, bytes) else b""  # nobody is told of this connection
