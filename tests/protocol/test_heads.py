"""Heads: they round trip; what is accepted means the same to h11 and to a naive reader."""

from __future__ import annotations

from functools import partial

import h11
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from restsock._exceptions import LocalProtocolError, RemoteProtocolError
from restsock.protocol import RequestHead, ResponseHead
from restsock.protocol._fields import content_length
from restsock.protocol._heads import decode_trailers, encode_trailers, split_head
from tests.protocol.heads import decode_request, decode_response, encode_request, encode_response
from tests.protocol.vectors import close_code
from tests.strategies import (
    fields,
    mutated,
    request_bytes,
    request_heads,
    response_bytes,
    response_heads,
    trailer_bytes,
)

HOST = (b"Host", b"a")


# --- round trips --------------------------------------------------------------------------------


@given(request_heads())
def test_request_heads_round_trip(head: RequestHead) -> None:
    data, crossed = encode_request(head)
    assert crossed == head
    assert decode_request(data) == head


@given(response_heads())
def test_response_heads_round_trip(head: ResponseHead) -> None:
    # h11 takes white space around a reason for what it is, so it is kept as it came.
    data, crossed = encode_response(head)
    assert crossed == head
    assert decode_response(data) == head


@given(fields)
def test_trailers_round_trip(headers: list[tuple[bytes, bytes]]) -> None:
    assert list(decode_trailers(encode_trailers(headers))) == headers


@given(st.one_of(request_bytes, response_bytes, trailer_bytes), st.binary(max_size=30))
def test_the_blank_line_divides_head_and_body(head: bytes, body: bytes) -> None:
    assert split_head(head + body) == (head, body)


@pytest.mark.parametrize("payload", [b"", b"\r", b"\r\n"[:1], b"GET / HTTP/1.1\r\nHost: a\r\n"])
def test_a_head_without_its_blank_line(payload: bytes) -> None:
    with pytest.raises(RemoteProtocolError):
        split_head(payload)


# --- strictness ---------------------------------------------------------------------------------


def _naive(head: bytes) -> tuple[bytes, list[tuple[bytes, bytes]]]:
    """Reads a head as the simplest reader in the world would."""
    assert head.endswith(b"\r\n\r\n") or head == b"\r\n"
    start, *lines = head[: -len(b"\r\n\r\n")].split(b"\r\n")
    pairs = [line.split(b":", 1) for line in lines]
    return start, [(name, value.strip(b" \t")) for name, value in pairs]


def _assert_nothing_to_smuggle_with(head: bytes, headers: list[tuple[bytes, bytes]]) -> None:
    assert head.count(b"\r\n") == head.count(b"\r") == head.count(b"\n")
    assert not any(octet < 0x20 and octet not in b"\r\n\t" for octet in head)
    names = [name.lower() for name, _ in headers]
    assert names.count(b"content-length") <= 1
    for name in (b"transfer-encoding", b"te", b"keep-alive", b"proxy-connection"):
        assert name not in names
    length = content_length(headers)
    assert length is None or 0 <= length < 10**18


@given(mutated(request_bytes))
@example(b"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 5, 5\r\n\r\n")
def test_an_accepted_request_means_the_same_to_h11(data: bytes) -> None:
    try:
        head = decode_request(data)
    except RemoteProtocolError:
        return
    headers = list(head.headers)
    reader = h11.Connection(h11.SERVER)
    reader.receive_data(data)
    event = reader.next_event()
    assert isinstance(event, h11.Request)
    assert (event.method, event.target, event.http_version) == (head.method, head.target, b"1.1")
    assert event.headers.raw_items() == headers
    assert _naive(data) == (b"%s %s HTTP/1.1" % (head.method, head.target), headers)
    _assert_nothing_to_smuggle_with(data, headers)
    assert [name.lower() for name, _ in headers].count(b"host") == 1
    # What was accepted can be passed on, and arrives as the same.
    again, _ = encode_request(head)
    assert decode_request(again).headers == head.headers or head.upgrade is not None


@given(mutated(response_bytes))
@example(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 5\r\n\r\n")
def test_an_accepted_response_means_the_same_to_h11(data: bytes) -> None:
    try:
        head = decode_response(data)
    except RemoteProtocolError:
        return
    headers = list(head.headers)
    reader = h11.Connection(h11.CLIENT)
    wish = [HOST, (b"Connection", b"upgrade"), (b"Upgrade", b"x")]
    reader.send(h11.Request(method=b"GET", target=b"/", headers=wish))
    reader.receive_data(data)
    event = reader.next_event()
    assert isinstance(event, (h11.Response, h11.InformationalResponse))
    assert (event.status_code, event.reason, event.http_version) == (
        head.status,
        head.reason,
        b"1.1",
    )
    assert event.headers.raw_items() == headers
    assert _naive(data) == (b"HTTP/1.1 %d %s" % (head.status, head.reason), headers)
    _assert_nothing_to_smuggle_with(data, headers)


@given(mutated(trailer_bytes))
def test_accepted_trailers_hold_nothing_that_frames(data: bytes) -> None:
    try:
        headers = list(decode_trailers(data))
    except RemoteProtocolError:
        return
    assert _naive(b"x\r\n" + data) == (b"x", headers)
    _assert_nothing_to_smuggle_with(data, headers)
    assert content_length(headers) is None
    assert b"host" not in [name.lower() for name, _ in headers]


@given(st.one_of(st.binary(max_size=200), mutated(request_bytes | response_bytes | trailer_bytes)))
def test_arbitrary_bytes_raise_only_the_documented_error(data: bytes) -> None:
    for decode in (split_head, decode_request, decode_response, decode_trailers):
        assert close_code(partial(decode, data)) in (None, 4002)


@pytest.mark.parametrize(
    "filling",
    [
        b"a",
        b" ",
        b"\t ",
        b"a ",
        b"a" + b" " * 50,
        b"\r\nX: a",
        b"\r\nContent-Length: 1",
        b":",
        b",",
    ],
)
@pytest.mark.parametrize("end", [b"\r\n\r\n", b"\x01\r\n\r\n", b"a\r\n\r\n", b""])
def test_no_head_takes_long_to_refuse(filling: bytes, end: bytes) -> None:
    # A quadratic search would not come back from a megabyte before the test times out.
    for name in (b"X: a", b"Content-Length: 1"):
        head = b"GET / HTTP/1.1\r\nHost: a\r\n" + name + filling * (1_000_000 // len(filling)) + end
        for decode in (decode_request, decode_trailers, decode_response):
            try:
                decode(head)
            except RemoteProtocolError:
                pass


# --- out ----------------------------------------------------------------------------------------


def test_hop_by_hop_fields_stay_behind() -> None:
    headers = [
        HOST,
        (b"Connection", b"keep-alive, X-Hop, Content-Length"),
        (b"Keep-Alive", b"timeout=5"),
        (b"Proxy-Connection", b"close"),
        (b"TE", b"trailers"),
        (b"Transfer-Encoding", b"chunked"),
        (b"Upgrade", b"h2c"),
        (b"x-hop", b"1"),
        (b"Content-Length", b"5"),
        (b"X-End", b"1"),
    ]
    kept = [HOST, (b"Content-Length", b"5"), (b"X-End", b"1")]
    data, head = encode_request(RequestHead(b"POST", b"/", headers))
    assert head.headers == kept
    assert list(decode_request(data).headers) == kept
    data, response = encode_response(ResponseHead(426, headers[1:]))
    assert response.headers == kept[1:]
    assert list(decode_response(data).headers) == kept[1:]


def test_the_wish_to_upgrade_crosses_in_one_spelling() -> None:
    headers = [HOST, (b"connection", b"keep-alive, Upgrade"), (b"upgrade", b"WebSocket")]
    data, head = encode_request(RequestHead(b"GET", b"/", headers))
    assert list(head.headers)[1:] == [(b"Connection", b"upgrade"), (b"Upgrade", b"WebSocket")]
    assert decode_request(data) == head
    assert head.upgrade == b"websocket"


def test_an_answer_to_an_upgrade_crosses_with_101_only() -> None:
    headers = [(b"Connection", b"Upgrade"), (b"Upgrade", b"websocket"), (b"X-A", b"1")]
    data, head = encode_response(ResponseHead(101, headers))
    assert decode_response(data) == head
    assert dict(head.headers)[b"Upgrade"] == b"websocket"
    _, head = encode_response(ResponseHead(200, headers))
    assert head.headers == [(b"X-A", b"1")]
    with pytest.raises(LocalProtocolError):
        encode_response(ResponseHead(101, []))


@pytest.mark.parametrize(
    "head",
    [
        RequestHead(b"GET", b"/", []),
        RequestHead(b"GET", b"/", [HOST, HOST]),
        RequestHead(b"GET", b"/", [(b"Host", b"a b")]),
        RequestHead(b"GET", b"/", [(b"Host", b"")]),
        RequestHead(b"GET", b"http://a/", [HOST]),
        RequestHead(b"GET", b"*", [HOST]),
        RequestHead(b"GET", b"", [HOST]),
        RequestHead(b"GET", b"/ b", [HOST]),
        RequestHead(b"GET", b"/#b", [HOST]),
        RequestHead(b"GET", b"/\xc3\xa4", [HOST]),
        RequestHead(b"CONNECT", b"/", [HOST]),
        RequestHead(b"G T", b"/", [HOST]),
        RequestHead(b"", b"/", [HOST]),
        RequestHead(b"GET", b"/", [HOST, (b"X-A", b"1\r\nX-B: 2")]),
        RequestHead(b"GET", b"/", [HOST, (b"X-A", b"1\n")]),
        RequestHead(b"GET", b"/", [HOST, (b"X-A", b"\x07")]),
        RequestHead(b"GET", b"/", [HOST, (b"X A", b"1")]),
        RequestHead(b"GET", b"/", [HOST, (b"", b"1")]),
        RequestHead(b"POST", b"/", [HOST, (b"Content-Length", b"5, 5")]),
        RequestHead(b"POST", b"/", [HOST, (b"Content-Length", b"5"), (b"Content-Length", b"5")]),
        RequestHead(b"POST", b"/", [HOST, (b"Content-Length", b"-5")]),
        RequestHead(b"POST", b"/", [HOST, (b"Content-Length", b"1" * 19)]),
    ],
    ids=repr,
)
def test_a_request_that_would_be_refused_is_not_sent(head: RequestHead) -> None:
    with pytest.raises(LocalProtocolError):
        encode_request(head)


@pytest.mark.parametrize(
    "head",
    [
        ResponseHead(99, []),
        ResponseHead(0, []),
        ResponseHead(1000, []),
        ResponseHead(200, [(b"X-A", b"1\r\n")]),
        ResponseHead(200, [], b"O\nK"),
        ResponseHead(200, [(b"Content-Length", b"x")]),
        ResponseHead(200, [(b"Content-Length", b"5, 5")]),
    ],
    ids=repr,
)
def test_a_response_that_would_be_refused_is_not_sent(head: ResponseHead) -> None:
    with pytest.raises(LocalProtocolError):
        encode_response(head)


@pytest.mark.parametrize(
    "headers",
    [[(b"Content-Length", b"5")], [(b"Host", b"a")], [(b"X-A", b"1\r\n")], [(b"X A", b"1")]],
    ids=repr,
)
def test_trailers_that_would_be_refused_are_not_sent(headers: list[tuple[bytes, bytes]]) -> None:
    with pytest.raises(LocalProtocolError):
        encode_trailers(headers)


_ANY = st.binary(max_size=8)
_ANY_HEADERS = st.lists(
    st.tuples(
        st.sampled_from([b"Host", b"Content-Length", b"Connection", b"Upgrade", b"TE", b"X"])
        | _ANY,
        st.sampled_from([b"a", b"5", b"upgrade", b"websocket", b"5, 5", b" a ", b""]) | _ANY,
    ),
    max_size=5,
)


@given(
    st.sampled_from([b"GET", b"OPTIONS"]) | _ANY, st.sampled_from([b"/", b"*"]) | _ANY, _ANY_HEADERS
)
def test_what_leaves_is_never_refused(
    method: bytes, target: bytes, headers: list[tuple[bytes, bytes]]
) -> None:
    try:
        data, head = encode_request(RequestHead(method, target, [HOST, *headers]))
    except LocalProtocolError:
        return
    assert _stripped(decode_request(data)) == _stripped(head)


@given(st.integers(-1, 1100), _ANY_HEADERS, _ANY)
def test_no_response_that_leaves_is_refused(
    status: int, headers: list[tuple[bytes, bytes]], reason: bytes
) -> None:
    try:
        data, head = encode_response(ResponseHead(status, headers, reason))
    except LocalProtocolError:
        return
    assert _stripped(decode_response(data)) == _stripped(head)


def _stripped(head: RequestHead | ResponseHead) -> tuple[object, ...]:
    one, _, three = head if isinstance(head, ResponseHead) else (head[0], head[2], head[1])
    return one, three, [(name, value.strip(b" \t")) for name, value in head.headers]


def test_content_length() -> None:
    assert content_length([(b"content-LENGTH", b"0012")]) == 12
    assert content_length([(b"X", b"1")]) is None


def test_an_error_names_the_field_and_keeps_its_value_to_itself() -> None:
    secret = b"Bearer s3cr3t\r\nX: y"
    with pytest.raises(LocalProtocolError, match="Authorization") as caught:
        encode_request(RequestHead(b"GET", b"/", [HOST, (b"Authorization", secret)]))
    assert "s3cr3t" not in str(caught.value)
    assert caught.value.__cause__ is None
    with pytest.raises(LocalProtocolError, match="X-Key") as caught:
        encode_response(ResponseHead(200, [(b"X-Key", b"s3cr3t\x00")]))
    assert "s3cr3t" not in str(caught.value)
