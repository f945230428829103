"""`Dialer`: keeps a WebSocket to a server open, as long as it runs."""

from __future__ import annotations

import logging
import random
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

import trio

from restsock._arguments import check_keywords
from restsock._exceptions import HandshakeError, RestsockError, WebSocketRefused, without_frames
from restsock._options import Backoff
from restsock.apps import is_disconnect
from restsock.client import Redial
from restsock.connection import ClientWebSocket
from restsock.protocol import CloseCode

from ._connect import ConnectOptions, connect, opened, target_of
from ._reconnect import Reconnect

if TYPE_CHECKING:
    import asyncio

    from typing_extensions import Unpack

__all__ = ["Dialer"]

# What a server, or what stands before it, says of a moment that will pass.
_PASSING = frozenset((408, 425, 429, 500, 502, 503, 504))


class Dialer:
    """Keeps a WebSocket to a server open: dials, serves it, and dials again when it has ended.

        async def serve(websocket: ClientWebSocket) -> None:
            await websocket.send("subscribe")
            async for message in websocket: ...

        await Dialer("wss://feed.example/v1", serve, reconnect=Reconnect(cap=30)).run()

    When the function returns, its WebSocket is closed with 1000, and the next one is dialed, unless
    `stop` was called. `WebSocketClosed` ends a WebSocket in the same way. Any other exception
    closes it with 1011, and ends `run`.

    Args:
        url: As with `connect`.
        serve: An async function, called with each WebSocket.
        reconnect: When to dial again. It gives up after `tries` failed attempts in a row; 0 never.
        options: The other arguments of `connect`.

    Attributes:
        websocket: The one that is open now; `None` while there is none.
        attempts: How often it has dialed.
        connections: How often it has connected.
        asyncio_loop: The loop for `auth`, if that is a function of asyncio.
        last_failure: The error of the last attempt; `None` after a success.
        on_dial: Is called before each attempt, which `attempts` already counts.
        on_failure: Is called with the error of each attempt that fails.

    Raises:
        ValueError: As with `connect`.
        TypeError: Likewise.
    """

    def __init__(
        self,
        url: str,
        serve: Callable[[ClientWebSocket], Awaitable[object]],
        *,
        reconnect: Backoff = Reconnect(),  # noqa: B008  # it is frozen
        **options: Unpack[ConnectOptions],
    ) -> None:
        check_keywords(connect, options)
        if not callable(serve):
            raise TypeError(f"serve has to be an async function, not {type(serve).__name__}")
        self._target = target_of(url, **options)
        self._serve = serve
        self._redial = Redial(reconnect, random.random)
        self._lines = self._target.limit_log
        self._scope: trio.CancelScope | None = None  # around all that is not a WebSocket
        self.asyncio_loop: asyncio.AbstractEventLoop | None = None  # of `auth`
        self._stopped = False
        self._failures = 0  # in a row
        self.websocket: ClientWebSocket | None = None
        self.attempts = 0
        self.connections = 0
        self.last_failure: RestsockError | None = None
        self.on_dial: Callable[[], object] | None = None
        self.on_failure: Callable[[RestsockError], object] | None = None

    @property
    def url(self) -> str:
        """The URL that it dials, without the query."""
        return str(self._target.transport.address)

    async def run(self, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Runs until it is stopped or cancelled. `nursery.start` waits for the first WebSocket.

        A cancellation also ends a wait between two attempts.

        Raises:
            WebSocketRefused: The server has refused it, and `reconnect` gives up.
            HandshakeError: There is no connection, and `reconnect` gives up.
            Exception: What the function has raised.
        """
        self._stopped = False
        while not self._stopped:
            with trio.CancelScope() as self._scope:
                pause = self._redial.pause(trio.current_time())
                if pause is not None:
                    self._log_pause(pause)
                    await trio.sleep(pause)
            if self._stopped:
                break
            self._redial.begin(trio.current_time())
            self.attempts += 1
            if self.on_dial is not None:
                self.on_dial()
            try:
                await self._connect(task_status)
            except (HandshakeError, WebSocketRefused) as exc:
                self._fail(exc)

    def stop(self) -> None:
        """Closes the WebSocket, if there is one, with 1000, and dials no more. On the loop."""
        self._stopped = True
        if self.websocket is not None:
            self.websocket.close_soon()
        if self._scope is not None:
            self._scope.cancel()

    async def _connect(self, task_status: trio.TaskStatus[None]) -> None:
        """Dials once, and has the WebSocket served."""
        async with opened(self._target, self.asyncio_loop) as websocket:
            begun = trio.current_time()
            self.websocket = websocket
            self.connections += 1
            self._failures = 0
            self.last_failure = None
            self._lines.say("connected", "connected to %s", self.url, level=logging.INFO, burst=5)
            if self.connections == 1:
                task_status.started()
            try:
                if not self._stopped:
                    await self._serve(websocket)
            except Exception as exc:
                if not is_disconnect(exc, websocket.closed_error):
                    raise
            finally:
                self.websocket = None
        now = trio.current_time()
        self._redial.end(now, now - begun, websocket.close_code or CloseCode.ABNORMAL)

    def _fail(self, error: HandshakeError | WebSocketRefused) -> None:
        """Notes an attempt that has failed; raises the error where it was the last."""
        self._failures += 1
        self.last_failure = without_frames(error)
        if self.on_failure is not None:
            self.on_failure(error)
        judged = error
        if isinstance(error, WebSocketRefused):
            status = error.status
            judged = HandshakeError(
                str(error),
                status=status,
                retryable=status in _PASSING,
                by_listener=status in (401, 403),
            )
        assert isinstance(judged, HandshakeError)
        if self._redial.gives_up(
            judged,
            failures=self._failures,
            connected_before=self.connections > 0,
            renewable=getattr(self._target.auth, "renewable", self._target.auth is not None),
        ):
            raise error

    def _log_pause(self, pause: float) -> None:
        why = self.last_failure or "the last one has ended"
        self._lines.say(
            "dialing",
            "no WebSocket to %s: %s; dialing again in %.2f s",
            self.url,
            why,
            pause,
            burst=5,
        )
