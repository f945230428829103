"""The functions that a program has for pings and pongs, called away from the traffic."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

import trio

from restsock._logging import about, serving
from restsock._options import MAX_PING_DATA

from ._user_function import call_user_function, failure_of

if TYPE_CHECKING:
    import asyncio

    from restsock._limit_log import LimitLog
    from restsock._options import Heartbeat
    from restsock._principal import ConnectionInfo

__all__ = ["PING_NUMBER", "HeartbeatCalls", "heartbeat_calls", "ping_number"]

PING_NUMBER = 8
"""Bytes of the number that each ping begins with."""

# Calls of one connection that wait for their turn. A peer may ping as often as it likes.
_MOST = 16
# Threads that plain functions have, all of this trio run together.
_THREADS = 8

_limiter: trio.lowlevel.RunVar[trio.CapacityLimiter | None] = trio.lowlevel.RunVar(
    "restsock-heartbeat-threads", None
)


class HeartbeatCalls:
    """The calls of one connection: one after the other, in a task that exists while there is one.

    Nothing waits for them. Of what does not fit into the queue nobody is told; it is counted.

    Args:
        options: has the functions.
        describe: makes what they are told about the connection. Is called whenever they are.
        start: starts a task on the loop, that of the connection.
        limit_log: has what is left out, and what fails.

    Attributes:
        loop: that of async functions which are not for trio.
    """

    def __init__(
        self,
        options: Heartbeat,
        describe: Callable[[], ConnectionInfo],
        start: Callable[[Callable[[], Awaitable[None]]], object],
        limit_log: LimitLog,
        loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        self.loop = loop
        self._options = options
        self._describe = describe
        self._start = start
        self._limit_log = limit_log
        self._lock = threading.Lock()
        self._waiting: deque[tuple[str, tuple[Any, ...]]] = deque()
        self._running = False

    def data(self) -> bytes:
        """What the next ping is to carry. On the loop."""
        data = self._options.data
        if isinstance(data, bytes):
            return data
        try:
            found = data()
        except Exception as exc:  # noqa: BLE001  # anybody's code, and the ping has to leave
            self._say("data", failure_of(exc))
            return b""
        if not isinstance(found, bytes):
            self._say("data", f"it gave {type(found).__name__}, not bytes")
            return b""
        if len(found) > MAX_PING_DATA:
            self._say("data", f"it gave {len(found)} bytes, more than {MAX_PING_DATA}")
            return b""
        return found

    def ping(self, data: bytes) -> None:
        """The peer has sent a ping. For any thread."""
        if self._options.on_ping is not None:
            self._add("on_ping", data)

    def pong(self, data: bytes, seconds: float) -> None:
        """The latest ping was answered. For any thread."""
        if self._options.on_pong is not None:
            self._add("on_pong", data, seconds)

    def _add(self, name: str, *args: Any) -> None:
        with self._lock:
            full = len(self._waiting) >= _MOST
            if not full:
                self._waiting.append((name, args))
            started, self._running = self._running, True
        if full:
            self._limit_log.note(
                "heartbeat_calls",
                "Heartbeat.%s does not keep up: it is not told of everything",
                name,
                extra=about(self._describe()),
            )
        if not started:
            self._start(self._run)

    def _next(self) -> tuple[str, tuple[Any, ...]] | None:
        with self._lock:
            self._running = bool(self._waiting)
            return self._waiting.popleft() if self._waiting else None

    async def _run(self) -> None:
        connection = self._describe()
        serving.set(connection)  # for what the functions log themselves
        while (call := self._next()) is not None:
            name, args = call
            function = getattr(self._options, name)
            try:
                await call_user_function(
                    function, connection, *args, limiter=_threads(), loop=self.loop
                )
            except Exception as exc:  # noqa: BLE001  # anybody's code, and the traffic goes on
                self._say(name, failure_of(exc))

    def _say(self, name: str, how: str) -> None:
        kind, extra = f"heartbeat_{name}", about(self._describe())
        self._limit_log.say(kind, "Heartbeat.%s failed: %s", name, how, extra=extra)


def heartbeat_calls(
    options: Heartbeat,
    describe: Callable[[], ConnectionInfo],
    start: Callable[[Callable[[], Awaitable[None]]], object],
    limit_log: LimitLog,
    loop: asyncio.AbstractEventLoop | None = None,
) -> HeartbeatCalls | None:
    """Those of a connection; `None` where there is no function to call. See `HeartbeatCalls`."""
    functions = (options.on_ping, options.on_pong)
    if functions == (None, None) and isinstance(options.data, bytes):
        return None
    return HeartbeatCalls(options, describe, start, limit_log, loop)


def _threads() -> trio.CapacityLimiter:
    found = _limiter.get()
    if found is None:
        found = trio.CapacityLimiter(_THREADS)
        _limiter.set(found)
    return found


def ping_number(number: int) -> bytes:
    """What a ping begins with, so that the answer to an earlier one is not taken for it."""
    return number.to_bytes(PING_NUMBER, "big")
