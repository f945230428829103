"""The protocol, sans-IO: bytes and messages in, events out (spec/protocol.md).

`TLS` turns records into bytes, `WebSocket` turns bytes into messages, `Multiplexer` turns messages
into HTTP exchanges, and `Pipeline` is all three in a row. None knows a socket, a clock or a source
of randomness; what they need of those is handed in. The grammar of fields and their look-up are
here for the packages above, too.
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
from ._fields import (
    HOP_BY_HOP,
    HOST,
    LENGTH,
    NOT_IN_TRAILERS,
    RESERVED,
    TOKEN,
    VALUE,
    connection_options,
    content_length,
    elements_of,
    end_to_end,
    reserved_in_upgrade,
    values_of,
)
from ._frames import HEADER_SIZE, MAX_MESSAGE
from ._heads import request_problem
from ._multiplexer import Multiplexer
from ._pipeline import Pipeline
from ._tls import TLS
from ._upgrade import (
    SUBPROTOCOL,
    ClientUpgrade,
    ServerUpgrade,
    UpgradeRequest,
    generate_accept_token,
    websocket_key,
)
from ._websocket import WebSocket

__all__ = [
    "HEADER_SIZE",
    "HOP_BY_HOP",
    "HOST",
    "LENGTH",
    "MAX_MESSAGE",
    "NOT_IN_TRAILERS",
    "RESERVED",
    "SUBPROTOCOL",
    "TLS",
    "TOKEN",
    "VALUE",
    "BinaryMessage",
    "ClientUpgrade",
    "CloseCode",
    "CloseReceived",
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
    "WebSocket",
    "WebSocketEvent",
    "connection_options",
    "content_length",
    "elements_of",
    "end_to_end",
    "generate_accept_token",
    "request_problem",
    "reserved_in_upgrade",
    "scheme_of",
    "values_of",
    "websocket_key",
    "weight_of",
]
