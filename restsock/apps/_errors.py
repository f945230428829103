"""Errors between restsock and an app: those that the app sees, and how its own are handled."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import trio

from restsock._exceptions import RestsockError
from restsock._logging import PartLog

if TYPE_CHECKING:
    from restsock.protocol import RequestHead

if sys.version_info < (3, 11):
    from exceptiongroup import BaseExceptionGroup

__all__ = [
    "AppStartupError",
    "BadResponseError",
    "Disconnected",
    "UpstreamError",
    "first_cause",
    "is_disconnect",
    "is_for_the_loop",
    "log_failure",
    "loggable",
    "other_loop",
]

_log = PartLog("restsock.apps")


class AppStartupError(RestsockError):
    """The app reported that it cannot start (`lifespan.startup.failed`). Nothing is served."""


class BadResponseError(ValueError):
    """The app's response is not valid in HTTP or in the app's interface.

    Raised in the app, by the call with the invalid part. Unless the app recovers, the response is a
    500, or a RESET after the head.
    """


class UpstreamError(Exception):
    """There is no response from the server.

    Attributes:
        status: The status for it: 502, 503 or 504.
        may_have_run: Whether a byte of the request may have reached the server.
    """

    def __init__(self, status: int, message: str, *, may_have_run: bool) -> None:
        super().__init__(message)
        self.status = status
        self.may_have_run = may_have_run


class Disconnected(ConnectionResetError):
    """The peer has left this exchange: it does not read the response or send more of the request.

    An `OSError`, as ASGI requires for `send` and as WSGI frameworks expect from `wsgi.input`. The
    reason is its `__cause__`.
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
    """Logs an exception of an app, with its traceback.

    Args:
        error: The exception.
        request: The request.
        left: The error of the exchange, if the app can see that one itself.
        loop: The kind of loop that the app ran on, if there is another one.

    Returns:
        Whether it only says that the peer has left, so that no response is needed.
    """
    if is_disconnect(error, left):
        _log.debug("the peer left %s", loggable(request))
        return True
    _log.error("the app failed at %s", loggable(request), exc_info=error)
    other = None if loop is None else other_loop(loop, error)
    if other is not None:
        _log.error('the app seems to need %s: serve it with loop="%s"', other, other)
    return False


# The error messages of each loop for code that was written for the other one.
_OTHERS = {
    "trio": (
        "asyncio",
        (
            "no running event loop",
            "There is no current event loop",
            "written for some other framework like asyncio",
        ),
    ),
    "asyncio": ("trio", ("must be called from async context", "Task got bad yield")),
}


def other_loop(loop: str, error: BaseException | None, words: str = "") -> str | None:
    """The loop that an app needs, if its exception or message on this loop shows it.

    Args:
        loop: The loop that it runs on.
        error: The exception that it has raised.
        words: The message that it has sent.
    """
    other, phrases = _OTHERS[loop]
    if error is not None:
        for one in _walk(error, _below):
            if isinstance(one, (RuntimeError, TypeError)):
                # Not `str`, which may run code of the app.
                words += "\n".join(arg for arg in one.args if isinstance(arg, str))
    return other if any(phrase in words for phrase in phrases) else None


def loggable(request: RequestHead) -> str:
    """Method and path, for a log. Without the query, which may contain secrets."""
    path = request.target.partition(b"?")[0]
    return f"{request.method.decode('latin-1')} {path.decode('latin-1')}"


def first_cause(error: BaseException) -> BaseException:
    """The exception at the bottom of a chain of causes."""
    *_, cause = _walk(error, lambda one: () if one.__cause__ is None else (one.__cause__,))
    return cause


def is_for_the_loop(error: BaseException) -> bool:
    """Whether an exception that left an app's task is for trio or the user, not of the app.

    All others end here, including `SystemExit` and asyncio's `CancelledError`: one request must not
    end the program.
    """
    return any(isinstance(one, (trio.Cancelled, KeyboardInterrupt)) for one in _walk(error, _parts))


def is_disconnect(error: BaseException, left: RestsockError | None) -> bool:
    """Whether an app's exception only says that the peer has left, which is not the app's fault.

    This holds for `Disconnected` and `left`, for exceptions caused by them, and for a group if it
    holds for all of its members.

    Args:
        error: The exception of the app.
        left: The error of the exchange, if any.
    """
    below_now: set[int] = set()  # exceptions in progress, by identity, to detect cycles
    proven: dict[int, BaseException] = {}
    stack = [(error, False)]
    while stack:
        one, over = stack.pop()
        if over:
            below_now.discard(id(one))
            proven[id(one)] = one
        elif not (one is left or isinstance(one, Disconnected) or id(one) in proven):
            below = _parts(one) or _origin(one)
            if not below or id(one) in below_now:
                return False
            below_now.add(id(one))
            stack.append((one, True))
            stack.extend((each, False) for each in below)
    return True


def _walk(
    error: BaseException, below: Callable[[BaseException], tuple[BaseException, ...]]
) -> Iterator[BaseException]:
    """Yields an exception and those below it, each once: chains may be cyclic, groups deep."""
    seen: dict[int, BaseException] = {}
    stack = [error]
    while stack:
        one = stack.pop()
        if id(one) not in seen:
            seen[id(one)] = one
            yield one
            stack.extend(below(one))


def _parts(error: BaseException) -> tuple[BaseException, ...]:
    return error.exceptions if isinstance(error, BaseExceptionGroup) else ()


def _origin(error: BaseException) -> tuple[BaseException, ...]:
    origin = error.__context__ if error.__cause__ is None else error.__cause__
    return () if origin is None else (origin,)


def _below(error: BaseException) -> tuple[BaseException, ...]:
    return _parts(error) + _origin(error)
