"""The listening side: `listen` makes a `Server`, which accepts peers and finds them by name.

- `_listen`: checks the arguments.
- `_accept`: sockets, and the accept loop; `_place`, `_listening`: where to listen, now and later.
- `_unix`: a Unix socket and its file; `_inherited`: sockets that a parent process has bound.
- `_front_door`, `_http_clients`: clients of plain HTTP on the same port.
- `_handed_over`: sockets that a web server has accepted.
- `_newcomers`: from an accepted socket to a connection; `_proxies`: the address of a dialer.
- `_connection_limiter`: how many connections there may be.
- `_registrar`: adds connections to the `_registry`, where they are found, and publishes events.
- `_peers`: the connections of peers; `_connection_tasks`: their tasks.
- `_peer_endpoint`: peers that speak another protocol.
- `_server`: the public class.
- `_events`: connection events, for subscribers.
- `_route`: requests to a peer by its name; `_by_name`: the same for a server.
- `_views`: what the APIs for threads and asyncio show of it.
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
