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
    "WrongLoopError",
    "is_for_the_loop",
    "log_failure",
    "loggable",
    "needs_asyncio",
    "needs_trio",
]

_log = logging.getLogger("restsock.apps")


class AppStartupError(RestsockError):
    """The app said that it cannot start (`lifespan.startup.failed`). Nothing is served."""


class WrongLoopError(AppStartupError):
    """The app cannot start on this kind of event loop, and may on the other one."""


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
    error: BaseException,
    request: RequestHead,
    *,
    left: RestsockError | None = None,
    loop: str | None = None,
) -> bool:
    """Logs what an app has raised, with its traceback.

    Args:
        error: what it has raised.
        request: in answer to what.
        left: the error of the exchange, where the app gets to see that one itself.
        loop: the kind of loop that it ran on, where there is another one.

    Returns:
        Whether it only says that the peer has left, so that there is nobody to answer.
    """
    if _is_disconnect(error, left):
        _log.debug("the peer left %s", loggable(request))
        return True
    _log.error("the app failed at %s", loggable(request), exc_info=error)
    if loop == "trio" and needs_asyncio(error):
        _log.error('the app seems to need asyncio: serve it with loop="asyncio"')
    elif loop == "asyncio" and needs_trio(error):
        _log.error('the app seems to need trio: serve it with loop="trio"')
    return False


# What the two say to code that was written for the other one.
_NO_ASYNCIO = (
    "no running event loop",
    "There is no current event loop",
    "written for some other framework like asyncio",
)
_NO_TRIO = ("must be called from async context", "Task got bad yield")


def needs_asyncio(error: BaseException | None, words: str = "") -> bool:
    """Whether an exception (or words about one) of an app says that it misses asyncio's loop."""
    return _says(_NO_ASYNCIO, error, words)


def needs_trio(error: BaseException | None) -> bool:
    """Whether an exception of an app says that it misses trio's loop."""
    return _says(_NO_TRIO, error, "")


def _says(phrases: tuple[str, ...], error: BaseException | None, words: str) -> bool:
    seen = 0
    while error is not None and seen < 100:  # a chain of causes can be a ring
        if isinstance(error, (RuntimeError, TypeError)):
            words += str(error)
        if any(_says(phrases, part, "") for part in _parts(error)):
            return True
        error = error.__cause__ or error.__context__
        seen += 1
    return any(phrase in words for phrase in phrases)


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
