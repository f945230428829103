"""HTTP over one WebSocket, in both directions at once.

One peer dials, the other listens; after that they are equals. Either serves a WSGI or ASGI app, and
the other calls it with an ordinary ``requests.Session``.

Layers: a module imports from lower layers only, and siblings do not import each other. The test
``tests/test_layers.py`` reads this chart and holds every import in the package to it.

    L0  _exceptions, _options  the tree of errors; the options: limits, timeouts, heartbeat, backoff
    L0  _addresses            hosts and URLs, read strictly
    L0  _limit_log, _buffered  what went over a limit; what all connections hold together
    L0  _logging              the connection of each record, and no line that a peer has forged
    L0  _patterns             names and paths against patterns, in linear time
    L0  _principal, _watch    who a peer was found to be; files that change
    L0  _blocked              event loops that something blocks
    L1  _arguments            arguments that a call does not have
    L1  protocol              bytes in, events out: frames, heads, handshake, streams, WebSocket
    L1  auth, tls             credentials and authenticators; TLS from files
    L2  connection            a Connection over any trio stream, and the exchanges on it
    L2  http1                 HTTP/1.1 towards proxies and mounted servers, sans-IO as well
    L3  threads               where a thread meets a loop: exchanges of threads, the background loop
    L4  apps, adapters        serve an app, a function or another server; requests and httpx
    L4  instruments           metrics for Prometheus, traces with OpenTelemetry
    L5  openapi               hold either end to an OpenAPI document; only it imports openapi-core
    L6  endpoint              what a client and a server share: their life cycle, signals, sockets
    L7  client, server        dial and keep a connection; accept connections and know them by name
    L8  sync                  the same API for threads
    L9  testing               two connected peers in memory, and a wire that breaks on demand

Only ``protocol`` imports wsproto, and only it and ``http1`` import h11. Neither imports an event
loop, a clock, a socket, a thread or a source of randomness: those are handed in. ``import
restsock`` loads neither requests nor openapi-core; what needs them is loaded at its first use.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from restsock import auth, tls
from restsock._exceptions import (
    ConnectionClosed,
    HandshakeError,
    LocalProtocolError,
    PeerNotFound,
    PeerUnavailable,
    ProtocolError,
    RemoteProtocolError,
    RequestTimeout,
    RequestValidationError,
    ResponseValidationError,
    RestsockError,
    SpecError,
    StreamError,
    StreamRefused,
    StreamReset,
    ValidationError,
)
from restsock._logging import ConnectionFields
from restsock._options import Backoff, Heartbeat, Limits, Options, SocketOptions, Timeouts
from restsock._principal import Principal
from restsock.apps import ConnectionInfo, forward
from restsock.client import Client, ClientStatistics, Proxy, connect
from restsock.connection import (
    OUTCOMES,
    Closed,
    Connection,
    Handler,
    Health,
    Instrument,
    Peer,
    Request,
    Requester,
    Response,
    Statistics,
    StreamedResponse,
)
from restsock.endpoint import drain_on_signal
from restsock.server import (
    ConnectionEvent,
    Connections,
    EventType,
    Route,
    Server,
    ServerStatistics,
    Subscription,
    listen,
)

if TYPE_CHECKING:
    from restsock import openapi, sync, testing
    from restsock.adapters import Session, TunnelAdapter

__version__ = "0.2.0"

__all__ = [
    "OUTCOMES",
    "Backoff",
    "Client",
    "ClientStatistics",
    "Closed",
    "Connection",
    "ConnectionClosed",
    "ConnectionEvent",
    "ConnectionFields",
    "ConnectionInfo",
    "Connections",
    "EventType",
    "Handler",
    "HandshakeError",
    "Health",
    "Heartbeat",
    "Instrument",
    "Limits",
    "LocalProtocolError",
    "Options",
    "Peer",
    "PeerNotFound",
    "PeerUnavailable",
    "Principal",
    "ProtocolError",
    "Proxy",
    "RemoteProtocolError",
    "Request",
    "RequestTimeout",
    "RequestValidationError",
    "Requester",
    "Response",
    "ResponseValidationError",
    "RestsockError",
    "Route",
    "Server",
    "ServerStatistics",
    "Session",
    "SocketOptions",
    "SpecError",
    "Statistics",
    "StreamError",
    "StreamRefused",
    "StreamReset",
    "StreamedResponse",
    "Subscription",
    "Timeouts",
    "TunnelAdapter",
    "ValidationError",
    "auth",
    "connect",
    "drain_on_signal",
    "forward",
    "listen",
    "openapi",
    "sync",
    "testing",
    "tls",
]


def __getattr__(name: str) -> Any:
    """Loads at first use what brings requests along, or what many programs never need."""
    if name in {"Session", "TunnelAdapter"}:
        return getattr(importlib.import_module("restsock.adapters"), name)
    if name in {"openapi", "sync", "testing"}:
        return importlib.import_module(f"restsock.{name}")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return [*globals(), "Session", "TunnelAdapter", "openapi", "sync", "testing"]
