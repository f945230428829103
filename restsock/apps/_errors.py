"""Errors between restsock and an app: what the app may see, and what follows from its own."""

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
    """The app said that it cannot start (`lifespan.startup.failed`). Nothing is served."""


class BadResponseError(ValueError):
    """The app's answer is not one that HTTP or the app's interface allows.

    Raised to the app at the call that gave the bad part. Unless the app recovers, the answer is a
    500, or a RESET after the head.
    """


class UpstreamError(Exception):
    """There is no answer of the server.

    Attributes:
        status: What that amounts to: 502, 503 or 504.
        may_have_run: Whether a byte of the request may have reached the server.
    """

    def __init__(self, status: int, message: str, *, may_have_run: bool) -> None:
        super().__init__(message)
        self.status = status
        self.may_have_run = may_have_run


class Disconnected(ConnectionResetError):
    """The peer has left this exchange: the answer is not read, and no more of the request comes.

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
        error: What it has raised.
        request: In answer to what.
        left: The error of the exchange, where the app gets to see that one itself.
        loop: The kind of loop that it ran on, where there is another one.

    Returns:
        Whether it only says that the peer has left, so that no answer is needed.
    """
    if is_disconnect(error, left):
        _log.debug("the peer left %s", loggable(request))
        return True
    _log.error("the app failed at %s", loggable(request), exc_info=error)
    other = None if loop is None else other_loop(loop, error)
    if other is not None:
        _log.error('the app seems to need %s: serve it with loop="%s"', other, other)
    return False


# What each loop says to code that was written for the other one.
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
    """The loop that an app needs, where what it raises (or says) on this one shows it.

    Args:
        loop: The one that it runs on.
        error: What it has raised.
        words: What it has said.
    """
    other, phrases = _OTHERS[loop]
    if error is not None:
        for one in _walk(error, _below):
            if isinstance(one, (RuntimeError, TypeError)):
                # Not `str`, which may be the app's own code.
                words += "\n".join(arg for arg in one.args if isinstance(arg, str))
    return other if any(phrase in words for phrase in phrases) else None


def loggable(request: RequestHead) -> str:
    """Method and path, for a log. Without the query, which may carry secrets."""
    path = request.target.partition(b"?")[0]
    return f"{request.method.decode('latin-1')} {path.decode('latin-1')}"


def first_cause(error: BaseException) -> BaseException:
    """The exception at the bottom of a chain of causes."""
    *_, cause = _walk(error, lambda one: () if one.__cause__ is None else (one.__cause__,))
    return cause


def is_for_the_loop(error: BaseException) -> bool:
    """Whether an exception that left an app's task belongs to trio or the user, not to the app.

    All others end here, `SystemExit` and asyncio's `CancelledError` too: one request does not end
    the program.
    """
    return any(isinstance(one, (trio.Cancelled, KeyboardInterrupt)) for one in _walk(error, _parts))


def is_disconnect(error: BaseException, left: RestsockError | None) -> bool:
    """Whether an app's exception only says that the peer has left, which is not the app's fault.

    It does when it is, or comes from, what says so; a group does when all of its parts do.

    Args:
        error: What an app has raised.
        left: What says so, besides `Disconnected`.
    """
    below_now: set[int] = set()  # those whose turn is not over, by identity: a ring proves nothing
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
    """Gives an exception and those below it, each once: chains can be rings, and groups deep."""
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
