"""The short cut for plain heads: what it takes, h11 takes with the same result.

An input without the byte RS is a head that came, one with it is a head to write.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from restsock.protocol import RequestHead
from restsock.protocol import _heads as heads
from restsock.protocol._heads_fast import (
    decode_request_fast,
    decode_response_fast,
    encode_request_fast,
    encode_response_fast,
)
from tests.fuzz.h11_alone import RS, read_request, read_response, to_write

MAX_LEN = 512
DICTIONARY = (
    *(b"GET / HTTP/1.1\r\n", b"HTTP/1.1 200 OK\r\n", b"Host: a\r\n", b"Content-Length: 5\r\n"),
    *(b"Connection: close\r\n", b"Transfer-Encoding: chunked\r\n", b"Upgrade: x\r\n", b"TE: a\r\n"),
    *(b"\r\n\r\n", b"\r\n", b"\n", b"\r\n ", b": ", b"CONNECT", RS, RS + b"Host" + RS + b"a"),
)

_SHORT_CUTS = (
    "decode_request_fast",
    "decode_response_fast",
    "encode_request_fast",
    "encode_response_fast",
)


def test_one(data: bytes) -> None:
    if RS in data:
        _write(data)
    else:
        _read(data)


def _read(data: bytes) -> None:
    request = decode_request_fast(data)
    if request is not None:
        assert request == read_request(data)
        assert encode_request_fast(request) == data
        with _the_long_way():
            assert heads.decode_request(data) == request
    response = decode_response_fast(data)
    if response is not None:
        assert request is None
        assert response == read_response(data)
        assert encode_response_fast(response) == data
        with _the_long_way():
            assert heads.decode_response(data) == response


def _write(data: bytes) -> None:
    head = to_write(data)
    if isinstance(head, RequestHead):
        written = encode_request_fast(head)
        if written is not None:
            assert read_request(written) == head
            with _the_long_way():
                assert heads.encode_request(head) == (written, head)
                assert heads.decode_request(written) == head
    else:
        written = encode_response_fast(head)
        if written is not None:
            assert read_response(written) == head
            with _the_long_way():
                assert heads.encode_response(head) == (written, head)
                assert heads.decode_response(written) == head


@contextmanager
def _the_long_way() -> Iterator[None]:
    """The strict grammar and h11, without the short cut in front of them."""
    kept = {name: getattr(heads, name) for name in _SHORT_CUTS}
    for name in _SHORT_CUTS:
        setattr(heads, name, lambda _: None)
    try:
        yield
    finally:
        for name, value in kept.items():
            setattr(heads, name, value)
