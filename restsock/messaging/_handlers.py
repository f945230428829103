"""Handlers: who is given the messages of a channel, and what comes of it."""

from __future__ import annotations

import itertools
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Protocol

import trio

from restsock.connection import failure_of

from ._errors import MessagingError
from ._message import Message
from .engine import Delivery, Refusal, sayable

if TYPE_CHECKING:
    from ._driver import Driver

__all__ = ["EVERY", "Handler", "Handlers"]

# The channel of handlers for all channels that have none of their own.
EVERY = "*"

_numbers = itertools.count(1)


class Closeable(Protocol):
    """What ends with the messaging."""

    def close(self) -> None:
        """Ends it."""


class Handler:
    """One handler of a channel.

    Args:
        call: is awaited with each message.
        required: whether the acknowledgement waits for it.
        ordered: whether messages of one sender begin in order.
        window: how many of them it takes at once.

    Attributes:
        number: unlike that of any other.
    """

    __slots__ = ("call", "number", "ordered", "required", "window")

    def __init__(
        self,
        call: Callable[[Message], Awaitable[object]],
        *,
        required: bool,
        ordered: bool,
        window: int,
    ) -> None:
        self.call = call
        self.number = next(_numbers)
        self.required = required
        self.ordered = ordered
        self.window = window


class Handlers:
    """The handlers of a messaging, by channel.

    Args:
        parallel: how many messages of one sender are handled at once where order does not matter.

    Attributes:
        driver: has the messages.
        streams: those that are iterated over.
        closed: whether there are no more messages.
    """

    driver: Driver

    def __init__(self, parallel: int) -> None:
        self.streams: set[Closeable] = set()
        self.closed = False
        self._parallel = parallel
        self._handlers: dict[str, list[Handler]] = {}
        self._plans: dict[str, tuple[int, bool]] = {}

    def add(self, channel: str, handler: Handler) -> None:
        """Adds a handler."""
        self._handlers.setdefault(channel, []).append(handler)
        self._plans.clear()

    def call_soon(self, function: Callable[..., object], *args: object) -> None:
        """Has something called on the loop, from any thread."""
        driver = getattr(self, "driver", None)
        if driver is None:
            function(*args)
        else:
            driver.call_soon(function, *args)

    def close(self) -> None:
        """Ends all streams: there are no more messages."""
        self.closed = True
        for stream in [*self.streams]:
            stream.close()

    def remove(self, channel: str, handler: Handler) -> None:
        """Removes a handler, if it is there."""
        found = self._handlers.get(channel, [])
        if handler in found:
            found.remove(handler)
            self._plans.clear()

    def of(self, channel: str) -> list[Handler]:
        """The handlers of a channel: its own, or those of all channels that have none."""
        return self._handlers.get(channel) or self._handlers.get(EVERY, [])

    def plan(self, channel: str) -> tuple[int, bool]:
        """How many messages of a line are handled at once, and whether they begin in order."""
        plan = self._plans.get(channel)
        if plan is None:
            handlers = self.of(channel)
            ordered = any(handler.ordered for handler in handlers)
            plan = min((one.window for one in handlers), default=1), ordered
            if len(self._plans) < 10_000:  # channels are the peers' words
                self._plans[channel] = plan
        return plan

    def function(
        self, call: Callable[[Message], Awaitable[object]], *, required: bool, ordered: bool
    ) -> Handler:
        """A handler that calls a function with each message."""
        return Handler(
            call,
            required=required,
            ordered=ordered,
            window=1 if ordered else self._parallel,
        )

    # --- a message ----------------------------------------------------------------------------

    async def handle(self, delivery: Delivery) -> None:
        """Has a message handled by all its handlers, and finishes it when the required ones have.

        Those that have handled it before, when others have not, are not called again.
        """
        handlers = self.of(delivery.line.channel)
        if not handlers:
            refusal = Refusal("no_handler", label="no_handler")
            self._finish(delivery, refusal)
            return
        if len(handlers) == 1 and handlers[0].required:
            self._finish(delivery, await self._run(handlers[0], delivery, alone=True))
            return
        before = delivery.handled_by or set()
        left = [handler for handler in handlers if handler.number not in before]
        required = [handler for handler in left if handler.required]
        refusals: list[Refusal] = []
        missing = len(required)
        many = sum(handler.required for handler in handlers) > 1

        async def run(handler: Handler) -> None:
            nonlocal missing
            alone = handler.required and not many
            refusal = await self._run(handler, delivery, alone=alone)
            if not handler.required:
                return
            missing -= 1
            if refusal is None:
                before.add(handler.number)
            else:
                refusals.append(refusal)
            if not missing:
                delivery.handled_by = before
                self._finish(delivery, _worst(refusals))

        if not required:
            self._finish(delivery, None)
        async with trio.open_nursery() as nursery:
            for handler in left:
                nursery.start_soon(run, handler)

    def _finish(self, delivery: Delivery, refusal: Refusal | None) -> None:
        driver = self.driver
        stores = driver.engine.finish(delivery, refusal, driver.now())
        if delivery.owner is not None and not stores:
            delivery.owner.set()  # there is nothing to wait for

    async def _run(self, handler: Handler, delivery: Delivery, *, alone: bool) -> Refusal | None:
        """What a handler says of a message; `alone`: no other one has a say."""
        message = Message(delivery, alone=alone)
        try:
            await handler.call(message)
        except Exception as exc:  # noqa: BLE001  # a handler's error is its message's fate
            return message.refusal or self._refusal(exc, message)
        return message.refusal

    def _refusal(self, error: Exception, message: Message) -> Refusal | None:
        if message.acknowledged:
            self.driver.log.say("handler", "after its ack, a handler failed: %s", failure_of(error))
            return None
        kind = error.kind if isinstance(error, MessagingError) else "transient"
        if kind == "invalid":
            return Refusal(sayable(str(error)) or "invalid", final=True, label="invalid")
        if kind == "fatal":
            self.driver.fail(error)
            return Refusal("closing", label="closing")
        self.driver.log.say(
            "handler",
            "a handler of the channel %s failed: %s",
            message.channel,
            failure_of(error),
        )
        return Refusal(f"failed: {type(error).__name__}")


def _worst(refusals: list[Refusal]) -> Refusal | None:
    """What several handlers say together: never again only if all who refuse say so."""
    if not refusals:
        return None
    again = [refusal for refusal in refusals if not refusal.final]
    if not again:
        return refusals[0]
    times = [one.retry_after for one in again if one.retry_after is not None]
    return again[0]._replace(retry_after=max(times, default=None))
