"""Splits a prepared request of `requests` into head, body and timeouts."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import TYPE_CHECKING, Any, NamedTuple, cast
from urllib.parse import urlsplit

from requests.exceptions import InvalidHeader, InvalidURL, UnrewindableBodyError
from requests.structures import CaseInsensitiveDict
from requests.utils import requote_uri
from urllib3.util import SKIP_HEADER, Timeout

from restsock._addresses import PORTS, host_and_port
from restsock.adapters._fields import HOP_BY_HOP, NAMES_NONE
from restsock.protocol import HOST, TOKEN, VALUE, RequestHead, scheme_of

from ._fast import store_of

if TYPE_CHECKING:
    from requests import PreparedRequest

__all__ = ["Times", "body_of", "head_of", "mark_spent", "times_of"]

_TARGET = re.compile(r"/[\x21\x22\x24-\x7e]*")


class Times(NamedTuple):
    """The timeouts of one request, in seconds; `None` waits indefinitely."""

    connect: float
    read: float | None
    total: float | None


def times_of(timeout: object, default: float) -> Times:
    """Reads `timeout=` as requests does.

    Args:
        timeout: A number, a pair, `None` or a `Timeout` of urllib3.
        default: Seconds for a connect timeout of `None`, so that a request to a peer that is away
            does not hang.

    Raises:
        ValueError: It is none of these; the messages are those of requests and urllib3.
    """
    if timeout is None:
        return Times(default, None, None)
    if isinstance(timeout, tuple):
        try:
            connect, read = timeout
        except ValueError:
            raise ValueError(
                f"Invalid timeout {timeout}. Pass a (connect, read) timeout tuple, "
                f"or a single float to set both timeouts to the same value."
            ) from None
        # urllib3 checks the values and makes the messages.
        resolved = Timeout(connect=connect, read=read)
    elif isinstance(timeout, Timeout):
        resolved = timeout.clone()
    else:
        resolved = Timeout(connect=cast("float", timeout), read=cast("float", timeout))
    resolved.start_connect()  # without it a `read_timeout` that depends on `total` is refused
    connect = Timeout.resolve_default_timeout(resolved.connect_timeout)
    total = None if resolved.total is None else Timeout.resolve_default_timeout(resolved.total)
    return Times(default if connect is None else connect, resolved.read_timeout, total)


# --- the head ---------------------------------------------------------------------------------


def head_of(request: PreparedRequest) -> RequestHead:
    """Builds the head that is sent.

    Raises:
        InvalidURL: The target or the host cannot be sent.
        InvalidHeader: The method or a header field cannot be sent.
    """
    try:
        _, method = _name(request.method or "")
    except ValueError as exc:
        raise InvalidHeader(f"Invalid method {request.method!r}", request=request) from exc
    target = request.path_url
    if not _TARGET.fullmatch(target):
        target = requote_uri(target)  # only a URL that was put together by hand needs it
        if not _TARGET.fullmatch(target):
            raise InvalidURL(f"Invalid target {request.path_url!r}", request=request)

    headers: list[tuple[bytes, bytes]] = []
    host = None
    encoding = False
    fields = request.headers
    known = type(fields) is CaseInsensitiveDict
    for raw_name, raw_value in store_of(fields).values() if known else fields.items():
        try:
            lower, name = _name(raw_name)
            if lower in HOP_BY_HOP and (lower != b"connection" or raw_value in NAMES_NONE):
                continue
            if lower == b"accept-encoding":
                encoding = True
            if raw_value == SKIP_HEADER:
                continue
            # The fast path for nearly every value: what the pattern allows, except the tab.
            if type(raw_value) is str and raw_value.isascii() and raw_value.isprintable():
                value = raw_value.strip(" ").encode("ascii")
            else:
                value = _value(raw_value)
            if lower == b"host" and not HOST.fullmatch(value):
                raise ValueError("no host, or an invalid port")
        except ValueError as exc:
            raise InvalidHeader(f"Invalid header {raw_name!r}: {exc}", request=request) from exc
        if lower == b"host":
            host = value
        else:
            headers.append((name, value))
    if not encoding:
        # As http.client does: a caller that cannot decode says so in Accept-Encoding.
        headers.insert(0, (b"Accept-Encoding", b"identity"))
    if host is None:
        try:
            parts = urlsplit(request.url or "")
            host = _host(parts.scheme, parts.netloc)
        except ValueError as exc:
            raise InvalidURL(exc, request=request) from exc
    headers.insert(0, (b"Host", host))
    scheme = scheme_of((request.url or "").partition(":")[0])
    return RequestHead(method, target.encode("ascii"), headers, scheme)


@lru_cache(maxsize=256)
def _host(scheme: str, netloc: str) -> bytes:
    """The value of Host: without userinfo and default port, in lower case.

    Raises:
        ValueError: This is not a host.
    """
    authority = netloc.rpartition("@")[2].lower()
    if not HOST.fullmatch(authority.encode("ascii", "replace")):
        raise ValueError(f"Invalid host {netloc!r}")
    host, port = host_and_port(authority)
    if port is not None:
        if port > 65535:
            raise ValueError("Port out of range 0-65535")
        if port != PORTS.get(scheme.lower()):
            host = f"{host}:{port}"
    return host.encode("ascii")


@lru_cache(maxsize=1024)
def _name(name: str | bytes) -> tuple[bytes, bytes]:
    """A method or a field name, in lower case and unchanged.

    Raises:
        ValueError: It is not a token.
    """
    encoded = _bytes(name)
    if not TOKEN.fullmatch(encoded):
        raise ValueError("not a token")
    return encoded.lower(), encoded


def _value(value: str | bytes) -> bytes:
    """A field value, without surrounding spaces.

    Raises:
        ValueError: It cannot be sent.
    """
    encoded = _bytes(value)
    if not VALUE.fullmatch(encoded):
        raise ValueError("a control character in the value")
    return encoded.strip(b" \t")


def _bytes(text: object) -> bytes:
    if isinstance(text, str):
        return text.encode("latin-1")  # a UnicodeEncodeError is a ValueError
    if isinstance(text, bytes):
        return bytes(text)  # not a subclass of it
    raise ValueError(f"neither str nor bytes: {text!r}")


# --- the body ---------------------------------------------------------------------------------


class _Spent:
    """Replaces the body position that requests stores, once the body cannot be rewound.

    Copies of a request keep it. So if one is sent again (for authentication, a redirect, or by the
    caller), `body_of` notices, or requests itself, which rewinds a body before a redirect.
    """

    def __init__(self, body: object) -> None:
        self.body = body


def mark_spent(request: PreparedRequest) -> None:
    """Marks the body as read, at least in part, and not readable again."""
    cast("Any", request)._body_position = _Spent(request.body)


def _check_body(request: PreparedRequest) -> None:
    position = getattr(request, "_body_position", None)
    if not isinstance(position, _Spent):
        return
    if position.body is request.body:
        raise UnrewindableBodyError(
            "the body of this request can be read only once, and it was sent before: where a"
            " request may have to be sent again (401, 307, 308), pass bytes or a file with seek()",
            request=request,
        )
    cast("Any", request)._body_position = None  # a new body was given


def body_of(request: PreparedRequest, head: RequestHead) -> tuple[RequestHead, Any]:
    """The body as `bytes`, or as a body for `ThreadUpload`; and the head that fits it.

    Raises:
        UnrewindableBodyError: The body was read already, according to `mark_spent`.
    """
    body: Any = request.body
    if body is None:
        return head, b""
    _check_body(request)
    if isinstance(body, str):
        body = body.encode("utf-8")
    elif not isinstance(body, bytes):
        if hasattr(body, "read"):
            return head, body
        try:
            body = memoryview(body).tobytes()  # bytearray, array, ...
        except TypeError:
            if not hasattr(body, "__iter__"):
                raise TypeError(
                    f"'body' must be a bytes-like object, file-like object, or iterable."
                    f" Instead was {body!r}"
                ) from None
            return head, body
    if body and "Content-Length" not in request.headers:
        # It was to be sent in chunks, which do not exist here. Its length helps apps that read no
        # body without a Content-Length.
        fields = [*head.headers, (b"Content-Length", b"%d" % len(body))]
        head = head._replace(headers=fields)
    return head, bytes(body)
