"""`Timeout`: bounds the time of a call."""

from __future__ import annotations

from typing import TYPE_CHECKING

import trio

from restsock._options import positive
from restsock.connection import until
from restsock.gateway._errors import CallFailed
from restsock.gateway._middleware import Middleware

from ._parts import Parts

if TYPE_CHECKING:
    from restsock.gateway._backend import Call
    from restsock.gateway._message import Message, Reply

__all__ = ["Timeout"]


class Timeout(Middleware):
    """Cancels a call after some seconds, and answers 504.

    Functions in threads, and other systems, may go on after that. The message has the deadline, so
    that a backend can pass it on; an earlier deadline of the message takes precedence. Inside
    `Retry`, the time starts over with each attempt.

    The client is told that the call may have run, unless it certainly has not: because it waited in
    a `Limit` all the time, or because the backend has sent nothing.

    Args:
        seconds: How long a reply may take.
        parts: Seconds that each part of a reply may take, if it comes in parts. `None` sets no
            bound.

    Raises:
        ValueError: The seconds are not a number above 0.
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
            CallFailed: With 504 there was no answer in time. What is inside may give another
                status: a `Peer` that is not connected is a 503.
        """
        now = trio.current_time()
        deadline = min(message.deadline, now + self.seconds)
        if deadline <= now:
            raise CallFailed(504, "no answer in time")
        with until(deadline):
            reply = await call_next(message.replace(deadline=deadline))
            if reply.parts is None or self.parts is None:
                return reply
            return reply.replace(parts=Parts(reply.parts, _nothing, self.parts))
        raise CallFailed(504, "no answer in time", may_have_run=True)


def _nothing(_: BaseException | None) -> None:
    """Nobody wants to know how the parts have ended."""
