"""The wire of swaggersocket, sans-IO: it takes the place of the WebSocket in a `Pipeline`.

    socket bytes  <->  TLS  <->  SwaggersocketLayer  <->  OneAtATime (a Multiplexer)

`SwaggersocketLayer` has the WebSocket in it. It makes frames of restsock.v1 of what a peer of
swaggersocket sends, and messages of swaggersocket of the frames that are for it. So limits, flow
control, threads, TLS, apps and adapters are those of any connection (spec/swaggersocket.md).

- `_handshake`: its three JSON messages, in place of hello, welcome and ready.
- `_peer_requests`: the peer's requests, and the responses to them: HTTP/1.1 by `Downstream`.
- `_own_requests`: this side's requests, and the peer's responses: HTTP/1.1 by `Upstream`.
- `_layer`: tells them apart. `_one_at_a_time`: what the wire cannot carry, refused beforehand.
"""

from __future__ import annotations

from ._layer import SwaggersocketLayer
from ._one_at_a_time import OneAtATime

__all__ = ["OneAtATime", "SwaggersocketLayer"]
