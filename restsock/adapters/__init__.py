"""Adapters for HTTP clients: they send over a restsock connection instead of a socket."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ._peers import PeersByHost
from .httpx import LAZY, load, transport_for
from .requests._call_checker import CallChecker, InvalidRequest, InvalidResponse, InvalidSpec
from .requests._session import Session
from .requests._tunnel import TunnelAdapter

if TYPE_CHECKING:
    from .httpx._httpx import AsyncHTTPXTransport, HTTPXTransport
    from .httpx._httpx2 import AsyncHTTPX2Transport, HTTPX2Transport

__all__ = [
    "AsyncHTTPX2Transport",
    "AsyncHTTPXTransport",
    "CallChecker",
    "HTTPX2Transport",
    "HTTPXTransport",
    "InvalidRequest",
    "InvalidResponse",
    "InvalidSpec",
    "PeersByHost",
    "Session",
    "TunnelAdapter",
    "transport_for",
]


def __getattr__(name: str) -> Any:
    """Loads the transports, which need httpx or httpx2, at their first use."""
    if name in LAZY:
        return load(name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return [*globals(), *LAZY]
