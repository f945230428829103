"""The head that nearly all requests and responses have, without a detour.

One space behind each colon, printable ASCII, nothing hop-by-hop, one Host, at most one
Content-Length: a head like that is recognised to the letter here, and everything else is left to
the strict grammar and h11 (`_heads`). Tests hold both to the same result for the same bytes.
"""

from __future__ import annotations

import re

from ._events import RequestHead, ResponseHead
from ._fields import HOP_BY_HOP, field_lines

__all__ = [
    "decode_request_fast",
    "decode_response_fast",
    "encode_request_fast",
    "encode_response_fast",
]

_FIELD = rb"[A-Za-z0-9-]+: [\x21-\x7e](?:[ -~]*[\x21-\x7e])?\r\n"
_FIELDS = rb"((?:" + _FIELD + rb")*)\r\n"
_REQUEST = re.compile(rb"([A-Z]+) (/[\x21\x22\x24-\x7e]*) HTTP/1\.1\r\n" + _FIELDS)
_RESPONSE = re.compile(rb"HTTP/1\.1 ([2-9][0-9]{2}) ([A-Za-z][A-Za-z -]*|)\r\n" + _FIELDS)
_HOST = re.compile(rb"[A-Za-z0-9.-]+(?::[0-9]{1,5})?")


def decode_request_fast(head: bytes) -> RequestHead | None:
    """Parses a plain request head; `None` when it is not plain."""
    match = _REQUEST.fullmatch(head)
    if match is None:
        return None
    method, target, lines = match.groups()
    fields = _fields(lines, request=True)
    if fields is None or method == b"CONNECT":
        return None
    return RequestHead(method, target, fields)


def decode_response_fast(head: bytes) -> ResponseHead | None:
    """Parses a plain, final response head; `None` when it is not plain."""
    match = _RESPONSE.fullmatch(head)
    if match is None:
        return None
    status, reason, lines = match.groups()
    fields = _fields(lines, request=False)
    return None if fields is None else ResponseHead(int(status), fields, reason)


def encode_request_fast(head: RequestHead) -> bytes | None:
    """Serializes a plain request head; `None` when it is not plain.

    What was written is read again and compared: a name or value with a line of its own in it
    cannot get past that.
    """
    data = b"%s %s HTTP/1.1\r\n%s\r\n" % (head.method, head.target, field_lines(head.headers))
    same = (head.method, head.target, list(head.headers), None)  # the scheme is not in the bytes
    return data if decode_request_fast(data) == same else None


def encode_response_fast(head: ResponseHead) -> bytes | None:
    """Serializes a plain, final response head; `None` when it is not plain."""
    data = b"HTTP/1.1 %d %s\r\n%s\r\n" % (head.status, head.reason, field_lines(head.headers))
    return data if decode_response_fast(data) == head._replace(headers=list(head.headers)) else None


def _fields(lines: bytes, *, request: bool) -> list[tuple[bytes, bytes]] | None:
    fields = []
    hosts = lengths = 0
    for line in lines.split(b"\r\n")[:-1]:
        name, _, value = line.partition(b": ")
        lowered = name.lower()
        if lowered == b"host":
            hosts += 1
            if not _HOST.fullmatch(value):
                return None
        elif lowered == b"content-length":
            lengths += 1
            if not value.isdigit() or len(value) > 18:
                return None
        elif lowered in HOP_BY_HOP:
            return None
        fields.append((name, value))
    return fields if hosts == request and lengths <= 1 else None
