"""Where a thread meets a loop.

- `_exchange`: an exchange that a thread drives; `_loop_exchange`: one that tasks of another loop
  drive, who wait in `_wakeups`. `_driver`, `_flow` and `_inbox` are what both consist of.
- `_upload`: a request body that is sent while it is being made.
- `_portal`: a loop in a background thread; `_background`: the one that all share; `_context`: what
  others keep open on it.
- `_pool`: threads that do what a loop gives them; `_fair_queue`: what waits, in turn by owner.
"""

from __future__ import annotations

from ._context import BlockingContext, OpenContext
from ._exchange import ThreadExchange
from ._loop_exchange import LoopExchange, open_here
from ._pool import Worker, WorkerPool
from ._portal import Answer, Job, Portal, unwrap
from ._upload import Replay, ThreadUpload, send_upload
from ._wakeups import TaskSleeper

__all__ = [
    "Answer",
    "BlockingContext",
    "Job",
    "LoopExchange",
    "OpenContext",
    "Portal",
    "Replay",
    "TaskSleeper",
    "ThreadExchange",
    "ThreadUpload",
    "Worker",
    "WorkerPool",
    "open_here",
    "send_upload",
    "unwrap",
]
