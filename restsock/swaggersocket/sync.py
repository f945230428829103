"""swaggersocket for threads: `connect`, with the arguments of the one for trio.

    with restsock.swaggersocket.sync.connect("ws://hub:8443/", metadata="pump-7") as client:
        client.request("GET", "/pets")

For listeners there is nothing of its own: `restsock.sync.listen` takes an `Endpoint`, too.
"""

from __future__ import annotations

from restsock import client as _async_client
from restsock.endpoint import with_arguments_of as _with_arguments_of
from restsock.sync import Client

from . import _connect

__all__ = ["Client", "connect"]


@_with_arguments_of(_connect.connect)
def connect(client: _async_client.Client) -> Client:
    """Dial a server of swaggersocket; return once there is a connection.

        with restsock.swaggersocket.sync.connect("ws://hub:8443/", app=app) as client: ...

    If `auth` is a function, it runs in a thread. `Backoff(tries=...)` bounds how long this waits.

    Raises:
        HandshakeError: Dialing again would not help, or `tries` attempts have failed.
        RestsockError: This is the background thread itself.
    """
    return Client(client)
