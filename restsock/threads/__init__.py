"""Where a thread, or another loop, meets the loop of the connections.

- `_exchange`: an exchange driven by a thread; `_loop_exchange`: one driven by tasks of another
  loop, which wait with `_wakeups`. Both consist of `_driver`, `_flow` and `_inbox`.
- `_upload`: a request body that is sent while it is produced.
- `_portal`: access to a loop, which may be in a background thread. `_background`: the background
  loop that all share; `_context`: what is kept open on it. `_asyncio_context`: the same for
  asyncio, loaded at its first use.
- `_pool`: threads that work for a loop; `_fair_queue`: a queue with turns by owner.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ._context import BlockingContext, OpenContext, abandon_unclosed
from ._exchange import ThreadExchange
from ._loop_exchange import LoopExchange, open_here
from ._pool import Worker, WorkerPool
from ._portal import Answer, Job, LoopPortal, Portal, unwrap
from ._upload import Replay, ThreadUpload, send_upload
from ._wakeups import TaskSleeper

if TYPE_CHECKING:
    from ._asyncio_context import AsyncioContext, run_from_asyncio

__all__ = [
    "Answer",
    "AsyncioContext",
    "BlockingContext",
    "Job",
    "LoopExchange",
    "LoopPortal",
    "OpenContext",
    "Portal",
    "Replay",
    "TaskSleeper",
    "ThreadExchange",
    "ThreadUpload",
    "Worker",
    "WorkerPool",
    "abandon_unclosed",
    "open_here",
    "run_from_asyncio",
    "send_upload",
    "unwrap",
]


def __getattr__(name: str) -> Any:
    """Loads asyncio, and what needs it, at its first use."""
    if name in ("AsyncioContext", "run_from_asyncio"):
        from . import _asyncio_context

        return getattr(_asyncio_context, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
