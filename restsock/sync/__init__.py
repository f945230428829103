"""The API for threads: `connect` and `listen`, with the names and arguments of the async ones.

All clients and servers of a process run in one background thread, which starts with the first and
ends with the last. Their methods block only the calling thread, and may be called from any number
of threads at once. Apps are served as by the async API. A blocking method can be interrupted
(Ctrl-C). It raises `RestsockError` where it would deadlock: on the background thread (in an async
app, for example), and in the child of a fork.

- `_endpoint`: how a client or server is kept open and closed.
- `_requests`: blocking requests.
- `_client`, `_server`, `_connection`, `_events`: the public classes.
- `_signals`: graceful shutdown on SIGTERM and SIGINT.
"""

from __future__ import annotations

from restsock import client as _async_client
from restsock import server as _async_server
from restsock.endpoint import BlockingClientWebSocket as ClientWebSocket
from restsock.endpoint import with_arguments_of as _with_arguments_of

from ._client import Client
from ._connection import Connection
from ._events import Events
from ._requests import StreamedResponse
from ._server import Connections, Route, Server
from ._signals import drain_on_signal

__all__ = [
    "Client",
    "ClientWebSocket",
    "Connection",
    "Connections",
    "Events",
    "Route",
    "Server",
    "StreamedResponse",
    "connect",
    "drain_on_signal",
    "listen",
]


@_with_arguments_of(_async_client.connect)
def connect(client: _async_client.Client) -> Client:
    """Dial a listener; return once there is a connection.

        with restsock.sync.connect("ws://hub.example:8000/", app=app, name="edge-1") as client: ...

    If `auth` is a function, it is called in a thread. `Backoff(tries=...)` limits how long this
    waits.

    Raises:
        HandshakeError: Dialing again would not help, or `Backoff.tries` attempts have failed.
        RestsockError: This was called on the background thread.
        KeyboardInterrupt: It was interrupted. Nothing is left open.
    """
    return Client(client)


@_with_arguments_of(_async_server.listen)
def listen(server: _async_server.Server) -> Server:
    """Listen for dialing peers; return once the sockets are bound.

        with restsock.sync.listen("127.0.0.1", 0) as server:
            print(server.url)

    If `auth` is a function, it is called in a thread.

    Raises:
        OSError: An address cannot be bound.
        RestsockError: This was called on the background thread.
    """
    return Server(server)
