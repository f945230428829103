"""What a client and a server have in common.

- `_lifecycle`: their states, and the context manager that runs them.
- `_endpoint`: what else they share; `_adapter`: adapters for requests and httpx.
- `_alike`: the APIs for threads and asyncio take arguments and docstrings from the one for trio.
- `_entered`: a client or server on the background loop, for those APIs.
- `_views`: a connection and a WebSocket, as those APIs show them; `_blocking_websocket`: the latter
  for threads.
- `_counters`: counters over all their connections; `_statistics`: what a program sees of them.
- `_pending_requests`: requests that wait for a connection.
- `_signals`: graceful shutdown on SIGTERM and SIGINT.
- `_socket_options`: applies `SocketOptions` to sockets.
"""

from __future__ import annotations

from ._adapter import AdaptedRequester, Adapters, AdaptersByName
from ._alike import documented_like, with_arguments_of
from ._blocking_websocket import BlockingClientWebSocket, BlockingWebSocket
from ._counters import EndpointCounters
from ._endpoint import Endpoint
from ._entered import Entered
from ._lifecycle import Lifecycle, State
from ._pending_requests import PendingRequests
from ._signals import SIGNALS, Drainable, drain_on_signal, tell_closing
from ._socket_options import (
    UNIX,
    apply_socket_options,
    check_socket_options,
    prepare_listening_socket,
)
from ._statistics import ClientStatistics, ServerStatistics
from ._views import ConnectionView, WebSocketView

__all__ = [
    "SIGNALS",
    "UNIX",
    "AdaptedRequester",
    "Adapters",
    "AdaptersByName",
    "BlockingClientWebSocket",
    "BlockingWebSocket",
    "ClientStatistics",
    "ConnectionView",
    "Drainable",
    "Endpoint",
    "EndpointCounters",
    "Entered",
    "Lifecycle",
    "PendingRequests",
    "ServerStatistics",
    "State",
    "WebSocketView",
    "apply_socket_options",
    "check_socket_options",
    "documented_like",
    "drain_on_signal",
    "prepare_listening_socket",
    "tell_closing",
    "with_arguments_of",
]
