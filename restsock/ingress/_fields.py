"""What the header fields of a request and of its response become on their way through the ingress.

Fields that say who calls, or what the ingress has found out, are never believed from a client: they
are dropped, and set anew. Only what a trusted proxy in front says of them is kept and added to.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING

from restsock._field_names import GATEWAY_FIELD, PLAIN_NAME
from restsock.http1 import allowed_trailers
from restsock.protocol import (
    HOST,
    TOKEN,
    Headers,
    RequestHead,
    ResponseHead,
    values_of,
)

if TYPE_CHECKING:
    from restsock._principal import Principal
    from restsock.connection import Peer

    from ._names import Found
    from ._routes import Route

__all__ = [
    "FORGED_FIELD",
    "IDENTITY_FIELD",
    "clean_trailers",
    "fields_for_peer",
    "head_for_client",
    "head_for_peer",
    "scheme_for",
]

IDENTITY_FIELD = b"Restsock-Identity"

# Fields, in lower case, that are never taken from a client.
FORGED_FIELD = re.compile(rb"restsock-.*|proxy|proxy-authorization|proxy-connection|http2-settings")
# What a field is, by its name in lower case: none but these pass.
_NAME = re.compile(
    rb"(?P<host>host)|(?P<authorization>authorization)|(?P<forged>" + FORGED_FIELD.pattern + rb")"
    rb"|(?P<told>" + GATEWAY_FIELD.pattern + rb")|(?P<other>" + PLAIN_NAME.pattern + rb")"
)
_NOTHING_BEFORE: Mapping[bytes, Sequence[bytes]] = MappingProxyType({})

# What they say holds for the whole origin, which peers with a path prefix share.
_OF_THE_ORIGIN = frozenset(
    (b"service-worker-allowed", b"clear-site-data", b"strict-transport-security", b"alt-svc")
)
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
        match = _NAME.fullmatch(lower)
        kind = None if match is None else match.lastgroup
        if kind is None or kind == "forged" or (kind == "authorization" and own_authorization):
            continue
        if kind == "told":
            if trusted:
                before.setdefault(lower, []).append(value)
            continue
        if kind == "host":
            host = value
        headers.append((name, value))
    scheme = scheme_for(request, client, trusted=trusted)
    prefix = b"".join(before.get(b"x-forwarded-prefix", ())).rstrip(b"/") + found.prefix.encode()
    identity = None if principal is None else principal.name
    headers += fields_for_peer(client.host, host, scheme, identity, prefix, before)
    if found.route is not None:
        headers = found.route.request_fields.apply(headers)
        if found.route.upstream_host != "keep":
            host = _upstream_host(found.route)
            headers = [(n, host if n.lower() == b"host" else v) for n, v in headers]
    return RequestHead(request.method, found.target, headers, scheme)


def fields_for_peer(
    client: str,
    host: bytes,
    scheme: str,
    identity: str | None,
    prefix: bytes = b"",
    before: Mapping[bytes, Sequence[bytes]] = _NOTHING_BEFORE,
) -> list[tuple[bytes, bytes]]:
    """What a peer is told of a request.

    Args:
        client: the address that has sent it; empty over a Unix socket.
        host: that was asked.
        scheme: that was used.
        identity: the name of the principal, if there is one.
        prefix: what was taken off the path.
        before: what trusted proxies have told, by the names of the fields in lower case.
    """
    headers: list[tuple[bytes, bytes]] = []
    address = client.partition("%")[0].encode("latin-1", "replace")
    way = [*before.get(b"x-forwarded-for", ()), *([address] if address else [])]
    if way:  # over a Unix socket there is no address
        headers.append((b"X-Forwarded-For", b", ".join(way)))
    headers.append((b"X-Forwarded-Host", before.get(b"x-forwarded-host", [host])[0]))
    headers.append((b"X-Forwarded-Proto", scheme.encode()))
    if prefix:
        headers.append((b"X-Forwarded-Prefix", prefix))
    node = b'"[%s]"' % address if b":" in address else address
    named = host if TOKEN.fullmatch(host) else b'"%s"' % host
    element = b"for=%s;host=%s;proto=%s" % (node or b"unknown", named, scheme.encode())
    headers.append((b"Forwarded", b", ".join([*before.get(b"forwarded", ()), element])))
    if identity is not None:
        headers.append((IDENTITY_FIELD, identity.encode("utf-8")))
    return headers


def clean_trailers(trailers: Headers) -> Headers:
    """Trailers, either way, without what comes too late, or would be dropped in a head.

    Some servers add them to the fields of the head.
    """
    if not trailers:
        return []
    return [field for field in allowed_trailers(trailers) if _may_trail(field[0].lower())]


def _may_trail(lower: bytes) -> bool:
    match = _NAME.fullmatch(lower)
    if match is None or match.lastgroup in ("forged", "told"):
        return False
    return lower not in _OF_THE_ORIGIN


def _upstream_host(route: Route) -> bytes:
    if route.upstream_host != "name":
        return route.upstream_host.encode("latin-1")
    name = route.peer.encode("utf-8")
    return name if HOST.fullmatch(name) else b"restsock"


def head_for_client(head: ResponseHead, found: Found) -> ResponseHead:
    """The head that the client gets.

    Args:
        head: the peer's.
        found: whom the request was for.
    """
    headers: list[tuple[bytes, bytes]] = []
    prefix = found.prefix.encode("latin-1")
    narrow = found.route is None or found.route.cookie_domain != "keep"
    for name, value in head.headers:
        lower = name.lower()
        if lower.startswith(b"restsock-"):
            continue  # these are the ingress's words
        if lower == b"set-cookie":
            # Peers are neighbours below one domain: none may set a cookie for the others.
            value = _COOKIE_DOMAIN.sub(b"", value) if narrow else value
            if prefix:
                value = _COOKIE_PATH.sub(lambda m: m[1] + prefix + m[2], value)
        elif prefix and lower in (b"location", b"content-location"):
            value = _below(value, prefix, found.host)
        elif prefix and lower in _OF_THE_ORIGIN:
            continue
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


def scheme_for(request: RequestHead, client: Peer, *, trusted: bool) -> str:
    """The scheme that the client has used, as far as a trusted proxy says it."""
    told = values_of(request.headers, b"x-forwarded-proto") if trusted else []
    if told and told[0].lower() in (b"http", b"https"):
        return told[0].lower().decode()
    return client.scheme_of(request)
