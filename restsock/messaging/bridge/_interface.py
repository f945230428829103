"""What a broker is, to a bridge: something that takes messages, and something that gives them."""

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

        While the broker cannot be reached it waits, and so it does while too many are under way. If
        cancelled, the message may be published all the same. Publishing it again under the same id
        is safe where the broker knows ids.

        Args:
            subject: where to.
            body: the message.
            id: the same whenever it is published again.
            headers: text by name.

        Raises:
            PublishFailed: the broker does not take it; its `kind` says whether it may later.
        """


class Incoming(Protocol):
    """A message of a broker. Its methods are for trio; they return at once, and raise nothing.

    What they say is lost if the broker cannot be reached. Then it sends the message again.
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
        """The same whenever it comes again; empty where it does not."""

    def ack(self) -> None:
        """It is handled. Raises nothing."""

    def nack(self, delay: float) -> None:
        """It is not, and should come again after so many seconds. Raises nothing."""

    def refuse(self) -> None:
        """It is not, and should never come again. Raises nothing."""


class Subscriber(Protocol):
    """Gives the messages of a broker. On trio."""

    def open(self) -> AbstractAsyncContextManager[AsyncIterator[Incoming]]:
        """The messages, in their order, for as long as the block lasts.

        How many there are at once that have no `ack`, `nack` or `refuse` yet is bounded. While the
        broker cannot be reached, none come; then they go on.

        Raises:
            MessagingError: the broker does not let this side subscribe, or cannot be reached.
        """
