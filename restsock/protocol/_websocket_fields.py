"""The caller's side of a WebSocket's opening handshake inside of a stream, without I/O.

RFC 6455, section 4.1, on heads that `_heads` has checked already (spec/protocol.md, "Upgraded
streams"). `_upgrade` has the same for the connection itself, where it is HTTP/1.1 on a socket.
"""

from __future__ import annotations

from collections.abc import Sequence

from wsproto.utilities import generate_accept_token

from restsock._exceptions import LocalProtocolError, RemoteProtocolError

from ._events import Headers
from ._fields import TOKEN, elements_of, reserved_in_upgrade, values_of

__all__ = ["chosen_subprotocol", "websocket_fields"]


def websocket_fields(
    key: bytes, subprotocols: Sequence[str], headers: Headers
) -> list[tuple[bytes, bytes]]:
    """The fields with which a request asks for a WebSocket.

    Args:
        key: 16 random bytes in base64.
        subprotocols: those that the caller speaks, the best one first.
        headers: what else the request has.

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
    return fields


def chosen_subprotocol(headers: Headers, key: bytes, subprotocols: Sequence[str]) -> str | None:
    """Checks the fields of a 101, and returns the subprotocol that was chosen, if any.

    Args:
        headers: of the 101.
        key: as in the request.
        subprotocols: as in the request.

    Raises:
        RemoteProtocolError: it accepts something else than what was asked for.
    """
    if [value.lower() for value in elements_of(headers, b"upgrade")] != [b"websocket"]:
        raise RemoteProtocolError("the app has switched to something else than a WebSocket")
    if values_of(headers, b"sec-websocket-accept") != [generate_accept_token(key)]:
        raise RemoteProtocolError("the app has accepted with a wrong Sec-WebSocket-Accept")
    if values_of(headers, b"sec-websocket-extensions"):
        raise RemoteProtocolError("the app has chosen an extension that was not offered")
    chosen = [value.decode("latin-1") for value in values_of(headers, b"sec-websocket-protocol")]
    if not chosen:
        return None
    if len(chosen) > 1 or chosen[0] not in subprotocols:
        raise RemoteProtocolError("the app has chosen a subprotocol that was not offered")
    return chosen[0]
