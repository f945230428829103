"""HTTP/1.1 from the server's side: requests become frames, frames of answers become bytes."""

from __future__ import annotations

import itertools
import re
from typing import Any

import h11
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from restsock._options import Limits
from restsock.http1 import _downstream
from restsock.http1._due import Due
from restsock.protocol import (
    DataReceived,
    EndReceived,
    Headers,
    RequestReceived,
    ResetCode,
    ResponseHead,
    StreamFailed,
)

from .front import DATE, Answering, Front

GET = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"
POST = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\n"
CHUNKED = b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
UPGRADE = b"GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\n"
OLD = b"GET / HTTP/1.0\r\n\r\n"

DATED = b"Date: " + DATE + b"\r\n"


def begun(request: bytes = GET, **options: Any) -> Front:
    """One to which a request has come, as stream 1."""
    front = Front(**options)
    front.receive(request)
    return front


def statuses(data: bytes) -> list[int]:
    return [int(status) for status in re.findall(rb"HTTP/1\.1 ([0-9]{3}) ", data)]


# --- how the input is cut ---------------------------------------------------------------------


_REQUESTS = [
    GET,
    b"\r\n" + GET,
    b"HEAD /h HTTP/1.1\r\nHost: a\r\n\r\n",
    POST + b"hello",
    CHUNKED + b"3\r\nabc\r\n0\r\n\r\n",
    CHUNKED + b"A;x=y\r\n0123456789\r\n000\r\nX-T: 1\r\nCookie: c\r\n\r\n",
    OLD,
    b"GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n",
    b"GET http://a/x?y HTTP/1.1\r\nHost: a\r\nConnection: keep-alive\r\n\r\n",
    POST + b"he",
    CHUNKED + b"5\r\nabc\r\n",
    CHUNKED + b"3\r\nabcd\r\n",
    CHUNKED + b"0\r\nContent-Length: 1\r\n\r\n",
    CHUNKED + b"g\r\n",
    b"CONNECT a:1 HTTP/1.1\r\nHost: a\r\n\r\n",
    b"GET / HTTP/1.1\nHost: a\n\n",
    b"GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n",
    b"\x16\x03\x01",
    b"GET / HTTP/1.1\r\nHost: a\r\nX: " + b"y" * 4096 + b"\r\n\r\n",
    b"nonsense\r\n\r\n",
]
SMALL = Limits(max_head=1024, initial_window=16 * 1024, max_frame=1024)


@given(
    st.lists(st.sampled_from(_REQUESTS), min_size=1, max_size=5),
    st.lists(st.integers(0, 6000), max_size=12),
)
def test_it_does_not_matter_how_the_input_is_cut(requests: list[bytes], cuts: list[int]) -> None:
    data = b"".join(requests)
    whole, parts = Answering(SMALL), Answering(SMALL)
    whole.receive(data)
    edges = sorted({0, len(data), *(cut for cut in cuts if cut < len(data))})
    parts.receive(*(data[a:b] for a, b in itertools.pairwise(edges)))
    assert parts.told == whole.told
    assert parts.out == whole.out
    assert (parts.layer.over, parts.layer.problem) == (whole.layer.over, whole.layer.problem)


@pytest.mark.parametrize("request_", _REQUESTS)
def test_byte_by_byte(request_: bytes) -> None:
    whole, parts = Answering(SMALL), Answering(SMALL)
    whole.receive(request_ + GET)
    parts.receive(*(bytes([byte]) for byte in request_ + GET))
    assert parts.told == whole.told
    assert parts.out == whole.out


# --- requests, as h11 writes them -------------------------------------------------------------

_NAMES = st.sampled_from([b"X-A", b"Accept", b"Cookie", b"x_b", b"Connection", b"Expect"])
_VALUES = st.sampled_from([b"", b"1", b"a, b", b"gr\xfc\xdf", b"100-continue", b"keep-alive"])
_FIELDS = st.lists(st.tuples(_NAMES, _VALUES), max_size=4).filter(
    lambda fields: (
        all((n == b"Expect") == (v == b"100-continue") for n, v in fields)
        and sum(n == b"Expect" for n, _ in fields) < 2
    )
)
_LIKE_A_HEAD = [("Host", "a"), ("Content-Length", "13")]
_BODY = st.lists(st.binary(min_size=1, max_size=3000), max_size=4)


@st.composite
def requests(draw: Any) -> tuple[h11.Request, list[bytes], Headers]:
    """A request, its body in pieces, and trailers."""
    method = draw(st.sampled_from([b"GET", b"POST", b"HEAD", b"M-SEARCH"]))
    target = draw(st.sampled_from([b"/", b"/a//b?c=%2F", b"//x", b"/" + b"y" * 500]))
    fields = [(b"Host", b"a.example:80"), *draw(_FIELDS)]
    pieces = draw(_BODY)
    framing = draw(st.sampled_from(["length", "chunked"])) if pieces else "none"
    trailers: Headers = []
    if framing == "length":
        fields.append((b"Content-Length", b"%d" % sum(map(len, pieces))))
    elif framing == "chunked":
        fields.append((b"Transfer-Encoding", b"chunked"))
        trailers = draw(st.sampled_from([[], [(b"X-T", b"1"), (b"x-u", b"")]]))
    return h11.Request(method=method, target=target, headers=fields), pieces, trailers


@example([(h11.Request(method="PUT", target="/", headers=_LIKE_A_HEAD), [b"HTTP/1.1 200 "], [])], 1)
@given(st.lists(requests(), min_size=1, max_size=4), st.integers(1, 5000))
def test_requests_that_h11_writes_come_out_as_they_were_put_in(
    sent: list[tuple[h11.Request, list[bytes], Headers]], size: int
) -> None:
    data = b""
    for head, pieces, trailers in sent:
        client = h11.Connection(h11.CLIENT)
        data += client.send(head) or b""
        for piece in pieces:
            data += client.send(h11.Data(data=piece)) or b""
        data += client.send(h11.EndOfMessage(headers=list(trailers))) or b""
    front = Answering()
    front.receive(*(data[at : at + size] for at in range(0, len(data), size)))
    told = iter(front.told)
    for head, pieces, trailers in sent:
        request = next(told)
        assert isinstance(request, RequestReceived)
        assert (request.head.method, request.head.target) == (head.method, head.target)
        hop = (b"connection", b"transfer-encoding", b"keep-alive")
        kept = [f for f in head.headers.raw_items() if f[0].lower() not in hop]
        assert [f for f in request.head.headers if f[0].lower() != b"content-length"] == [
            f for f in kept if f[0].lower() != b"content-length"
        ]
        assert request.head.scheme == "http"
        if pieces:
            assert next(told) == DataReceived(request.stream_id, b"".join(pieces))
        end = next(told)
        assert isinstance(end, EndReceived)
        assert list(end.trailers) == list(trailers)
    assert next(told, None) is None
    # As h11 reads them: a body may well look like the head of another response.
    out = front.out
    for head, pieces, _ in sent:
        status, body, out = read_response(out, head)
        said = b"" if head.method == b"HEAD" else b"".join([head.method, b" ", head.target, b" "])
        assert (status, body) == (200, said and said + b"".join(pieces))
    assert not out


def read_response(data: bytes, request: h11.Request) -> tuple[int, bytes, bytes]:
    """Status and body of the response to a request, and what follows it."""
    http = h11.Connection(h11.CLIENT)
    http.send(h11.Request(method=request.method, target="/", headers=[("Host", "a")]))
    http.send(h11.EndOfMessage())
    http.receive_data(data)
    status, body = 0, b""
    while not isinstance(event := http.next_event(), h11.EndOfMessage):
        if isinstance(event, h11.Response):
            status = event.status_code
        elif isinstance(event, h11.Data):
            body += bytes(event.data)
        else:
            assert isinstance(event, h11.InformationalResponse), event
    return status, body, http.trailing_data[0]


# --- responses, as h11 reads them -------------------------------------------------------------


@given(
    method=st.sampled_from(["GET", "HEAD", "POST"]),
    version=st.sampled_from(["1.1", "1.0", "1.0 keep-alive", "1.1 close"]),
    status=st.sampled_from([200, 204, 304, 404, 299]),
    hints=st.integers(0, 2),
    pieces=_BODY,
    known=st.booleans(),
    together=st.booleans(),
    trailers=st.sampled_from([[], [(b"X-T", b"1")]]),
)
def test_h11_reads_what_was_answered(
    *,
    method: str,
    version: str,
    status: int,
    hints: int,
    pieces: list[bytes],
    known: bool,
    together: bool,
    trailers: Headers,
) -> None:
    old = version.startswith("1.0")
    option = f"Connection: {version.split()[1]}\r\n" if " " in version else ""
    head = f"{method} / HTTP/{version.split()[0]}\r\nHost: a\r\n{option}\r\n"
    front = Front()
    front.receive(head.encode())
    bodiless = method == "HEAD" or status in (204, 304)
    if bodiless:
        pieces = []
    for _ in range(hints):
        front.answer(1, 103, [(b"Link", b"</a>")], None)
    fields = [(b"X-A", b"1")]
    if known:
        fields.append((b"Content-Length", b"%d" % sum(map(len, pieces))))
    front.multiplexer.send_head(1, ResponseHead(status, fields, b""))
    for piece in pieces:
        if not together:
            front.settle()
        front.multiplexer.send_data(1, piece)
    if not together:
        front.settle()
    front.multiplexer.send_end(1, trailers if pieces else ())
    front.settle()

    client = h11.Connection(h11.CLIENT)
    client.send(h11.Request(method=method, target="/", headers=[("Host", "a")]))
    client.send(h11.EndOfMessage())
    client.receive_data(front.out)
    if front.layer.over:
        client.receive_data(b"")
    read = [client.next_event() for _ in range(0 if old else hints)]
    assert all(isinstance(event, h11.InformationalResponse) for event in read)
    final = client.next_event()
    assert isinstance(final, h11.Response)
    assert final.status_code == status
    found = dict(final.headers)
    assert found[b"x-a"] == b"1"
    assert found[b"date"] == DATE
    assert not (b"content-length" in found and b"transfer-encoding" in found)
    assert not (old and b"transfer-encoding" in found)
    assert status != 204 or b"content-length" not in found
    body = b""
    while isinstance(event := client.next_event(), h11.Data):
        body += bytes(event.data)
    assert body == b"".join(pieces)
    assert isinstance(event, h11.EndOfMessage)
    if b"transfer-encoding" in found and pieces:
        assert list(event.headers.raw_items()) == list(trailers)
    # And both agree on whether another request may follow.
    assert not front.layer.broken
    if front.layer.over:
        assert client.our_state is h11.MUST_CLOSE or old
    else:
        assert client.our_state is h11.DONE or version == "1.0 keep-alive"
        front.take()
        front.receive(GET)
        front.answer(3)
        assert statuses(front.out) == [200]


def test_an_http_1_0_client_is_told_that_it_may_go_on() -> None:
    front = begun(b"GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n")
    front.answer(1, body=b"ab")
    assert b"\r\nConnection: keep-alive\r\n" in front.out
    assert b"\r\nContent-Length: 2\r\n" in front.out
    assert not front.layer.over


def test_an_http_1_0_body_of_unknown_length_ends_with_the_connection() -> None:
    front = begun(b"GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n")
    front.answer(1, body=None)
    front.multiplexer.send_data(1, b"ab")
    front.settle()
    assert front.layer.cut_off
    assert front.out.endswith(b"\r\nConnection: close\r\n" + DATED + b"\r\nab")
    front.multiplexer.send_end(1)
    front.settle()
    assert front.layer.over
    assert not front.layer.cut_off


def test_an_app_that_says_the_date_is_not_corrected() -> None:
    front = begun()
    front.answer(1, headers=[(b"dAte", b"today")])
    assert front.out.lower().count(b"\r\ndate:") == 1


def test_a_missing_reason_is_supplied() -> None:
    front = begun()
    front.answer(1, 404)
    assert front.out.startswith(b"HTTP/1.1 404 Not Found\r\n")
    front = begun()
    front.answer(1, 599)
    assert front.out.startswith(b"HTTP/1.1 599 \r\n")


def test_a_204_and_a_1xx_have_no_length() -> None:
    front = begun()
    front.answer(1, 204, [(b"Content-Length", b"0"), (b"X-A", b"1")])
    assert b"ontent-" not in front.out
    assert b"\r\nX-A: 1\r\n" in front.out


# --- pipelining -------------------------------------------------------------------------------


def test_the_next_request_waits_for_the_response_before_it() -> None:
    front = begun(GET + GET + GET)
    assert front.told == [front.told[0], EndReceived(1)]
    front.answer(1)
    front.answer(3)
    front.answer(5)
    assert statuses(front.out) == [200, 200, 200]
    assert front.layer.due is Due.REQUEST


def test_a_client_that_pipelines_without_end_is_not_read() -> None:
    front = begun(GET)
    front.receive(GET * 4000)
    assert front.layer.paused
    front.answer(1)
    while front.layer.paused:
        front.answer(front.layer.stream_id)


# --- bodies, credit and pause -----------------------------------------------------------------


def test_no_more_is_handed_on_than_there_is_credit() -> None:
    limits = Limits(initial_window=16 * 1024, max_frame=1024)
    front = begun(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 200000\r\n\r\n", limits=limits)
    assert front.layer.waiting
    front.receive(bytes(100_000))
    assert sum(len(e.data) for e in front.events if isinstance(e, DataReceived)) == 16 * 1024
    assert front.layer.paused
    assert not front.layer.waiting  # for the client: it is the app that has to go on
    front.multiplexer.consume(1, 16 * 1024, 0.0)
    front.settle()
    assert sum(len(e.data) for e in front.events if isinstance(e, DataReceived)) == 32 * 1024
    assert not any(isinstance(e, StreamFailed) for e in front.events)


def test_a_body_in_chunks_keeps_to_the_credit_too() -> None:
    limits = Limits(initial_window=16 * 1024, max_frame=1024)
    front = begun(CHUNKED, limits=limits)
    front.receive(b"5000\r\n" + bytes(0x5000) + b"\r\n0\r\n\r\n")
    assert sum(len(e.data) for e in front.events if isinstance(e, DataReceived)) == 16 * 1024
    front.multiplexer.consume(1, 16 * 1024, 0.0)
    front.settle()
    assert front.told[-1] == EndReceived(1)
    assert not any(isinstance(e, StreamFailed) for e in front.events)


def test_tiny_chunks_make_no_tiny_frames() -> None:
    front = Front()
    front.pipeline.receive_data(CHUNKED)
    front.layer.receive_data(b"1\r\na\r\n" * 3000)
    assert len(front.layer.events) == 1


def test_a_long_response_renews_the_credit_of_its_client(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_downstream, "_MORE_CREDIT", 1000)
    front = begun()
    front.answer(1, body=None)
    stream = front.multiplexer.streams[1]
    before = stream.credit
    for _ in range(50):
        front.multiplexer.send_data(1, bytes(700))
        front.settle()
        assert stream.credit > before - 2000


def test_the_last_number_of_a_stream(monkeypatch: pytest.MonkeyPatch) -> None:
    front = Answering()
    front.layer.stream_id = _downstream._LAST_ID - 4
    front.receive(GET)
    assert not front.layer.over
    front.receive(GET)
    assert front.layer.over
    assert front.out.count(b"Connection: close") == 1
    assert statuses(front.out) == [200, 200]


def test_trailers_that_are_for_this_hop_or_come_too_late() -> None:
    head = CHUNKED.replace(b"Host", b"Connection: X-Hop\r\nHost")
    front = begun(head + b"0\r\nX-Hop: 1\r\nX-T: 2\r\nAuthorization: 3\r\n\r\n")
    assert front.told[-1] == EndReceived(1, [(b"X-T", b"2")])


# --- Expect -----------------------------------------------------------------------------------


def test_100_goes_through_and_the_body_follows() -> None:
    front = begun(POST.replace(b"Host", b"Expect: 100-Continue\r\nHost"))
    front.answer(1, 100, body=None)
    assert front.take() == b"HTTP/1.1 100 Continue\r\n\r\n"
    front.receive(b"hello")
    front.answer(1)
    assert statuses(front.out) == [200]
    assert not front.layer.over


def test_an_expectation_that_is_not_known() -> None:
    front = begun(POST.replace(b"Host", b"Expect: cake\r\nHost") + b"hello")
    assert statuses(front.out) == [417]
    assert front.layer.over
    assert not front.events


# --- early answers ----------------------------------------------------------------------------


@pytest.mark.parametrize("request_", [POST + b"he", CHUNKED + b"2\r\nhe\r\n"])
def test_an_answer_before_the_body_has_come_ends_the_connection(request_: bytes) -> None:
    front = begun(request_)
    front.answer(1, 403, body=b"no")
    assert statuses(front.out) == [403]
    assert b"\r\nConnection: close\r\n" in front.out
    assert front.layer.over
    front.receive(b"llo" + GET)
    assert statuses(front.out) == [403]


def test_a_body_goes_on_while_the_answer_does() -> None:
    front = begun(CHUNKED)
    front.answer(1, body=None)
    front.receive(b"2\r\nhe\r\n")
    front.multiplexer.send_data(1, b"he")
    front.receive(b"0\r\n\r\n")
    front.multiplexer.send_end(1)
    front.settle()
    assert front.told[-1] == EndReceived(1)
    assert front.out.endswith(b"2\r\nhe\r\n0\r\n\r\n")
    assert front.layer.over


# --- upgrades ---------------------------------------------------------------------------------


def test_raw_bytes_both_ways() -> None:
    front = begun(UPGRADE + b"early")
    assert len(front.told) == 1
    front.answer(1, 101, [(b"Connection", b"upgrade"), (b"Upgrade", b"x")], None)
    assert front.take().startswith(b"HTTP/1.1 101 Switching Protocols\r\n")
    assert front.layer.due is Due.RAW
    front.receive(GET)
    front.multiplexer.send_data(1, b"raw")
    front.settle()
    assert front.told[1] == DataReceived(1, b"early" + GET)
    assert front.take() == b"raw"
    front.multiplexer.send_end(1)
    front.settle()
    assert front.layer.over
    assert front.out == b""


def test_an_upgrade_that_is_declined() -> None:
    front = begun(UPGRADE)
    front.answer(1, 426, body=b"no")
    assert not front.layer.over
    front.receive(GET)
    front.answer(3)
    assert statuses(front.out) == [426, 200]


def test_bytes_after_an_upgrade_that_is_declined_are_no_request() -> None:
    front = begun(UPGRADE + GET)
    front.answer(1, 426, body=b"no")
    assert front.layer.over
    assert statuses(front.out) == [426]
    assert b"\r\nConnection: close\r\n" in front.out
    assert sum(isinstance(event, RequestReceived) for event in front.events) == 1


@pytest.mark.parametrize("protocol", [b"h2c", b"HTTP/2.0", b"TLS/1.2"])
def test_protocols_that_are_never_switched_to(protocol: bytes) -> None:
    front = begun(UPGRADE.replace(b": x", b": " + protocol) + GET)
    front.answer(1)
    front.answer(3)
    assert statuses(front.out) == [200, 200]
    (first, *_) = front.told
    assert isinstance(first, RequestReceived)
    assert first.head.headers == [(b"Host", b"a")]


# --- RESET ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("code", "status"),
    [
        (ResetCode.TIMEOUT, 504),
        (ResetCode.REFUSED, 503),
        (ResetCode.CANCEL, 503),
        (ResetCode.TOO_LARGE, 413),
        (ResetCode.INTERNAL, 500),
        (ResetCode.FLOW, 500),
    ],
)
@pytest.mark.parametrize("request_", [GET, POST + b"he", CHUNKED, UPGRADE])
def test_a_reset_before_the_answer(request_: bytes, code: ResetCode, status: int) -> None:
    front = begun(request_)
    front.multiplexer.reset_stream(1, code, "secret")
    front.settle()
    assert statuses(front.out) == [status]
    assert b"secret" not in front.out
    assert b"\r\nConnection: close\r\n" in front.out
    assert DATED in front.out
    assert (b"\r\nRetry-After: 1\r\n" in front.out) == (code == ResetCode.REFUSED)
    assert front.layer.over
    assert not front.layer.broken


def test_an_answer_of_its_own_to_head_has_no_body() -> None:
    front = begun(GET.replace(b"GET", b"HEAD"))
    front.multiplexer.reset_stream(1, ResetCode.TIMEOUT)
    front.settle()
    assert front.out.endswith(b"\r\n\r\n")


@pytest.mark.parametrize(("request_", "broken"), [(GET, False), (OLD, True)])
def test_a_reset_in_the_middle_of_an_answer(request_: bytes, *, broken: bool) -> None:
    front = begun(request_)
    front.answer(1, body=None)
    front.multiplexer.send_data(1, b"ab")
    front.settle()
    front.multiplexer.reset_stream(1, ResetCode.TIMEOUT)
    front.settle()
    assert front.layer.over
    assert front.layer.broken is broken
    assert not front.out.endswith(b"0\r\n\r\n")


def test_a_reset_of_raw_bytes_ends_the_connection() -> None:
    front = begun(UPGRADE)
    front.answer(1, 101, [(b"Connection", b"upgrade"), (b"Upgrade", b"x")], None)
    front.take()
    front.multiplexer.reset_stream(1, ResetCode.CANCEL)
    front.settle()
    assert front.layer.over
    assert front.out == b""


# --- ends -------------------------------------------------------------------------------------


def test_goaway_lets_what_is_in_flight_end() -> None:
    front = begun(GET)
    front.multiplexer.send_goaway(1001)
    front.settle()
    assert not front.layer.over
    front.answer(1, body=b"ab")
    assert b"\r\nConnection: close\r\n" in front.out
    assert front.layer.over


def test_a_request_after_goaway_is_refused() -> None:
    front = Front()
    front.multiplexer.send_goaway(1001)
    front.receive(GET)
    assert statuses(front.out) == [503]
    assert front.layer.over


def test_the_last_request_is_answered_and_told_so() -> None:
    front = Front()
    front.layer.serve_last()
    front.receive(GET)
    front.answer(1, body=b"ab")
    assert statuses(front.out) == [200]
    assert front.out.count(b"\r\nConnection: close\r\n") == 1
    assert front.layer.over


def test_a_client_that_was_told_to_stay_may_ask_once_more() -> None:
    front = begun(GET)
    front.multiplexer.send_head(1, ResponseHead(200, [(b"Content-Length", b"2")]))
    front.settle()
    front.layer.serve_last()
    front.multiplexer.send_data(1, b"ab")
    front.multiplexer.send_end(1)
    front.settle()
    assert b"Connection: close" not in front.out
    assert not front.layer.over
    front.receive(GET)
    front.answer(3, body=b"cd")
    assert statuses(front.out) == [200, 200]
    assert front.out.count(b"\r\nConnection: close\r\n") == 1
    assert front.layer.over


def test_closing_answers_what_was_not_answered() -> None:
    front = begun(GET)
    front.layer.close(1001, "bye")
    front.settle()
    assert statuses(front.out) == [503]
    assert b"bye" not in front.out
    front = Front()
    front.layer.close()
    front.settle()
    assert front.out == b""


@pytest.mark.parametrize(("request_", "broken"), [(GET, False), (OLD, True)])
def test_closing_in_the_middle_of_an_answer(request_: bytes, *, broken: bool) -> None:
    front = begun(request_)
    front.answer(1, body=None)
    front.multiplexer.send_data(1, b"ab")
    front.settle()
    front.layer.close()
    assert front.layer.broken is broken


@pytest.mark.parametrize("request_", [b"GE", POST + b"he", CHUNKED + b"2"])
def test_what_does_not_come_in_time(request_: bytes) -> None:
    front = begun(request_)
    front.layer.time_out()
    front.settle()
    front.receive(b"T" + GET)
    assert statuses(front.out) == [408]
    assert front.layer.over
    failed = [event.code for event in front.events if isinstance(event, StreamFailed)]
    assert failed == ([] if request_ == b"GE" else [ResetCode.PROTOCOL])
    front.layer.time_out()
    front.settle()
    assert statuses(front.out) == [408]


def test_a_body_that_does_not_come_in_time_for_its_answer() -> None:
    front = begun(POST + b"he")
    front.answer(1, body=None)
    front.layer.time_out()
    front.settle()
    assert statuses(front.out) == [200]
    assert front.layer.over


@pytest.mark.parametrize("limit", [{"max_body": 3}, {"max_streams": 0}])
def test_limits_are_those_of_any_connection(limit: dict[str, int]) -> None:
    front = begun(POST + b"hello", limits=Limits(**limit))
    assert statuses(front.out) == ([413] if "max_body" in limit else [503])


def test_too_many_fields() -> None:
    front = begun(GET[:-2] + b"a:\r\n" * 300 + b"\r\n")
    assert statuses(front.out) == [431]
