"""`Timeout`: how long a call may take."""

from __future__ import annotations

from typing import TYPE_CHECKING

import trio

from restsock._options import positive
from restsock.gateway._errors import CallFailed
from restsock.gateway._middleware import Middleware

from ._parts import Parts

if TYPE_CHECKING:
    from restsock.gateway._backend import Call
    from restsock.gateway._message import Message, Reply

__all__ = ["Timeout"]


class Timeout(Middleware):
    """Gives a call so many seconds, then stops it and answers 504.

    It is cancelled where it is. What it called in a thread, or elsewhere, may go on there. The
    deadline stands in the message, so that a backend can hand it on; an earlier one that is there
    already counts here, too. What is inside of `Retry` begins anew with each attempt.

    Args:
        seconds: That a reply may take to come.
        parts: Seconds that each part of a reply may take, if it comes in parts. `None` sets no
            bound.

    Raises:
        ValueError: This is no number of seconds above 0.
    """

    def __init__(self, seconds: float, *, parts: float | None = None) -> None:
        self.seconds = seconds
        self.parts = parts
        positive(self, "seconds")
        if parts is not None:
            positive(self, "parts")

    async def __call__(self, message: Message, call_next: Call) -> Reply:
        """See `Middleware`.

        Raises:
            CallFailed: With 504 there was no answer in time.
        """
        now = trio.current_time()
        deadline = min(message.deadline, now + self.seconds)
        if deadline <= now:
            raise CallFailed(504, "no answer in time")
        with trio.CancelScope(deadline=deadline):
            reply = await call_next(message.replace(deadline=deadline))
            if reply.parts is None or self.parts is None:
                return reply
            return reply.replace(parts=Parts(reply.parts, _nothing, self.parts))
        raise CallFailed(504, "no answer in time", may_have_run=True)


def _nothing(_: BaseException | None) -> None:
    """Nobody wants to know how the parts have ended."""
