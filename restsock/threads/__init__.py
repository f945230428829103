"""Where a thread meets a loop.

- `_exchange`: an exchange that a thread drives; `_flow`, `_event_queue`, `_loop_access` and
  `_withdrawal` are its parts.
- `_upload`: a request body that is sent while it is being made.
- `_portal`: the background loop that all blocking clients and servers share.
- `_pool`: threads that do what a loop gives them; `_fair_queue`: what waits, in turn by owner.
"""

from __future__ import annotations

from ._exchange import ThreadExchange
from ._pool import Worker, WorkerPool
from ._portal import BlockingContext, Portal
from ._upload import Replay, ThreadUpload, send_upload

__all__ = [
    "BlockingContext",
    "Portal",
    "Replay",
    "ThreadExchange",
    "ThreadUpload",
    "Worker",
    "WorkerPool",
    "send_upload",
]
