"""A gateway: clients send messages over plain WebSockets, and each becomes a call that is answered.

    from restsock.gateway import Action, Channel, Gateway, Router

    async def find(message):
        return [pet for pet in PETS if pet["tag"] == message.body["tag"]]

    async def greet(session):
        session.groups.add("visitors")

    channel = Channel("/ws", Action(), Router({"pets.find": find}), on_connect=greet)
    gateway = Gateway([channel])
    async with restsock.listen("0.0.0.0", 8080, endpoints=gateway) as server:
        gateway.groups.send("visitors", {"action": "news"})     # and whenever there is something
        await server.wait_closed()

A page sends `{"action": "pets.find", "id": 1, "tag": "cat"}` and gets `{"id": 1, "status": 200,
"body": [...]}`. Other backends pass messages on: to a peer behind NAT, an operation of an OpenAPI
document, an HTTP server, another WebSocket, a broker.

A backend gets a `Message` and returns a `Reply`. Since the answer is a value, middleware can retry
the call, bound its time, and keep or check the answer. To push a message to a client, call
`Session.send`.

- `_message`: what goes in and comes out. `_errors`: what goes wrong, as a reply.
- `_backend`: what answers. `_middleware`: what stands before it. `_router`: which one it is.
- `backends`: what answers: servers, apps, peers, brokers.
- `dialects`: what messages of a WebSocket mean.
- `middleware`: limits, time-outs, retries, circuit breakers, caches, checks, metrics and traces.
- `_channel`: what there is at a path. `_endpoint`: the same on a listener; `_conversation` and
  `_answers`: what goes on with one client.
- `_contract`: what may be said on a channel, as a document of AsyncAPI.
- `_session`: a client while it is connected; `_session_groups`: the groups that it is in.
- `_sessions`, `_groups`: all of them, by id and by name.
- `_gateway`: all of it. `_running`: what of it runs. `_statistics`: what it counts.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from . import backends as _backends
from ._backend import Backend, Call, FunctionBackend, Peers, as_backend
from ._channel import Channel
from ._contract import asyncapi
from ._endpoint import ChannelEndpoint
from ._errors import DUPLICATE_ID, NO_ROUTE, CallFailed, problem, reply_to_failure
from ._gateway import ChannelChange, Gateway
from ._groups import Groups
from ._message import Message, Reply
from ._middleware import Middleware, chain
from ._router import Answers, Pipe, Router
from ._session import Delivery, Session
from ._session_groups import SessionGroups
from ._sessions import Sessions
from ._statistics import ChannelStatistics, GatewayStatistics
from .backends import (
    GRIP,
    HTTP,
    Admit,
    App,
    Balance,
    BalanceMember,
    HTTPBackend,
    HTTPMapping,
    HTTPRequest,
    JSONIds,
    Peer,
    Queue,
    QueueMessage,
    Source,
    WebSocket,
)
from .dialects import JSONRPC, Action, Dialect, EnvelopeDialect, HTTPDialect, RawDialect
from .middleware import (
    Breaker,
    Cache,
    CircuitOpen,
    Errors,
    Limit,
    Measure,
    Rate,
    Retry,
    Timeout,
    Trace,
    Validate,
)

if TYPE_CHECKING:
    from .backends import NATS as NATS
    from .backends import OperationContract as OperationContract
    from .backends import Operations as Operations
    from .backends import RabbitMQ as RabbitMQ
    from .backends import RedisStreams as RedisStreams

__all__ = [
    "DUPLICATE_ID",
    "GRIP",
    "HTTP",
    "JSONRPC",
    "NO_ROUTE",
    "Action",
    "Admit",
    "Answers",
    "App",
    "Backend",
    "Balance",
    "BalanceMember",
    "Breaker",
    "Cache",
    "Call",
    "CallFailed",
    "Channel",
    "ChannelChange",
    "ChannelEndpoint",
    "ChannelStatistics",
    "CircuitOpen",
    "Delivery",
    "Dialect",
    "EnvelopeDialect",
    "Errors",
    "FunctionBackend",
    "Gateway",
    "GatewayStatistics",
    "Groups",
    "HTTPBackend",
    "HTTPDialect",
    "HTTPMapping",
    "HTTPRequest",
    "JSONIds",
    "Limit",
    "Measure",
    "Message",
    "Middleware",
    "Peer",
    "Peers",
    "Pipe",
    "Queue",
    "QueueMessage",
    "Rate",
    "RawDialect",
    "Reply",
    "Retry",
    "Router",
    "Session",
    "SessionGroups",
    "Sessions",
    "Source",
    "Timeout",
    "Trace",
    "Validate",
    "WebSocket",
    "as_backend",
    "asyncapi",
    "chain",
    "problem",
    "reply_to_failure",
]


def __getattr__(name: str) -> Any:
    if name not in _backends.LATER:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(_backends, name)


def __dir__() -> list[str]:
    return sorted({*globals(), *_backends.LATER})
