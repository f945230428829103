"""Where a thread meets a loop.

- `_exchange`: an exchange that a thread drives; `_loop_exchange`: one that tasks of another loop
  drive, who wait in `_wakeups`. `_driver`, `_flow` and `_inbox` are what both consist of.
- `_upload`: a request body that is sent while it is being made.
- `_portal`: a loop, for others; one in a background thread. `_background`: the one of these that
  all share; `_context`: what others keep open on it. `_asyncio_context`: the same for asyncio,
  loaded at its first use.
- `_pool`: threads that do what a loop gives them; `_fair_queue`: what waits, in turn by owner.
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
