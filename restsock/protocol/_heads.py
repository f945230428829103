"""Heads: the start line and fields of a request or response, and trailers (spec, "Heads").

There are two checks. A strict grammar comes first, because h11 is kind to things
that two readers may understand differently (a bare LF, a folded line, `Content-Length: 5, 5`), and
where two readers differ, requests are smuggled. h11 then does the parsing and validates what is
built here. Framing and hop-by-hop fields never cross: a body is framed by the END flag alone.

The same rules hold on the way out, so that a head that was built here is never refused there.
"""

from __future__ import annotations

import re

import h11

from restsock._exceptions import LocalProtocolError, RemoteProtocolError

from ._events import Headers, RequestHead, ResponseHead
from ._fields import (
    FIELD_LINE,
    HOP_BY_HOP,
    HOST,
    LENGTH,
    NOT_IN_TRAILERS,
    TOKEN,
    content_length,
    end_to_end,
    field_lines,
    values_of,
)

__all__ = [
    "decode_request",
    "decode_response",
    "decode_trailers",
    "encode_request",
    "encode_response",
    "encode_trailers",
    "is_clean_head",
    "request_problem",
    "split_head",
]

_FIELDS = rb"(?:" + FIELD_LINE.pattern + rb")*\r\n"
_TARGET = rb"(?:/[\x21\x22\x24-\x7e\x80-\xff]*|\*)"  # no fragment: "#" is \x23

_REQUEST = re.compile(TOKEN.pattern + rb" " + _TARGET + rb" HTTP/1\.1\r\n" + _FIELDS)
_RESPONSE = re.compile(rb"HTTP/1\.1 [1-9][0-9]{2} [ \t\x21-\x7e\x80-\xff]*\r\n" + _FIELDS)
_TRAILERS = re.compile(_FIELDS)
_ANY_HEAD = re.compile(rb"[\t -\x7e\x80-\xff]+\r\n" + _FIELDS)

_LENGTH_FIELD = re.compile(rb"\r\ncontent-length:([^\r]*)", re.IGNORECASE)
_ONE_TOKEN = re.compile(TOKEN.pattern + rb"(?:/" + TOKEN.pattern + rb")?")

_BLANK_LINE = b"\r\n\r\n"


def split_head(payload: bytes) -> tuple[bytes, bytes]:
    """Splits the payload of a HEAD frame after the blank line: head, first bytes of the body.

    Raises:
        RemoteProtocolError: there is no blank line.
    """
    if payload.startswith(b"\r\n"):  # trailers without a field
        return payload[:2], payload[2:]
    at = payload.find(_BLANK_LINE)
    if at < 0:
        raise RemoteProtocolError("a head without its blank line")
    at += len(_BLANK_LINE)
    return payload[:at], payload[at:]


def is_clean_head(head: bytes) -> bool:
    """Whether a head that h11 has parsed has whole lines: no bare LF, no folded field.

    For the heads around a WebSocket, whose start lines are h11's affair.
    """
    return _ANY_HEAD.fullmatch(head) is not None


# --- in ---------------------------------------------------------------------------------------


def decode_request(head: bytes) -> RequestHead:
    """Parses a request head.

    Raises:
        RemoteProtocolError: it is malformed, or says something about framing.
    """
    if not _REQUEST.fullmatch(head):
        raise RemoteProtocolError("a malformed request head")
    _check_length(head)
    reader = h11.Connection(h11.SERVER, max_incomplete_event_size=len(head) + 1)
    event = _parse(reader, head)
    if not isinstance(event, h11.Request):
        raise RemoteProtocolError("a malformed request head")
    headers = event.headers.raw_items()
    request = RequestHead(event.method, event.target, headers)
    problem = request_problem(request)
    if problem:
        raise RemoteProtocolError(problem)
    return request


def decode_response(head: bytes) -> ResponseHead:
    """Parses a response head, informational ones included.

    Raises:
        RemoteProtocolError: it is malformed, or says something about framing.
    """
    if not _RESPONSE.fullmatch(head):
        raise RemoteProtocolError("a malformed response head")
    _check_length(head)
    event = _parse_as_response(head)
    response = ResponseHead(event.status_code, event.headers.raw_items(), event.reason)
    problem = _problem_of_response(response)
    if problem:
        raise RemoteProtocolError(problem)
    return response


def decode_trailers(section: bytes) -> Headers:
    """Parses a trailer section: fields and a blank line, no start line.

    Raises:
        RemoteProtocolError: it is malformed, or holds a field that may not come this late.
    """
    if not _TRAILERS.fullmatch(section):
        raise RemoteProtocolError("a malformed trailer section")
    headers = _parse_as_response(b"HTTP/1.1 200 \r\n" + section).headers.raw_items()
    problem = _problem_of_trailers(headers)
    if problem:
        raise RemoteProtocolError(problem)
    return headers


def _check_length(head: bytes) -> None:
    # Before h11 parses, because h11 makes one plain field out of `5, 5` and of equal ones.
    lengths = _LENGTH_FIELD.findall(head)
    if len(lengths) > 1 or (lengths and not LENGTH.fullmatch(lengths[0].strip(b" \t"))):
        raise RemoteProtocolError("a malformed or repeated Content-Length")


def _parse_as_response(head: bytes) -> h11.Response | h11.InformationalResponse:
    reader = h11.Connection(h11.CLIENT, max_incomplete_event_size=len(head) + 1)
    # h11 reads a response only after a request. Any will do, since the body is not h11's here, but
    # it has to ask for an upgrade, or h11 takes no 101.
    asked = [(b"Host", b"-"), (b"Connection", b"upgrade"), (b"Upgrade", b"-")]
    reader.send(h11.Request(method=b"GET", target=b"/", headers=asked))
    event = _parse(reader, head)
    if not isinstance(event, (h11.Response, h11.InformationalResponse)):
        raise RemoteProtocolError("a malformed response head")
    return event


def _parse(reader: h11.Connection, head: bytes) -> object:
    reader.receive_data(head)
    try:
        return reader.next_event()
    except h11.RemoteProtocolError:
        # Not in h11's words: they quote the line, which may hold a secret.
        raise RemoteProtocolError("a malformed head") from None


# --- out --------------------------------------------------------------------------------------


def encode_request(head: RequestHead) -> tuple[bytes, RequestHead]:
    """Serializes a request head, without what may not cross.

    Returns:
        The bytes, and the head as it crosses: hop-by-hop fields are gone.

    Raises:
        LocalProtocolError: the head breaks the grammar.
    """
    head = head._replace(headers=end_to_end(head.headers, upgradable=True))
    try:
        event = h11.Request(method=head.method, target=head.target, headers=list(head.headers))
    except h11.LocalProtocolError:
        raise _unsendable("request head", head.headers) from None
    lines = field_lines(head.headers)
    data = b"%s %s HTTP/1.1\r\n%s\r\n" % (event.method, event.target, lines)
    problem = request_problem(head)
    if problem or not _REQUEST.fullmatch(data):
        raise _unsendable("request head", head.headers, problem)
    return data, head


def encode_response(head: ResponseHead) -> tuple[bytes, ResponseHead]:
    """Serializes a response head, without what may not cross.

    Returns:
        The bytes, and the head as it crosses: hop-by-hop fields are gone.

    Raises:
        LocalProtocolError: the head breaks the grammar.
    """
    headers = end_to_end(head.headers, upgradable=head.status == 101)
    head = ResponseHead(head.status, headers, head.reason)
    kind = h11.InformationalResponse if head.status < 200 else h11.Response
    try:
        event = kind(status_code=head.status, headers=list(headers), reason=head.reason)
    except h11.LocalProtocolError:
        raise _unsendable("response head", headers) from None
    lines = field_lines(headers)
    data = b"HTTP/1.1 %d %s\r\n%s\r\n" % (event.status_code, event.reason, lines)
    problem = _problem_of_response(head)
    if b"\r" in head.reason:  # h11 checks all but this; after a line end it would be a field
        problem = "a malformed reason"
    if problem or not _RESPONSE.fullmatch(data):
        raise _unsendable("response head", headers, problem)
    return data, head


def encode_trailers(headers: Headers) -> bytes:
    """Serializes a trailer section.

    Raises:
        LocalProtocolError: a field is malformed, or may not come this late.
    """
    try:
        h11.Response(status_code=200, headers=list(headers))  # one field each, not part of two
    except h11.LocalProtocolError:
        raise _unsendable("trailer section", headers) from None
    data = field_lines(headers) + b"\r\n"
    problem = _problem_of_trailers(headers)
    if problem or not _TRAILERS.fullmatch(data):
        raise _unsendable("trailer section", headers, problem)
    return data


def _unsendable(what: str, headers: Headers, problem: str | None = None) -> LocalProtocolError:
    """Says what is wrong with what was to be sent; a value is never quoted, it may be a secret."""
    if problem is None:
        wrong = [field[0] for field in headers if not FIELD_LINE.fullmatch(field_lines([field]))]
        problem = f"a malformed field {wrong[0]!r}" if wrong else "malformed"
    return LocalProtocolError(f"not a valid {what}: {problem}")


# --- the rules, for both ways -----------------------------------------------------------------


def request_problem(head: RequestHead) -> str | None:
    """Returns what is wrong with a request head by the rules for heads that cross, if anything."""
    if head.method == b"CONNECT":
        return "CONNECT is not for a tunnel"
    if head.target == b"*" and head.method != b"OPTIONS":
        return "the target * is for OPTIONS alone"
    hosts = values_of(head.headers, b"host")
    if len(hosts) != 1:
        return f"{len(hosts)} Host fields"
    if not HOST.fullmatch(hosts[0]):
        return "a malformed Host"
    problem = _problem_of_fields(head.headers, upgradable=True)
    if problem is None and head.upgrade is not None and content_length(head.headers):
        return "an upgrade with a body"
    return problem


def _problem_of_response(head: ResponseHead) -> str | None:
    problem = _problem_of_fields(head.headers, upgradable=head.status == 101)
    if problem is not None or head.status != 101:
        return problem
    return None if values_of(head.headers, b"upgrade") else "a 101 that names no protocol"


def _problem_of_fields(headers: Headers, *, upgradable: bool) -> str | None:
    lengths = 0
    connection: list[bytes] = []
    upgrade: list[bytes] = []
    for name, value in headers:
        name = name.lower()
        if name == b"content-length":
            lengths += 1
            if lengths > 1 or not LENGTH.fullmatch(value):
                return "a malformed or repeated Content-Length"
        elif name == b"connection":
            connection.append(value)
        elif name == b"upgrade":
            upgrade.append(value)
        elif name in HOP_BY_HOP:
            return f"a hop-by-hop field ({name.decode('ascii')})"
    if connection or upgrade:
        asked = [value.lower() for value in connection] == [b"upgrade"] and len(upgrade) == 1
        if not (upgradable and asked and _ONE_TOKEN.fullmatch(upgrade[0])):
            return "a hop-by-hop field (connection or upgrade)"
    return None


def _problem_of_trailers(headers: Headers) -> str | None:
    for name, _ in headers:
        if name.lower() in NOT_IN_TRAILERS:
            return f"{name.decode('latin-1')} among the trailers"
    return None
