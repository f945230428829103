"""Dialects: what foreign peers say over a plain WebSocket, and how it is said to them.

A dialect makes envelopes of what comes, and messages of a WebSocket of the envelopes that leave.
There is no I/O in here: times and ids are handed in.

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
