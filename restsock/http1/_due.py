"""`Due`: where a client of HTTP/1.1 is in what it sends."""

from __future__ import annotations

from enum import Enum

__all__ = ["Due"]


class Due(Enum):
    """What the client is to send next."""

    REQUEST = "a request, or nothing"
    HEAD = "the rest of a head"
    BODY = "body bytes"
    CHUNKS = "chunks"
    RAW = "raw bytes"
    NOTHING = "nothing before the response"
