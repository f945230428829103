"""What a bridge needs of a broker: a publisher and a subscriber."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import AbstractAsyncContextManager
from typing import Protocol

__all__ = ["Incoming", "Publisher", "Subscriber"]


class Publisher(Protocol):
    """Publishes to a broker. On trio."""

    async def publish(
        self, subject: str, body: bytes, *, id: str, headers: Mapping[str, str]
    ) -> None:
        """Publishes a message, and returns once the broker has it.

        It waits while the broker cannot be reached, and while too many messages are in flight. If
        cancelled, the message may still be published. Publishing it again under the same id is safe
        if the broker recognizes ids.

        Args:
            subject: where to.
            body: the message.
            id: the same whenever it is published again.
            headers: text by name.

        Raises:
            PublishFailed: the broker has refused it; its `kind` says whether trying later may help.
        """


class Incoming(Protocol):
    """A message of a broker. Its methods are for trio; they return at once, and raise nothing.

    If the broker cannot be reached, it is not told, and sends the message again.
    """

    @property
    def subject(self) -> str:
        """Where it was published."""

    @property
    def body(self) -> bytes:
        """The message."""

    @property
    def headers(self) -> Mapping[str, str]:
        """Text by name."""

    @property
    def key(self) -> str:
        """The same each time that the broker repeats the message; empty if it never does."""

    def ack(self) -> None:
        """It is handled. Raises nothing."""

    def nack(self, delay: float) -> None:
        """It is not handled, and should come again after this many seconds. Raises nothing."""

    def refuse(self) -> None:
        """It is not handled, and should never come again. Raises nothing."""


class Subscriber(Protocol):
    """Gives the messages of a broker. On trio."""

    def open(self) -> AbstractAsyncContextManager[AsyncIterator[Incoming]]:
        """The messages, in their order, for as long as the block lasts.

        The number of messages without an `ack`, `nack` or `refuse` is bounded. While the broker
        cannot be reached, none arrive; then they go on.

        Raises:
            MessagingError: the broker does not let this side subscribe, or cannot be reached.
        """
