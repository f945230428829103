"""The short cut for plain heads agrees with the strict grammar and h11 on every byte."""

from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from restsock._exceptions import LocalProtocolError, RemoteProtocolError
from restsock.protocol import PlainHead, RequestHead, ResponseHead, content_length
from restsock.protocol._heads_fast import (
    decode_request_fast,
    decode_response_fast,
    encode_request_fast,
    encode_response_fast,
    extend_request_fast,
    number_request_fast,
    plain_fields,
)
from tests.protocol.heads import decode_request, decode_response, encode_request, encode_response
from tests.strategies import (
    head_bytes,
    mutated,
    request_bytes,
    request_heads,
    response_bytes,
    response_heads,
)

HOST = (b"Host", b"edge-1")

_names = st.sampled_from(
    [b"Accept", b"X-A", b"Host", b"Content-Length", b"content-length", b"Connection", b"TE", b"1"]
) | st.text("abcXYZ019-", min_size=1, max_size=8).map(str.encode)
_values = st.sampled_from([b"a", b"5", b"close", b"trailers", b"a: b", b"a:1", b"007"]) | st.text(
    'az 09,;:="', max_size=8
).map(str.encode)
_fields = st.lists(st.tuples(_names, _values), max_size=5)

# Close to plain, and often plain: the general strategies nearly never are.
near_requests = st.builds(
    head_bytes,
    st.sampled_from(
        [b"GET /a?b=c HTTP/1.1\r\n", b"POST / HTTP/1.1\r\n", b"CONNECT / HTTP/1.1\r\n"]
    ),
    _fields.map(lambda fields: [HOST, *fields]),
)
near_responses = st.builds(
    head_bytes,
    st.sampled_from([b"HTTP/1.1 200 OK\r\n", b"HTTP/1.1 404 Not Found\r\n", b"HTTP/1.1 204 \r\n"]),
    _fields,
)
requests_ = near_requests | mutated(near_requests) | mutated(request_bytes)
responses_ = near_responses | mutated(near_responses) | mutated(response_bytes)


@pytest.mark.parametrize(
    "head",
    [
        RequestHead(b"GET", b"/pets?limit=10", [HOST, (b"Accept", b"*/*")]),
        RequestHead(b"POST", b"/pets", [HOST, (b"Content-Length", b"17"), (b"X-A", b"a: b, c")]),
    ],
)
def test_an_everyday_request_is_plain(head: RequestHead) -> None:
    plain = encode_request_fast(head)
    assert plain is not None
    data, length = plain
    assert length == content_length(head.headers)
    assert decode_request_fast(data) == (head, length)
    assert decode_request_fast(data, "https") == (head._replace(scheme="https"), length)
    assert encode_request_fast(head._replace(scheme="https")) == plain


@pytest.mark.parametrize(
    "head",
    [
        ResponseHead(200, [(b"Content-Type", b"text/html; charset=utf-8")], b"OK"),
        ResponseHead(404, [(b"Content-length", b"0")], b"Not Found"),
        ResponseHead(200, [(b"Set-Cookie", b"a=1"), (b"Set-Cookie", b"b=2")]),
    ],
)
def test_an_everyday_response_is_plain(head: ResponseHead) -> None:
    plain = encode_response_fast(head)
    assert plain is not None
    data, length = plain
    assert length == content_length(head.headers)
    assert decode_response_fast(data) == (head, length)


@given(requests_)
@example(b"CONNECT / HTTP/1.1\r\nHost: a\r\n\r\n")
@example(b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n")
@example(b"GET / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n")
@example(b"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nContent-Length: 5\r\n\r\n")
def test_a_plain_request_means_what_h11_says(data: bytes) -> None:
    with suppress(RemoteProtocolError):
        decode_request(data)


@given(responses_)
@example(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n")
@example(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 5\r\n\r\n")
def test_a_plain_response_means_what_h11_says(data: bytes) -> None:
    with suppress(RemoteProtocolError):
        decode_response(data)


anything = st.binary(max_size=12) | st.sampled_from([b"a\r\nX: y", b"A: b", b"", b" a", b"a "])
field = st.tuples(anything, anything)


plain_request_heads = _fields.map(lambda fields: RequestHead(b"PUT", b"/x", [HOST, *fields]))
plain_response_heads = _fields.map(lambda fields: ResponseHead(201, fields, b"Created"))


@given(request_heads() | plain_request_heads, st.lists(field, max_size=2))
@example(RequestHead(b"GET", b"/", [HOST]), [(b"X", b"a\r\nY: b")])
@example(RequestHead(b"GET", b"/", [HOST]), [(b"X: a", b"b")])
@example(RequestHead(b"GET", b"/ HTTP/1.1\r\nA: b", [HOST]), [])
def test_a_plain_request_is_written_as_h11_would(
    head: RequestHead, more: list[tuple[bytes, bytes]]
) -> None:
    head = RequestHead(head.method, head.target, [*head.headers, *more])
    with suppress(LocalProtocolError):
        data, crossing = encode_request(head)
        assert decode_request(data) == crossing


@given(response_heads() | plain_response_heads, st.lists(field, max_size=2))
@example(ResponseHead(200, [], b"OK\r\nX: y"), [])
def test_a_plain_response_is_written_as_h11_would(
    head: ResponseHead, more: list[tuple[bytes, bytes]]
) -> None:
    head = ResponseHead(head.status, [*head.headers, *more], head.reason)
    with suppress(LocalProtocolError):
        data, crossing = encode_response(head)
        assert decode_response(data) == crossing


@given(near_requests, st.lists(field, max_size=2) | _fields, st.sampled_from([None, "https"]))
@example(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n", [(b"X", b"a\r\nY: b")], None)
@example(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n", [(b"X: a", b"b")], None)
@example(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n", [(b"X", b"b\r\n")], None)
def test_fields_that_are_added_are_as_if_they_had_been_there(
    data: bytes, more: list[tuple[bytes, bytes]], scheme: str | None
) -> None:
    found, fields = decode_request_fast(data), plain_fields(more)
    if found is None or fields is None:
        return
    head, length = found
    extended, plain = extend_request_fast(PlainHead(head, data, length), fields, scheme)
    assert extended == head._replace(headers=[*head.headers, *more], scheme=scheme)
    assert plain == (extended, *(encode_request_fast(extended) or ()))
    assert decode_request(plain.data)._replace(scheme=scheme) == extended


@given(
    request_heads(),
    st.lists(st.tuples(st.sampled_from([b"X-A", b"X-Left-Ms"]), st.integers(0, 10**9)), max_size=2),
    st.none() | st.integers(0, 10**6),
)
@example(RequestHead(b"POST", b"/", [HOST]), [(b"X-A", 5)], 7)
def test_numbers_are_added_as_if_they_had_been_there(
    head: RequestHead, numbers: list[tuple[bytes, int]], length: int | None
) -> None:
    found = encode_request_fast(head)
    if found is None or found[1] is not None:
        return
    plain = number_request_fast(PlainHead(head, *found), numbers, length)
    more = [(name, b"%d" % number) for name, number in numbers]
    if length is not None:
        more.append((b"Content-Length", b"%d" % length))
    assert plain.head == head._replace(headers=[*head.headers, *more])
    assert isinstance(plain.head, RequestHead)
    assert plain[1:] == encode_request_fast(plain.head)


@pytest.mark.parametrize(
    "wrong",
    [
        *[(b"Host", b"b"), (b"content-length", b"5"), (b"Connection", b"close"), (b"TE", b"a")],
        *[(b"Transfer-Encoding", b"chunked"), (b"Expect", b"x"), (b"Upgrade", b"x")],
        *[(b"X", b""), (b"X", b" a"), (b"X", b"a\r\nY: b"), (b"X: a", b"b"), (b"X", b"\xff")],
        *[(b"", b"a"), (b"X_Y", b"a"), (b"X", b"a\r\n"), (b"X\r\nY", b"a"), (b"X", b"a\nY: b")],
    ],
)
def test_fields_with_a_rule_of_their_own_are_not_added(wrong: tuple[bytes, bytes]) -> None:
    assert plain_fields([(b"A", b"b"), wrong]) is None
    assert plain_fields([wrong]) is None
    assert plain_fields([(b"A", b"b"), (b"A", b"c: d")]) is not None


def test_what_is_not_plain_takes_the_long_way() -> None:
    odd = RequestHead(b"GET", b"/", [HOST, (b"X_Y", b"\xff")])
    assert encode_request_fast(odd) is None
    data, _ = encode_request(odd)
    assert decode_request_fast(data) is None
    assert decode_request(data) == odd
    with pytest.raises(LocalProtocolError):
        encode_request(RequestHead(b"GET", b"/", [HOST, (b"X", b"a\r\nY: b")]))
