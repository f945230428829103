"""Zones of IPv6 addresses: which interface a link-local address is on (RFC 4007, RFC 6874)."""

from __future__ import annotations

import ipaddress
import re

__all__ = ["bracketed_host", "url_host", "without_zone"]

# Names of interfaces; systems allow more, but none is in use.
_ZONE = re.compile(r"[0-9A-Za-z_.~-]+")


def bracketed_host(host: str) -> str | None:
    """The address that stands between the brackets of a URL, as the system wants it; or `None`.

    A URL writes the percent sign in front of a zone as `%25`; a bare one is common, too (RFC 6874,
    sections 2 and 3). So `fe80::1%25eth0` and `fe80::1%eth0` are both `fe80::1%eth0`.
    """
    address, percent, zone = host.partition("%")
    try:
        ipaddress.IPv6Address(address)
    except ValueError:
        return None
    if not percent:
        return host
    if zone.startswith("25") and len(zone) > 2:
        zone = zone[2:]
    return f"{address}%{zone}" if _ZONE.fullmatch(zone) else None


def url_host(host: str) -> str:
    """A host as it stands in a URL: an IPv6 address in brackets, and its zone after a `%25`."""
    return f"[{host.replace('%', '%25')}]" if ":" in host else host


def without_zone(host: str) -> str:
    """The host as the other end may see it: a zone tells this machine alone where to send."""
    return host.partition("%")[0]
