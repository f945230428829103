"""`Session`: a client of a gateway, while it is connected."""

from __future__ import annotations

import logging
import time
import uuid
from collections import deque
from collections.abc import Awaitable, Callable, Iterable
from enum import Enum
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

import trio

from restsock.connection import check_websocket_code
from restsock.protocol import CloseCode

from ._session_groups import GroupsIndex, SessionGroups

if TYPE_CHECKING:
    from restsock._principal import Principal
    from restsock.websockets import Request, ServerWebSocket

__all__ = ["Delivery", "Session", "SessionHost"]

_log = logging.getLogger("restsock.gateway")

T = TypeVar("T")

# Messages that may be sent before the WebSocket is accepted: a greeting, not a feed.
_MOST_EARLY = 100


class Delivery(str, Enum):
    """What became of a message that was pushed to a session."""

    SENT = "sent"
    """It was handed to the socket. Whether the client got it is unknown."""
    QUEUED = "queued"
    """It waits, since the client does not read. It may be dropped if too much waits."""
    DROPPED = "dropped"
    """There is no room for it, since the client does not read."""
    GONE = "gone"
    """The session has ended."""

    def __str__(self) -> str:
        return self.value


class SessionHost(Protocol):
    """A gateway, as its sessions know it."""

    @property
    def groups(self) -> GroupsIndex:
        """Who is in which group."""

    def call_here(self, function: Callable[..., T], *args: Any) -> T:
        """Calls a quick function on the loop, from any thread."""


class Says(Protocol):
    """A dialect, as sessions know it."""

    def push(self, body: Any) -> str | bytes:
        """The message that says something without being asked."""


class PushCounters(Protocol):
    """What counts for a session."""

    def note_push(self, delivery: Delivery, dropped: int) -> None:
        """Something was sent, for which so many others were dropped."""


class Session:
    """A client of a gateway, from before its WebSocket is accepted to its end.

    `send_nowait`, `close` and `groups` are for any thread, and for tasks of trio and asyncio.

    Attributes:
        id: A UUID, new for each session.
        channel: The path of its channel.
        dialect: What it speaks.
        request: The request of its opening handshake.
        principal: Who the client is; `None` without authentication. `on_connect` may set it.
        connected_at: When it connected, in seconds since 1970.
        metadata: What is known of it; `Sessions.where` searches in it.
        stash: For functions and middleware, to keep values as long as it is connected.
        dropped: Pushed messages that were dropped.
        in_flight: Its calls that are not answered yet.
        host: Its gateway.
    """

    def __init__(
        self,
        host: SessionHost,
        channel: str,
        dialect: Says,
        counters: PushCounters,
        request: Request,
        principal: Principal | None,
    ) -> None:
        self.id = str(uuid.uuid4())
        self.channel = channel
        self.request = request
        self.principal = principal
        self.connected_at = time.time()
        self.metadata: dict[str, Any] = {}
        self.stash: dict[str, Any] = {}
        self.dropped = 0
        self.in_flight = 0
        self.host = host
        self._counters = counters
        self.dialect = dialect
        self._groups = SessionGroups(self)
        self._websocket: ServerWebSocket | None = None
        self._nursery: trio.Nursery | None = None
        self._early: deque[str | bytes] = deque()
        self._farewell: tuple[int, str] | None = None  # before there is a WebSocket
        self._over = False

    @property
    def groups(self) -> SessionGroups:
        """The names of its groups: a set, which may be changed or replaced.

        After the session has ended, these are its last groups.
        """
        return self._groups

    @groups.setter
    def groups(self, names: Iterable[str]) -> None:
        self._groups.replace(names)

    @property
    def closed(self) -> bool:
        """Whether nothing can be sent to it any more."""
        websocket = self._websocket
        return self._over or (websocket is not None and websocket.close_code is not None)

    async def send(self, body: Any) -> Delivery:
        """Pushes a message, in the dialect of the channel. Does not wait.

        If the client does not read, the message waits. If too much waits (`Channel.max_queue`), the
        oldest pushed messages are dropped; answers never are. Can be cancelled before it is sent,
        and never after.

        Args:
            body: A value of JSON, text or bytes.

        Raises:
            TypeError: This dialect has no way to say it.
            ValueError: Likewise.
        """
        try:
            trio.lowlevel.current_task()
        except RuntimeError:
            pass  # a task of asyncio
        else:
            await trio.lowlevel.checkpoint()
        return self.send_nowait(body)

    def send_nowait(self, body: Any) -> Delivery:
        """The same for any thread, and where nothing can be awaited.

        Raises:
            TypeError: This dialect has no way to say it.
            ValueError: Likewise.
        """
        return self.host.call_here(self.deliver, self.dialect.push(body))

    def deliver(self, encoded: str | bytes) -> Delivery:
        """Sends a message of the WebSocket as it is, and may drop it. On the loop."""
        dropped = 0
        if self.closed:
            delivery = Delivery.GONE
        elif (websocket := self._websocket) is None:
            self._early.append(encoded)
            delivery = Delivery.QUEUED
            if len(self._early) > _MOST_EARLY:
                self._early.popleft()
                dropped = 1
        else:
            before = websocket.dropped
            if not websocket.send_nowait(encoded, droppable=True):
                delivery = Delivery.DROPPED
            else:
                delivery = Delivery.QUEUED if websocket.queued else Delivery.SENT
            dropped = websocket.dropped - before
        self.dropped += dropped + (delivery is Delivery.DROPPED)
        self._counters.note_push(delivery, dropped)
        return delivery

    def start_soon(self, function: Callable[..., Awaitable[Any]], *args: Any) -> None:
        """Runs a function of trio for as long as the client is connected; cancelled at its end.

        An exception of it is logged (`restsock.gateway`), and closes the session with 1011. On the
        loop.

        Raises:
            RuntimeError: The session is not connected, or not any more.
        """
        if self._nursery is None:
            raise RuntimeError("this session is not connected")
        self._nursery.start_soon(self._guarded, function, *args)

    async def _guarded(self, function: Callable[..., Awaitable[Any]], *args: Any) -> None:
        try:
            await function(*args)
        except Exception:  # noqa: BLE001  # of the program; other sessions go on
            _log.exception("a task of %r failed", self)
            self.close(CloseCode.INTERNAL_ERROR)

    def close(self, code: int = CloseCode.NORMAL, reason: str = "") -> None:
        """Closes it, after the messages that wait. Does not wait. Twice is harmless.

        Calls in flight are cancelled, and not answered.

        Args:
            code: 1000 to 1003, 1007 to 1014, or 3000 to 4999.
            reason: For people, at most 123 bytes of UTF-8; more is cut.

        Raises:
            ValueError: This is no code to send.
        """
        check_websocket_code(code)
        self.host.call_here(self._close, code, reason)

    def _close(self, code: int, reason: str) -> None:
        if self._websocket is not None:
            self._websocket.close_soon(code, reason)
        elif self._farewell is None:
            self._farewell = code, reason

    # --- for its channel --------------------------------------------------------------------

    def begin(self, websocket: ServerWebSocket, nursery: trio.Nursery) -> None:
        """Its WebSocket was accepted: what was sent before leaves. On the loop."""
        websocket.id = self.id
        self._websocket = websocket
        self._nursery = nursery
        while self._early:
            websocket.send_nowait(self._early.popleft(), droppable=True)
        if self._farewell is not None:
            websocket.close_soon(*self._farewell)

    def end(self) -> None:
        """It is over. On the loop. Raises nothing."""
        self._over = True
        self._nursery = None
        self._early.clear()
        self._groups.leave_all()

    @property
    def began(self) -> bool:
        """Whether its WebSocket was accepted."""
        return self._websocket is not None

    @property
    def ended_with(self) -> tuple[int, str]:
        """The code and the reason of the side that closed first."""
        websocket = self._websocket
        if websocket is None:
            return CloseCode.ABNORMAL, "it left before its WebSocket was accepted"
        return websocket.close_code or CloseCode.ABNORMAL, websocket.close_reason

    def __repr__(self) -> str:
        return f"<Session {self.id}>"
