"""What a client and a server have in common.

- `_lifecycle`: their states, and the block of code that they live in.
- `_endpoint`: what else either has; `_adapter`: what requests and httpx get of either.
- `_alike`: arguments and descriptions that the APIs beside that for trio take from it.
- `_entered`: one of them on the background loop, for those APIs.
- `_views`: a connection and a WebSocket, as those APIs show them; `_blocking_websocket`: the latter
  for threads.
- `_counters`: the numbers of all their connections together; `_statistics`: of each, for a program.
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
