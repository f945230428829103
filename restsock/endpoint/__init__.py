"""What a client and a server have in common.

- `_counters`: the numbers of all their connections together.
- `_pending_requests`: requests that wait for a connection.
- `_signals`: SIGTERM and SIGINT as a wish to end in good order.
- `_socket_options`: `SocketOptions` as calls to the system.
"""

from __future__ import annotations

from ._counters import EndpointCounters
from ._pending_requests import PendingRequests
from ._signals import SIGNALS, drain_on_signal, tell_closing
from ._socket_options import (
    apply_socket_options,
    check_socket_options,
    prepare_listening_socket,
)

__all__ = [
    "SIGNALS",
    "EndpointCounters",
    "PendingRequests",
    "apply_socket_options",
    "check_socket_options",
    "drain_on_signal",
    "prepare_listening_socket",
    "tell_closing",
]
