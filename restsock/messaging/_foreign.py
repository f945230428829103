"""Foreign peers: plain WebSockets that carry messages in a dialect, listening and dialing."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, Protocol

import trio

from restsock._exceptions import HandshakeError, RestsockError, WebSocketRefused
from restsock.client import parse_url
from restsock.connection import check_asyncio
from restsock.websockets import Dialer, Endpoint, Reconnect

from ._errors import MessagingClosed
from ._websocket_link import Carried, WebSocketLink
from .dialects import Dialect, End
from .engine import check_name, is_name

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from restsock._options import Backoff
    from restsock.auth import Refused
    from restsock.connection import ClientWebSocket, Connection
    from restsock.websockets import ConnectOptions, EndpointOptions, ServerWebSocket

    from ._options import MessagingOptions

__all__ = ["ForeignPeers", "Name"]

Name = Callable[["ServerWebSocket"], "str | None"]
"""Gives the name of a peer that has connected, or `None`. On the loop; it must not block."""

_GOING_AWAY = 1001


class Host(Carried, Protocol):
    """A `Messaging`, as its foreign peers know it."""

    options: MessagingOptions

    def check_running(self) -> None: ...

    def note_listening(self) -> None: ...

    def note_dialing(self, *, again: bool = ...) -> None: ...

    def note_gave_up(self, reason: str) -> None: ...


class ForeignPeers:
    """What a `Messaging` has for peers that do not speak restsock.v1."""

    def endpoint(
        self: Host,
        dialect: Dialect,
        *,
        name: Name | None = None,
        **options: Unpack[EndpointOptions],
    ) -> Endpoint:
        """Takes messages of foreign peers that connect, and sends them messages.

            endpoint = messaging.endpoint(Semstreams(channel="readings"), auth=tokens)
            restsock.listen("0.0.0.0", 8443, endpoints={"/ingest": endpoint})

        Each connection is a `Session`. It takes no more than the messaging has room for: see
        `MessagingOptions.queue_full`. The listener goes into the `async with` block of the
        messaging. When it closes, what was read is handled, and acknowledged, for its grace.

        Args:
            dialect: what they speak.
            name: gives a peer its name, from its `principal` or `request`. Messages to that name
                wait while it is away, and what it sends again is known from before. Without a name
                a peer is a new one each time.
            options: as of `restsock.websockets.Endpoint`: `auth`, `origins`, `max_connections`,
                `compression`, `browser_token` and so on.

        Raises:
            TypeError: as of `Endpoint`.
            ValueError: likewise.
        """
        return _ForeignEndpoint(self, dialect, name, options)

    async def dial(
        self: Host,
        url: str,
        dialect: Dialect,
        *,
        name: str | None = None,
        reconnect: Backoff = Reconnect(),  # noqa: B008  # it is frozen
        task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
        **options: Unpack[ConnectOptions],
    ) -> None:
        """Connects to a foreign peer, and keeps connected until it is cancelled.

            nursery.start_soon(partial(messaging.dial, "wss://feed.example/ws", Tremor()))

        `nursery.start` waits for the first connection. While there is none, messages to the peer
        wait: `channel(...)` without `to`, or with its name.

        Args:
            url: `ws://` or `wss://`; see `restsock.websockets.connect`.
            dialect: what the peer speaks.
            name: of the peer. Whoever dials several peers gives each a name.
            reconnect: when to dial again.
            task_status: of `nursery.start`.
            options: as of `restsock.websockets.connect`: `auth`, `tls`, `headers`, `proxy` and so
                on.

        Raises:
            WebSocketRefused: it was refused, and `reconnect` gives up. `health` says so, too.
            HandshakeError: there is no connection, and `reconnect` gives up; likewise.
            MessagingClosed: the messaging is closed.
            ValueError: the name, or an option, is not valid.
            TypeError: an option is of a wrong type.
        """
        if name is not None:
            check_name("peer's name", name)
        address = parse_url(url)

        async def serve(websocket: ClientWebSocket) -> None:
            end = _end(str(uuid.uuid4()), address.host, address.port, address.tls, dialed=True)
            link = _link(self, websocket, dialect, end, name=name, principal=None)
            await link.run()

        dialer = Dialer(url, serve, reconnect=reconnect, **options)
        dialer.on_dial = lambda: self.note_dialing(again=dialer.attempts > 1)
        dialer.on_failure = lambda error: self.note_error(_kind(error))
        self.check_running()
        try:
            await dialer.run(task_status)
        except (HandshakeError, WebSocketRefused) as exc:
            self.note_gave_up(str(exc))
            raise


class _ForeignEndpoint(Endpoint):
    """See `ForeignPeers.endpoint`."""

    def __init__(self, messaging: Host, dialect: Dialect, name: Name | None, options: Any) -> None:
        super().__init__(self._carry, **options)
        self._messaging = messaging
        self._dialect = dialect
        self._name_of = name

    def on_asyncio(self, face: Callable[[Connection], Any]) -> Endpoint:
        """The same: its function is one of trio wherever it runs, and its authenticator is not."""
        self.admission.control.asyncio_loop = check_asyncio("this", "the API for trio")
        return self

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """See `Endpoint`."""
        self._messaging.check_running()
        self._messaging.note_listening()
        async with super().running():
            yield

    def refused(self, refused: Refused) -> None:
        """See `Endpoint`."""
        self._messaging.note_error("auth_failed" if refused.status == 401 else "upgrade_error")

    async def _carry(self, websocket: ServerWebSocket) -> None:
        peer = websocket.peer
        end = _end(websocket.id, peer.host, peer.port, peer.tls, dialed=False)
        name = None if self._name_of is None else self._name_of(websocket)
        if name is not None and not is_name(name):
            raise ValueError("the name of a peer is 1 to 255 printable characters")
        link = _link(
            self._messaging,
            websocket,
            self._dialect,
            end,
            name=name,
            principal=websocket.principal,
        )
        try:
            await link.run()
        except MessagingClosed:
            websocket.close_soon(_GOING_AWAY, "there is no messaging any more")


def _end(session_id: str, host: str, port: int, tls: bool, *, dialed: bool) -> End:
    return End(session_id, dialed, host, port, tls, lambda: str(uuid.uuid4()))


def _link(
    messaging: Host, websocket: Any, dialect: Dialect, end: End, *, name: str | None, principal: Any
) -> WebSocketLink:
    return WebSocketLink(
        messaging,
        websocket,
        dialect,
        end,
        name=name,
        principal=principal,
        options=messaging.options,
    )


def _kind(error: RestsockError) -> str:
    """Under what a failure to connect is counted."""
    refused = isinstance(error, WebSocketRefused) and error.status in (401, 403)
    return "auth_failed" if refused else "connect_error"
