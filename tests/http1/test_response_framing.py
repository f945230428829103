"""How the end of a response is told on one hop."""

from __future__ import annotations

import pytest

from restsock.http1._request_head import ParsedHead
from restsock.http1._response_framing import ResponseFraming, without_length
from restsock.protocol import RequestHead

NEW = ParsedHead(RequestHead(b"GET", b"/", []), b"", None)
OLD = NEW._replace(old=True)
HEAD = ParsedHead(RequestHead(b"HEAD", b"/", []), b"", None)
PLAIN = b"HTTP/1.1 200 OK\r\n"
KNOWN = b"HTTP/1.1 200 OK\r\ncontent-Length: 3\r\n"


@pytest.mark.parametrize(
    ("head", "status", "request_", "whole", "keep_alive", "fields"),
    [
        (PLAIN, 200, NEW, None, True, b"Transfer-Encoding: chunked\r\n"),
        (PLAIN, 200, NEW, None, False, b"Transfer-Encoding: chunked\r\nConnection: close\r\n"),
        (PLAIN, 200, NEW, 3, True, b"Content-Length: 3\r\n"),
        (PLAIN, 200, NEW, 0, True, b"Content-Length: 0\r\n"),
        (KNOWN, 200, NEW, None, True, b""),
        (KNOWN, 200, NEW, 3, True, b""),
        (PLAIN, 200, OLD, None, True, b"Connection: close\r\n"),
        (PLAIN, 200, OLD, 3, True, b"Content-Length: 3\r\nConnection: keep-alive\r\n"),
        (KNOWN, 200, OLD, None, True, b"Connection: keep-alive\r\n"),
        (KNOWN, 200, OLD, None, False, b"Connection: close\r\n"),
        (PLAIN, 200, HEAD, 0, True, b""),
        (KNOWN, 200, HEAD, 0, True, b""),
        (PLAIN, 204, NEW, 0, True, b""),
        (PLAIN, 304, NEW, 0, False, b"Connection: close\r\n"),
        (PLAIN, 101, NEW, None, True, b""),
    ],
)
def test_fields(
    *,
    head: bytes,
    status: int,
    request_: ParsedHead,
    whole: int | None,
    keep_alive: bool,
    fields: bytes,
) -> None:
    framing = ResponseFraming(head.lower(), status, request_, whole, keep_alive=keep_alive)
    assert framing.fields == fields
    assert framing.chunked == (b"chunked" in fields)
    assert framing.bodiless == (request_ is HEAD or status in (204, 304))
    assert framing.ends_with_connection == (request_ is OLD and head is PLAIN and whole is None)
    assert framing.keep_alive == (keep_alive and not framing.ends_with_connection)


def test_a_length_is_taken_off() -> None:
    assert without_length(KNOWN) == PLAIN
    assert without_length(PLAIN) == PLAIN
    other = b"HTTP/1.1 200 OK\r\nX-Content-Length: 3\r\n"
    assert without_length(other) == other
