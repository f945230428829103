"""Sets up the garbage collector for a process that serves for long."""

from __future__ import annotations

import gc

__all__ = ["collect_seldom"]


def collect_seldom() -> None:
    """Has it look seldom, and not at what was loaded by now.

    What is in flight is not garbage, but by default it is looked at after every 700 new objects,
    and everything now and then. With many calls in flight, that takes up to a fifth of the time, in
    pauses of a tenth of a second.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 20, 20)
