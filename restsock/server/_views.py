"""What the APIs for threads and asyncio show of a server: connections, routes and events."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import trio

from restsock._exceptions import RestsockError
from restsock.connection import Connection
from restsock.endpoint import ConnectionView

from ._registry import Connections
from ._route import Route

if TYPE_CHECKING:
    from restsock.threads import Portal

    from ._events import ConnectionEvent
    from ._server import Server

__all__ = ["ConnectionsView", "RouteView", "SubscriptionView"]

V = TypeVar("V", bound=ConnectionView)


class ConnectionsView(Generic[V]):
    """The connections of a server whose handshake is complete.

    Iteration goes over a snapshot, oldest first. A lookup that finds nothing does not raise.

    Args:
        registry: The registry of the server.
        show: Wraps a connection in the class of the API.
    """

    def __init__(self, registry: Connections, show: Callable[[Connection], V]) -> None:
        self._registry = registry
        self._show = show

    def __len__(self) -> int:
        return len(self._registry)

    def __iter__(self) -> Iterator[V]:
        return map(self._show, self._registry)

    def __contains__(self, connection: object) -> bool:
        return isinstance(connection, ConnectionView) and connection._connection in self._registry

    def by_id(self, id: str) -> V | None:
        """The connection with this id, or `None`."""
        found = self._registry.by_id(id)
        return None if found is None else self._show(found)

    def by_name(self, name: str) -> V | None:
        """The connection of the peer of this name, or `None`. Of several, the newest."""
        found = self._registry.by_name(name)
        return None if found is None else self._show(found)

    def all_by_name(self, name: str) -> list[V]:
        """All connections that requests to this name may go to, oldest first.

        Without `names="share"` there is at most one.
        """
        return [self._show(found) for found in self._registry.all_by_name(name)]

    def by_metadata(self, metadata: Any) -> list[V]:
        """All connections with exactly this metadata, compared as JSON values, oldest first."""
        return [self._show(found) for found in self._registry.by_metadata(metadata)]

    def __repr__(self) -> str:
        return repr(self._registry)


class RouteView(Generic[V]):
    """The route to the peer of one name.

    Args:
        route: The route of the API for trio.
        show: Wraps a connection in the class of the API.
    """

    def __init__(self, route: Route, show: Callable[[Connection], V]) -> None:
        self._route = route
        self._show = show

    @property
    def name(self) -> str:
        """The peer's name."""
        return self._route.name

    @property
    def connection(self) -> V | None:
        """The peer's current connection, or `None`. Of several, the newest."""
        connection = self._route.connection
        return None if connection is None else self._show(connection)

    def __repr__(self) -> str:
        return repr(self._route)


class SubscriptionView:
    """The connection events of a server, from its creation on.

    Args:
        portal: The way to the loop of the server.
        server: The server.
        capacity: See `Server.events`.
        wake: Called on that loop when there may be an event. It must not refer to this object: the
            loop keeps it alive, and a subscription that is dropped must end.
    """

    def __init__(
        self, portal: Portal, server: Server, capacity: int, wake: Callable[[], object]
    ) -> None:
        self._portal = portal
        self._subscription = portal.call(partial(server.events, capacity=capacity, wake=wake))

    def _next(self) -> ConnectionEvent | None:
        """The next event; `None` if there is none yet.

        Raises:
            EOFError: There are no more events: the server or this was closed.
        """
        try:
            return self._subscription.receive_nowait()
        except trio.EndOfChannel:
            raise EOFError("there are no more events") from None
        except trio.WouldBlock:
            return None

    def _close(self) -> None:
        if self._portal.foreign:
            return  # the parent's
        try:
            self._portal.post(self._subscription.close)
        except RestsockError:
            pass  # the loop has ended, and all subscriptions with it

    def __del__(self) -> None:
        if hasattr(self, "_subscription"):
            self._close()
