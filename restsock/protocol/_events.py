"""What `Multiplexer` and `WebSocket` report: small frozen objects, one for each event."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Any, NamedTuple, TypeAlias

from ._envelopes import Envelope

__all__ = [
    "BinaryMessage",
    "CloseCode",
    "CloseReceived",
    "DataReceived",
    "EndReceived",
    "EnvelopeReceived",
    "EnvelopesSent",
    "GoAwayReceived",
    "HandshakeCompleted",
    "Headers",
    "HelloReceived",
    "MessagePart",
    "MultiplexerEvent",
    "ParsedRequest",
    "Ping",
    "PlainHead",
    "Pong",
    "RequestHead",
    "RequestReceived",
    "ResetCode",
    "ResponseHead",
    "ResponseReceived",
    "StopSending",
    "StreamClosed",
    "StreamEvent",
    "StreamFailed",
    "StreamRejected",
    "TextMessage",
    "WebSocketEvent",
    "scheme_of",
]

Headers = Sequence[tuple[bytes, bytes]]


class ResetCode(IntEnum):
    """Why a stream was cut off (spec/protocol.md, "Reset codes")."""

    NO_ERROR = 0
    """The response is complete; what is left of the request body is not wanted."""
    CANCEL = 1
    TIMEOUT = 2
    REFUSED = 3
    """The request never reached the app, and may be sent again."""
    FLOW = 4
    TOO_LARGE = 5
    PROTOCOL = 6
    INTERNAL = 7


class CloseCode(IntEnum):
    """Why a WebSocket was closed: the registered codes (RFC 6455, section 11.7), and our own.

    Those that restsock.v1 itself uses are in spec/protocol.md, section 16.
    """

    NORMAL = 1000
    GOING_AWAY = 1001
    WEBSOCKET_ERROR = 1002
    NO_STATUS = 1005
    ABNORMAL = 1006
    """Never sent: the socket ended without a close frame."""
    INVALID_TEXT = 1007
    POLICY_VIOLATION = 1008
    TOO_BIG = 1009
    MANDATORY_EXTENSION = 1010
    """Only a client may send it."""
    INTERNAL_ERROR = 1011
    SERVICE_RESTART = 1012
    TRY_AGAIN_LATER = 1013
    BAD_GATEWAY = 1014
    TLS_FAILED = 1015
    """Never sent."""
    HANDSHAKE_FAILED = 4000
    HANDSHAKE_TIMEOUT = 4001
    PROTOCOL_ERROR = 4002
    HEARTBEAT_TIMEOUT = 4003
    REPLACED = 4004
    FORBIDDEN = 4005
    NAME_TAKEN = 4006


class RequestHead(NamedTuple):
    """The head of a request: method, target in origin form (verbatim), header fields, scheme.

    The scheme is that of the URL that the caller has used, `"http"` or `"https"`; `None` when it
    has not said. It is a claim, and crosses as flags of the frame, not as a field.
    """

    method: bytes
    target: bytes
    headers: Headers
    scheme: str | None = None

    @property
    def upgrade(self) -> bytes | None:
        """The protocol that the request asks to switch to, in lower case; else `None`."""
        for name, value in self.headers:
            if name.lower() == b"upgrade":
                return value.lower()
        return None


class ResponseHead(NamedTuple):
    """The head of a response: status, header fields, reason phrase."""

    status: int
    headers: Headers
    reason: bytes = b""


class PlainHead(NamedTuple):
    """A head that was found to be plain (see `_heads_fast`), and its bytes.

    Who sends the head on need not build and check them again. They are for that very object: one
    that was made of it has other bytes.

    Attributes:
        head: what they say.
        data: the bytes, with the blank line.
        length: the Content-Length.
    """

    head: RequestHead | ResponseHead
    data: bytes
    length: int | None


def scheme_of(url_scheme: str) -> str | None:
    """The scheme that a request tells, for that of its URL; `None` for any that is not HTTP's."""
    return _SCHEMES.get(url_scheme.lower())


_SCHEMES = {"http": "http", "https": "https", "ws": "http", "wss": "https"}


# --- what a WebSocket reports -----------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class TextMessage:
    """A whole text message."""

    data: str


@dataclass(frozen=True, slots=True)
class BinaryMessage:
    """A whole binary message.

    Attributes:
        data: the message; only how it begins, if there is a `rest`.
        rest: what follows, of a long message that the WebSocket was to split.
    """

    data: bytes
    rest: bytes = b""


@dataclass(frozen=True, slots=True)
class MessagePart:
    """Some bytes of a message, text or not, as they come; for who has asked for parts.

    Attributes:
        data: the bytes; empty only at the end of a message.
        end: whether the message ends with them.
    """

    data: bytes
    end: bool


@dataclass(frozen=True, slots=True)
class Ping:
    """A ping; its pong is already in `data_to_send()`."""

    payload: bytes


@dataclass(frozen=True, slots=True)
class Pong:
    """A pong, asked for or not."""

    payload: bytes


@dataclass(frozen=True, slots=True)
class CloseReceived:
    """The peer's close frame; nothing follows it. 1005 stands for a frame without a code."""

    code: int
    reason: str


class ParsedRequest(NamedTuple):
    """In place of a frame that opens a stream, from what has read its head already.

    Attributes:
        stream_id: of the stream.
        head: as `decode_request` would read it.
        data: the same in bytes.
        length: its Content-Length.
        plain: all three, if it was found to be plain.
        body: the first bytes of the body.
        end: whether they are all of it.
    """

    stream_id: int
    head: RequestHead
    data: bytes
    length: int | None
    plain: PlainHead | None
    body: bytes
    end: bool


WebSocketEvent: TypeAlias = (
    TextMessage | BinaryMessage | MessagePart | ParsedRequest | Ping | Pong | CloseReceived
)


# --- what a Multiplexer reports ---------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class HelloReceived:
    """To a listener: the dialer's first step. Answer with `Multiplexer.send_welcome()`."""

    name: str | None
    metadata: Any


@dataclass(frozen=True, slots=True)
class HandshakeCompleted:
    """Both sides agree on the id of the connection; streams may be opened.

    Attributes:
        connection_id: the same at both ends.
        urls: where plain HTTP reaches the dialer, as the listener has told it.
    """

    connection_id: str
    urls: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class RequestReceived:
    """The peer opened a stream.

    `plain` is the head in its bytes, if it was found to be plain.
    """

    stream_id: int
    head: RequestHead
    plain: PlainHead | None = field(default=None, compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class ResponseReceived:
    """A response head: informational (1xx, several may come), or the final one, or a 101.

    `plain` is the head in its bytes, if it was found to be plain.
    """

    stream_id: int
    head: ResponseHead
    plain: PlainHead | None = field(default=None, compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class DataReceived:
    """Body bytes; `Multiplexer.consume()` gives their credit back once they are used up."""

    stream_id: int
    data: bytes


@dataclass(frozen=True, slots=True)
class EndReceived:
    """The peer's half of the stream is complete."""

    stream_id: int
    trailers: Headers = ()


@dataclass(frozen=True, slots=True)
class StopSending:
    """The response is complete and the peer wants no more of the request body."""

    stream_id: int


@dataclass(frozen=True, slots=True)
class StreamFailed:
    """The stream is over, before its time.

    `by_peer` tells a RESET that came from one that this side has queued because of what came.
    `limit` names the field of `Limits` that was passed, if that is why.
    """

    stream_id: int
    code: int
    reason: str
    by_peer: bool
    limit: str | None = None


@dataclass(frozen=True, slots=True)
class StreamClosed:
    """The last word on a stream, however it ended: its number is out of use."""

    stream_id: int


@dataclass(frozen=True, slots=True)
class StreamRejected:
    """A request was answered or refused here, without reaching the app: for the log.

    `limit` names the field of `Limits` that was passed, if that is why; it is "going_away" after
    a GOAWAY of this side.
    """

    stream_id: int
    reason: str
    limit: str | None = None


@dataclass(frozen=True, slots=True)
class GoAwayReceived:
    """The peer starts no stream above `last_stream_id`, and takes no new ones."""

    last_stream_id: int
    code: int
    reason: str


@dataclass(frozen=True, slots=True)
class EnvelopeReceived:
    """A text message after the handshake (spec, "Messages")."""

    envelope: Envelope
    size: int


@dataclass(frozen=True, slots=True)
class EnvelopesSent:
    """There is room again for `Multiplexer.send_envelope()`: more than half was taken before."""


StreamEvent: TypeAlias = (
    RequestReceived
    | ResponseReceived
    | DataReceived
    | EndReceived
    | StopSending
    | StreamFailed
    | StreamClosed
    | StreamRejected
)
MultiplexerEvent: TypeAlias = (
    HelloReceived
    | HandshakeCompleted
    | StreamEvent
    | GoAwayReceived
    | EnvelopeReceived
    | EnvelopesSent
)
