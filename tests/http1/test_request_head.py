"""The head of a request of plain HTTP: read strictly, the quick way and h11's alike."""

from __future__ import annotations

import h11
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from restsock.http1 import _request_head
from restsock.http1._request_head import BadRequestError, ParsedHead, parse_request_head
from restsock.protocol import RequestHead
from tests.protocol.heads import decode_request

_LINES = st.lists(
    st.sampled_from(
        [
            *(b"Host: a", b"host: b:80", b"Host:", b"X-A: 1", b"x_b:2", b"Content-Length: 5"),
            *(b"content-length:7", b"Transfer-Encoding: chunked", b"Transfer-Encoding: gzip"),
            *(b"Connection: keep-alive", b"Connection: close", b"connection: x-a, Keep-Alive"),
            *(b"Connection: Upgrade", b"Upgrade: x", b"Upgrade: h2c, x", b"TE: trailers"),
            *(b"Expect: 100-continue", b"Expect: x", b" folded", b"X: \xff", b"X: a\nb", b"X : 1"),
            *(b"Keep-Alive: timeout=5", b"Proxy-Connection: close", b"", b"X:\0"),
        ]
    ),
    max_size=5,
)
_START = st.sampled_from(
    [
        *(b"GET / HTTP/1.1", b"POST /a?b HTTP/1.1", b"GET / HTTP/1.0", b"OPTIONS * HTTP/1.1"),
        *(b"GET http://a/ HTTP/1.1", b"GET http://a?x HTTP/1.0", b"CONNECT a:1 HTTP/1.1", b"GET /"),
        *(b"GET /\xff HTTP/1.1", b"get / HTTP/1.1", b"GET / HTTP/1.2", b"HEAD //x HTTP/1.1"),
    ]
)


def keeps(reader: h11.Connection) -> bool:
    """Whether the connection may go on after an answer to the request that has come."""
    while type(reader.next_event()) is not h11.EndOfMessage:
        pass
    reader.send(h11.Response(status_code=204, headers=[]))
    reader.send(h11.EndOfMessage())
    return reader.our_state is h11.DONE


@example(b"GET / HTTP/1.1", [b"Host: a", b"Connection: close"])
@given(_START, _LINES)
def test_a_head_is_read_as_h11_reads_it_or_refused(start: bytes, lines: list[bytes]) -> None:
    head = b"\r\n".join([start, *lines, b"", b""])
    if head.index(b"\r\n\r\n") + 4 < len(head):
        return
    try:
        found = parse_request_head(head)
    except BadRequestError:
        return
    reader = h11.Connection(h11.SERVER)
    reader.receive_data(head)
    read = reader.next_event()
    assert isinstance(read, h11.Request)
    crossing = decode_request(found.payload)
    assert found.head == crossing
    assert crossing.method == read.method
    fields = dict(read.headers)
    assert found.chunked == (fields.get(b"transfer-encoding") == b"chunked")
    assert found.length == (int(fields[b"content-length"]) if b"content-length" in fields else None)
    assert not (found.chunked and found.length is not None)
    assert found.old == (read.http_version == b"1.0")
    assert found.upgrade == (crossing.upgrade is not None)
    assert not (found.upgrade and (found.length or found.chunked or found.old))
    # h11 keeps an HTTP/1.0 connection in no case.
    reader.receive_data(b"0\r\n\r\n" if found.chunked else bytes(found.length or 0))
    assert found.keep_alive == keeps(reader) or found.old
    # What has been read crosses a second hop as it is.
    again = parse_request_head(found.payload)
    assert again.payload == found.payload
    assert again.keep_alive


@given(_START, _LINES)
def test_the_quick_way_says_the_same(start: bytes, lines: list[bytes]) -> None:
    head = b"\r\n".join([start, *lines, b"", b""])
    with pytest.MonkeyPatch.context() as patch:
        quick = _result(head)
        patch.setattr(_request_head, "decode_request_fast", lambda *_: None)
        assert _result(head) == quick


def _result(head: bytes) -> tuple[RequestHead, ParsedHead] | int:
    try:
        found = parse_request_head(head)
    except BadRequestError as exc:
        return exc.status
    # Connection options of a plain head name no field that it has.
    plain = found._replace(payload=b"", named=found.named - {b"keep-alive"})
    return decode_request(found.payload), plain


@given(st.binary(max_size=200))
def test_any_bytes(data: bytes) -> None:
    for head in (data + b"\r\n\r\n", b"GET / HTTP/1.1\r\nHost: a\r\n" + data + b"\r\n\r\n"):
        try:
            found = parse_request_head(head[: head.index(b"\r\n\r\n") + 4])
        except BadRequestError:
            continue
        decode_request(found.payload)
