"""Transports for HTTP clients, over a connection of restsock instead of a socket."""

from __future__ import annotations

from ._session import Session
from ._tunnel import TunnelAdapter

__all__ = ["Session", "TunnelAdapter"]
