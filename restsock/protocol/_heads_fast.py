"""The head that nearly all requests and responses have, without a detour.

One space after each colon, printable ASCII, nothing hop-by-hop, no expectation, one Host in a
request and none in a response, at most one Content-Length: such a head is recognized here, to the
letter. Everything else is left to the strict grammar and h11 (`_heads`). Tests hold both to the
same result for the same bytes.

What a stream needs to know of a head is its Content-Length, which is found on the way. A plain
head never asks for an upgrade.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import NamedTuple

from ._events import Headers, PlainHead, RequestHead, ResponseHead
from ._fields import HOP_BY_HOP

__all__ = [
    "PlainFields",
    "decode_request_fast",
    "decode_response_fast",
    "encode_request_fast",
    "encode_response_fast",
    "extend_request_fast",
    "number_request_fast",
    "plain_fields",
]

_LINES = rb"(?:[A-Za-z0-9-]+: [\x21-\x7e](?:[ -~]*[\x21-\x7e])?\r\n)*"
_FIELDS = rb"(" + _LINES + rb")\r\n"
_REQUEST = re.compile(rb"(?!CONNECT )([A-Z]+) (/[\x21\x22\x24-\x7e]*) HTTP/1\.1\r\n" + _FIELDS)
_RESPONSE = re.compile(rb"HTTP/1\.1 ([2-9][0-9]{2}) ([A-Za-z][A-Za-z -]*|)\r\n" + _FIELDS)

_ONLY_LINES = re.compile(_LINES)

# To be used on what has matched one of the above.
_FIELD = re.compile(rb"([^:]+): (.*)\r\n")
# Fields that have a rule of their own, in a head in lower case.
_RULED = HOP_BY_HOP | {b"host", b"content-length", b"expect"}
_SPECIAL = re.compile(rb"\n(" + b"|".join(sorted(_RULED)) + rb"): (.*)\r")
_HOST = re.compile(rb"[a-z0-9.-]+(?::[0-9]{1,5})?")
_LENGTH = re.compile(rb"[0-9]{1,18}")


def decode_request_fast(
    head: bytes, scheme: str | None = None
) -> tuple[RequestHead, int | None] | None:
    """Parses a plain request head; the scheme, which is not in the bytes, comes with it.

    Returns:
        The head and its Content-Length; `None` when it is not plain.
    """
    match = _REQUEST.fullmatch(head)
    if match is None:
        return None
    host = length = None
    for name, value in _SPECIAL.findall(head.lower()):
        if name == b"host" and host is None and _HOST.fullmatch(value):
            host = value
        elif name == b"content-length" and length is None and _LENGTH.fullmatch(value):
            length = int(value)
        else:
            return None
    if host is None:
        return None
    method, target, lines = match.groups()
    return RequestHead(method, target, _FIELD.findall(lines), scheme), length


def decode_response_fast(head: bytes) -> tuple[ResponseHead, int | None] | None:
    """Parses a plain, final response head.

    Returns:
        The head and its Content-Length; `None` when it is not plain.
    """
    match = _RESPONSE.fullmatch(head)
    if match is None:
        return None
    length = None
    for name, value in _SPECIAL.findall(head.lower()):
        if name != b"content-length" or length is not None or not _LENGTH.fullmatch(value):
            return None
        length = int(value)
    status, reason, lines = match.groups()
    return ResponseHead(int(status), _FIELD.findall(lines), reason), length


def encode_request_fast(head: RequestHead) -> tuple[bytes, int | None] | None:
    """Serializes a plain request head.

    What was written is read again and compared: a name or value with a line of its own in it
    cannot get past that.

    Returns:
        The bytes and the Content-Length; `None` when it is not plain.
    """
    lines = b"".join(map(b"%s: %s\r\n".__mod__, head.headers))
    data = b"%s %s HTTP/1.1\r\n%s\r\n" % (head.method, head.target, lines)
    plain = decode_request_fast(data)
    if plain is None or plain[0] != (head.method, head.target, list(head.headers), None):
        return None
    return data, plain[1]


def number_request_fast(
    plain: PlainHead, numbers: Sequence[tuple[bytes, int]], length: int | None
) -> PlainHead:
    """Adds fields that are numbers of digits, and the Content-Length, to a plain request head.

    Args:
        plain: the head, without a Content-Length.
        numbers: names of plain fields, none of which has a rule of its own, and numbers.
        length: of the body; `None` adds none.
    """
    assert isinstance(plain.head, RequestHead)
    if length is not None:
        numbers = [*numbers, (b"Content-Length", length)]
    fields = [(name, b"%d" % number) for name, number in numbers]
    data = b"".join((plain.data[:-2], *[b"%s: %s\r\n" % one for one in fields], b"\r\n"))
    method, target, headers, scheme = plain.head
    return PlainHead(RequestHead(method, target, [*headers, *fields], scheme), data, length)


def encode_response_fast(head: ResponseHead) -> tuple[bytes, int | None] | None:
    """Serializes a plain, final response head, like `encode_request_fast`."""
    lines = b"".join(map(b"%s: %s\r\n".__mod__, head.headers))
    data = b"HTTP/1.1 %d %s\r\n%s\r\n" % (head.status, head.reason, lines)
    plain = decode_response_fast(data)
    if plain is None or plain[0] != (head.status, list(head.headers), head.reason):
        return None
    return data, plain[1]


class PlainFields(NamedTuple):
    """Fields that a plain head may have besides those with a rule of their own.

    Only `plain_fields` makes them.

    Attributes:
        fields: names and values.
        lines: the same in bytes.
    """

    fields: tuple[tuple[bytes, bytes], ...]
    lines: bytes


def plain_fields(fields: Headers) -> PlainFields | None:
    """Serializes fields for `extend_request_fast`; `None` when they are not plain."""
    lines = b"".join(map(b"%s: %s\r\n".__mod__, fields))
    if _ONLY_LINES.fullmatch(lines) is None or _SPECIAL.search(b"\n" + lines.lower()):
        return None
    found = _FIELD.findall(lines)
    return PlainFields(tuple(found), lines) if found == list(fields) else None


def extend_request_fast(
    plain: PlainHead, more: PlainFields, scheme: str | None
) -> tuple[RequestHead, PlainHead]:
    """Adds fields to a plain request head: to what it says, and to its bytes.

    Args:
        plain: the head.
        more: the fields.
        scheme: the new head's.
    """
    assert isinstance(plain.head, RequestHead)
    method, target, headers, _ = plain.head
    head = RequestHead(method, target, [*headers, *more.fields], scheme)
    data = b"".join((plain.data[:-2], more.lines, b"\r\n"))
    return head, PlainHead(head, data, plain.length)
