"""CONNECT without sockets: whatever a proxy answers, and in whatever pieces."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from restsock import HandshakeError, LocalProtocolError
from restsock.http1 import ConnectTunnel


def tunnel(**options: Any) -> ConnectTunnel:
    return ConnectTunnel(**{"host": "hub.example", "port": 443, **options})


@pytest.mark.parametrize(
    ("host", "authority"),
    [("hub.example", b"hub.example:443"), ("::1", b"[::1]:443"), ("10.0.0.1", b"10.0.0.1:443")],
)
def test_the_request(host: str, authority: bytes) -> None:
    made = tunnel(host=host, headers=[(b"Proxy-Authorization", b"Basic eDp5")])
    assert made.request == (
        b"CONNECT " + authority + b" HTTP/1.1\r\nHost: " + authority + b"\r\n"
        b"Proxy-Authorization: Basic eDp5\r\n\r\n"
    )


@pytest.mark.parametrize(
    "field",
    [(b"Host", b"x"), (b"Content-Length", b"3"), (b"X-A", b"a\r\nsesame: b"), (b"sesame y", b"x")],
)
def test_fields_that_cannot_be(field: tuple[bytes, bytes]) -> None:
    with pytest.raises(LocalProtocolError) as caught:
        tunnel(headers=[field])
    assert "sesame" not in str(caught.value)
    assert caught.value.__cause__ is None


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 200 Connection established\r\n\r\n",
        b"HTTP/1.0 200 OK\r\nProxy-agent: x\r\n\r\n",
        b"HTTP/1.1 200\r\n\r\n",
        b"HTTP/1.1 204 No Content\r\n\r\n",
        # Neither means anything here (RFC 9110, section 9.3.6).
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n",
        b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 102 Wait\r\n\r\nHTTP/1.1 200 OK\r\n\r\n",
    ],
)
def test_consent_in_any_pieces(answer: bytes) -> None:
    assert tunnel().receive_data(answer)
    for cut in range(1, len(answer)):
        made = tunnel()
        assert not made.receive_data(answer[:cut])
        assert made.receive_data(answer[cut:])


@pytest.mark.parametrize(
    ("answer", "status", "retryable", "words"),
    [
        (b"HTTP/1.1 403 Not You\r\n\r\n", 403, False, "it answered 403 Not You"),
        (b"HTTP/1.1 404\r\n\r\n", 404, False, "it answered 404"),
        (b"HTTP/1.1 301 Moved\r\nLocation: /\r\n\r\n", 301, False, "it answered 301 Moved"),
        (b"HTTP/1.1 429 Slow Down\r\n\r\n", 429, True, "it answered 429 Slow Down"),
        (b"HTTP/1.1 500 Oh\r\n\r\n", 500, True, "it answered 500 Oh"),
        (b"HTTP/1.1 502 Bad\r\nContent-Length: 9\r\n\r\nno", 502, True, "it answered 502 Bad"),
        (b"HTTP/1.1 599 \r\n\r\n", 599, True, "it answered 599"),
        (b"HTTP/1.1 407 Who\r\n\r\n", 407, False, "it answered 407 Who: it wants credentials"),
        (
            b"HTTP/1.1 407 Who\r\nProxy-Authenticate: Basic a=b\r\n%b: NTLM\r\n%b: \xff\r\n\r\n"
            % (b"Proxy-Authenticate", b"Proxy-Authenticate"),
            407,
            False,
            "it answered 407 Who: it wants credentials (Basic, NTLM)",
        ),
        (b"HTTP/1.1 503 a\xe9\x80b\r\n\r\n", 503, True, "it answered 503 a\xe9?b"),
        (b"HTTP/1.1 200 OK\r\n\r\nhello", None, False, "it sent bytes after its answer"),
        (b"SSH-2.0-OpenSSH_9\r\n\r\n", None, False, "its answer is not HTTP"),
        (b"\x05\xff", None, False, "its answer is not HTTP"),
        (b"HTTP/1.1 101 Switch\r\n\r\n", None, False, "its answer is not HTTP"),
        (b"", None, True, "it closed the socket without an answer"),
    ],
)
def test_refusals(answer: bytes, status: int | None, retryable: bool, words: str) -> None:
    with pytest.raises(HandshakeError) as caught:
        tunnel().receive_data(answer)
    assert (caught.value.status, caught.value.retryable) == (status, retryable)
    assert str(caught.value) == words


def test_credentials_that_do_not_help() -> None:
    made = tunnel(headers=[(b"proxy-authorization", b"Basic c2VzYW1l")])
    with pytest.raises(HandshakeError, match="it does not accept the credentials") as caught:
        made.receive_data(b"HTTP/1.1 407 Who\r\n\r\n")
    assert "c2VzYW1l" not in str(caught.value)


def test_a_cut_in_the_middle() -> None:
    made = tunnel()
    assert not made.receive_data(b"HTTP/1.1 20")
    with pytest.raises(HandshakeError, match="without an answer") as caught:
        made.receive_data(b"")
    assert caught.value.retryable


@pytest.mark.parametrize(
    "piece",
    [
        b"X: " + b"x" * 100 + b"\r\n",  # one head without end
        b"\r\nHTTP/1.1 100 Continue\r\n",  # heads without end
        b"x" * 1000,  # a line without end
    ],
)
def test_an_answer_without_end(piece: bytes) -> None:
    made = tunnel()
    assert not made.receive_data(b"HTTP/1.1 100 Continue\r\n")
    with pytest.raises(HandshakeError, match="more than 16384 bytes") as caught:
        for _ in range(20_000 // len(piece)):
            assert not made.receive_data(piece)
    assert not caught.value.retryable


@given(st.lists(st.binary(min_size=1, max_size=40), max_size=20), st.booleans())
def test_any_bytes_raise_only_what_is_documented(pieces: list[bytes], begun: bool) -> None:
    made = tunnel()
    try:
        if begun:
            made.receive_data(b"HTTP/1.1 ")
        for piece in pieces:
            if made.receive_data(piece):
                return
    except HandshakeError:
        pass
