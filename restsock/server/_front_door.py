"""What a listener answers to clients of plain HTTP, besides the peers that dial in.

On any port for peers the listener first reads an HTTP/1.1 head. A head that offers restsock.v1
comes from a peer. With any of `ingress=`, `endpoints=` and `health_path=`, all others are requests:
exchanges like those of peers, passed to a handler by their path.
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from typing import TYPE_CHECKING, Any, Protocol, cast

import trio

from restsock._options import Options
from restsock.apps import make_handler, on_asyncio
from restsock.connection import (
    Connection,
    Drains,
    Exchange,
    Handler,
    Health,
    answer,
    drains_of,
    ignore,
)
from restsock.protocol import SUBPROTOCOL

from ._peer_endpoint import PeerEndpoint, is_peer_endpoint, websocket_target

if TYPE_CHECKING:
    import asyncio

    from restsock._limit_log import LimitLog
    from restsock.connection import Instruments

    from ._registry import Connections
    from ._route import Route

__all__ = ["CallsPeers", "FrontDoor", "IngressLike", "PeersLike", "read_head"]

_READ = 16 * 1024
# An upgrade that offers our subprotocol; its other errors are answered by the handshake.
_PEER = re.compile(
    rb"\r\nsec-websocket-protocol:[^\r\n]*\b" + re.escape(SUBPROTOCOL.encode()) + rb"\b",
    re.IGNORECASE,
)
_PREFIX = re.compile(r"/(?:[A-Za-z0-9._~!$&'()*+,;=:@-]+/?)*")
_DOT_SEGMENT = re.compile(r"/\.{1,2}(?:/|\Z)")


class PeersLike(Protocol):
    """A `Server`, as an ingress knows it."""

    limit_log: LimitLog
    connections: Connections

    @property
    def options(self) -> Options:
        """The options for new connections."""

    @property
    def url(self) -> str:
        """The URL for clients on the same network."""

    def tell_urls(self, urls_of: Callable[[str], Sequence[str]]) -> None:
        """Sets the function that returns the URLs at which plain HTTP reaches a peer."""

    @property
    def instrument(self) -> Instruments | None:
        """The instruments, if any."""

    def submit(self, name: str, exchange: Exchange) -> None:
        """Submits an exchange to the connection of a peer, or queues it for the next one."""

    def health(self) -> Health:
        """Whether peers can connect."""

    def route(self, name: str) -> Route:
        """The route to the peer of that name."""


class CallsPeers(Protocol):
    """A `Handler` that is an endpoint of a server, and calls the peers of that server.

    An ingress is not one: a program that makes it an endpoint sets its server itself.
    """

    def bind_peers(self, server: PeersLike) -> None:
        """Sets the server. Called once for each server, before anything is served."""


class IngressLike(Protocol):
    """A `Handler` that passes requests on to the peers of a server; see `restsock.ingress`."""

    def bind(self, server: PeersLike, *, loopback: bool) -> None:
        """Sets the server. Called once, before anything is served."""

    def serve_here(self, loop: asyncio.AbstractEventLoop | None) -> None:
        """Makes its async authenticators run on this loop. Called before it runs."""

    def handle(self, exchange: Exchange) -> None:
        """See `Handler`."""

    def running(self) -> Any:
        """See `Handler`."""


class Paths(Protocol):
    """Handlers by path, which may change while they serve: `restsock.gateway.Gateway`."""

    def handler_at(self, path: str) -> Handler | None:
        """The handler for exactly this path, or `None`."""

    def bind_peers(self, server: PeersLike) -> None:
        """See `CallsPeers`."""

    def on_asyncio(self, face: Callable[[Connection], Any]) -> object:
        """Makes them run on the asyncio loop that runs here."""

    def running(self) -> AbstractAsyncContextManager[None]:
        """See `Handler`."""


class FrontDoor:
    """Passes each request on by its path: to the health check, an endpoint, or the ingress.

    Args:
        ingress: Gets the requests that are under no endpoint.
        endpoints: Apps or handlers by path; the longest matching prefix wins. Or a `Paths`, which
            finds its handlers itself.
        health_path: Answered with 200 while the server is healthy, otherwise with 503.
        options: The options of the server.
        peers: Whether peers may dial in, too.

    Raises:
        ValueError: A path is not valid.
        TypeError: An endpoint is not an app, or an argument is of a wrong type.
    """

    def __init__(
        self,
        ingress: IngressLike | None,
        endpoints: Mapping[str, Any],
        health_path: str | None,
        options: Options | None,
        *,
        peers: bool = True,
    ) -> None:
        self.ingress = ingress
        self.peers = peers
        self._health_path = None if health_path is None else _checked_path(health_path).encode()
        self._health: Callable[[], Health] | None = None
        self._endpoints: list[tuple[bytes, Handler]] = []
        self._peer_endpoints: dict[bytes, PeerEndpoint] = {}
        self._paths: Paths | None = None
        if hasattr(endpoints, "handler_at"):
            self._paths = cast("Paths", endpoints)
            for path in endpoints:
                _checked_path(path)
            endpoints = {}
        for prefix, app in endpoints.items():
            path = _checked_path(prefix).rstrip("/")
            if is_peer_endpoint(app):
                self._peer_endpoints[path.encode()] = app
            else:
                handler = make_handler(app, root_path=path, options=options)
                self._endpoints.append((path.encode(), handler))
        paths = [*self._peer_endpoints, *(path for path, _ in self._endpoints)]
        if len(set(paths)) < len(endpoints):
            raise ValueError("two endpoints are under the same path")
        self._endpoints.sort(key=lambda one: len(one[0]), reverse=True)

    def bind(self, server: PeersLike, *, loopback: bool) -> None:
        """Sets the server, and whether only this machine can reach it."""
        self._health = server.health
        if self.ingress is not None:
            self.ingress.bind(server, loopback=loopback)
        for handler in (self._paths, *(handler for _, handler in self._endpoints)):
            if hasattr(handler, "bind_peers"):
                cast("CallsPeers", handler).bind_peers(server)

    def serve_here(
        self, face: Callable[[Connection], Any], loop: asyncio.AbstractEventLoop | None
    ) -> None:
        """Makes the endpoints run on the asyncio loop that runs here; see `on_asyncio`."""
        if self.ingress is not None:
            self.ingress.serve_here(loop)
        if self._paths is not None:
            self._paths.on_asyncio(face)
        self._endpoints = [(path, on_asyncio(app, face)) for path, app in self._endpoints]

    def handle(self, exchange: Exchange) -> None:
        """Passes a request on; 404 if nothing has its path."""
        path = exchange.request.target.partition(b"?")[0]
        if path == self._health_path:
            self._tell_health(exchange)
            return
        if self._peer_endpoints and self._answered_for_peers(exchange, path):
            return
        if self._paths is not None:
            there = self._paths.handler_at(path.decode("latin-1"))
            if there is not None:
                there.handle(exchange)
                return
        for prefix, handler in self._endpoints:
            below = path[len(prefix) : len(prefix) + 1] in (b"", b"/")
            # OPTIONS * is for the server as a whole, so it goes to the handler of all paths.
            if (path.startswith(prefix) and below) or (path == b"*" and not prefix):
                handler.handle(exchange)
                return
        if self.ingress is not None:
            self.ingress.handle(exchange)
        else:
            exchange.observer = ignore
            answer(exchange, 404, "There is nothing here.\n")

    def _answered_for_peers(self, exchange: Exchange, path: bytes) -> bool:
        """Lets a peer endpoint answer requests for its path only; returns whether it did."""
        peers = self._find_peers(path)
        upgrade = exchange.request.upgrade == b"websocket"
        if peers is None or not (upgrade or (self.ingress is None and not self._has(path))):
            return False
        peers.handle(exchange)
        return True

    def peer_endpoint(self, received: bytes) -> PeerEndpoint | None:
        """The peer endpoint for a newcomer that has sent these bytes, or `None`."""
        if not self._peer_endpoints:
            return None
        target = websocket_target(received)
        return None if target is None else self._find_peers(target.partition(b"?")[0])

    def _has(self, path: bytes, beyond: int = -1) -> bool:
        """Whether another endpoint with a path longer than `beyond` bytes has this path."""
        return any(_is_under(path, one) and len(one) > beyond for one, _ in self._endpoints)

    def _find_peers(self, path: bytes) -> PeerEndpoint | None:
        """The peer endpoint for a path, unless another endpoint matches more of it."""
        under = [prefix for prefix in self._peer_endpoints if _is_under(path, prefix)]
        nearest = max(under, key=len, default=None)
        if nearest is None or self._has(path, len(nearest)):
            return None
        return self._peer_endpoints[nearest]

    def _tell_health(self, exchange: Exchange) -> None:
        assert self._health is not None
        health = self._health()
        exchange.observer = ignore
        fields = ((b"Cache-Control", b"no-store"),)
        answer(exchange, *((200, "ok\n") if health.ok else (503, "not ok\n")), fields)

    def drain_soon(self, grace: float, code: int, reason: str) -> None:
        """See `Drains`: drains the endpoints that can be drained."""
        for drains in self._draining():
            drains.drain_soon(grace, code, reason)

    async def wait_drained(self) -> None:
        """See `Drains`."""
        for drains in self._draining():
            await drains.wait_drained()

    def _draining(self) -> list[Drains]:
        handlers = (self._paths, *(handler for _, handler in self._endpoints))
        return [*filter(None, map(drains_of, handlers))]

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Runs all endpoints and the ingress."""
        async with AsyncExitStack() as stack:
            for _, handler in self._endpoints:
                await stack.enter_async_context(handler.running())
            if self._paths is not None:
                await stack.enter_async_context(self._paths.running())
            if self.ingress is not None:
                await stack.enter_async_context(self.ingress.running())
            yield


def _is_under(path: bytes, prefix: bytes) -> bool:
    return path.startswith(prefix) and path[len(prefix) : len(prefix) + 1] in (b"", b"/")


def _checked_path(path: str) -> str:
    if not isinstance(path, str):
        raise TypeError(f"a path must be a str, not {type(path).__name__}")
    if not _PREFIX.fullmatch(path) or _DOT_SEGMENT.search(path):
        raise ValueError(f"not a path of an endpoint: {path!r}; one begins with / and is plain")
    return path


async def read_head(stream: trio.abc.Stream, limit: int) -> tuple[bytes, bool]:
    """Reads until a head is complete or found invalid.

    Returns:
        All bytes that were read, and whether they come from a peer.
    """
    received = b""
    while b"\r\n\r\n" not in received and len(received) <= limit:
        data = bytes(await stream.receive_some(_READ))
        if not data:
            break
        received += data
        if received.lstrip(b"\r\n")[:1] < b"!":
            break  # this cannot begin a head
    return received, _PEER.search(received.partition(b"\r\n\r\n")[0]) is not None
