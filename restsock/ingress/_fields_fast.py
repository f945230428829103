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
_AUTHORIZATION = b"\nauthorization: "
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
    route = found.route
    if (
        plain is not None
        and plain.head is request
        and not trusted
        and not found.prefix
        and found.target == request.target
        and (route is None or not route.changes_requests)
    ):
        lower = plain.data.lower()
        dropped = _TAKEN_OFF.search(lower) or (own_authorization and _AUTHORIZATION in lower)
        scheme = client.scheme_of(request)
        more = None if dropped else _told(client.host, found.host, scheme, principal)
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


def _told(client: str, host: bytes, scheme: str, principal: Principal | None) -> PlainFields | None:
    """What the peer is told of a request; `None` if that is not plain."""
    tell = _tell if len(host) <= _LONGEST else _tell.__wrapped__
    return tell(client, host, scheme, None if principal is None else principal.name)


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
        and (found.route is None or not found.route.changes_responses)
        and not _CHANGED.search(plain.data.lower())
    ):
        return head, plain
    return head_for_client(head, found), None
