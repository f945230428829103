from __future__ import annotations

import re
from http import HTTPStatus
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from restsock._exceptions import LocalProtocolError
from restsock._http_date import http_date
from restsock.apps._errors import BadResponseError
from restsock.apps._response import Responder, checked_field, expects_continue
from restsock.protocol import Headers, RequestHead, ResponseHead
from restsock.protocol._heads import encode_response


class Recorder:
    def __init__(self) -> None:
        self.heads: list[ResponseHead] = []
        self.data: list[bytes] = []
        self.trailers: Headers | None = None

    def send_head(self, head: ResponseHead) -> None:
        assert not self.heads
        encode_response(head)
        self.heads.append(head)

    def send_data(self, data: bytes) -> None:
        assert self.heads
        assert self.trailers is None
        self.data.append(data)

    def send_end(self, trailers: Headers = ()) -> None:
        assert self.trailers is None
        self.trailers = trailers

    def respond(self, head: ResponseHead, body: bytes) -> None:
        self.send_head(head)
        if body:
            self.send_data(body)
        self.send_end()

    def header(self, name: bytes) -> bytes | None:
        found = [v for n, v in self.heads[0].headers if n.lower() == name]
        assert len(found) < 2
        return found[0] if found else None


def responder(method: bytes = b"GET") -> tuple[Responder, Recorder]:
    recorder = Recorder()
    return Responder(recorder, method), recorder


def test_the_head_waits_for_the_body() -> None:
    response, sent = responder()
    response.start(200, [(b"x-a", b"1")])
    assert response.started
    assert not sent.heads
    response.body(b"hello", more=False)
    assert sent.heads[0].status == 200
    assert sent.heads[0].reason == b"OK"
    assert sent.header(b"content-length") == b"5"
    assert sent.header(b"x-a") == b"1"
    assert sent.data == [b"hello"]
    assert sent.trailers == ()
    assert response.complete


def test_a_date_is_supplied_once() -> None:
    response, sent = responder()
    response.start(200, [])
    response.body(b"", more=False)
    date = sent.header(b"date")
    assert date is not None
    assert re.fullmatch(rb"[A-Z][a-z]{2}, \d\d [A-Z][a-z]{2} \d{4} \d\d:\d\d:\d\d GMT", date)
    assert http_date() >= b""

    response, sent = responder()
    response.start(200, [(b"Date", b"yesterday")])
    response.body(b"", more=False)
    assert sent.header(b"date") == b"yesterday"


def test_a_streamed_body_has_no_length() -> None:
    response, sent = responder()
    response.start(200, [])
    response.body(b"a", more=True)
    response.body(b"", more=True)
    response.body(b"b", more=False)
    assert sent.header(b"content-length") is None
    assert b"".join(sent.data) == b"ab"


@pytest.mark.parametrize("status", [204, 304])
def test_no_body_where_there_is_none(status: int) -> None:
    response, sent = responder()
    response.start(status, [])
    response.body(b"something", more=False)
    assert response.bodiless
    assert sent.data == []
    assert sent.header(b"content-length") is None


def test_the_answer_to_a_head_describes_that_to_a_get() -> None:
    response, sent = responder(b"HEAD")
    response.start(200, [(b"content-length", b"100")])
    response.body(b"", more=False)
    assert sent.header(b"content-length") == b"100"

    response, sent = responder(b"HEAD")
    response.start(200, [])
    response.body(b"12345", more=False)
    assert sent.header(b"content-length") == b"5"
    assert sent.data == []

    response, sent = responder(b"HEAD")
    response.start(200, [])
    response.body(b"", more=False)
    assert sent.header(b"content-length") is None


def test_trailers() -> None:
    response, sent = responder()
    response.start(200, [])
    response.body(b"x", more=True)
    response.end([(b"x-sum", b"1")])
    assert sent.trailers == [(b"x-sum", b"1")]

    response, sent = responder(b"HEAD")
    response.start(200, [])
    response.end([(b"x-sum", b"1")])
    assert sent.trailers == ()


@pytest.mark.parametrize(
    ("length", "parts"),
    [(b"3", [b"abcd"]), (b"3", [b"ab"]), (b"3", [b"ab", b"cd"]), (b"3", [])],
)
def test_a_wrong_length_is_the_apps_error(length: bytes, parts: list[bytes]) -> None:
    response, sent = responder()
    response.start(200, [(b"Content-Length", length)])
    with pytest.raises(BadResponseError, match="Content-Length"):
        for part in parts:
            response.body(part, more=True)
        response.body(b"", more=False)
    assert sent.trailers is None
    assert sum(map(len, sent.data)) <= 3


def test_a_wrong_length_of_a_whole_body_leaves_room_for_a_500() -> None:
    response, sent = responder()
    response.start(200, [(b"Content-Length", b"3")])
    with pytest.raises(BadResponseError):
        response.body(b"ab", more=False)
    assert not response.head_sent
    response.plain(500, "oh")
    assert sent.heads[0].status == 500
    assert sent.header(b"content-length") == b"2"


@pytest.mark.parametrize(
    ("status", "headers", "error"),
    [
        (99, [], BadResponseError),
        (100, [], BadResponseError),
        (101, [], BadResponseError),
        (1000, [], BadResponseError),
        ("200", [], TypeError),
        (True, [], TypeError),
        (200, [("a", b"b")], TypeError),
        (200, [(b"a", "b")], TypeError),
        (200, [(b"a b", b"c")], BadResponseError),
        (200, [(b"", b"c")], BadResponseError),
        (200, [(b"a", b"c\r\nd: e")], BadResponseError),
        (200, [(b"a", b"\x00")], BadResponseError),
        (200, [(b"content-length", b"5, 5")], BadResponseError),
        (200, [(b"content-length", b"-5")], BadResponseError),
        (200, [(b"content-length", b"5"), (b"Content-Length", b"5")], BadResponseError),
        (200, [(b"a", b"b" * 70_000)], BadResponseError),
        (200, None, TypeError),
    ],
)
def test_a_bad_start_is_the_apps_error(status: Any, headers: Any, error: type[Exception]) -> None:
    response, sent = responder()
    with pytest.raises(error):
        response.start(status, headers)
    assert not response.started
    assert not sent.heads


def test_an_http_status_is_a_status() -> None:
    response, sent = responder()
    response.start(HTTPStatus.CREATED, [])
    response.body(b"", more=False)
    assert type(sent.heads[0].status) is int
    assert sent.heads[0].status == 201


def test_the_order_of_calls() -> None:
    response, _ = responder()
    with pytest.raises(BadResponseError, match="before the start"):
        response.body(b"", more=False)
    response.start(200, [])
    with pytest.raises(TypeError):
        response.body("text", more=False)  # type: ignore[arg-type]  # what careless apps do
    response.start(201, [])
    response.body(bytearray(b"a"), more=True)  # type: ignore[arg-type]  # what some apps do
    with pytest.raises(BadResponseError, match="already"):
        response.start(200, [])
    response.body(b"", more=False)
    with pytest.raises(BadResponseError, match="after the end"):
        response.body(b"", more=False)
    with pytest.raises(BadResponseError, match="complete"):
        response.end()


def test_expects_continue() -> None:
    assert expects_continue(RequestHead(b"PUT", b"/", [(b"Expect", b"100-Continue")]))
    assert not expects_continue(RequestHead(b"PUT", b"/", [(b"Accept", b"100-continue")]))


@given(st.binary(max_size=12), st.binary(max_size=12))
def test_whatever_is_accepted_here_can_be_sent(name: bytes, value: bytes) -> None:
    try:
        field = checked_field(name, value)
    except BadResponseError:
        return
    try:
        encode_response(ResponseHead(200, [field]))
    except LocalProtocolError:
        assert name.lower() == b"content-length"  # its value is looked at by `start`


@given(st.sampled_from([b"GET", b"HEAD"]), st.integers(200, 999), st.lists(st.binary(max_size=5)))
def test_any_body_arrives_whole(method: bytes, status: int, parts: list[bytes]) -> None:
    response, sent = responder(method)
    response.start(status, [])
    for part in parts:
        response.body(part, more=True)
    response.end()
    expected = b"" if method == b"HEAD" or status in (204, 304) else b"".join(parts)
    assert b"".join(sent.data) == expected
    assert sent.trailers is not None
    assert not list(sent.trailers)
