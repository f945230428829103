"""The opening handshake of a WebSocket on heads that were checked already, without I/O.

RFC 6455, sections 4.1 and 4.2, for WebSockets inside of a stream (spec/protocol.md, "Upgraded
streams") and for plain ones. `_upgrade` has the same for a connection of restsock.v1, where it is
HTTP/1.1 on a socket.
"""

from __future__ import annotations

from collections.abc import Sequence

from wsproto.utilities import generate_accept_token

from restsock._exceptions import LocalProtocolError, RemoteProtocolError

from ._deflate import Deflate
from ._events import Headers, RequestHead
from ._fields import TOKEN, elements_of, reserved_in_upgrade, values_of
from ._upgrade import websocket_key

__all__ = [
    "CLOSE_CODES",
    "accept_fields",
    "chosen_subprotocol",
    "offered_subprotocols",
    "websocket_fields",
    "websocket_problem",
]

CLOSE_CODES = frozenset((*range(1000, 1004), *range(1007, 1015), *range(3000, 5000)))
"""What an endpoint may close a WebSocket with (RFC 6455, section 7.4, and IANA's registry)."""


def websocket_fields(
    key: bytes, subprotocols: Sequence[str], headers: Headers, deflate: Deflate | None = None
) -> list[tuple[bytes, bytes]]:
    """The fields with which a request asks for a WebSocket.

    Args:
        key: 16 random bytes in base64.
        subprotocols: those that the caller speaks, the best one first.
        headers: what else the request has.
        deflate: the compression to offer, if any.

    Raises:
        LocalProtocolError: a subprotocol is malformed or repeated, or `headers` has a field of the
            handshake.
    """
    for name, _ in headers:
        if name.lower() != b"host" and reserved_in_upgrade(name):
            raise LocalProtocolError(f"the WebSocket sets {name.decode('latin-1')} itself")
    if isinstance(subprotocols, str):
        raise LocalProtocolError("subprotocols are a list of names, not one name")
    offered = [name.encode("utf-8") for name in subprotocols]
    for name in offered:
        if not TOKEN.fullmatch(name) or offered.count(name) > 1:
            raise LocalProtocolError(f"a malformed or repeated subprotocol: {name.decode()!r}")
    fields = [
        (b"Connection", b"upgrade"),
        (b"Upgrade", b"websocket"),
        (b"Sec-WebSocket-Key", key),
        (b"Sec-WebSocket-Version", b"13"),
    ]
    if offered:
        fields.append((b"Sec-WebSocket-Protocol", b", ".join(offered)))
    if deflate is not None:
        fields.append((b"Sec-WebSocket-Extensions", deflate.offer()))
    return fields


def chosen_subprotocol(
    headers: Headers, key: bytes, subprotocols: Sequence[str], deflate: Deflate | None = None
) -> str | None:
    """Checks the fields of a 101, and returns the subprotocol that was chosen, if any.

    Args:
        headers: of the 101.
        key: as in the request.
        subprotocols: as in the request.
        deflate: likewise; what was agreed on is for `Deflate.check` to say.

    Raises:
        RemoteProtocolError: it accepts something else than what was asked for.
    """
    if [value.lower() for value in elements_of(headers, b"upgrade")] != [b"websocket"]:
        raise RemoteProtocolError("the answer switches to something else than a WebSocket")
    if values_of(headers, b"sec-websocket-accept") != [generate_accept_token(key)]:
        raise RemoteProtocolError("the answer has a wrong Sec-WebSocket-Accept")
    if deflate is None and values_of(headers, b"sec-websocket-extensions"):
        raise RemoteProtocolError("the answer has an extension that was not offered")
    chosen = [value.decode("latin-1") for value in values_of(headers, b"sec-websocket-protocol")]
    if not chosen:
        return None
    if len(chosen) > 1 or chosen[0] not in subprotocols:
        raise RemoteProtocolError("the answer has a subprotocol that was not offered")
    return chosen[0]


def websocket_problem(request: RequestHead) -> tuple[int, str] | None:
    """What is wrong with a request for a WebSocket, as a status and a line of text.

    RFC 6455, section 4.2.1. With a 426 belongs the field `Sec-WebSocket-Version: 13`.
    """
    if request.method != b"GET":
        return 400, "A WebSocket is asked for by GET.\n"
    if values_of(request.headers, b"sec-websocket-version") != [b"13"]:
        return 426, "Only version 13 of WebSocket is spoken here.\n"
    if websocket_key(request.headers) is None:
        return 400, "Sec-WebSocket-Key is missing or malformed.\n"
    return None


def offered_subprotocols(headers: Headers) -> list[str]:
    """The subprotocols that a request offers, the best one first."""
    return [name.decode("latin-1") for name in elements_of(headers, b"sec-websocket-protocol")]


def accept_fields(
    request: RequestHead,
    subprotocol: bytes | None,
    headers: Headers,
    extensions: bytes | None = None,
) -> list[tuple[bytes, bytes]]:
    """The fields of the 101 that accepts a request in which `websocket_problem` finds nothing.

    Args:
        request: what asks for the WebSocket.
        subprotocol: the one that is chosen, if any.
        headers: what else the 101 has.
        extensions: those that are accepted, if any.
    """
    key = websocket_key(request.headers)
    assert key is not None
    fields = [
        (b"Connection", b"upgrade"),
        (b"Upgrade", b"websocket"),
        (b"Sec-WebSocket-Accept", generate_accept_token(key)),
        *headers,
    ]
    if subprotocol is not None:
        fields.append((b"Sec-WebSocket-Protocol", subprotocol))
    if extensions is not None:
        fields.append((b"Sec-WebSocket-Extensions", extensions))
    return fields
