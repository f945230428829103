"""Errors at the border to an app: what it may see, and what to make of what it raises."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import trio

from restsock._exceptions import RestsockError

if TYPE_CHECKING:
    from restsock.protocol import RequestHead

__all__ = [
    "AppStartupError",
    "BadResponseError",
    "Disconnected",
    "is_for_the_loop",
    "log_failure",
    "loggable",
]

_log = logging.getLogger("restsock.apps")


class AppStartupError(RestsockError):
    """The app said that it cannot start (`lifespan.startup.failed`). Nothing is served."""


class BadResponseError(ValueError):
    """The app's answer is not one that HTTP or the app's interface allows.

    Raised to the app at the call that gave the bad part, and answered with a 500 (or, behind the
    head, a RESET) unless the app makes good for it.
    """


class Disconnected(ConnectionResetError):
    """The peer has left this exchange: nobody reads the answer, and no more of the request comes.

    An `OSError`, as ASGI wants it from `send` and as WSGI frameworks expect it from `wsgi.input`.
    The reason is its `__cause__`.
    """

    def __init__(self) -> None:
        super().__init__("the peer has left this request")


def log_failure(
    error: BaseException, request: RequestHead, *, left: RestsockError | None = None
) -> bool:
    """Logs what an app has raised, with its traceback.

    Args:
        error: what it has raised.
        request: in answer to what.
        left: the error of the exchange, where the app gets to see that one itself.

    Returns:
        Whether it only says that the peer has left, so that there is nobody to answer.
    """
    if _is_disconnect(error, left):
        _log.debug("the peer left %s", loggable(request))
        return True
    _log.error("the app failed at %s", loggable(request), exc_info=error)
    if isinstance(error, RuntimeError) and "event loop" in str(error):
        _log.error("this app seems to need asyncio; restsock runs apps on trio")
    return False


def loggable(request: RequestHead) -> str:
    """Method and path, for a log. Without the query, which may carry secrets."""
    path = request.target.partition(b"?")[0]
    return f"{request.method.decode('latin-1')} {path.decode('latin-1')}"


def _is_disconnect(error: BaseException | None, left: RestsockError | None) -> bool:
    """Whether an app's exception only says that the peer has left: its own fault it is not."""
    seen = 0
    while error is not None and seen < 100:  # a chain of causes can be a ring
        if error is left or isinstance(error, Disconnected):
            return True
        parts = _parts(error)
        if parts:
            return all(_is_disconnect(part, left) for part in parts)
        error = error.__cause__ or error.__context__
        seen += 1
    return False


def is_for_the_loop(error: BaseException) -> bool:
    """Whether an exception that left an app's task belongs to trio or the user, not to the app.

    All others end here, `SystemExit` and asyncio's `CancelledError` too: one request does not end
    the program.
    """
    parts = _parts(error)
    if parts:
        return any(is_for_the_loop(part) for part in parts)
    return isinstance(error, (trio.Cancelled, KeyboardInterrupt))


def _parts(error: BaseException) -> tuple[BaseException, ...]:
    # By its attribute, since on Python 3.10 groups come from a backport that trio uses.
    parts = getattr(error, "exceptions", ())
    return parts if isinstance(parts, tuple) else ()
