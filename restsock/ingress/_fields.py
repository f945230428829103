"""What the header fields of a request and of its response become on their way through the ingress.

Fields that say who calls, or what the ingress has found out, are never believed from a client: they
are dropped, and set anew. Only what a trusted proxy in front says of them is kept and added to.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from restsock.protocol import (
    TOKEN,
    RequestHead,
    ResponseHead,
    is_plain_name,
    told_by_gateways,
    values_of,
)

if TYPE_CHECKING:
    from restsock._principal import Principal
    from restsock.connection import Peer

    from ._names import Found

__all__ = ["IDENTITY_FIELD", "MAY_HAVE_RUN", "head_for_client", "head_for_peer", "host_of"]

IDENTITY_FIELD = b"Restsock-Identity"
MAY_HAVE_RUN = b"Restsock-May-Have-Run"

_COOKIE_DOMAIN = re.compile(rb";[ \t]*domain[ \t]*=[^;]*", re.IGNORECASE)
_COOKIE_PATH = re.compile(rb"(;[ \t]*path[ \t]*=[ \t]*)(/[^;]*)", re.IGNORECASE)


def head_for_peer(
    request: RequestHead,
    found: Found,
    *,
    client: Peer,
    trusted: bool,
    principal: Principal | None,
    own_authorization: bool,
) -> RequestHead:
    """The head that the peer gets.

    Args:
        request: as it came.
        found: whom it is for.
        client: who has sent it, at the socket.
        trusted: whether that is a proxy whose word about the client counts.
        principal: whom it was found to come from.
        own_authorization: whether its Authorization was meant for the ingress.
    """
    host = b""
    before: dict[bytes, list[bytes]] = {}
    headers: list[tuple[bytes, bytes]] = []
    for name, value in request.headers:
        lower = name.lower()
        if lower == b"host":
            host = value
        if not is_plain_name(lower) or lower == b"proxy" or lower.startswith(b"restsock-"):
            continue
        if lower in (b"proxy-authorization", b"proxy-connection", b"http2-settings"):
            continue
        if lower == b"authorization" and own_authorization:
            continue
        if told_by_gateways(lower):
            if trusted:
                before.setdefault(lower, []).append(value)
            continue
        headers.append((name, value))
    scheme = client.scheme_of(request)
    told = before.get(b"x-forwarded-proto", [b""])[0].lower()
    if told in (b"http", b"https"):
        scheme = told.decode()
    address = client.host.partition("%")[0].encode("latin-1", "replace")
    headers.append((b"X-Forwarded-For", b", ".join([*before.get(b"x-forwarded-for", ()), address])))
    headers.append((b"X-Forwarded-Host", before.get(b"x-forwarded-host", [host])[0]))
    headers.append((b"X-Forwarded-Proto", scheme.encode()))
    if found.prefix:
        headers.append((b"X-Forwarded-Prefix", found.prefix.encode("latin-1")))
    node = b'"[%s]"' % address if b":" in address else address
    named = host if TOKEN.fullmatch(host) else b'"%s"' % host
    element = b"for=%s;host=%s;proto=%s" % (node or b"unknown", named, scheme.encode())
    headers.append((b"Forwarded", b", ".join([*before.get(b"forwarded", ()), element])))
    if principal is not None:
        headers.append((IDENTITY_FIELD, principal.name.encode("utf-8")))
    if found.route is not None:
        headers = found.route.request_fields.apply(headers)
    return RequestHead(request.method, found.target, headers, scheme)


def head_for_client(head: ResponseHead, found: Found, host: bytes) -> ResponseHead:
    """The head that the client gets.

    Args:
        head: the peer's.
        found: whom the request was for.
        host: that the client has asked.
    """
    headers: list[tuple[bytes, bytes]] = []
    prefix = found.prefix.encode("latin-1")
    for name, value in head.headers:
        lower = name.lower()
        if lower.startswith(b"restsock-"):
            continue  # these are the ingress's words
        if lower == b"set-cookie":
            # Peers are neighbours below one domain: none may set a cookie for the others.
            value = _COOKIE_DOMAIN.sub(b"", value)
            if prefix:
                value = _COOKIE_PATH.sub(lambda m: m[1] + prefix + m[2], value)
        elif prefix and lower in (b"location", b"content-location"):
            value = _below(value, prefix, host)
        elif prefix and lower == b"service-worker-allowed":
            continue  # its scope would be that of all peers
        headers.append((name, value))
    if found.route is not None:
        headers = found.route.response_fields.apply(headers)
    return head._replace(headers=headers)


def _below(location: bytes, prefix: bytes, host: bytes) -> bytes:
    """A location on the peer, as the client finds it."""
    if location.startswith(b"/") and not location.startswith(b"//"):
        return prefix + location
    for scheme in (b"http://", b"https://"):
        own = scheme + host
        if location.lower().startswith(own.lower()):
            rest = location[len(own) :]
            if rest[:1] in (b"", b"/", b"?"):
                return own + prefix + (rest if rest.startswith(b"/") else b"/" + rest)
    return location


def host_of(request: RequestHead) -> bytes:
    """The Host of a request; there is exactly one."""
    return values_of(request.headers, b"host")[0]
