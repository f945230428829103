"""Plain WebSockets, for peers that do not speak restsock.v1: browsers, devices, other servers.

Messages of text or bytes go both ways; the program gives them their meaning.

    async def serve(websocket):                     # for each client
        async for message in websocket:
            await websocket.send(message)

    async with restsock.listen("0.0.0.0", 8443, endpoints={"/ingest": Endpoint(serve)}): ...

    async with restsock.websockets.connect("wss://feed.example/v1") as websocket:
        await websocket.send("subscribe")

These are for trio. `restsock.websockets.sync` and `restsock.websockets.aio` have `connect` and
`Dialer` for threads and for asyncio; an `Endpoint` calls a plain function in a thread, and one of
asyncio on the loop of `restsock.aio.listen`.

- `_endpoint`: an endpoint of a listener. `_call`: one client of it, from its request to its end.
- `_server_websocket`, `_request`: what the function that serves it has of that.
- `_connect`: a WebSocket that is dialed. `_dial`: one attempt; `_stream`: its bytes.
- `_faces`: a client for a function in a thread, or of asyncio.
- `_keepalive`: whether the other side lives.
- `_dialer`: one that is dialed again when it has ended. `_reconnect`: when.
"""

from __future__ import annotations

from restsock.connection import ClientWebSocket
from restsock.protocol import Deflate

from ._connect import ConnectOptions, connect
from ._dialer import Dialer
from ._endpoint import Endpoint, EndpointOptions
from ._faces import AsyncioServerWebSocket, BlockingServerWebSocket
from ._reconnect import Reconnect
from ._request import Request
from ._server_websocket import ServerWebSocket

__all__ = [
    "AsyncioServerWebSocket",
    "BlockingServerWebSocket",
    "ClientWebSocket",
    "ConnectOptions",
    "Deflate",
    "Dialer",
    "Endpoint",
    "EndpointOptions",
    "Reconnect",
    "Request",
    "ServerWebSocket",
    "connect",
]
