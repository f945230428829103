"""What may come after a body (RFC 9110, section 6.5.1)."""

from __future__ import annotations

from collections.abc import Set

from restsock.protocol import NOT_IN_TRAILERS, Headers

__all__ = ["allowed_trailers"]

# A recipient that merges trailers into the head would see another routing, authentication,
# condition or kind of content than all before it.
_TOO_LATE = NOT_IN_TRAILERS | frozenset(
    (
        # request modifiers
        *(b"cache-control", b"expect", b"max-forwards", b"pragma", b"range", b"if-match"),
        *(b"if-none-match", b"if-modified-since", b"if-unmodified-since", b"if-range", b"prefer"),
        # authentication and state
        *(b"authorization", b"proxy-authorization", b"www-authenticate", b"proxy-authenticate"),
        *(b"cookie", b"set-cookie"),
        # control of responses
        *(b"age", b"date", b"expires", b"location", b"retry-after", b"vary", b"warning"),
        # the content
        *(b"content-encoding", b"content-type", b"content-range", b"content-language"),
        *(b"content-location", b"content-disposition"),
    )
)


def allowed_trailers(
    headers: Headers, named: Set[bytes] = frozenset()
) -> list[tuple[bytes, bytes]]:
    """Those of the fields that may come as trailers.

    Args:
        headers: the fields.
        named: what the Connection field of the head has named: that is for one hop.
    """
    dropped = _TOO_LATE | named
    return [field for field in headers if field[0].lower() not in dropped]
