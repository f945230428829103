"""The head of a forwarded request: whose Host, which path, and who is said to call."""

from __future__ import annotations

import ipaddress
import re
from typing import TYPE_CHECKING
from urllib.parse import unquote_to_bytes

from restsock.protocol import Headers, RequestHead

if TYPE_CHECKING:
    from restsock.connection import Peer

    from ._forward import Forward

__all__ = ["IDEMPOTENT", "BadTargetError", "forwarded_head"]

# RFC 9110, section 9.2.2.
IDEMPOTENT = frozenset((b"GET", b"HEAD", b"OPTIONS", b"TRACE", b"PUT", b"DELETE"))

_NOT_ASCII = re.compile(rb"[\x80-\xff]")
_TOKEN = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")

_X_FORWARDED = (b"x-forwarded-for", b"x-forwarded-host", b"x-forwarded-proto")
_FAMILY = frozenset(
    (*_X_FORWARDED, b"x-forwarded-port", b"x-forwarded-prefix", b"forwarded", b"x-real-ip")
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
    drop = _FAMILY if forward.forwarded is not None and not forward.trust_forwarded else frozenset()
    for name, value in request.headers:
        lower = name.lower()
        if lower == b"host":
            came = value
            headers.append((name, _host(forward, value)))
        elif lower.replace(b"_", b"-") in drop:  # CGI and WSGI make one name of both spellings
            continue
        elif h2c and lower in (b"connection", b"upgrade", b"http2-settings"):
            # HTTP/2 inside of the raw bytes would be requests that nobody here has looked at.
            continue
        else:
            headers.append((name, value))
    if forward.forwarded is not None:
        _say_who(headers, forward, came, peer)
    return RequestHead(request.method, _target(request, forward.origin.prefix), headers)


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
    path = unquote_to_bytes(target.partition(b"?")[0]).replace(b"\\", b"/")
    if b".." in path.split(b"/"):
        raise BadTargetError("the path has a .. in it")
    return prefix.encode("ascii") + target


def _say_who(headers: list[tuple[bytes, bytes]], forward: Forward, came: bytes, peer: Peer) -> None:
    proto = b"https" if peer.tls else b"http"
    try:
        address = ipaddress.ip_address(peer.host.partition("%")[0])
    except ValueError:
        address = None
    if forward.forwarded in ("x-forwarded", "both"):
        who = b"unknown" if address is None else str(address).encode("ascii")
        _append(headers, b"X-Forwarded-For", who)
        # The first word counts: whoever stands in front of us and is trusted knew the caller's.
        for name, value in ((b"X-Forwarded-Host", came), (b"X-Forwarded-Proto", proto)):
            if not _has(headers, name):
                headers.append((name, value))
    if forward.forwarded in ("forwarded", "both"):
        who = b"unknown"
        if address is not None:
            who = (
                b'"[%s]"' % str(address).encode() if address.version == 6 else str(address).encode()
            )
        host = came if _TOKEN.fullmatch(came.decode("latin-1")) else b'"%s"' % came
        _append(headers, b"Forwarded", b"for=%s;host=%s;proto=%s" % (who, host, proto))


def _has(headers: Headers, name: bytes) -> bool:
    return any(other.lower() == name.lower() for other, _ in headers)


def _append(headers: list[tuple[bytes, bytes]], name: bytes, value: bytes) -> None:
    """Adds to the list that a field is; several fields of a name are one list, in their order."""
    present = [other for key, other in headers if key.lower() == name.lower()]
    headers[:] = [field for field in headers if field[0].lower() != name.lower()]
    headers.append((name, b", ".join([*present, value])))
