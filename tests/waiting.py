"""Waits for what no event tells of: another process, thread or end of the wire brings it about."""

from __future__ import annotations

import time
from collections.abc import Callable

import anyio

__all__ = ["until", "until_blocking"]

# Seconds: no measure of the code under test, only the end of a test that would hang.
PATIENCE = 30.0


async def until(condition: Callable[[], object], seconds: float = PATIENCE) -> None:
    """Waits until something is so, on trio or asyncio.

    Raises:
        TimeoutError: It is not, after so many seconds.
    """
    with anyio.fail_after(seconds):
        while not condition():  # noqa: ASYNC110  # there is no event
            await anyio.sleep(0.005)


def until_blocking(condition: Callable[[], object], seconds: float = PATIENCE) -> None:
    """Waits until something is so, in this thread.

    Raises:
        TimeoutError: It is not, after so many seconds.
    """
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError
        time.sleep(0.005)
