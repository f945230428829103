"""How answers are said: one by one, those of a batch together, and those that come in parts."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Collection
from contextlib import AsyncExitStack
from typing import Any

from ._errors import CallFailed, problem
from ._message import Reply
from .dialects import BadMessage, Dialect, ParsedCall

__all__ = ["BatchAnswers", "Encoder", "Held", "send_parts"]

_log = logging.getLogger("restsock.gateway")

_TOO_LARGE = CallFailed(500, "the answers of this batch are too large together", may_have_run=True)


class Encoder:
    """Says answers in a dialect. One that it cannot say becomes a failure, and is logged."""

    def __init__(self, dialect: Dialect) -> None:
        self.dialect = dialect

    def encode(self, to: ParsedCall | BadMessage, reply: Reply) -> str | bytes:
        """The message of the WebSocket that says an answer."""
        try:
            return self.dialect.reply(to, reply)
        except Exception:  # noqa: BLE001  # what is wrong is the body, which is a program's
            _log.exception("the answer to %r cannot be sent", to)
        failure = CallFailed(500, "the answer cannot be sent in this dialect", may_have_run=True)
        return self.dialect.reply(to, problem(failure))


class Held:
    """How much of a session's answers waits for the rest of its batches.

    Args:
        most: Bytes.
    """

    def __init__(self, most: int) -> None:
        self.most = most
        self.nbytes = 0


class BatchAnswers:
    """Collects the answers to a batch, and sends them as one message once all are there.

    What does not fit any more, besides the first one, becomes a failure.

    Args:
        encoder: Says them.
        send: Sends the message.
        calls: What is going to be answered, or not.
        held: By all batches of the session.
    """

    def __init__(
        self,
        encoder: Encoder,
        send: Callable[[str | bytes], object],
        calls: Collection[ParsedCall | BadMessage],
        held: Held,
    ) -> None:
        self._encoder = encoder
        self._send = send
        self._left = len(calls)
        self._answers: list[str | bytes] = []
        self._held = held
        self._nbytes = 0

    def add(self, call: ParsedCall | BadMessage, reply: Reply) -> None:
        """One of the calls is over."""
        if isinstance(call, BadMessage) or call.answered:
            self._keep(call, self._encoder.encode(call, reply))
        self._left -= 1
        if not self._left and self._answers:
            self._held.nbytes -= self._nbytes
            self._send(self._encoder.dialect.join(self._answers))

    def _keep(self, call: ParsedCall | BadMessage, answer: str | bytes) -> None:
        held = self._held
        if self._answers and held.nbytes + len(answer) > held.most:
            answer = self._encoder.encode(call, problem(_TOO_LARGE))
        self._answers.append(answer)
        self._nbytes += len(answer)
        held.nbytes += len(answer)


async def send_parts(
    encoder: Encoder,
    call: ParsedCall,
    reply: Reply,
    send: Callable[[str | bytes], Awaitable[Any]],
) -> None:
    """Sends the parts of an answer as they come, as quickly as the client takes them.

    They are ended if this is cancelled, or if the client wants no answer.
    """
    assert reply.parts is not None
    async with AsyncExitStack() as stack:
        aclose = getattr(reply.parts, "aclose", None)
        if aclose is not None:
            stack.push_async_callback(aclose)
        if call.answered:
            async for body in reply.parts:
                part = reply.replace(body=body, parts=None)
                await send(encoder.dialect.reply(call, part, more=True))
