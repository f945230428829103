"""The front door: a client of plain HTTP against what h11 makes of the same bytes.

An input is a byte of flags, places to cut at, and the bytes of a client. Any division gives the
same; nothing is raised. What was taken for a request h11 takes for the same one, from the same
bytes, with the same body; what was answered a client reads, one final answer for each request.
"""

from __future__ import annotations

import re

import h11

from restsock._options import Limits
from restsock.protocol import DataReceived, EndReceived, RequestHead, RequestReceived, ResponseHead
from tests.fuzz.choices import Choices
from tests.http1.front import Front

MAX_LEN = 2048
DICTIONARY = (
    *(b"GET / HTTP/1.1\r\n", b"POST / HTTP/1.1\r\n", b"HEAD / HTTP/1.0\r\n", b"CONNECT a:1 "),
    *(b"Host: a\r\n", b"Content-Length: 5\r\n", b"Transfer-Encoding: chunked\r\n", b"\r\n\r\n"),
    *(b"Connection: keep-alive\r\n", b"Connection: close\r\n", b"Connection: upgrade\r\n"),
    *(b"Upgrade: x\r\n", b"Upgrade: h2c\r\n", b"Expect: 100-continue\r\n", b"TE: trailers\r\n"),
    *(b"5\r\nhello\r\n", b"0\r\n\r\n", b"0\r\nX-T: 1\r\n\r\n", b"a;b=c\r\n", b"\n", b"\r", b"\0"),
    *(b"http://a/", b" HTTP/1.0\r\n", b"\r\n ", b" :", b"OPTIONS * ", b"PRI * HTTP/2.0\r\n\r\n"),
)

OCTETS = 1  # each on its own
CHUNKED = 2  # the answers
EARLY = 4  # an answer does not wait for the body

_LIMITS = Limits(max_head=1024, max_frame=1024, initial_window=16 * 1024)


class _App(Front):
    """Answers each request once, with its number."""

    def __init__(self, flags: int) -> None:
        super().__init__(_LIMITS)
        self._flags = flags
        self._begun: list[int] = []  # answers that lack their end
        self.heads: list[RequestHead] = []
        self.bodies: list[bytes] = []
        self.whole = 0

    def react(self, event: object) -> None:
        if isinstance(event, RequestReceived):
            self.heads.append(event.head)
            self.bodies.append(b"")
            if self._early:
                self._respond(event.stream_id)
        elif isinstance(event, DataReceived):
            self.bodies[-1] += event.data
            self.multiplexer.consume(event.stream_id, len(event.data), 0.0)
        elif isinstance(event, EndReceived):
            self.whole += 1
            if not self._early:
                self._respond(event.stream_id)

    @property
    def _early(self) -> bool:
        return bool(self._flags & EARLY) or self.heads[-1].upgrade is not None

    def _respond(self, stream_id: int) -> None:
        number = b"%d" % len(self.heads)
        length = [] if self._flags & CHUNKED else [(b"Content-Length", b"%d" % len(number))]
        self.multiplexer.send_head(stream_id, ResponseHead(200, length, b"OK"))
        self._begun.append(stream_id)

    def settle(self) -> None:
        super().settle()
        while self._begun:
            stream_id = self._begun.pop(0)
            if self.heads[-1].method != b"HEAD":
                self.multiplexer.send_data(stream_id, b"%d" % len(self.heads))
            self.multiplexer.send_end(stream_id)
            super().settle()


def test_one(data: bytes) -> None:
    choices = Choices(data)
    flags = choices.byte()
    pieces = choices.pieces()
    wire = b"".join(pieces)
    if flags & OCTETS:
        pieces = [wire[at : at + 1] for at in range(len(wire))]
    whole, divided = _App(flags), _App(flags)
    whole.receive(wire)
    divided.receive(*pieces)
    if not (flags & EARLY or any(head.upgrade for head in whole.heads)):
        # Else it depends on what has come before the answer.
        assert divided.told == whole.told
        assert divided.out == whole.out
    for app in (whole, divided):
        _check_answers(app)
        _check_requests(app, wire)


def _check_answers(app: _App) -> None:
    """A client that has asked for the same reads one answer to each request, and perhaps an error.

    Raises:
        AssertionError: or it is not an answer.
    """
    rest = app.out
    methods = [head.method for head in app.heads]
    answers = 0
    while rest:
        reader = h11.Connection(h11.CLIENT)
        method = methods[answers] if answers < len(methods) else b"GET"
        reader.send(h11.Request(method=method, target=b"/", headers=[(b"Host", b"a")]))
        reader.send(h11.EndOfMessage())
        reader.receive_data(rest)
        if app.layer.over:
            reader.receive_data(b"")
        head = reader.next_event()
        assert isinstance(head, h11.Response), head
        answers += 1
        while isinstance(event := reader.next_event(), h11.Data):
            pass
        assert isinstance(event, h11.EndOfMessage) or app.layer.over
        rest = reader.trailing_data[0] if isinstance(event, h11.EndOfMessage) else b""
        if rest:
            assert (b"connection", b"close") not in list(head.headers), "more after the last"
    assert answers <= len(app.heads) + 1
    assert app.layer.problem is None or app.layer.over


def _check_requests(app: _App, wire: bytes) -> None:
    """h11, for which all is one stream of requests, finds the same ones in the same bytes."""
    rest = wire
    for number, head in enumerate(app.heads):
        reader = h11.Connection(h11.SERVER, max_incomplete_event_size=4096)
        while rest.startswith(b"\r\n"):
            rest = rest[2:]
        reader.receive_data(rest)
        request = reader.next_event()
        assert isinstance(request, h11.Request), request
        assert request.method == head.method
        assert head.target == _in_origin_form(request.method, request.target)
        hosts = [value for name, value in head.headers if name.lower() == b"host"]
        assert len(hosts) == 1
        assert {name.lower() for name, _ in head.headers} <= {
            *(name for name, _ in request.headers),
            b"host",
        }
        body = b""
        try:
            while isinstance(event := reader.next_event(), h11.Data):
                body += bytes(event.data)
        except h11.RemoteProtocolError:
            # h11 knows it of a part of it already, or takes what is after the last for a request.
            assert app.layer.over or number >= app.whole
            event = h11.NEED_DATA
        if number < app.whole and head.upgrade is None and not app.layer.over:
            assert isinstance(event, h11.EndOfMessage), event
            assert body == app.bodies[number]
        assert body.startswith(app.bodies[number])
        rest = reader.trailing_data[0]


def _in_origin_form(method: bytes, target: bytes) -> bytes:
    if target.startswith(b"/") or target == b"*":
        return target
    after = target.partition(b"://")[2]
    rest = re.sub(rb"\A[^/?]*", b"", after)
    if method == b"OPTIONS" and not rest:
        return b"*"  # RFC 9112, 3.2.4
    return rest if rest.startswith(b"/") else b"/" + rest
