"""The head of a forwarded request: whose Host, which path, and who is said to call."""

from __future__ import annotations

import math
import re
from typing import TYPE_CHECKING
from urllib.parse import unquote_to_bytes

from restsock._addresses import ip_of
from restsock._field_names import is_plain_name, told_by_gateways
from restsock.protocol import TOKEN, Headers, RequestHead, content_length, values_of

if TYPE_CHECKING:
    from restsock.connection import Peer

    from ._forward import Forward

__all__ = [
    "AT_ONCE",
    "FRESH",
    "IDEMPOTENT",
    "BadTargetError",
    "check_path",
    "content_length_of",
    "forwarded_head",
    "or_forever",
    "passes",
    "say_who",
    "sized",
]


# RFC 9110, section 9.2.2.
IDEMPOTENT = frozenset((b"GET", b"HEAD", b"OPTIONS", b"TRACE", b"PUT", b"DELETE"))

# Methods whose request without a body says so (RFC 9110, section 8.6).
_WITH_CONTENT = frozenset((b"POST", b"PUT", b"PATCH"))

# A request of up to this many bytes is sent without looking for an early answer meanwhile.
AT_ONCE = 32 * 1024
# How long a connection may have been idle for a request that cannot be sent twice, in seconds. The
# shorter this is, the less likely the server closes it at the moment of the request.
FRESH = 1.0

_NOT_ASCII = re.compile(rb"[\x80-\xff]")

# A path that is encoded more often than this is an attempt to get past a check.
_DECODINGS = 4
_ENDS_OF_SEGMENTS = re.compile(rb"[/\\;?#]")
# Control characters (a NUL ends the path in some places), UTF-8 that is longer than it may be, and
# %uXXXX of IIS: what they come to depends on the server.
_DOUBTFUL = re.compile(
    rb"[\x00-\x1f\x7f]|[\xc0\xc1][\x80-\xbf]|\xe0[\x80-\x9f][\x80-\xbf]|%u[0-9a-f]{4}",
    re.IGNORECASE,
)


class BadTargetError(ValueError):
    """The target would lead out of the path that is served."""


def forwarded_head(request: RequestHead, forward: Forward, peer: Peer) -> RequestHead:
    """The head that the server gets; its framing is settled when it is sent.

    Args:
        request: as it came.
        forward: where to, and how.
        peer: who the other end of the tunnel is.

    Raises:
        BadTargetError: see there.
    """
    came = b""
    headers: list[tuple[bytes, bytes]] = []
    h2c = request.upgrade == b"h2c"
    for name, value in request.headers:
        lower = name.lower()
        if lower == b"host":
            came = value
            headers.append((name, _host(forward, value)))
        elif not passes(lower, forward):
            continue
        elif h2c and lower in (b"connection", b"upgrade", b"http2-settings"):
            # HTTP/2 in the raw bytes would be requests that are not checked here.
            continue
        else:
            headers.append((name, value))
    say_who(headers, forward.forwarded, came, peer, peer.scheme_of(request).encode("ascii"))
    return RequestHead(request.method, _target(request, forward.origin.prefix), headers)


def passes(lower: bytes, forward: Forward) -> bool:
    """Whether a field of the caller's is passed on, as a header field or as a trailer.

    Args:
        lower: its name in lower case.
        forward: whether gateways are trusted.
    """
    if not is_plain_name(lower) or lower == b"proxy":  # it would pass for HTTP_PROXY
        return False
    return forward.trust_forwarded or not told_by_gateways(lower)


def _host(forward: Forward, came: bytes) -> bytes:
    if forward.host == "keep":
        return came
    if forward.host == "upstream":
        return forward.origin.authority.encode("ascii")
    return forward.host.encode("ascii")


def _target(request: RequestHead, prefix: str) -> bytes:
    target = request.target
    if target == b"*":  # of the server as a whole
        return target
    # The tunnel lets these bytes pass in a target; HTTP/1.1 has them percent-encoded only.
    target = _NOT_ASCII.sub(lambda match: b"%%%02X" % match[0][0], target)
    if not prefix:
        return target
    check_path(target.partition(b"?")[0])
    return prefix.encode("ascii") + target


def check_path(path: bytes) -> None:
    """Refuses a path that any server could read as one that leads upwards.

    Servers decode once or twice, take a backslash for a slash, and cut parameters (`..;a=b`) off a
    segment, in one order or another. So it is looked at after each decoding, and cut wherever one
    of them cuts.

    Raises:
        BadTargetError: see there.
    """
    for _ in range(_DECODINGS):
        if _DOUBTFUL.search(path):
            raise BadTargetError("the path has a character that servers read in different ways")
        if any(part.strip() == b".." for part in _ENDS_OF_SEGMENTS.split(path)):
            raise BadTargetError("the path has a .. in it")
        if b"%" not in path:
            return
        before, path = path, unquote_to_bytes(path)
        if path == before:
            return
    raise BadTargetError("the path is percent-encoded too many times over")


def say_who(
    headers: list[tuple[bytes, bytes]], how: str | None, came: bytes, peer: Peer, proto: bytes
) -> None:
    """Adds the fields that tell the server who calls.

    Args:
        headers: those of the request; this changes them.
        how: `Forward.forwarded`.
        came: the Host that the caller has asked for.
        peer: the caller.
        proto: the scheme of the caller's URL.
    """
    address = ip_of(peer.host)
    if how in ("x-forwarded", "both"):
        who = b"unknown" if address is None else str(address).encode("ascii")
        _append(headers, b"X-Forwarded-For", who)
        # The first value stands: a trusted gateway before us knew the caller's.
        for name, value in ((b"X-Forwarded-Host", came), (b"X-Forwarded-Proto", proto)):
            if not values_of(headers, name.lower()):
                headers.append((name, value))
    if how in ("forwarded", "both"):
        who = b"unknown"
        if address is not None:
            who = (
                b'"[%s]"' % str(address).encode() if address.version == 6 else str(address).encode()
            )
        host = came if TOKEN.fullmatch(came) else b'"%s"' % came
        _append(headers, b"Forwarded", b"for=%s;host=%s;proto=%s" % (who, host, proto))


def _append(headers: list[tuple[bytes, bytes]], name: bytes, value: bytes) -> None:
    """Adds to the list that a field is; several fields of a name are one list, in their order."""
    present = values_of(headers, name.lower())
    headers[:] = [field for field in headers if field[0].lower() != name.lower()]
    headers.append((name, b", ".join([*present, value])))


def content_length_of(method: bytes, body: bytes) -> int | None:
    """The Content-Length of a request with this body; `None` where it says none."""
    return len(body) if body or method in _WITH_CONTENT else None


def sized(head: RequestHead, body: bytes) -> RequestHead:
    """The head of a request that is here as a whole, with its length if it has to say one."""
    size = content_length_of(head.method, body)
    if size is None or content_length(head.headers) is not None:
        return head
    headers: Headers = [*head.headers, (b"Content-Length", b"%d" % size)]
    return RequestHead(head.method, head.target, headers, head.scheme)


def or_forever(seconds: float | None) -> float:
    """So many seconds, of which `None` is without end."""
    return math.inf if seconds is None else seconds
