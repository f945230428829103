"""The head parser: documented errors only; what it takes, h11 and a naive reader take alike.

An input without the byte RS is a head that came, one with it is a head to write. What was read is
written again, and what was written is read.
"""

from __future__ import annotations

from restsock._exceptions import LocalProtocolError, RemoteProtocolError
from restsock.protocol import Headers, RequestHead, ResponseHead
from restsock.protocol._fields import content_length
from restsock.protocol._heads import decode_trailers, encode_trailers, split_head
from tests.fuzz.h11_alone import RS, read_request, read_response, to_write
from tests.protocol.heads import decode_request, decode_response, encode_request, encode_response

MAX_LEN = 1024
DICTIONARY = (
    *(b"GET / HTTP/1.1\r\n", b"HTTP/1.1 200 OK\r\n", b"HTTP/1.1 101 \r\n", b"HTTP/1.1 103 \r\n"),
    *(b"OPTIONS * HTTP/1.1\r\n", b"Host: [::1]:80\r\n", b"Host: a\r\n", b"Content-Length: 5\r\n"),
    *(
        b"Content-Length: 5, 5\r\n",
        b"Connection: close, x-a\r\n",
        b"Transfer-Encoding: chunked\r\n",
    ),
    *(b"Connection: upgrade\r\nUpgrade: x\r\n", b"X-A: \t1\xff \t\r\n", b"Trailer: x\r\n"),
    *(b"\r\n\r\n", b"\r\n", b"\n", b"\r", b"\0", b"\r\n ", b"#", b"CONNECT", b"\x0b", b"\x85"),
    *(RS, RS + b"Host" + RS + b"a", RS + b"Connection" + RS + b"upgrade" + RS + b"Upgrade" + RS),
)

_NOT_IN_HOST = set(b'\0 \t/?#@\\"<>^`{|}')
_HOP = {b"connection", b"keep-alive", b"proxy-connection", b"te", b"transfer-encoding", b"upgrade"}


def test_one(data: bytes) -> None:
    if RS in data:
        head = to_write(data)
        if isinstance(head, RequestHead):
            _write_request(head)
        else:
            _write_response(head)
        _write_trailers(head.headers)
        return
    _split(data)
    _read_request(data)
    _read_response(data)
    _read_trailers(data)


# --- in ---------------------------------------------------------------------------------------


def _split(payload: bytes) -> None:
    try:
        head, body = split_head(payload)
    except RemoteProtocolError:
        assert b"\r\n\r\n" not in payload
        return
    assert head + body == payload
    assert head == b"\r\n" or (head.endswith(b"\r\n\r\n") and head.count(b"\r\n\r\n") == 1)


def _read_request(data: bytes) -> None:
    try:
        head = decode_request(data)
    except RemoteProtocolError as exc:
        _check_error(exc)
        return
    assert head == read_request(data)
    _check_naively(b"%s %s HTTP/1.1" % (head.method, head.target), head.headers, data)
    _check_fields(head.headers, upgrade=head.upgrade is not None)
    assert head.method != b"CONNECT"
    assert (head.target == b"*" and head.method == b"OPTIONS") or head.target.startswith(b"/")
    assert b"#" not in head.target
    (host,) = [value for name, value in head.headers if name.lower() == b"host"]
    assert host
    assert not set(host) & _NOT_IN_HOST
    _write_request(head, refusable=False)


def _read_response(data: bytes) -> None:
    try:
        head = decode_response(data)
    except RemoteProtocolError as exc:
        _check_error(exc)
        return
    assert head == read_response(data)
    assert 100 <= head.status <= 999
    _check_naively(b"HTTP/1.1 %d %s" % (head.status, head.reason), head.headers, data)
    _check_fields(head.headers, upgrade=head.status == 101)
    assert (head.status == 101) == (b"upgrade" in _names(head.headers))
    _write_response(head, refusable=False)


def _read_trailers(data: bytes) -> None:
    try:
        headers = decode_trailers(data)
    except RemoteProtocolError as exc:
        _check_error(exc)
        return
    _check_naively(None, headers, data)
    assert not {b"host", b"content-length", b"trailer", *_HOP} & set(_names(headers))
    _write_trailers(headers, refusable=False)


# --- out --------------------------------------------------------------------------------------


def _write_request(head: RequestHead, *, refusable: bool = True) -> None:
    try:
        data, crossing = encode_request(head)
    except LocalProtocolError:
        assert refusable
        return
    assert (crossing.method, crossing.target) == (head.method, head.target)
    _check_crossing(head.headers, crossing.headers)
    assert decode_request(data) == crossing
    assert encode_request(crossing) == (data, crossing)


def _write_response(head: ResponseHead, *, refusable: bool = True) -> None:
    try:
        data, crossing = encode_response(head)
    except LocalProtocolError:
        assert refusable
        return
    assert (crossing.status, crossing.reason) == (head.status, head.reason)
    _check_crossing(head.headers, crossing.headers)
    assert decode_response(data) == crossing
    assert encode_response(crossing) == (data, crossing)


def _write_trailers(headers: Headers, *, refusable: bool = True) -> None:
    try:
        data = encode_trailers(headers)
    except LocalProtocolError:
        assert refusable
        return
    assert decode_trailers(data) == headers


# --- the rules --------------------------------------------------------------------------------


def _check_error(exc: RemoteProtocolError) -> None:
    # What a peer sent is not repeated in an error: it ends up in logs.
    assert str(exc).isascii()
    assert str(exc).isprintable()


def _check_naively(start: bytes | None, headers: Headers, data: bytes) -> None:
    """Any reader that splits at CRLF and at the first colon finds the same."""
    lines = data.split(b"\r\n")
    assert lines[-2:] == [b"", b""]
    fields = lines[:-2]
    if start is not None:
        assert fields.pop(0) == start
    split = [(name, value.strip(b" \t")) for name, _, value in (f.partition(b":") for f in fields)]
    assert split == list(headers)
    for octet in (b"\r", b"\n", b"\0"):
        assert octet not in data.replace(b"\r\n", b"")


def _check_fields(headers: Headers, *, upgrade: bool) -> None:
    names = _names(headers)
    hop = [name for name in names if name in _HOP]
    assert sorted(hop) == ([b"connection", b"upgrade"] if upgrade else [])
    assert names.count(b"content-length") <= 1
    length = content_length(headers)
    assert (length is not None) == (b"content-length" in names)
    assert length is None or 0 <= length < 10**18


def _check_crossing(given: Headers, crossing: Headers) -> None:
    """Only hop-by-hop fields, and those that Connection names, are left out."""
    listed = [v for n, v in given if n.lower() == b"connection"]
    named = {token.strip().lower() for value in listed for token in value.split(b",")}
    named -= {b"host", b"content-length"}
    kept = [field for field in given if field[0].lower() not in _HOP | named]
    assert [field for field in crossing if field[0].lower() not in _HOP] == kept
    hop = [field for field in crossing if field[0].lower() in _HOP]
    wished = [(b"Upgrade", v) for n, v in given if n.lower() == b"upgrade"]
    assert hop in ([], [(b"Connection", b"upgrade"), *wished])


def _names(headers: Headers) -> list[bytes]:
    return [name.lower() for name, _ in headers]
