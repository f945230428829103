"""HTTP over one WebSocket, in both directions at once.

One peer dials (`connect`), the other listens (`listen`); after that they are equals. Either serves
a WSGI or ASGI app, and the other calls it with an ordinary ``requests.Session``. These functions
are for trio; `restsock.aio` has the same ones for asyncio, and `restsock.sync` for threads.

Each name is loaded at its first use, so ``import restsock`` itself costs little.
"""

# Layers: a module imports from lower layers only, and siblings do not import each other. The test
# tests/test_layers.py reads this chart and holds every import in the package to it.
#
#    L0  _exceptions, _options  the tree of errors; limits, timeouts, heartbeat, backoff
#    L0  _addresses            hosts and URLs, read strictly
#    L0  _limit_log, _buffered  what went over a limit; what all connections hold together
#    L0  _field_names          fields that are for one hop, or that only gateways write
#    L0  _go_duration          durations as Go writes them
#    L0  _http_date            the time as HTTP writes it
#    L0  _json_log             records as JSON, one line each
#    L0  _logging              the connection of each record, and no line that a peer has forged
#    L0  _nearest              what may be meant by a name that is not known
#    L0  _patterns             names and paths against patterns, in linear time
#    L0  _principal, _watch    who a peer was found to be; files that change
#    L0  _rates                how often something may be done: buckets of tokens
#    L0  _strict_json          JSON that everyone reads alike
#    L0  _blocked              event loops that something blocks
#    L0  _version              of the package
#    L1  _arguments            arguments that a call does not have
#    L1  protocol              bytes in, events out: frames, heads, handshake, streams, WebSocket
#    L1  auth, tls             credentials and authenticators; TLS from files
#    L1  codecs                bytes in, values out, and back: codecs and framings of messages
#    L2  connection            a Connection over any trio stream, and the exchanges on it
#    L2  http1                 HTTP/1.1 towards proxies, mounted servers and clients, sans-IO
#    L3  http_server           clients of plain HTTP, each as a connection
#    L3  threads               where a thread or another loop meets the loop of the connections
#    L4  apps, adapters        serve an app, a function or another server; requests and httpx
#    L4  instruments           metrics for Prometheus, traces with OpenTelemetry
#    L5  openapi               hold either end to an OpenAPI document; only it imports jsonschema
#    L6  endpoint              what a client and a server share: their life cycle, signals, sockets
#    L7  client, server        dial and keep a connection; accept connections and know them by name
#    L8  ingress               requests of plain HTTP, passed on to peers by name
#    L8  sync, aio             the same API for threads, and for asyncio
#    L8  websockets            plain WebSockets, for peers that do not speak restsock.v1
#    L9  asgi                  the listening side as an application of a web server
#    L9  messaging             channels, acknowledgements, sessions, brokers; its engine is sans-IO
#    L9  testing               two connected peers in memory, and a wire that breaks on demand
#    L10 gateway               messages of plain WebSockets, each a call that is answered
#    L10 _pytest               a fixture of pytest, for the tests of programs that use restsock
#    L11 hub                   peers, ingress, gateway and admin API in one process, from one file
#    L12 connectors            inputs and outputs of messages, from one file each
#    L13 cli                   the command `restsock`; only it imports click and rich
#    L14 __main__              the same, as `python -m restsock`
#
# Only protocol imports wsproto, and only it and http1 import h11. Neither imports an event loop, a
# clock, a socket, a thread or a source of randomness: those are handed in.

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

# At once: it puts the filters on the loggers of the package, whichever part of it is used first.
from restsock._logging import ConnectionFields as ConnectionFields
from restsock._version import __version__ as __version__

if TYPE_CHECKING:
    from restsock import adapters as adapters
    from restsock import aio as aio
    from restsock import apps as apps
    from restsock import asgi as asgi
    from restsock import auth as auth
    from restsock import client as client
    from restsock import codecs as codecs
    from restsock import connection as connection
    from restsock import connectors as connectors
    from restsock import gateway as gateway
    from restsock import http1 as http1
    from restsock import hub as hub
    from restsock import ingress as ingress
    from restsock import instruments as instruments
    from restsock import messaging as messaging
    from restsock import openapi as openapi
    from restsock import protocol as protocol
    from restsock import server as server
    from restsock import sync as sync
    from restsock import testing as testing
    from restsock import tls as tls
    from restsock import websockets as websockets
    from restsock._exceptions import *  # noqa: F403  # all that it exports is public here
    from restsock._json_log import *  # noqa: F403  # likewise
    from restsock._options import *  # noqa: F403  # likewise
    from restsock._principal import Principal as Principal
    from restsock.adapters import Session as Session
    from restsock.adapters import TunnelAdapter as TunnelAdapter
    from restsock.apps import ConnectionInfo as ConnectionInfo
    from restsock.apps import forward as forward
    from restsock.client import Client as Client
    from restsock.client import ClientStatistics as ClientStatistics
    from restsock.client import Proxy as Proxy
    from restsock.client import connect as connect
    from restsock.connection import OUTCOMES as OUTCOMES
    from restsock.connection import ClientWebSocket as ClientWebSocket
    from restsock.connection import Closed as Closed
    from restsock.connection import Connection as Connection
    from restsock.connection import Handler as Handler
    from restsock.connection import Health as Health
    from restsock.connection import Instrument as Instrument
    from restsock.connection import Peer as Peer
    from restsock.connection import Request as Request
    from restsock.connection import Requester as Requester
    from restsock.connection import Response as Response
    from restsock.connection import Statistics as Statistics
    from restsock.connection import StreamedResponse as StreamedResponse
    from restsock.endpoint import drain_on_signal as drain_on_signal
    from restsock.server import ConnectionEvent as ConnectionEvent
    from restsock.server import Connections as Connections
    from restsock.server import EventType as EventType
    from restsock.server import Route as Route
    from restsock.server import Server as Server
    from restsock.server import ServerStatistics as ServerStatistics
    from restsock.server import Subscription as Subscription
    from restsock.server import listen as listen
    from restsock.server import systemd_sockets as systemd_sockets

# Which part of the package each public name is in; the imports for types say the same.
_NAMES = {
    "": "aio asgi auth openapi sync testing tls",
    "_exceptions": """
        CodecError ConnectionClosed HandshakeError LocalProtocolError PeerNotFound PeerUnavailable
        ProtocolError RemoteProtocolError RequestTimeout RequestValidationError
        ResponseValidationError RestsockError SpecError StreamError StreamRefused StreamReset
        ValidationError WebSocketClosed WebSocketError WebSocketRefused
    """,
    "_json_log": "JSONFormatter",
    "_logging": "ConnectionFields",
    "_options": "Backoff Heartbeat Limits Options SocketOptions Timeouts",
    "_principal": "Principal",
    "adapters": "Session TunnelAdapter",
    "apps": "ConnectionInfo forward",
    "client": "Client ClientStatistics Proxy connect",
    "connection": """
        OUTCOMES ClientWebSocket Closed Connection Handler Health Instrument Peer Request Requester
        Response Statistics StreamedResponse
    """,
    "endpoint": "drain_on_signal",
    "server": """
        ConnectionEvent Connections EventType Route Server ServerStatistics Subscription listen
        systemd_sockets
    """,
}
_HOME = {name: home for home, names in _NAMES.items() for name in names.split()}

if not TYPE_CHECKING:  # a type checker goes by the imports above, and would let every name pass
    __all__ = list(_HOME)

    def __getattr__(name: str) -> Any:
        """Loads a name, or a package that is none of those above, at its first use."""
        if home := _HOME.get(name):
            value = globals()[name] = getattr(import_module(f"{__name__}.{home}"), name)
            return value
        module = f"{__name__}.{name}"
        if not name.startswith("_"):
            try:
                return import_module(module)
            except ModuleNotFoundError as exc:
                if exc.name != module:  # what it needs is missing
                    raise
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")

    def __dir__() -> list[str]:
        return __all__
