"""The short cut for plain exchanges with a server: what it hears, h11 hears with the same result.

The first byte of an input says how the rest, an answer, comes: 1: the request is complete by then;
2: the connection ends behind it; and the others where it is cut in two.
"""

from __future__ import annotations

from restsock._exceptions import RemoteProtocolError
from restsock.http1 import Upstream
from restsock.protocol import DataReceived, RequestHead

MAX_LEN = 512
STATUS_LINES = (
    *(b"HTTP/1.1 200 OK\r\n", b"HTTP/1.1 204 No Content\r\n", b"HTTP/1.1 304 Not Modified\r\n"),
    *(b"HTTP/1.0 200 OK\r\n", b"HTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 200 OK\r\n"),
)
FIELDS = (
    *(b"", b"Content-Length: 3\r\n", b"Content-Length: 0\r\nX-A: b\r\n", b"Connection: close\r\n"),
    *(b"Content-Length: 3\r\nContent-Length: 3\r\n", b"Transfer-Encoding: chunked\r\n"),
)
BODIES = (b"", b"abc", b"ab", b"abcd", b"3\r\nabc\r\n0\r\n\r\n")
DICTIONARY = (
    *filter(None, (*STATUS_LINES, *FIELDS, *BODIES)),  # a fuzzer takes no empty words
    *(b"\r\n\r\n", b": ", b"Host: x\r\n", b"\n", b"\xff"),
)


def test_one(data: bytes) -> None:
    how, answer = (data[0], data[1:]) if data else (0, b"")
    cut = how >> 2
    pieces = [piece for piece in (answer[:cut], answer[cut:]) if piece]
    if how & 2:
        pieces.append(b"")
    # A field that is not plain has the request written by h11, and its answer read.
    plain, other = (_heard(value, pieces, complete=bool(how & 1)) for value in (b"a", b"\xe9"))
    assert plain[0] == other[0]
    assert plain[1] == (other[1] and not how & 2)


def _heard(value: bytes, pieces: list[bytes], *, complete: bool) -> tuple[list[object], bool]:
    upstream = Upstream(max_head=256)
    fields = [(b"Host", b"x"), (b"X-Value", value), (b"Content-Length", b"2")]
    upstream.send_request(RequestHead(b"POST", b"/", fields), body=True)
    upstream.send_data(b"ab" if complete else b"a")
    if complete:
        upstream.send_end()
    found: list[object] = []
    try:
        for piece in pieces:
            upstream.receive_data(piece)
            while (event := upstream.next_event()) is not None:
                if isinstance(event, DataReceived):
                    before = found.pop() if found and isinstance(found[-1], bytes) else b""
                    assert isinstance(before, bytes)
                    found.append(before + event.data)
                else:
                    found.append(event)
    except RemoteProtocolError as exc:
        return [*found, str(exc)], False
    return found, upstream.reusable
