"""The listening side: `listen` makes a `Server`, which accepts peers and knows them.

- `_listen`: the arguments, checked.
- `_accept`: sockets, and the loop that accepts; `_place` and `_listening`: where, now and later.
- `_unix`: a Unix socket and its file; `_inherited`: sockets that a parent process has bound.
- `_front_door`, `_http_clients`: what clients of plain HTTP get on the same port.
- `_handed_over`: sockets that a web server has accepted.
- `_newcomers`: from an accepted socket to a connection.
- `_registrar`: enters connections into the `_registry`, where they are found, and tells of it.
- `_peers`: keeps the connections of peers while they last.
- `_server`: what a program sees of it.
- `_events`: what happens to connections, for subscribers.
- `_route`: requests to a peer by its name; `_by_name`: the same of a server.
- `_views`: what the APIs beside that for trio show of it.
"""

from __future__ import annotations

from restsock.endpoint import ServerStatistics

from ._by_name import RequestsByName
from ._connection_limiter import network_of
from ._events import ConnectionEvent, EventType, Subscription
from ._front_door import CallsPeers, IngressLike, PeersLike
from ._handed_over import HandedOver
from ._inherited import systemd_sockets
from ._listen import listen
from ._listening import Bound
from ._proxies import ProxiesLike, TrustedProxies
from ._registry import Connections
from ._route import Route
from ._server import Server
from ._views import ConnectionsView, RouteView, SubscriptionView

__all__ = [
    "Bound",
    "CallsPeers",
    "ConnectionEvent",
    "Connections",
    "ConnectionsView",
    "EventType",
    "HandedOver",
    "IngressLike",
    "PeersLike",
    "ProxiesLike",
    "RequestsByName",
    "Route",
    "RouteView",
    "Server",
    "ServerStatistics",
    "Subscription",
    "SubscriptionView",
    "TrustedProxies",
    "listen",
    "network_of",
    "systemd_sockets",
]
