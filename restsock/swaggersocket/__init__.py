"""The protocol of Go's swaggersocket: HTTP over a WebSocket, one request at a time.

A system that runs the original can replace one end at a time, and the other end does not notice:

    endpoints = {"/": swaggersocket.Endpoint()}
    async with restsock.listen("0.0.0.0", 8443, app=app, endpoints=endpoints) as server: ...

    async with swaggersocket.connect("ws://hub:8443/", metadata="pump-7", app=app) as client:
        response = await client.request("GET", "/pets")

The results are an ordinary `restsock.Server` and `restsock.Client`, with connections, events,
adapters and apps as with any peer. `restsock.swaggersocket.sync` and `restsock.swaggersocket.aio`
have `connect` for threads and for asyncio; an `Endpoint` works with the listener of each of the
three APIs.

- `engine`: the wire, without I/O. `_wire`, `_connection`: a connection on it.
- `_endpoint`, `_connect`: either role.
"""

from __future__ import annotations

from ._connect import connect
from ._endpoint import Endpoint

__all__ = ["Endpoint", "connect"]
