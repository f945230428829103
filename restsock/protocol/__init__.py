"""The protocol, sans-IO: bytes and messages in, events out (spec/protocol.md).

`TLS` turns records into bytes, `WebSocket` turns bytes into messages, `Multiplexer` turns messages
into HTTP exchanges, and `Pipeline` is all three in a row. None knows a socket, a clock or a source
of randomness; what they need of those is handed in. wsproto and h11 are used here and nowhere else.
"""

from __future__ import annotations

from ._envelopes import Settings, weight_of
from ._events import (
    BinaryMessage,
    CloseCode,
    CloseReceived,
    DataReceived,
    EndReceived,
    GoAwayReceived,
    HandshakeCompleted,
    Headers,
    HelloReceived,
    MultiplexerEvent,
    Ping,
    Pong,
    RequestHead,
    RequestReceived,
    ResetCode,
    ResponseHead,
    ResponseReceived,
    StopSending,
    StreamClosed,
    StreamFailed,
    StreamRejected,
    TextMessage,
    WebSocketEvent,
    scheme_of,
)
from ._frames import MAX_MESSAGE
from ._multiplexer import Multiplexer
from ._pipeline import Pipeline
from ._tls import TLS
from ._tunnel import ConnectTunnel
from ._upgrade import SUBPROTOCOL, ClientUpgrade, ServerUpgrade, UpgradeRequest
from ._upstream import Upstream, UpstreamEvent
from ._websocket import WebSocket

__all__ = [
    "MAX_MESSAGE",
    "SUBPROTOCOL",
    "TLS",
    "BinaryMessage",
    "ClientUpgrade",
    "CloseCode",
    "CloseReceived",
    "ConnectTunnel",
    "DataReceived",
    "EndReceived",
    "GoAwayReceived",
    "HandshakeCompleted",
    "Headers",
    "HelloReceived",
    "Multiplexer",
    "MultiplexerEvent",
    "Ping",
    "Pipeline",
    "Pong",
    "RequestHead",
    "RequestReceived",
    "ResetCode",
    "ResponseHead",
    "ResponseReceived",
    "ServerUpgrade",
    "Settings",
    "StopSending",
    "StreamClosed",
    "StreamFailed",
    "StreamRejected",
    "TextMessage",
    "UpgradeRequest",
    "Upstream",
    "UpstreamEvent",
    "WebSocket",
    "WebSocketEvent",
    "scheme_of",
    "weight_of",
]
