"""The URLs that `welcome` may have (spec, "Payloads"): where plain HTTP reaches the dialer."""

from __future__ import annotations

import re
from collections.abc import Sequence
from ipaddress import IPv6Address

from restsock._exceptions import RemoteProtocolError

__all__ = ["MAX_URLS", "can_be_told", "is_plain_url", "read_urls"]

MAX_URLS = 8
MAX_URL = 1024  # characters

# People open them, and terminals show them: nothing in front of the host looks like a host, and
# nothing in them is other than it looks.
_URL = re.compile(
    r"https?://"
    r"(?:[0-9A-Za-z_-]+(?:\.[0-9A-Za-z_-]+)*|\[([0-9A-Fa-f:.]+)\])"
    r"(?::([1-9][0-9]{0,4}))?"
    r"/(?:[0-9A-Za-z._~!$&'()*+,;=:@/-]|%[0-9A-Fa-f]{2})*"
)


def is_plain_url(text: str) -> bool:
    """Whether it is an absolute URL of http or https without user, query and fragment."""
    found = _URL.fullmatch(text) if len(text) <= MAX_URL else None
    if found is None or int(found[2] or 1) > 65535:
        return False
    if found[1] is not None:
        try:
            IPv6Address(found[1])
        except ValueError:
            return False
    return True


def read_urls(value: object) -> tuple[str, ...]:
    """Reads what a listener has told.

    Raises:
        RemoteProtocolError: it is not a list of such URLs, or there are too many.
    """
    if not isinstance(value, list) or len(value) > MAX_URLS:
        raise RemoteProtocolError(f"urls that are not a list of {MAX_URLS} at most")
    if not all(isinstance(url, str) and is_plain_url(url) for url in value):
        raise RemoteProtocolError("one of the urls is not a plain URL of http or https")
    return tuple(value)


def can_be_told(urls: Sequence[str]) -> bool:
    """Whether a dialer would take them."""
    return len(urls) <= MAX_URLS and all(map(is_plain_url, urls))
