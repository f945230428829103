"""Where a thread meets a loop.

- `_exchange`: an exchange that a thread drives; `_flow`, `_event_queue`, `_loop_access` and
  `_withdrawal` are its parts.
- `_upload`: a request body that is sent while it is being made.
- `_portal`: the background loop that all blocking clients and servers share.
- `_fair_queue`: what waits for a thread, in turn by connection.
"""

from __future__ import annotations

from ._exchange import ThreadExchange
from ._fair_queue import FairQueue
from ._portal import BlockingContext, Portal
from ._upload import Replay, ThreadUpload, send_upload

__all__ = [
    "BlockingContext",
    "FairQueue",
    "Portal",
    "Replay",
    "ThreadExchange",
    "ThreadUpload",
    "send_upload",
]
