"""What a client and a server have in common.

- `_lifecycle`: their states, and the block of code that they live in.
- `_endpoint`: what else either has; `_adapter`: what `requests` gets of either.
- `_counters`: the numbers of all their connections together.
- `_pending_requests`: requests that wait for a connection.
- `_signals`: SIGTERM and SIGINT as a wish to end in good order.
- `_socket_options`: `SocketOptions` as calls to the system.
"""

from __future__ import annotations

from ._adapter import adapter_for
from ._counters import EndpointCounters
from ._endpoint import Endpoint
from ._lifecycle import Lifecycle, State
from ._pending_requests import PendingRequests
from ._signals import SIGNALS, drain_on_signal, tell_closing
from ._socket_options import (
    apply_socket_options,
    check_socket_options,
    prepare_listening_socket,
)

__all__ = [
    "SIGNALS",
    "Endpoint",
    "EndpointCounters",
    "Lifecycle",
    "PendingRequests",
    "State",
    "adapter_for",
    "apply_socket_options",
    "check_socket_options",
    "drain_on_signal",
    "prepare_listening_socket",
    "tell_closing",
]
