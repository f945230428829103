"""Publishers of NATS: each publish is over when the server has the message."""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Callable, Coroutine, Mapping
from typing import Any, Protocol

import trio

from restsock.messaging._errors import PublishFailed

from ._link import Link, LinkLost, read_pub_ack
from ._options import NatsOptions

__all__ = ["CorePublisher", "JetStreamPublisher", "Owner"]

_PAUSE = 0.5  # seconds before another try, where the server is there and says no


class Owner(Protocol):
    """What publishers and subscribers need of a `Nats`."""

    options: NatsOptions

    async def call(self, function: Callable[..., Coroutine[Any, Any, Any]], *args: Any) -> Any:
        """Awaits a function on asyncio. On trio."""

    def tell(self, function: Callable[..., object], *args: Any) -> None:
        """Has a function called on asyncio. On trio; does nothing once it is closed."""

    def tell_trio(self, function: Callable[..., object], *args: Any) -> None:
        """Has a function called on trio. On asyncio."""

    async def link(self) -> Link:
        """The present connection. On asyncio."""


class _Publisher(ABC):
    def __init__(self, owner: Owner) -> None:
        self._owner = owner
        self._limiter: trio.Semaphore | None = None

    async def publish(
        self, subject: str, body: bytes, *, id: str, headers: Mapping[str, str]
    ) -> None:
        """See `Publisher.publish`.

        Raises:
            PublishFailed: see there.
            MessagingClosed: the `Nats` is not open.
        """
        if self._limiter is None:
            self._limiter = trio.Semaphore(self._owner.options.under_way)
        async with self._limiter:
            named = {**headers, "Nats-Msg-Id": id}
            await self._owner.call(self._until_confirmed, subject, body, named)

    @abstractmethod
    async def _once(
        self, link: Link, subject: str, body: bytes, headers: Mapping[str, str]
    ) -> None:
        """Publishes it once, and waits until it is confirmed. On asyncio."""

    async def _until_confirmed(self, subject: str, body: bytes, headers: Mapping[str, str]) -> None:
        """Publishes it until it is confirmed. On asyncio."""
        left = self._owner.options.tries
        while True:
            link = await self._owner.link()
            try:
                await self._once(link, subject, body, headers)
                return
            except LinkLost:
                await link.lost.wait()
            except asyncio.TimeoutError as exc:
                left -= 1
                if not left:
                    raise PublishFailed("NATS has not confirmed it in time") from exc
            except PublishFailed as exc:
                left -= 1
                if exc.kind == "invalid" or not left:
                    raise
                await asyncio.sleep(_PAUSE)


class JetStreamPublisher(_Publisher):
    """Publishes to the stream that has the subject; confirmed when that has stored it.

    The id goes along as `Nats-Msg-Id`: within the stream's `duplicate_window` (2 minutes by
    default) a message that is published again is stored once.
    """

    async def _once(
        self, link: Link, subject: str, body: bytes, headers: Mapping[str, str]
    ) -> None:
        answer = await link.request(subject, body, headers, self._owner.options.ack_timeout)
        if answer is None:
            raise PublishFailed(f"no stream of JetStream has the subject {subject!r}")
        read_pub_ack(answer.data)


class CorePublisher(_Publisher):
    """Publishes to whoever has subscribed at that time; confirmed when the server has read it.

    What is published again, because the connection was lost before that, may come twice.
    """

    async def _once(
        self, link: Link, subject: str, body: bytes, headers: Mapping[str, str]
    ) -> None:
        await link.publish(subject, body, headers, self._owner.options.ack_timeout)
