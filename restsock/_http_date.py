"""The time as HTTP writes it."""

from __future__ import annotations

import time
from email.utils import formatdate

__all__ = ["http_date"]


def http_date() -> bytes:
    """The time now as in a Date field (RFC 9110, section 5.6.7)."""
    global _date  # noqa: PLW0603  # a cache: formatting costs more than all else in a head
    now = int(time.time())
    cached = _date
    if cached[0] != now:
        _date = cached = (now, formatdate(now, usegmt=True).encode("ascii"))
    return cached[1]


_date = (0, b"")
