"""Which event loop runs here, for errors that say what to use instead."""

from __future__ import annotations

import sys
from typing import Any

import trio

from restsock._exceptions import RestsockError

__all__ = ["check_asyncio", "check_trio"]


def check_trio(what: str, instead: str) -> None:
    """Raises RestsockError where this is no task of trio.

    Args:
        what: was called.
        instead: its like for asyncio.
    """
    if not trio.lowlevel.in_trio_task():
        where = "asyncio" if _asyncio_loop() is not None else "not in a task of trio"
        raise RestsockError(f"{what} is for trio, and this is {where}: use {instead}")


def check_asyncio(what: str, instead: str) -> Any:
    """The running loop of asyncio.

    Args:
        what: was called.
        instead: its like for trio.

    Raises:
        RestsockError: there is none.
    """
    loop = None if trio.lowlevel.in_trio_task() else _asyncio_loop()
    if loop is None:
        where = "trio" if trio.lowlevel.in_trio_task() else "not in a task of asyncio"
        raise RestsockError(f"{what} is for asyncio, and this is {where}: use {instead}")
    return loop


def _asyncio_loop() -> Any:
    asyncio = sys.modules.get("asyncio")  # not loaded, it does not run
    return None if asyncio is None else asyncio._get_running_loop()
