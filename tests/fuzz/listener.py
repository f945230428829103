"""The first bytes of a socket, at both ends: any division gives the same; documented errors only.

An input is a byte of flags, places to cut at, and the bytes: a request to a listener, or an answer
to a dialer (flag DIALER).
"""

from __future__ import annotations

import base64

import h11

from restsock._exceptions import HandshakeError
from restsock.protocol import SUBPROTOCOL, ClientUpgrade, ServerUpgrade, UpgradeRequest
from tests.fuzz.choices import Choices

MAX_LEN = 2048
DICTIONARY = (
    *(b"GET / HTTP/1.1\r\n", b"HTTP/1.1 101 \r\n", b"HTTP/1.1 503 \r\n", b"HTTP/1.1 103 \r\n\r\n"),
    *(b"Host: a\r\n", b"Upgrade: websocket\r\n", b"Connection: Upgrade\r\n", b"\r\n\r\n", b"\r\n"),
    *(b"Sec-WebSocket-Version: 13\r\n", b"Sec-WebSocket-Protocol: restsock.v1\r\n", b"\n", b"\0"),
    *(b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n", b"Sec-WebSocket-Extensions: x\r\n"),
    *(b"Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n", b"Content-Length: 5\r\n"),
    *(b"Transfer-Encoding: chunked\r\n", b"\x16\x03\x01", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"),
)

DIALER = 1
OCTETS = 2  # each on its own

# The key of RFC 6455, section 1.3, whose answer is in the dictionary.
_KEY = b"the sample nonce"
_ACCEPT = b"s3pPLMBiTxaQ9kYGzzhZRbK+xOo="

_REFUSALS = (400, 426, 431, 501)


def test_one(data: bytes) -> None:
    choices = Choices(data)
    flags = choices.byte()
    pieces = choices.pieces()
    wire = b"".join(pieces)
    if not wire:
        return
    if flags & OCTETS:
        pieces = [wire[at : at + 1] for at in range(len(wire))]
    take = _dial if flags & DIALER else _serve
    whole, divided = take([wire]), take(pieces)
    assert divided == whole or _sooner(whole, divided)


def _sooner(whole: object, divided: object) -> bool:
    """Of a line that is not complete, h11 may know in pieces already that it cannot be right."""
    return whole is None and divided in ((400, b"HTTP/1.1 400 "), (None, False))


def _serve(pieces: list[bytes]) -> object:
    server = ServerUpgrade()
    for number, piece in enumerate(pieces):
        try:
            asked = server.receive_data(piece)
        except HandshakeError as exc:
            assert not exc.retryable
            assert exc.status in _REFUSALS
            head_only = b"".join(pieces).startswith(b"HEAD ")
            _check_refusal(server.data_to_send, exc.status, head_only=head_only)
            return exc.status, server.data_to_send[:13]
        assert server.data_to_send == b""
        if asked is not None:
            assert b"".join(pieces).startswith(b"GET %s HTTP/1.1" % asked.target)
            _check_acceptance(server.accept(), asked)
            rest = server.trailing_data + b"".join(pieces[number + 1 :])
            _check_rest(pieces, rest)
            return asked, rest
    return None


def _check_rest(pieces: list[bytes], rest: bytes) -> None:
    """All behind the blank line is of the WebSocket; what is in front of it has whole lines."""
    wire = b"".join(pieces)
    assert wire.endswith(rest)
    head = wire[: len(wire) - len(rest)]
    assert head.endswith(b"\r\n\r\n")
    last = head[head.rindex(b"HTTP/1.1 101") :] if head.startswith(b"HTTP") else head
    assert last.count(b"\n") == last.count(b"\r\n")
    assert b"\n " not in last
    assert b"\n\t" not in last


def _check_refusal(data: bytes, status: int, *, head_only: bool) -> None:
    """It is one whole answer, that says that the connection ends, and what this is."""
    reader = h11.Connection(h11.CLIENT)
    method = b"HEAD" if head_only else b"GET"
    reader.send(h11.Request(method=method, target=b"/", headers=[(b"Host", b"a")]))
    reader.send(h11.EndOfMessage())
    reader.receive_data(data)
    response = reader.next_event()
    assert isinstance(response, h11.Response)
    assert response.status_code == status
    fields = dict(response.headers)
    assert b"close" in fields[b"connection"]
    assert (fields.get(b"sec-websocket-version") == b"13") == (status == 426)
    if not head_only:
        body = reader.next_event()
        assert isinstance(body, h11.Data)
        assert SUBPROTOCOL.encode() in body.data
    assert isinstance(reader.next_event(), h11.EndOfMessage)
    assert reader.trailing_data[0] == b""


def _check_acceptance(data: bytes, request: UpgradeRequest) -> None:
    asked = dict[bytes, list[bytes]]()
    for name, value in request.headers:
        asked.setdefault(name.lower(), []).append(value)
    assert b"websocket" in b",".join(asked[b"upgrade"]).lower()
    assert b"13" in asked[b"sec-websocket-version"]
    assert SUBPROTOCOL.encode() in b",".join(asked[b"sec-websocket-protocol"])
    (key,) = asked[b"sec-websocket-key"]  # RFC 6455, section 11.3.1: not more than once
    assert len(base64.b64decode(key, validate=True)) == 16
    lines = data.split(b"\r\n")
    assert lines[0].startswith(b"HTTP/1.1 101 ")
    assert lines[-2:] == [b"", b""]
    fields = dict(line.lower().split(b": ", 1) for line in lines[1:-2])
    assert fields[b"upgrade"] == b"websocket"
    assert fields[b"sec-websocket-protocol"] == SUBPROTOCOL.encode()
    assert b"sec-websocket-extensions" not in fields
    if key == base64.b64encode(_KEY):
        assert fields[b"sec-websocket-accept"] == _ACCEPT.lower()


def _dial(pieces: list[bytes]) -> object:
    client = ClientUpgrade(host="a", target="/", headers=(), key=_KEY)
    for number, piece in enumerate(pieces):
        try:
            done = client.receive_data(piece)
        except HandshakeError as exc:
            assert str(exc).isprintable()
            assert len(str(exc)) < 400
            return exc.status, exc.retryable
        if done:
            wire = b"".join(pieces)
            assert _ACCEPT in wire
            assert SUBPROTOCOL.encode() in wire
            rest = client.trailing_data + b"".join(pieces[number + 1 :])
            _check_rest(pieces, rest)
            return rest
    try:
        assert not client.receive_data(b"")
    except HandshakeError:
        return None
    raise AssertionError("the socket ended, and nobody said so")
