"""A connection of swaggersocket: whatever a peer sends after the handshake, at either role.

An input is a byte of flags, then messages, each with a byte that says how it is cut into fragments.
Any division of the bytes gives the same; nothing but a `RemoteProtocolError` is raised; and what
goes out is whole text messages, each a request of this side or a part of one response in turn.
"""

from __future__ import annotations

from restsock.protocol import (
    DataReceived,
    EndReceived,
    MultiplexerEvent,
    RequestReceived,
    ResponseHead,
    StreamClosed,
    StreamFailed,
)
from tests.fuzz.choices import Choices
from tests.swaggersocket.engine.ends import End, frame, shaken

MAX_LEN = 2048
DICTIONARY = (
    *(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n", b"HTTP/1.1 200 OK\r\n", b"HTTP/1.1 204 No\r\n\r\n"),
    *(b"HTTP/1.1 100 Continue\r\n\r\n", b"HTTP/", b"X-Correlation-Id: id-1\r\n", b"\r\n\r\n"),
    *(b"X-Correlation-Id: other\r\n", b"Content-Length: 5\r\n", b"Transfer-Encoding: chunked\r\n"),
    *(b"5\r\nhello\r\n", b"0\r\n\r\n", b"0\r\nX-T: 1\r\n\r\n", b"POST /p HTTP/1.1\r\nHost: a\r\n"),
    *(b"Connection: close\r\n", b"Upgrade: x\r\n", b"Expect: 100-continue\r\n", b"hello", b"\0"),
)

DIALER = 1
ASKS = 2  # this side has a request under way
GIVEN_UP = 4  # and has given it up
OCTETS = 8  # each on its own


class _App:
    """An end whose app answers each request once it is whole, and counts."""

    def __init__(self, flags: int) -> None:
        self.end = shaken("dialer" if flags & DIALER else "listener")
        self.end.react = self.react  # type: ignore[method-assign]
        self.asked = 0
        self.answered = 0
        if flags & ASKS:
            stream_id = self.end.request("POST", "/own", body=b"own")
            if flags & GIVEN_UP:
                self.end.multiplexer.reset_stream(stream_id, 1)
                self.end.settle()
        self.end.out = b""

    def react(self, event: MultiplexerEvent) -> None:
        multiplexer = self.end.multiplexer
        if isinstance(event, RequestReceived):
            self.asked += 1
        elif isinstance(event, DataReceived):
            multiplexer.consume(event.stream_id, len(event.data), self.end.now)
        elif isinstance(event, EndReceived):
            stream_id = event.stream_id
            of_peer = stream_id == multiplexer.last_peer_stream_id
            if of_peer and multiplexer.is_open(stream_id):
                self.answered += 1
                multiplexer.send_head(stream_id, ResponseHead(200, []))
                multiplexer.send_data(stream_id, b"%d" % self.answered)
                multiplexer.send_end(stream_id)


def test_one(data: bytes) -> None:
    choices = Choices(data)
    flags = choices.byte()
    whole, divided = _App(flags), _App(flags)
    wire = b""
    while choices and len(wire) < 8192:
        cuts = choices.byte()
        wire += _message(choices.blob(), cuts, whole.end)
    pieces = [wire]
    if flags & OCTETS:
        pieces = [wire[at : at + 1] for at in range(len(wire))]
    else:
        middle = len(wire) // 2
        pieces = [wire[:middle], wire[middle:]]
    whole.end.receive(wire)
    divided.end.receive(*pieces)
    problems = [app.end.problem and app.end.problem.close_code for app in (whole, divided)]
    assert problems[0] == problems[1]
    if whole.end.problem is None:  # else the end has come before what waited for an answer
        assert _of_each_side(divided) == _of_each_side(whole)
        assert _messages_out(divided) == _messages_out(whole)
    _check_out(whole)


def _message(payload: bytes, cuts: int, to: End) -> bytes:
    """A text message; in fragments, or binary, or after a ping, where its byte says so."""
    kind = 2 if cuts & 0x40 else 1
    before = frame(b"p", to=to, opcode=9) if cuts & 0x20 else b""
    size = (cuts & 0x0F) * 7
    if not size or size >= len(payload):
        return before + frame(payload, to=to, opcode=kind)
    first = frame(payload[:size], to=to, opcode=kind, fin=False)
    return first + before + frame(payload[size:], to=to, opcode=0)


def _of_each_side(app: _App) -> list[list[object]]:
    """What was told of the requests of either side, in order, bodies joined.

    Not of the peer's that were refused: an app may have heard of them, or not.
    """
    sides: list[list[object]] = [[], []]
    failed = {event.stream_id for event in app.end.events if isinstance(event, StreamFailed)}
    for event in app.end.events:
        stream_id = getattr(event, "stream_id", 0)
        if stream_id in failed and bool(stream_id % 2) is not app.end.dialer:
            continue
        side = sides[bool(stream_id % 2) is app.end.dialer]
        if isinstance(event, DataReceived):
            if side and isinstance(side[-1], bytes):
                side[-1] += event.data
            else:
                side.append(event.data)
        elif not isinstance(event, StreamClosed):
            side.append(event)
    return sides


def _messages_out(app: _App) -> list[bytes]:
    """The messages that it has sent: whole ones, of text. Pongs overtake what waits."""
    out = app.end.out
    found = []
    while out:
        first, second = out[0], out[1]
        assert bool(second & 0x80) is app.end.dialer
        size, at = second & 0x7F, 2
        if size == 126:
            size, at = int.from_bytes(out[2:4], "big"), 4
        at += 4 if app.end.dialer else 0
        payload, out = out[at : at + size], out[at + size :]
        assert len(payload) == size
        assert first in (0x81, 0x88, 0x8A)
        if first == 0x81:
            found.append(payload)
    return found


def _check_out(app: _App) -> None:
    """None of them is empty, or has more than one answer in it; each request has its own."""
    answers = 0
    for payload in _messages_out(app):
        assert payload
        assert payload.count(b"HTTP/1.1 ") <= 1
        assert not payload.startswith(b"HTTP/1.1 1")
        answers += payload.startswith(b"HTTP/1.1 ")
    assert app.answered <= answers
