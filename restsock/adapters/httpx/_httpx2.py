"""The transports as httpx2's own classes, for its users' type checkers."""

from __future__ import annotations

import httpx2

from ._async import AsyncTunnelTransport
from ._sync import TunnelTransport

__all__ = ["AsyncHTTPX2Transport", "HTTPX2Transport"]


class HTTPX2Transport(
    TunnelTransport, AsyncTunnelTransport, httpx2.BaseTransport, httpx2.AsyncBaseTransport
):
    __doc__ = TunnelTransport.__doc__


class AsyncHTTPX2Transport(AsyncTunnelTransport, httpx2.AsyncBaseTransport):
    __doc__ = AsyncTunnelTransport.__doc__
