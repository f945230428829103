"""Heads that pass through the ingress as they came, without a detour.

A plain head from which nothing is to be taken, and in which nothing is to be changed, is sent on in
the bytes that it came in, with what the peer is to be told after it. Everything else is left to
`_fields`. Tests hold both to the same result for the same head.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import TYPE_CHECKING

from restsock._field_names import GATEWAY_FIELD
from restsock.protocol import (
    PlainFields,
    PlainHead,
    RequestHead,
    ResponseHead,
    extend_request_fast,
    plain_fields,
)

from ._fields import FORGED_FIELD, fields_for_peer, head_for_client, head_for_peer

if TYPE_CHECKING:
    from restsock._principal import Principal
    from restsock.connection import Peer

    from ._names import Found

__all__ = ["pass_to_client", "pass_to_peer"]

# To be looked for in a plain head in lower case.
_TAKEN_OFF = re.compile(rb"\n(?:" + FORGED_FIELD.pattern + rb"|" + GATEWAY_FIELD.pattern + rb"): ")
_CHANGED = re.compile(rb"\n(?:restsock-|set-cookie: [^\n]*;[ \t]*domain[ \t]*=)")

# What is told of a client is the same for all its requests. Longer hosts are not worth the memory.
_KEPT = 1024
_LONGEST = 255


def pass_to_peer(
    request: RequestHead,
    plain: PlainHead | None,
    found: Found,
    *,
    client: Peer,
    trusted: bool,
    principal: Principal | None,
    own_authorization: bool,
) -> tuple[RequestHead, PlainHead | None]:
    """The head that a peer gets: that of `head_for_peer`, with its bytes where they are known.

    Args:
        request: as it came.
        plain: the same and its bytes, where they are known.
        found: whom it is for.
        client: who has sent it, at the socket.
        trusted: whether that is a proxy whose word about the client counts.
        principal: whom it was found to come from.
        own_authorization: whether its Authorization was meant for the ingress.
    """
    lower = b"" if plain is None or trusted else plain.data.lower()
    if (
        plain is not None
        and plain.head is request
        and lower
        and _is_unchanged(request, found)
        and not _TAKEN_OFF.search(lower)
        and not (own_authorization and b"\nauthorization: " in lower)
    ):
        tell = _tell if len(found.host) <= _LONGEST else _tell.__wrapped__
        scheme = client.scheme_of(request)
        more = tell(client.host, found.host, scheme, None if principal is None else principal.name)
        if more is not None:
            return extend_request_fast(plain, more, scheme)
    head = head_for_peer(
        request,
        found,
        client=client,
        trusted=trusted,
        principal=principal,
        own_authorization=own_authorization,
    )
    return head, None


def _is_unchanged(request: RequestHead, found: Found) -> bool:
    """Whether no rule changes the target or a field of a request."""
    route = found.route
    if found.prefix or found.target != request.target:
        return False
    if route is None:
        return True
    rules = route.request_fields
    return not (rules.set or rules.remove) and route.upstream_host == "keep"


@lru_cache(_KEPT)
def _tell(client: str, host: bytes, scheme: str, identity: str | None) -> PlainFields | None:
    return plain_fields(fields_for_peer(client, host, scheme, identity))


def pass_to_client(
    found: Found, head: ResponseHead, plain: PlainHead | None
) -> tuple[ResponseHead, PlainHead | None]:
    """The head that a client gets: that of `head_for_client`, with its bytes where they are known.

    Args:
        found: whom the request was for.
        head: the peer's.
        plain: the same and its bytes, where they are known.
    """
    if (
        plain is not None
        and plain.head is head
        and not found.prefix
        and not _CHANGED.search(plain.data.lower())
    ):
        rules = None if found.route is None else found.route.response_fields
        if rules is None or not (rules.set or rules.remove):
            return head, plain
    return head_for_client(head, found), None
