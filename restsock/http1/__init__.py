"""HTTP/1.1, sans-IO: towards proxies, servers that are mounted, and clients of plain HTTP."""

from __future__ import annotations

from ._connect_tunnel import ConnectTunnel
from ._downstream import CREDIT, Downstream
from ._due import Due
from ._last_answer import last_answer
from ._request_head import BadRequestError, ParsedHead
from ._response_framing import ResponseFraming
from ._trailers import allowed_trailers
from ._upstream import Upstream, UpstreamEvent

__all__ = [
    "CREDIT",
    "BadRequestError",
    "ConnectTunnel",
    "Downstream",
    "Due",
    "ParsedHead",
    "ResponseFraming",
    "Upstream",
    "UpstreamEvent",
    "allowed_trailers",
    "last_answer",
]
