"""The head of a request that a client of plain HTTP has sent, read strictly, and made to cross.

The head that nearly all clients send is recognized to the letter, and crosses as it came. All
others are read by h11, after a grammar that refuses what two readers may understand differently
(RFC 9112, section 11.2): a bare LF, a folded field, two lengths, a length beside chunks, two hosts.
"""

from __future__ import annotations

import re
from typing import NamedTuple

import h11

from restsock.protocol import (
    HOST,
    LENGTH,
    PlainHead,
    RequestHead,
    connection_options,
    decode_request_fast,
    elements_of,
    encode_request,
    end_to_end,
    is_clean_head,
    request_problem,
    values_of,
)

__all__ = ["BadRequestError", "ParsedHead", "parse_request_head"]

_ORIGIN = re.compile(rb"/[\x21\x22\x24-\x7e\x80-\xff]*|\*")
_ABSOLUTE = re.compile(rb"https?://([^/?#@]*)([/?][\x21\x22\x24-\x7e\x80-\xff]*)?", re.IGNORECASE)
_LENGTH_FIELD = re.compile(rb"\r\ncontent-length:([^\r]*)", re.IGNORECASE)
_KEEP_ALIVE = b"\r\nConnection: keep-alive\r\n"
# Protocols that are for one hop, or for TLS (RFC 9113, section 3.1; RFC 2817).
_NEVER_SWITCHED = re.compile(rb"(?:h2c?|http/2|tls)(?:[/.0-9]*)\Z", re.IGNORECASE)
# Of an HTTP/1.0 client that does not say whom it asks: this listener.
_NO_HOST = b"localhost"


class BadRequestError(Exception):
    """What has come is not a request that can be served; the connection ends with an answer.

    Args:
        status: of the answer.
        why: for the answer and the log; says nothing of what was sent.
    """

    def __init__(self, status: int, why: str) -> None:
        super().__init__(why)
        self.status = status


class ParsedHead(NamedTuple):
    """What a request head says, for this hop and for those after it.

    Attributes:
        head: as it crosses: nothing of this hop is in it.
        payload: the same in bytes.
        length: its Content-Length; `None` without one.
        plain: all three, if it was found to be plain.
        chunked: whether its body comes in chunks.
        upgrade: whether it asks to switch to another protocol.
        keep_alive: whether the client wants to send more after it.
        old: whether the client speaks HTTP/1.0: no chunks, no 1xx, no upgrade for it.
        named: the fields that are for this hop by the word of the Connection field: trailers, too.
    """

    head: RequestHead
    payload: bytes
    length: int | None
    plain: PlainHead | None = None
    chunked: bool = False
    upgrade: bool = False
    keep_alive: bool = True
    old: bool = False
    named: frozenset[bytes] = frozenset()


def parse_request_head(
    head: bytes, scheme: str | None = None, *, upgrades: bool = True
) -> ParsedHead:
    """Reads a whole head, its blank line included.

    Args:
        head: its bytes.
        scheme: of the request, which is not in them.
        upgrades: whether a wish to upgrade can be met; else it is left out.

    Raises:
        BadRequestError: it is malformed, ambiguous, or asks for what is not served.
    """
    # What many clients say all the same; a second Connection field is still there after this.
    payload = head.replace(_KEEP_ALIVE, b"\r\n", 1)
    found = decode_request_fast(payload, scheme)
    if found is not None:
        plain, length = found
        return ParsedHead(plain, payload, length, PlainHead(plain, payload, length))
    if not is_clean_head(head):
        raise BadRequestError(400, "a malformed request head")
    parser = h11.Connection(h11.SERVER, max_incomplete_event_size=len(head) + 1)
    try:
        parser.receive_data(head)
        request = parser.next_event()
    except h11.RemoteProtocolError as exc:
        # Not in h11's words: they quote the line, which may hold a secret.
        status = 501 if exc.error_status_hint == 501 else 400
        raise BadRequestError(status, "a malformed request head") from None
    if not isinstance(request, h11.Request):
        raise BadRequestError(400, "a malformed request head")
    return _checked(head, request, scheme, upgrades=upgrades)


def _checked(raw: bytes, request: h11.Request, scheme: str | None, *, upgrades: bool) -> ParsedHead:
    fields = request.headers.raw_items()
    if request.http_version not in (b"1.0", b"1.1"):
        raise BadRequestError(505, "a version of HTTP that is not spoken here")
    old = request.http_version == b"1.0"
    if request.method == b"CONNECT":
        raise BadRequestError(501, "CONNECT, which is not served here")
    chunked = _is_chunked(raw, request, old=old)
    length = None if chunked else _length_of(raw)
    expected = [value.lower() for value in elements_of(fields, b"expect")]
    if expected and (expected != [b"100-continue"] or old):
        if not old:
            raise BadRequestError(417, "an expectation that is not known")
        fields = [field for field in fields if field[0].lower() != b"expect"]
    target, fields = _resolved(request, fields, old=old)
    options = connection_options(fields)
    keep_alive = b"keep-alive" in options if old else b"close" not in options
    switches = upgrades and not old and not chunked and not length
    wanted = elements_of(fields, b"upgrade")
    if len(wanted) != 1 or _NEVER_SWITCHED.match(wanted[0]):
        switches = False
    fields = end_to_end(fields, upgradable=switches)
    head = RequestHead(request.method, target, fields, scheme)
    problem = request_problem(head)
    if problem is not None:
        raise BadRequestError(400, problem)
    payload, head = encode_request(head)
    return ParsedHead(
        head,
        payload,
        length,
        chunked=chunked,
        upgrade=head.upgrade is not None,
        keep_alive=keep_alive and b"close" not in options,
        old=old,
        named=options,
    )


def _is_chunked(raw: bytes, request: h11.Request, *, old: bool) -> bool:
    codings = elements_of(request.headers.raw_items(), b"transfer-encoding")
    if not codings:
        return False
    if old or _LENGTH_FIELD.search(raw):
        raise BadRequestError(400, "a Transfer-Encoding beside a length, or in HTTP/1.0")
    if [coding.lower() for coding in codings] != [b"chunked"]:
        raise BadRequestError(501, "a Transfer-Encoding that is not chunked")
    return True


def _length_of(raw: bytes) -> int | None:
    # From the bytes, because h11 makes one plain field out of `5, 5` and of equal ones.
    lengths = [value.strip(b" \t") for value in _LENGTH_FIELD.findall(raw)]
    if not lengths:
        return None
    if len(lengths) > 1 or not LENGTH.fullmatch(lengths[0]):
        raise BadRequestError(400, "a malformed or repeated Content-Length")
    return int(lengths[0])


def _resolved(
    request: h11.Request, fields: list[tuple[bytes, bytes]], *, old: bool
) -> tuple[bytes, list[tuple[bytes, bytes]]]:
    """Target in origin form and fields with exactly one Host (RFC 9112, sections 3.2 and 3.3)."""
    target = request.target
    hosts = values_of(fields, b"host")
    absolute = _ABSOLUTE.fullmatch(target)
    if not hosts and old:
        hosts = [_NO_HOST if absolute is None else absolute[1]]
        fields = [(b"Host", hosts[0]), *fields]
    if len(hosts) != 1 or not HOST.fullmatch(hosts[0]):
        raise BadRequestError(400, "no Host, more than one, or a malformed one")
    if _ORIGIN.fullmatch(target):
        return target, fields
    if absolute is None or not HOST.fullmatch(absolute[1]):
        raise BadRequestError(400, "a malformed request target")
    if absolute[1].lower() != hosts[0].lower():
        raise BadRequestError(400, "a request target and a Host that differ")
    # Without a path it is the server itself that is asked for its options (section 3.2.4).
    rest = absolute[2] or (b"*" if request.method == b"OPTIONS" else b"/")
    fields = [(n, absolute[1]) if n.lower() == b"host" else (n, v) for n, v in fields]
    return (b"/" + rest if rest.startswith(b"?") else rest), fields
