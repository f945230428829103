"""The short cut for plain heads: what it takes, h11 takes with the same result.

An input without the byte RS is a head that came, one with it is a head to write.
"""

from __future__ import annotations

from contextlib import suppress

from restsock._exceptions import LocalProtocolError, RemoteProtocolError
from restsock.protocol import PlainFields, PlainHead, RequestHead
from restsock.protocol._heads_fast import (
    decode_request_fast,
    decode_response_fast,
    encode_request_fast,
    encode_response_fast,
    extend_request_fast,
    plain_fields,
)
from tests.fuzz.h11_alone import RS, read_request, read_response, to_write
from tests.protocol.heads import decode_request, decode_response, encode_request, encode_response

MAX_LEN = 512
_FIELDS = plain_fields([(b"X-Forwarded-For", b"192.0.2.7"), (b"X-A", b"b: c")])
assert _FIELDS is not None
_MORE: PlainFields = _FIELDS
DICTIONARY = (
    *(b"GET / HTTP/1.1\r\n", b"HTTP/1.1 200 OK\r\n", b"Host: a\r\n", b"Content-Length: 5\r\n"),
    *(b"Connection: close\r\n", b"Transfer-Encoding: chunked\r\n", b"Upgrade: x\r\n", b"TE: a\r\n"),
    *(b"\r\n\r\n", b"\r\n", b"\n", b"\r\n ", b": ", b"CONNECT", RS, RS + b"Host" + RS + b"a"),
)


def test_one(data: bytes) -> None:
    if RS in data:
        _write(data)
    else:
        _read(data)


def _read(data: bytes) -> None:
    request = decode_request_fast(data)
    if request is not None:
        head, length = request
        assert head == read_request(data)
        assert encode_request_fast(head) == (data, length)
        extended, plain = extend_request_fast(PlainHead(head, data, length), _MORE, None)
        assert extended == read_request(plain.data)
        assert encode_request_fast(extended) == (plain.data, length)
    response = decode_response_fast(data)
    if response is not None:
        assert request is None
        answer, length = response
        assert answer == read_response(data)
        assert encode_response_fast(answer) == (data, length)
    with suppress(RemoteProtocolError):
        decode_request(data)
    with suppress(RemoteProtocolError):
        decode_response(data)


def _write(data: bytes) -> None:
    head = to_write(data)
    with suppress(LocalProtocolError):
        if isinstance(head, RequestHead):
            written, crossing = encode_request(head)
            assert decode_request(written) == crossing
        else:
            written, answer = encode_response(head)
            assert decode_response(written) == answer
