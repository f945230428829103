"""The opening handshake of a WebSocket inside of a stream, as its caller writes and reads it."""

from __future__ import annotations

from typing import Any

import pytest

from restsock._exceptions import LocalProtocolError, RemoteProtocolError
from restsock.protocol import chosen_subprotocol, websocket_fields, websocket_key

KEY = b"dGhlIHNhbXBsZSBub25jZQ=="  # RFC 6455, section 1.3
ACCEPT = (b"Sec-WebSocket-Accept", b"s3pPLMBiTxaQ9kYGzzhZRbK+xOo=")
UPGRADE = (b"Upgrade", b"WebSocket")


def test_what_is_asked_for() -> None:
    fields = websocket_fields(KEY, ["chat.v2", "chat"], [(b"Host", b"edge-1"), (b"X-A", b"1")])
    assert fields == [
        (b"Connection", b"upgrade"),
        (b"Upgrade", b"websocket"),
        (b"Sec-WebSocket-Key", KEY),
        (b"Sec-WebSocket-Version", b"13"),
        (b"Sec-WebSocket-Protocol", b"chat.v2, chat"),
    ]
    assert websocket_key(fields) == KEY
    assert len(websocket_fields(KEY, [], [])) == 4


@pytest.mark.parametrize(
    ("subprotocols", "headers"),
    [
        (["a b"], []),
        ([""], []),
        (["ä"], []),
        (["a", "a"], []),
        ("chat", []),
        ([], [(b"upgrade", b"h2c")]),
        ([], [(b"Connection", b"close")]),
        ([], [(b"Content-Length", b"0")]),
        ([], [(b"SEC-WebSocket-Extensions", b"permessage-deflate")]),
    ],
)
def test_what_cannot_be_asked_for(subprotocols: Any, headers: Any) -> None:
    with pytest.raises(LocalProtocolError):
        websocket_fields(KEY, subprotocols, headers)


def test_what_is_accepted() -> None:
    assert chosen_subprotocol([UPGRADE, ACCEPT], KEY, ["a"]) is None
    chosen = (b"sec-websocket-protocol", b"b")
    assert chosen_subprotocol([UPGRADE, ACCEPT, chosen], KEY, ["a", "b"]) == "b"


@pytest.mark.parametrize(
    ("headers", "message"),
    [
        ([(b"Upgrade", b"h2c"), ACCEPT], "something else"),
        ([ACCEPT], "something else"),
        ([UPGRADE], "wrong Sec-WebSocket-Accept"),
        ([UPGRADE, ACCEPT, ACCEPT], "wrong Sec-WebSocket-Accept"),
        ([UPGRADE, (ACCEPT[0], b"x")], "wrong Sec-WebSocket-Accept"),
        ([UPGRADE, ACCEPT, (b"Sec-WebSocket-Extensions", b"x")], "an extension"),
        ([UPGRADE, ACCEPT, (b"Sec-WebSocket-Protocol", b"c")], "a subprotocol"),
        ([UPGRADE, ACCEPT, (b"Sec-WebSocket-Protocol", b"a, b")], "a subprotocol"),
        ([UPGRADE, ACCEPT, *[(b"Sec-WebSocket-Protocol", b"a")] * 2], "a subprotocol"),
    ],
)
def test_what_was_not_asked_for(headers: Any, message: str) -> None:
    with pytest.raises(RemoteProtocolError, match=message):
        chosen_subprotocol(headers, KEY, ["a", "b"])
