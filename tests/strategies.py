"""Hypothesis strategies for everything that crosses the wire."""

from __future__ import annotations

import itertools
import struct
from collections.abc import Callable
from typing import Any, TypeVar

from hypothesis import strategies as st

from restsock.protocol import (
    BinaryMessage,
    CloseReceived,
    Headers,
    Ping,
    Pong,
    RequestHead,
    ResponseHead,
    TextMessage,
    WebSocketEvent,
)
from restsock.protocol._frames import encode_frame, encode_goaway, encode_reset, encode_window

T = TypeVar("T")

_TOKEN = b"!#$%&'*+-.^_`|~0123456789ABCXYZabcxyz"
_VALUE = bytes(range(0x21, 0x7F)) + bytes(range(0x80, 0x100))
_TARGET = bytes(c for c in range(0x21, 0x7F) if c != 0x23)
_HOP_BY_HOP = {
    b"connection",
    b"keep-alive",
    b"proxy-connection",
    b"te",
    b"transfer-encoding",
    b"upgrade",
}
_SPECIAL = _HOP_BY_HOP | {b"host", b"content-length", b"trailer"}


def bytes_of(alphabet: bytes, *, min_size: int = 0, max_size: int = 12) -> st.SearchStrategy[bytes]:
    one = st.sampled_from([bytes([c]) for c in alphabet])
    return st.lists(one, min_size=min_size, max_size=max_size).map(b"".join)


# --- heads ------------------------------------------------------------------------------------

methods = st.sampled_from([b"GET", b"HEAD", b"POST", b"PUT", b"DELETE", b"OPTIONS"]) | bytes_of(
    _TOKEN, min_size=1
).filter(lambda m: m != b"CONNECT")
targets = bytes_of(_TARGET, max_size=20).map(lambda path: b"/" + path)
hosts = st.sampled_from(
    [b"a", b"example.org", b"example.org:8080", b"127.0.0.1:1", b"[::1]:80", b"a_b"]
)
field_names = bytes_of(_TOKEN, min_size=1).filter(lambda name: name.lower() not in _SPECIAL)
field_values = (
    st.just(b"")
    | bytes_of(_VALUE, min_size=1)
    | st.builds(
        lambda a, gap, b: a + gap + b,
        bytes_of(_VALUE, min_size=1),
        st.sampled_from([b" ", b"\t", b"  ", b" \t "]),
        bytes_of(_VALUE, min_size=1),
    )
)
fields: st.SearchStrategy[list[tuple[bytes, bytes]]] = st.lists(
    st.tuples(field_names, field_values), max_size=6
)


@st.composite
def request_heads(draw: st.DrawFn) -> RequestHead:
    """Heads that may cross as they are."""
    headers = draw(fields)
    headers.insert(draw(st.integers(0, len(headers))), (b"Host", draw(hosts)))
    if draw(st.booleans()):
        headers.append((b"Content-Length", b"%d" % draw(st.integers(0, 10**18 - 1))))
    return RequestHead(draw(methods), draw(targets), headers)


@st.composite
def response_heads(draw: st.DrawFn) -> ResponseHead:
    """Heads that may cross as they are, informational ones included."""
    status = draw(st.integers(100, 999).filter(lambda s: s != 101))
    reason = draw(bytes_of(_VALUE + b" \t"))
    return ResponseHead(status, draw(fields), reason)


def head_bytes(start_line: bytes, headers: Headers) -> bytes:
    """A head, written plainly; nothing is checked."""
    return b"".join([start_line, *(b"%s: %s\r\n" % field for field in headers), b"\r\n"])


@st.composite
def mutated(draw: st.DrawFn, of: st.SearchStrategy[bytes]) -> bytes:
    """Bytes that were right, with a few places changed, doubled or cut: close to the border."""
    data = draw(of)
    for _ in range(draw(st.integers(1, 3))):
        at = draw(st.integers(0, len(data)))
        new = draw(st.sampled_from(_INTERESTING) | st.binary(max_size=3))
        data = data[:at] + new + data[at + draw(st.integers(0, 3)) :]
    return data


_INTERESTING = [
    *(
        b"",
        b"\r",
        b"\n",
        b"\r\n",
        b"\r\n\r\n",
        b" ",
        b"\t",
        b":",
        b",",
        b"\0",
        b"\x07",
        b"\x7f",
        b"\xff",
    ),
    *(b"\r\n ", b" HTTP/1.0", b" HTTP/1.1", b"HTTP/1.1 200 ", b"GET / HTTP/1.1\r\n", b"#", b"*"),
    *(b"Content-Length: 5\r\n", b"Content-Length: 5, 5\r\n", b"content-length:+1\r\n"),
    *(
        b"Transfer-Encoding: chunked\r\n",
        b"Connection: close\r\n",
        b"Host: b\r\n",
        b"Host: a b/\r\n",
    ),
    *(b"Connection: upgrade\r\n", b"Upgrade: x\r\n", b"TE: trailers\r\n"),
]

request_bytes = request_heads().map(
    lambda h: head_bytes(b"%s %s HTTP/1.1\r\n" % (h.method, h.target), h.headers)
)
response_bytes = response_heads().map(
    lambda h: head_bytes(b"HTTP/1.1 %d %s\r\n" % (h.status, h.reason), h.headers)
)
trailer_bytes = fields.map(lambda headers: head_bytes(b"", headers))

# --- frames and messages ------------------------------------------------------------------------

stream_ids = st.integers(0, 9) | st.sampled_from([2**31 - 1, 2**31, 2**32 - 2, 2**32 - 1])

frames: st.SearchStrategy[bytes] = st.one_of(
    st.builds(
        encode_frame,
        st.integers(0, 7),
        st.sampled_from([0, 1, 1, 0xFE, 0xFF]),
        stream_ids,
        st.one_of(
            st.binary(max_size=40),
            request_bytes,
            response_bytes,
            trailer_bytes,
            st.builds(lambda h, b: h + b, request_bytes | response_bytes, st.binary(max_size=20)),
            mutated(request_bytes | response_bytes | trailer_bytes),
        ),
    ),
    st.builds(encode_reset, stream_ids, st.integers(0, 9), st.text(max_size=5)),
    st.builds(encode_window, stream_ids, st.sampled_from([1, 100, 2**31 - 1, 2**31 - 65537])),
    st.builds(encode_goaway, stream_ids, st.sampled_from([1000, 1001, 4002]), st.text(max_size=5)),
)

json_values: st.SearchStrategy[Any] = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3)
    ),
    max_leaves=8,
)

# --- WebSocket ----------------------------------------------------------------------------------


def websocket_frame(
    opcode: int, payload: bytes, *, fin: bool = True, mask: bytes | None = None
) -> bytes:
    """One WebSocket frame, made here so that what is tested is not tested against itself."""
    head = bytes([(0x80 if fin else 0) | opcode])
    bit = 0x80 if mask else 0
    if len(payload) < 126:
        head += bytes([bit | len(payload)])
    elif len(payload) < 2**16:
        head += bytes([bit | 126]) + struct.pack("!H", len(payload))
    else:
        head += bytes([bit | 127]) + struct.pack("!Q", len(payload))
    if mask is None:
        return head + payload
    return head + mask + bytes(octet ^ mask[i % 4] for i, octet in enumerate(payload))


# Where the length of a WebSocket frame changes its form.
_SIZES = [0, 1, 125, 126, 127, 65535, 65536]


@st.composite
def conversations(
    draw: st.DrawFn, *, masked: bool, sizes: bool = False
) -> tuple[bytes, list[WebSocketEvent]]:
    """What a peer may send, and the events in it.

    That is messages in fragments, controls in between, perhaps a close; with `sizes` also
    messages that are as long as the limits of a frame's forms.
    """
    out = []
    found: list[WebSocketEvent] = []

    def add(opcode: int, payload: bytes, fin: bool = True) -> None:
        mask = draw(st.binary(min_size=4, max_size=4)) if masked else None
        out.append(websocket_frame(opcode, payload, fin=fin, mask=mask))

    def ping() -> None:
        payload = draw(st.binary(max_size=8))
        add(9, payload)
        found.append(Ping(payload))

    binaries = st.binary(max_size=300)
    if sizes:
        binaries |= st.sampled_from(_SIZES).map(lambda size: (b"0123456789" * 6554)[:size])
    for _ in range(draw(st.integers(0, 5))):
        kind = draw(st.sampled_from(["text", "binary", "binary", "ping", "pong"]))
        if kind == "ping":
            ping()
        elif kind == "pong":
            payload = draw(st.binary(max_size=125))
            add(10, payload)
            found.append(Pong(payload))
        else:
            text = draw(st.text(max_size=40)) if kind == "text" else ""
            payload = text.encode() if kind == "text" else draw(binaries)
            cuts = sorted(draw(st.lists(st.integers(0, len(payload)), max_size=3)))
            edges = [0, *cuts, len(payload)]
            last = len(edges) - 2
            for number, (start, stop) in enumerate(itertools.pairwise(edges)):
                opcode = 0 if number else 1 if kind == "text" else 2
                add(opcode, payload[start:stop], fin=number == last)
                if number < last and draw(st.booleans()):
                    ping()
            found.append(TextMessage(text) if kind == "text" else BinaryMessage(payload))
    if draw(st.booleans()):
        code = draw(st.sampled_from([1000, 1001, 4000, 4004]))
        add(8, struct.pack("!H", code) + b"bye")
        found.append(CloseReceived(code, "bye"))
    return b"".join(out), found


def websocket_bytes(*, masked: bool) -> st.SearchStrategy[bytes]:
    """The bytes of a conversation alone."""
    return conversations(masked=masked).map(lambda both: both[0])


@st.composite
def chunked(draw: st.DrawFn, of: st.SearchStrategy[bytes]) -> tuple[bytes, list[bytes]]:
    """Some bytes, and the same bytes in pieces."""
    data = draw(of)
    return data, draw(cut(data))


@st.composite
def cut(draw: st.DrawFn, data: bytes) -> list[bytes]:
    """These bytes in pieces, none of them empty."""
    cuts = sorted(set(draw(st.lists(st.integers(0, len(data)), max_size=12))))
    return [data[a:b] for a, b in itertools.pairwise([0, *cuts, len(data)]) if b > a]


def until_none(take: Callable[[], T | None]) -> list[T]:
    """All that a `next_…()` method has to give now."""
    found = []
    while (item := take()) is not None:
        found.append(item)
    return found
