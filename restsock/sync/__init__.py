"""The API for threads: `connect` and `listen`, with the names and arguments of the async ones.

All clients and servers of a process share one background thread, in which they live; it starts with
the first and ends with the last. Their methods block the calling thread only, and may be called
from any number of threads at once; apps are served as by the async API. What blocks can be
interrupted (Ctrl-C), and raises `RestsockError` where it could only wait for itself: on the
background thread (in an async app, say), and in the child of a fork.

- `_endpoint`: a client or server that is kept open, and its close.
- `_requests`: blocking requests.
- `_client`, `_server`, `_connection`, `_events`: the faces.
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

    A function that is `auth` is called in a thread. `Backoff(tries=...)` bounds how long this
    waits.

    Raises:
        HandshakeError: Dialing again would not help, or was done often enough.
        RestsockError: This is the background thread itself.
    """
    return Client(client)


@_with_arguments_of(_async_server.listen)
def listen(server: _async_server.Server) -> Server:
    """Listen for dialing peers; return once the sockets are bound.

        with restsock.sync.listen("127.0.0.1", 0) as server:
            print(server.url)

    A function that is `auth` is called in a thread.

    Raises:
        OSError: An address cannot be bound.
        RestsockError: This is the background thread itself.
    """
    return Server(server)
