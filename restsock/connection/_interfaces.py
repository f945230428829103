"""What a connection knows of those who use it."""

from __future__ import annotations

import queue
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from ._leader import Sleeper

__all__ = ["EventQueue"]


class EventQueue(Protocol):
    """The events that wait for a thread.

    Attributes:
        sleeper: what the thread waits in while it leads, and may not wait on the queue. Who puts
            in an event wakes it.
    """

    sleeper: Sleeper | None

    @property
    def queue(self) -> queue.SimpleQueue[Any]:
        """The events, in order."""
