"""Backends: what answers the messages of a gateway.

`HTTP`, `App` and `Peer` speak HTTP to a server, to an app in this process, to a peer behind NAT,
and share how a message becomes a request (`HTTPMapping`).

- `_template`: parts of a message, in paths and names. `_http_mapping`: messages as requests.
- `_operations`: messages as calls of an OpenAPI document. `_balance`: one of several.
- `_websocket`: another WebSocket. `_json_ids`: how its answers are known; `_link`: one of them.
- `_waiting`: calls whose answers come by another way.
- `_queue`: a queue of the program. `_broker`: one with its broker, `_rabbitmq`, `_redis_streams`.
- `_nats`: a subject of NATS. `_payload`: bodies and fields, for all of these.
- `_admit`: whoever is asked before a WebSocket is accepted.
- `_grip`: a backend of Pushpin. `_grip_session`: one client of it; `_websocket_events`: its bytes;
  `_grip_items`: what it publishes.
- `_http_backend`: what those that speak HTTP have in common. `_http`, `_app`, `_peer`: these.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from ._admit import Admit
from ._app import App
from ._balance import Balance, BalanceMember
from ._grip import GRIP
from ._grip_items import MalformedItem, publish_items
from ._http import HTTP
from ._http_backend import HTTPBackend
from ._http_mapping import HTTPMapping, HTTPRequest
from ._json_ids import JSONIds
from ._peer import Peer
from ._queue import Queue, QueueMessage
from ._template import Source
from ._websocket import WebSocket

if TYPE_CHECKING:
    from ._nats import NATS as NATS
    from ._operations import OperationContract as OperationContract
    from ._operations import Operations as Operations
    from ._rabbitmq import RabbitMQ as RabbitMQ
    from ._redis_streams import RedisStreams as RedisStreams

# What takes a while to load, or needs an extra: at its first use. It is not in `__all__`: whoever
# imports all does not want an extra that is not there.
LATER = {
    "NATS": "_nats",
    "OperationContract": "_operations",
    "Operations": "_operations",
    "RabbitMQ": "_rabbitmq",
    "RedisStreams": "_redis_streams",
}

__all__ = [
    "GRIP",
    "HTTP",
    "Admit",
    "App",
    "Balance",
    "BalanceMember",
    "HTTPBackend",
    "HTTPMapping",
    "HTTPRequest",
    "JSONIds",
    "MalformedItem",
    "Peer",
    "Queue",
    "QueueMessage",
    "Source",
    "WebSocket",
    "publish_items",
]


def __getattr__(name: str) -> Any:
    if name not in LATER:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{LATER[name]}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *LATER})
