"""The API for asyncio: `connect` and `listen`, with the names and arguments of those for trio.

The connections run in a background thread, which all clients and servers of a process share, also
those of `restsock.sync`. Tasks send their requests themselves, and never block their loop. An ASGI
app or a function that is given here runs on the caller's loop, so it can share connection pools and
tasks with the rest of the program. Requests may be sent from any loop.

Whatever waits can be cancelled: by `asyncio.timeout`, a `TaskGroup`, Ctrl-C. A cancelled request is
reset, and the peer's app learns of it.

- `_endpoint`: how a client or server is entered and closed.
- `_requests`: how requests are sent.
- `_client`, `_server`, `_connection`, `_events`: the public classes.
"""

from __future__ import annotations

from restsock import client as _async_client
from restsock import server as _async_server
from restsock.connection import ClientWebSocket, StreamedResponse
from restsock.endpoint import drain_on_signal
from restsock.endpoint import with_arguments_of as _with_arguments_of

from ._client import Client
from ._connection import Connection
from ._events import Events
from ._server import Connections, Route, Server

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
    """Dial a listener; enter the result with `async with`.

        async with restsock.aio.connect("ws://hub.example:8000/", app=app, name="edge-1") as client:
            ...

    Nothing is dialed before that. Entering waits for the first connection; if cancelled, it stops
    dialing. `Backoff(tries=...)` limits how long it waits. The app, and an async function passed as
    `auth`, run on the loop on which the client is entered.

    Raises:
        RestsockError: On entering: this is not asyncio.
    """
    return Client(client)


@_with_arguments_of(_async_server.listen)
def listen(server: _async_server.Server) -> Server:
    """Listen for dialing peers; enter the result with `async with`.

        async with restsock.aio.listen("127.0.0.1", 0) as server:
            print(server.url)

    Nothing is bound before that. The app, and an async function passed as `auth`, run on the loop
    on which the server is entered.

    Raises:
        RestsockError: On entering: this is not asyncio.
    """
    return Server(server)
