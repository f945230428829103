"""Dialects: the message formats of foreign peers on a plain WebSocket.

A dialect turns received messages of a WebSocket into envelopes, and envelopes into messages to
send. There is no I/O in here: times and ids are passed in.

- `_dialect`: what one is.
- `_raw`: text and bytes as they are. `_semstreams`, `_tremor`, `_wasmcloud`: those of others.
"""

from __future__ import annotations

from ._dialect import Dialect, End, Garbled, Unsayable, Wire
from ._raw import Raw
from ._semstreams import Semstreams
from ._tremor import Tremor
from ._wasmcloud import WasmCloud

__all__ = [
    "Dialect",
    "End",
    "Garbled",
    "Raw",
    "Semstreams",
    "Tremor",
    "Unsayable",
    "WasmCloud",
    "Wire",
]
