"""HTTP/1.1 in the client's role, sans-IO: towards proxies, and towards servers that are mounted."""

from __future__ import annotations

from ._connect_tunnel import ConnectTunnel
from ._upstream import Upstream, UpstreamEvent

__all__ = ["ConnectTunnel", "Upstream", "UpstreamEvent"]
