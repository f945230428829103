"""The transports as httpx's own classes, for its users' type checkers."""

from __future__ import annotations

import httpx

from ._async import AsyncTunnelTransport
from ._sync import TunnelTransport

__all__ = ["AsyncHTTPXTransport", "HTTPXTransport"]


class HTTPXTransport(
    TunnelTransport, AsyncTunnelTransport, httpx.BaseTransport, httpx.AsyncBaseTransport
):
    __doc__ = TunnelTransport.__doc__


class AsyncHTTPXTransport(AsyncTunnelTransport, httpx.AsyncBaseTransport):
    __doc__ = AsyncTunnelTransport.__doc__
