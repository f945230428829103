"""`requests` over a connection of restsock: an adapter for its sessions, and a quicker session."""

from __future__ import annotations

from ._call_checker import CallChecker, InvalidRequest, InvalidResponse, InvalidSpec
from ._session import Session
from ._tunnel import TunnelAdapter

__all__ = [
    "CallChecker",
    "InvalidRequest",
    "InvalidResponse",
    "InvalidSpec",
    "Session",
    "TunnelAdapter",
]
