"""Heads read and written the strict way, and compared with the short cut wherever that applies."""

from __future__ import annotations

from restsock._exceptions import LocalProtocolError, RemoteProtocolError
from restsock.protocol import RequestHead, ResponseHead, content_length
from restsock.protocol import _heads as strict
from restsock.protocol._heads_fast import (
    decode_request_fast,
    decode_response_fast,
    encode_request_fast,
    encode_response_fast,
)

__all__ = ["decode_request", "decode_response", "encode_request", "encode_response"]


def decode_request(data: bytes) -> RequestHead:
    plain = decode_request_fast(data)
    try:
        head = strict.decode_request(data)
    except RemoteProtocolError:
        assert plain is None
        raise
    if plain is not None:
        assert plain == (head, content_length(head.headers))
        assert head.upgrade is None
    return head


def decode_response(data: bytes) -> ResponseHead:
    plain = decode_response_fast(data)
    try:
        head = strict.decode_response(data)
    except RemoteProtocolError:
        assert plain is None
        raise
    if plain is not None:
        assert plain == (head, content_length(head.headers))
        assert head.status >= 200
    return head


def encode_request(head: RequestHead) -> tuple[bytes, RequestHead]:
    plain = encode_request_fast(head)
    try:
        data, crossing = strict.encode_request(head)
    except LocalProtocolError:
        assert plain is None
        raise
    if plain is not None:
        assert plain == (data, content_length(head.headers))
        assert crossing == head
    return data, crossing


def encode_response(head: ResponseHead) -> tuple[bytes, ResponseHead]:
    plain = encode_response_fast(head)
    try:
        data, crossing = strict.encode_response(head)
    except LocalProtocolError:
        assert plain is None
        raise
    if plain is not None:
        assert plain == (data, content_length(head.headers))
        assert crossing == head
    return data, crossing
