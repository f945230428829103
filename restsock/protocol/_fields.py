"""Header fields: their grammar, which of them are for one hop, and look-up (RFC 9110, section 5).

The one home of these rules, for this package and for those above it. Names are compared in lower
case; values are bytes, as they crossed.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from restsock._field_names import HOP_BY_HOP, NOT_IN_TRAILERS

from ._events import Headers

__all__ = [
    "FIELD_LINE",
    "HOP_BY_HOP",
    "HOST",
    "LENGTH",
    "NOT_IN_TRAILERS",
    "RESERVED",
    "TOKEN",
    "VALUE",
    "connection_options",
    "content_length",
    "elements_of",
    "end_to_end",
    "field_lines",
    "reserved_in_upgrade",
    "values_of",
]

_TEXT = rb"[\x21-\x7e\x80-\xff]"

TOKEN = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
VALUE = re.compile(rb"[\t\x20-\x7e\x80-\xff]*")  # spaces around it are not part of it
FIELD_LINE = re.compile(
    TOKEN.pattern + rb":[ \t]*(?:" + _TEXT + rb"(?:[ \t\x21-\x7e\x80-\xff]*" + _TEXT + rb")?"
    rb"[ \t]*)?\r\n"
)
# A registered name, an IPv4 address or a bracketed IPv6 address, with an optional port.
HOST = re.compile(rb"(?:[A-Za-z0-9\-._~!$&'()*+,;=%]+|\[[0-9A-Fa-f:.]+\])(?::[0-9]{0,5})?")
LENGTH = re.compile(rb"[0-9]{1,18}")

# What is written here into the head of an upgrade or of a CONNECT, or has no place in it.
RESERVED = frozenset((b"host", b"connection", b"upgrade", b"content-length", b"transfer-encoding"))


def reserved_in_upgrade(name: bytes) -> bool:
    """Whether a field is the WebSocket handshake's own, in either direction."""
    lower = name.lower()
    return lower in RESERVED or lower.startswith(b"sec-websocket-")


def values_of(headers: Iterable[tuple[bytes, bytes]], name: bytes) -> list[bytes]:
    """The values of all fields of a name, which is given in lower case."""
    return [value for key, value in headers if key.lower() == name]


def elements_of(headers: Headers, name: bytes) -> list[bytes]:
    """The elements of a list; several fields of a name are one (RFC 9110, section 5.3)."""
    parts = [part.strip(b" \t") for part in b",".join(values_of(headers, name)).split(b",")]
    return [part for part in parts if part]


def content_length(headers: Headers) -> int | None:
    """The value of Content-Length, from a head that has passed the rules; else `None`."""
    for name, value in headers:
        if name.lower() == b"content-length":
            return int(value)
    return None


def connection_options(headers: Headers) -> frozenset[bytes]:
    """What the Connection fields name, in lower case: fields of this hop, trailers among them."""
    options = (option.strip().lower() for option in elements_of(headers, b"connection"))
    return frozenset(filter(None, options))


def end_to_end(headers: Headers, *, upgradable: bool) -> list[tuple[bytes, bytes]]:
    """Drops hop-by-hop fields, and writes the wish to upgrade in its one spelling.

    What Connection names is hop-by-hop, too.
    """
    named = connection_options(headers)
    # Content-Length and Host may not be taken off by naming them in Connection.
    dropped = HOP_BY_HOP | (named - {b"content-length", b"host"})
    kept = [field for field in headers if field[0].lower() not in dropped]
    upgrades = values_of(headers, b"upgrade")
    if upgradable and b"upgrade" in named and len(upgrades) == 1:
        kept += [(b"Connection", b"upgrade"), (b"Upgrade", upgrades[0])]
    return kept


def field_lines(headers: Headers) -> bytes:
    """The fields as lines. Nothing is checked."""
    return b"".join(map(b"%s: %s\r\n".__mod__, headers))
