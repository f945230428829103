"""The background loop that all clients and servers for threads and asyncio share.

Its thread starts with the first owner, and ends and is joined with the last one. It is a daemon, so
a missing close does not keep the process alive; at exit, what is still open is closed gracefully.
"""

from __future__ import annotations

import atexit
import os
import threading

from restsock._exceptions import RestsockError
from restsock._logging import PartLog

from ._portal import Portal

__all__ = ["acquire", "release"]

_log = PartLog("restsock.sync")

# At exit, seconds for clients and servers that were not closed to close their connections.
_EXIT_GRACE = 2.0

_lock = threading.Lock()
_portal: Portal | None = None


def acquire() -> Portal:
    """Returns the shared loop, for one more owner; starts it if necessary."""
    global _portal  # noqa: PLW0603  # one loop for the whole process is what this module is for
    with _lock:
        if _portal is None or not _portal.usable:
            _portal = Portal()
        _portal.owners += 1
        return _portal


def release(portal: Portal) -> bool:
    """Release the loop. The last owner ends it.

    Returns:
        Whether this was the last owner: the thread ends now, and must be joined.
    """
    global _portal  # noqa: PLW0603
    with _lock:
        portal.owners -= 1
        last = portal.owners == 0
        if last and _portal is portal:
            _portal = None
    if last:
        portal.stop()
    return last


def _forget_after_fork() -> None:
    global _lock, _portal  # noqa: PLW0603
    # Another thread may have held the lock during the fork; that thread does not exist here.
    _lock = threading.Lock()
    _portal = None


def _tidy_at_exit() -> None:
    portal = _portal
    if portal is None or not portal.usable:
        return
    try:
        contexts = portal.call(lambda: list(portal.contexts))
        for context in contexts:
            context.close_soon()
        if not portal.run(portal.wait_empty, _EXIT_GRACE):
            _log.warning("at exit, %d connections did not close in time", len(contexts))
    except RestsockError:
        pass  # it has just ended by itself
    portal.stop()
    portal.join(_EXIT_GRACE)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_after_fork)
atexit.register(_tidy_at_exit)
