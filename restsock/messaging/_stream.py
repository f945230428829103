"""The messages of a channel as something to iterate over."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

import trio

from ._handlers import Handler, Handlers
from ._message import Message

if TYPE_CHECKING:
    from types import TracebackType

__all__ = ["MessageStream"]


class MessageStream:
    """The messages of a channel, one after the other. Made by `Messaging.messages`.

        async with messaging.messages("readings") as readings:     # or without `async with`
            async for message in readings:
                ...
                await message.ack()

    It is a handler of the channel until it is closed or dropped. Messages that it has given out and
    that are not acknowledged by then come again. Several tasks may iterate over it; each message
    goes to one of them. The iteration ends when the messaging is closed.
    """

    def __init__(self, handlers: Handlers, channel: str, window: int) -> None:
        self._handlers = handlers
        self._channel = channel
        self._core = _Core()
        self._handler = Handler(self._core.deliver, required=True, ordered=True, window=window)
        if handlers.closed:
            self._core.close()
            return
        handlers.add(channel, self._handler)
        handlers.streams.add(self._core)

    async def receive(self) -> Message:
        """Waits for the next message. A checkpoint. If cancelled, it takes none.

        Raises:
            trio.EndOfChannel: there are no more: this or the messaging was closed.
        """
        await trio.lowlevel.checkpoint_if_cancelled()
        core = self._core
        while not core.messages:
            if core.closed:
                raise trio.EndOfChannel
            await core.readers.park()
        message = core.messages.popleft()
        await trio.lowlevel.cancel_shielded_checkpoint()
        return message

    @property
    def closed(self) -> bool:
        """Whether it has ended."""
        return self._core.closed

    def put_back(self, message: Message) -> None:
        """Gives back a message that was taken and not looked at: it is the next one again."""
        core = self._core
        if not core.closed:
            core.messages.appendleft(message)
            core.readers.unpark()

    def close(self) -> None:
        """Ends it. What was not acknowledged comes again. Raises nothing."""
        _close(self._handlers, self._channel, self._handler, self._core)

    async def aclose(self) -> None:
        """Like `close`. A checkpoint, and raises nothing else."""
        self.close()
        await trio.lowlevel.checkpoint()

    def __aiter__(self) -> MessageStream:
        return self

    async def __anext__(self) -> Message:
        try:
            return await self.receive()
        except trio.EndOfChannel:
            raise StopAsyncIteration from None

    async def __aenter__(self) -> MessageStream:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def __del__(self) -> None:
        # A loop that was left: what it has been given would wait for ever. The collector may be on
        # any thread.
        if not self._core.closed:
            self._handlers.call_soon(
                _close, self._handlers, self._channel, self._handler, self._core
            )


def _close(handlers: Handlers, channel: str, handler: Handler, core: _Core) -> None:
    handlers.streams.discard(core)
    handlers.remove(channel, handler)
    core.close()


class _Core:
    """What the messaging knows of a stream, so that a stream that is dropped can be collected."""

    def __init__(self) -> None:
        self.messages: deque[Message] = deque()
        self.readers = trio.lowlevel.ParkingLot()
        self.closed = False
        self.out: set[Message] = set()

    async def deliver(self, message: Message) -> None:
        """Gives a message out, and waits for its ack or nack."""
        if self.closed:
            message.nack("closing")
            return
        said = message.give_out()
        self.messages.append(message)
        self.out.add(message)
        self.readers.unpark()
        try:
            await said.wait()
        finally:
            self.out.discard(message)

    def close(self) -> None:
        self.closed = True
        self.messages.clear()
        for message in [*self.out]:
            message.nack("closing")
        self.readers.unpark_all()
