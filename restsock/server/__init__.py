"""The listening side: `listen` makes a `Server`, which accepts peers and knows them.

- `_listen`: the arguments, checked.
- `_accept`: sockets, and the loop that accepts.
- `_server`: the life of each connection, from its first byte to its last event.
- `_registry`: who is connected now.
- `_events`: what happens to connections, for subscribers.
- `_route`: requests to a peer by its name.
- `_statistics`: its numbers.
"""

from __future__ import annotations

from ._events import ConnectionEvent, EventType, Subscription
from ._listen import listen
from ._registry import Connections
from ._route import Route
from ._server import Server
from ._statistics import ServerStatistics

__all__ = [
    "ConnectionEvent",
    "Connections",
    "EventType",
    "Route",
    "Server",
    "ServerStatistics",
    "Subscription",
    "listen",
]
