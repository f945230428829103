"""Names of header fields that are for one hop, or that a caller writes to pass for another."""

from __future__ import annotations

import re

__all__ = [
    "GATEWAY_FIELD",
    "HOP_BY_HOP",
    "NOT_IN_TRAILERS",
    "PLAIN_NAME",
    "is_plain_name",
    "told_by_gateways",
]

HOP_BY_HOP = frozenset(
    (b"connection", b"keep-alive", b"proxy-connection", b"te", b"transfer-encoding", b"upgrade")
)
NOT_IN_TRAILERS = HOP_BY_HOP | {b"content-length", b"host", b"trailer"}

# Names that no server can take for another one. CGI and similar interfaces turn a hyphen into an
# underscore, some of them any other sign too, and then `X_A` passes for `X-A`.
PLAIN_NAME = re.compile(rb"[0-9A-Za-z-]+")

# Fields, in lower case, in which a gateway tells who calls, and what was asked for. Any caller can
# write them.
GATEWAY_FIELD = re.compile(
    rb"x-forwarded(?:-.*)?|forwarded(?:-.*)?|via|(?:x-)?real-ip"
    rb"|(?:x-|true-|fastly-|x-cluster-)?client-ip|cf-connecting-ip(?:v6)?|x-original-.*"
    rb"|x-rewrite-url|x-(?:url-)?scheme|x-host|front-end-https"
    rb"|x-envoy-external-address|x-appengine-user-ip|x-azure-clientip"
    rb"|client-cert(?:-chain)?|(?:x-)?ssl-client-.*"  # RFC 9440, and before it
)


def is_plain_name(name: bytes) -> bool:
    """Whether no server can take the name of a field for another one."""
    return PLAIN_NAME.fullmatch(name) is not None


def told_by_gateways(lower: bytes) -> bool:
    """Whether a field, its name in lower case, tells what a gateway has found out of a caller."""
    return GATEWAY_FIELD.fullmatch(lower) is not None
