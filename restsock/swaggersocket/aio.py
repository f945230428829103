"""swaggersocket for asyncio: `connect`, with the arguments of the one for trio.

    async with restsock.swaggersocket.aio.connect("ws://hub:8443/", app=app) as client:
        await client.request("GET", "/pets")

For listeners there is nothing of its own: `restsock.aio.listen` takes an `Endpoint`, too.
"""

from __future__ import annotations

from restsock import client as _async_client
from restsock.aio import Client
from restsock.endpoint import with_arguments_of as _with_arguments_of

from . import _connect

__all__ = ["Client", "connect"]


@_with_arguments_of(_connect.connect)
def connect(client: _async_client.Client) -> Client:
    """Dial a server of swaggersocket; the result is to be entered with `async with`.

        async with restsock.swaggersocket.aio.connect("ws://hub:8443/", app=app) as client: ...

    Nothing is dialed before that. The app, and `auth` if it is an async function, run on the loop
    on which it is entered.

    Raises:
        RestsockError: On entering: this is not asyncio.
    """
    return Client(client)
