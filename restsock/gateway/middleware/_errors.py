"""`Errors`: shows failures to a function, which may replace the reply."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, TypeAlias

from restsock.connection import call_user_function
from restsock.gateway._errors import reply_to_failure
from restsock.gateway._message import Reply
from restsock.gateway._middleware import Middleware

if TYPE_CHECKING:
    import asyncio

    from restsock.gateway._backend import Call, Peers
    from restsock.gateway._message import Message

__all__ = ["Errors", "OnFailure"]

_log = logging.getLogger("restsock.gateway")

OnFailure: TypeAlias = (
    "Callable[[Message, Reply, Exception | None], Reply | Awaitable[Reply | None] | None]"
)
"""Called with each failure before its client gets it: with the message, the reply, and the error
that caused it, if there was one. It returns another reply, or `None` to change nothing. A plain
function is called in a thread, an async one on the loop of the listener."""


class Errors(Middleware):
    """Shows failures to a function, which may replace what the client is told.

    Each channel answers failures with a problem (RFC 9457) by itself, also without this. Put it
    first in the list.

        Channel("/ws", Action(), router, middleware=[Errors(count_and_translate), Rate(20)])

    Of a bug in the program, the client learns only that there was one; the details are logged
    (`restsock.gateway`).

    Args:
        on_failure: Called with each reply of 400 and above. If it fails itself, that is logged, and
            the reply is not changed.

    Raises:
        TypeError: This is no function.
    """

    def __init__(self, on_failure: OnFailure | None = None) -> None:
        if on_failure is not None and not callable(on_failure):
            raise TypeError(f"on_failure must be a function, not {type(on_failure).__name__}")
        self._on_failure = on_failure
        self._loop: asyncio.AbstractEventLoop | None = None

    def bind(self, peers: Peers, loop: asyncio.AbstractEventLoop | None) -> None:
        """See `Backend.bind`. Raises nothing."""
        self._loop = loop

    async def __call__(self, message: Message, call_next: Call) -> Reply:
        """See `Middleware`. Raises no error."""
        error: Exception | None = None
        try:
            reply = await call_next(message)
        except Exception as exc:  # noqa: BLE001  # whatever it is, the client gets an answer
            error, reply = exc, reply_to_failure(message, exc)
        if self._on_failure is None or not reply.failed:
            return reply
        try:
            other = await call_user_function(
                self._on_failure, message, reply, error, loop=self._loop
            )
        except Exception:  # noqa: BLE001  # anybody's code, and the client gets its answer
            _log.exception("on_failure of Errors has failed for %r", message)
            return reply
        return other if isinstance(other, Reply) else reply
