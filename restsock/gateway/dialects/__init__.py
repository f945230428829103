"""Dialects: the formats of messages and answers on a WebSocket. Without I/O.

- `_dialect`: what a dialect is. `_json`: what those of JSON have in common.
- `_action`, `_jsonrpc`, `_envelope`, `_http`, `_raw`: one each.
"""

from __future__ import annotations

from ._action import Action
from ._dialect import BadMessage, Batch, Dialect, ParsedCall
from ._envelope import EnvelopeDialect
from ._http import HTTPDialect
from ._jsonrpc import JSONRPC
from ._raw import RawDialect

__all__ = [
    "JSONRPC",
    "Action",
    "BadMessage",
    "Batch",
    "Dialect",
    "EnvelopeDialect",
    "HTTPDialect",
    "ParsedCall",
    "RawDialect",
]
