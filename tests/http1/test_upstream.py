"""The client's role in HTTP/1.1: framing out, events in, when a connection may be used again."""

from __future__ import annotations

import h11
import pytest
from hypothesis import given
from hypothesis import strategies as st

from restsock._exceptions import LocalProtocolError, RemoteProtocolError
from restsock.http1 import Upstream, UpstreamEvent
from restsock.protocol import (
    DataReceived,
    EndReceived,
    Headers,
    RequestHead,
    ResponseHead,
    ResponseReceived,
)


def upstream() -> Upstream:
    return Upstream(max_head=4096)


def asked(
    *fields: tuple[bytes, bytes], method: bytes = b"GET", body: bool = False
) -> tuple[Upstream, bytes]:
    """One that has sent a request head, and the bytes of it."""
    server = upstream()
    head = RequestHead(method, b"/", [(b"Host", b"x"), *fields])
    return server, server.send_request(head, body=body)


def events(server: Upstream) -> list[UpstreamEvent]:
    found = []
    while (event := server.next_event()) is not None:
        found.append(event)
    return found


# --- out --------------------------------------------------------------------------------------


def test_a_request_without_a_body() -> None:
    server, head = asked((b"Accept", b"*/*"))
    assert head + server.send_end() == b"GET / HTTP/1.1\r\nHost: x\r\nAccept: */*\r\n\r\n"


def test_a_body_of_known_length() -> None:
    server, head = asked((b"Content-Length", b"3"), method=b"POST", body=True)
    assert b"chunked" not in head
    assert server.send_data(b"abc") + server.send_end([(b"X-T", b"1")]) == b"abc"


def test_a_body_in_chunks_with_those_trailers_that_may_come() -> None:
    server, head = asked(method=b"POST", body=True)
    assert head.endswith(b"\r\nTransfer-Encoding: chunked\r\n\r\n")
    trailers = [(b"X-T", b"1"), (b"Content-Length", b"9"), (b"Host", b"y"), (b"TE", b"x")]
    late = (b"Authorization", b"Cookie", b"Content-Type", b"Range", b"If-Match", b"Expect")
    trailers += [(name, b"z") for name in late]
    sent = server.send_data(b"abc") + server.send_data(b"") + server.send_end(trailers)
    assert sent == b"3\r\nabc\r\n0\r\nX-T: 1\r\n\r\n"


@pytest.mark.parametrize("sizes", [(4,), (2,), (3, 1)])
def test_a_body_that_is_not_as_long_as_it_said(sizes: tuple[int, ...]) -> None:
    server, _ = asked((b"Content-Length", b"3"), method=b"POST", body=True)
    with pytest.raises(LocalProtocolError):
        for size in sizes:
            server.send_data(b"x" * size)
        server.send_end()


@pytest.mark.parametrize(
    "fields",
    [
        [],
        [(b"Host", b"x"), (b"Host", b"y")],
        [(b"Host", b"x"), (b"Content-Length", b"1"), (b"Content-Length", b"1")],
        [(b"Host", b"x"), (b"Content-Length", b"1, 1")],
        [(b"Host", b"x"), (b"Secret\r\n", b"1")],
        [(b"Host", b"x"), (b"X", b"secret\r\nY: 1")],
    ],
)
def test_heads_that_cannot_be_sent(fields: Headers) -> None:
    with pytest.raises(LocalProtocolError) as caught:
        upstream().send_request(RequestHead(b"GET", b"/", fields), body=True)
    assert "ecret" not in str(caught.value)


def test_hop_by_hop_fields_are_left_out() -> None:
    _, head = asked(
        (b"Transfer-Encoding", b"chunked"),
        (b"Connection", b"x-a, content-length"),
        (b"X-A", b"1"),
        (b"Content-Length", b"3"),
        (b"TE", b"trailers"),
        body=True,
    )
    assert head == b"GET / HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\n"


_FIELDS = st.lists(
    st.tuples(
        st.sampled_from(
            [b"Content-Length", b"Transfer-Encoding", b"Connection", b"X-A", b"Upgrade", b"TE"]
        ),
        st.sampled_from(
            [b"0", b"3", b"03", b"chunked", b"identity", b"upgrade", b"content-length", b"x-a"]
        ),
    ),
    max_size=5,
)


@given(_FIELDS, st.booleans(), st.binary(max_size=20), st.sampled_from([b"GET", b"POST"]))
def test_a_strict_server_reads_what_was_meant(
    fields: Headers, body: bool, data: bytes, method: bytes
) -> None:
    """Whatever the head said: never two framings, and the same body at the other end."""
    client = upstream()
    try:
        head = RequestHead(method, b"/", [(b"Host", b"x"), *fields])
        sent = client.send_request(head, body=body)
        if body and data:
            sent += client.send_data(data)
        sent += client.send_end()
    except LocalProtocolError:
        return
    lowered = sent.split(b"\r\n\r\n")[0].lower()
    assert lowered.count(b"\r\ncontent-length:") + lowered.count(b"\r\ntransfer-encoding:") <= 1
    server = h11.Connection(h11.SERVER)
    server.receive_data(sent)
    request = server.next_event()
    assert isinstance(request, h11.Request)
    received = b""
    while not isinstance(event := server.next_event(), h11.EndOfMessage):
        assert isinstance(event, h11.Data)
        received += event.data
    assert received == (data if body else b"")
    assert server.trailing_data[0] == b""


# --- in ---------------------------------------------------------------------------------------

CHUNKED = (
    b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\nContent-Length: 3\r\n\r\n"
    b"HTTP/1.1 200 Fine\r\nTransfer-Encoding: chunked\r\nContent-Length: 1\r\n"
    b"Connection: x-hop\r\nX-Hop: 1\r\nX-End: 2\r\n\r\n"
    b"3\r\nabc\r\n2;a=b\r\nde\r\n0\r\nX-Sum: 5\r\nContent-Length: 5\r\nHost: x\r\n\r\n"
)


@given(st.lists(st.integers(0, len(CHUNKED)), max_size=20))
def test_any_cut_of_the_bytes_gives_the_same_events(cuts: list[int]) -> None:
    server, _ = asked()
    server.send_end()
    found = []
    at = 0
    for cut in [*sorted(cuts), len(CHUNKED)]:
        if CHUNKED[at:cut]:
            server.receive_data(CHUNKED[at:cut])
            found += events(server)
        at = cut
    heads = [event.head for event in found if isinstance(event, ResponseReceived)]
    assert heads == [
        ResponseHead(103, [(b"Link", b"</a>")], b"Early Hints"),
        ResponseHead(200, [(b"X-End", b"2")], b"Fine"),
    ]
    data = b"".join(event.data for event in found if isinstance(event, DataReceived))
    assert data == b"abcde"
    assert found[-1] == EndReceived(0, [(b"X-Sum", b"5")])
    assert server.reusable


@given(st.binary(max_size=200), st.booleans())
def test_any_bytes_raise_what_is_documented(data: bytes, status_line: bool) -> None:
    server, _ = asked()
    server.send_end()
    try:
        server.receive_data((b"HTTP/1.1 200 OK\r\n" if status_line else b"") + data)
        events(server)
        server.receive_data(b"")
        events(server)
    except RemoteProtocolError:
        assert not server.reusable


@pytest.mark.parametrize(
    ("answer", "method", "reusable"),
    [
        (b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nx", b"GET", True),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nxy", b"GET", False),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nx", b"GET", False),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nConnection: close\r\n\r\nx", b"GET", False),
        (b"HTTP/1.0 200 OK\r\nContent-Length: 1\r\n\r\nx", b"GET", False),
        (b"HTTP/1.1 204 No Content\r\n\r\n", b"GET", True),
        (b"HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\n", b"GET", True),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n", b"HEAD", False),
    ],
)
def test_when_it_can_be_used_again(answer: bytes, method: bytes, reusable: bool) -> None:
    server, _ = asked(method=method)
    server.send_end()
    server.receive_data(answer)
    events(server)
    assert server.reusable is reusable
    if reusable:
        server.restart()
        assert not server.answered
        assert server.send_request(RequestHead(b"GET", b"/", [(b"Host", b"x")]), body=False)


def test_a_request_that_is_not_complete_leaves_nothing_to_use() -> None:
    server, _ = asked(method=b"POST", body=True)
    server.receive_data(b"HTTP/1.1 413 Too Large\r\nContent-Length: 0\r\n\r\n")
    assert isinstance(events(server)[-1], EndReceived)
    assert not server.reusable


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (b"", "without an answer"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nx", "in the middle"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n", "in the middle"),
        (b"secret\r\n\r\n", "not valid"),
        (b"HTTP/1.1 200 OK\r\nsecret\r\n\r\n", "not valid"),
        (b"HTTP/1.1 101 X\r\nUpgrade: x\r\n\r\n", "not valid"),
    ],
)
def test_what_is_no_response(answer: bytes, words: str) -> None:
    server, _ = asked()
    server.send_end()
    with pytest.raises(RemoteProtocolError, match=words) as caught:
        for data in (answer, b""):
            server.receive_data(data)
            events(server)
    assert "secret" not in str(caught.value)


def test_a_response_up_to_the_end_of_the_connection() -> None:
    server, _ = asked()
    server.send_end()
    server.receive_data(b"HTTP/1.1 200 OK\r\n\r\nabc")
    assert events(server)[1:] == [DataReceived(0, b"abc")]
    server.receive_data(b"")
    assert events(server) == [EndReceived(0, [])]
    assert not server.reusable


def test_a_101_of_http_1_0_is_none() -> None:
    server, _ = asked((b"Connection", b"Upgrade"), (b"Upgrade", b"chat"))
    server.send_end()
    server.receive_data(b"HTTP/1.0 101 S\r\nConnection: Upgrade\r\nUpgrade: chat\r\n\r\n")
    with pytest.raises(RemoteProtocolError, match=r"HTTP/1\.0"):
        server.next_event()


def test_a_101() -> None:
    server, head = asked((b"Connection", b"Upgrade"), (b"Upgrade", b"chat"))
    assert b"\r\nConnection: upgrade\r\nUpgrade: chat\r\n" in head
    server.send_end()
    server.receive_data(
        b"HTTP/1.1 101 S\r\nConnection: x, Upgrade\r\nUpgrade: chat\r\nX: 1\r\nY: 2\r\n\r\nraw"
    )
    (event,) = events(server)
    assert isinstance(event, ResponseReceived)
    assert list(event.head.headers) == [
        (b"Y", b"2"),
        (b"Connection", b"upgrade"),
        (b"Upgrade", b"chat"),
    ]
    assert server.switched
    assert server.trailing_data == b"raw"
    assert not server.reusable


# --- the short cut ----------------------------------------------------------------------------

_ANSWERS = st.builds(
    lambda lines, body: b"\r\n".join([*lines, b"", body]),
    st.lists(
        st.sampled_from(
            [
                *(b"HTTP/1.1 200 OK", b"HTTP/1.1 204 No Content", b"HTTP/1.1 304 Not Modified"),
                *(b"HTTP/1.0 200 OK", b"HTTP/1.1 103 Early Hints", b"HTTP/1.1 999 "),
                *(b"Content-Length: 3", b"content-length: 0", b"Content-Length: 3, 3"),
                *(b"Connection: close", b"Transfer-Encoding: chunked", b"X-A: 1", b"X-B:  ", b""),
                *(b"Host: x", b"X-C: \xe9", b"Keep-Alive: timeout=5"),
            ]
        ),
        max_size=5,
    ).map(lambda lines: [b"HTTP/1.1 200 OK", *lines]),
    st.sampled_from([b"", b"abc", b"abcd", b"3\r\nabc\r\n0\r\n\r\n", b"ab"]),
)


def _told(asked_of: Upstream, pieces: list[bytes]) -> tuple[list[object], bool]:
    """What a server was heard to say, with the pieces of its body as one; and what is left."""
    found: list[object] = []
    for piece in pieces:
        try:
            asked_of.receive_data(piece)
            for event in events(asked_of):
                if isinstance(event, DataReceived) and isinstance(found[-1], bytes):
                    found[-1] += event.data
                else:
                    found.append(event.data if isinstance(event, DataReceived) else event)
        except RemoteProtocolError as exc:
            return [*found, str(exc)], False
    return found, asked_of.reusable


@given(_ANSWERS, st.lists(st.integers(0, 120), max_size=4), st.booleans(), st.booleans())
def test_a_plain_exchange_is_heard_as_h11_hears_it(
    answer: bytes, cuts: list[int], closes: bool, complete: bool
) -> None:
    """A field that is not plain has the other request written, and its answer read, by h11."""
    at, pieces = 0, []
    for cut in [*sorted(cuts), len(answer)]:
        if answer[at:cut]:
            pieces.append(answer[at:cut])
        at = max(at, cut)
    told = []
    for value in (b"plain", b"not pl\xe9in"):
        server, _ = asked((b"X-Value", value), (b"Content-Length", b"2"), method=b"POST", body=True)
        server.send_data(b"a")
        if complete:
            server.send_data(b"b")
            server.send_end()
        told.append(_told(server, [*pieces, *([b""] if closes else [])]))
    (plain, again), (other, other_again) = told
    assert plain == other
    # Once it has closed nobody asks it again.
    assert again == (other_again and not closes)


def test_a_connection_goes_from_one_kind_of_exchange_to_the_other() -> None:
    server = upstream()
    for value in (b"plain", b"pl\xe9in", b"plain", b"plain"):
        head = RequestHead(b"GET", b"/", [(b"Host", b"x"), (b"X-Value", value)])
        assert value in server.send_request(head, body=False) + server.send_end()
        server.receive_data(b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nx")
        assert [type(event) for event in events(server)] == [
            ResponseReceived,
            DataReceived,
            EndReceived,
        ]
        assert server.reusable
        server.restart()
