"""Subscribers of NATS: core, and pull consumers of JetStream. `_subscription` has their rules."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING

import nats.aio.subscription
from nats.aio.msg import Msg

from restsock._logging import PartLog

from ._link import Link, LinkLost
from ._pull import Pull
from ._subscription import NatsMessage, Subscription

if TYPE_CHECKING:
    from ._publisher import Owner

__all__ = ["CoreSubscriber", "PullSubscriber"]

_log = PartLog("restsock.messaging")


class _Subscriber:
    """Subscribes whenever it is opened.

    Args:
        subscription: makes a subscription.
    """

    def __init__(self, subscription: Callable[[], Subscription]) -> None:
        self._subscription = subscription

    @asynccontextmanager
    async def open(self) -> AsyncIterator[AsyncIterator[NatsMessage]]:
        """See `Subscriber.open`.

        Raises:
            MessagingError: the server does not let it subscribe; or JetStream has no such stream,
                or a consumer of another kind.
            BrokerUnavailable: there was no connection in `NatsOptions.ready_timeout`.
            MessagingClosed: the `Nats` is not open.
        """
        async with self._subscription().open() as messages:
            yield messages


class PullSubscriber(_Subscriber):
    """A durable pull consumer of JetStream; see `Nats.pull`."""

    def __init__(
        self,
        owner: Owner,
        stream: str,
        durable: str,
        subject: str,
        window: int,
        ack_wait: float,
        max_deliver: int,
    ) -> None:
        super().__init__(
            partial(Pull, owner, stream, durable, subject, window, ack_wait, max_deliver)
        )


class CoreSubscriber(_Subscriber):
    """A subscription of core NATS; see `Nats.subscribe`."""

    def __init__(self, owner: Owner, subject: str, queue: str, window: int) -> None:
        super().__init__(partial(_Core, owner, subject, queue, window))


class _Core(Subscription):
    def __init__(self, owner: Owner, subject: str, queue: str, most: int) -> None:
        super().__init__(owner, most)
        self._subject = subject
        self._queue = queue
        self._dropped = 0

    async def _begin(self, link: Link) -> nats.aio.subscription.Subscription:
        async def take(message: Msg) -> None:
            if len(self._held) < self._most:
                self._hold(message, "")
                return
            self._dropped += 1
            if self._dropped in (1, 10, 100, 1000) or not self._dropped % 10_000:
                _log.warning("NATS: %s messages were dropped: too many waited", self._dropped)

        subscription = await link.client.subscribe(self._subject, self._queue, cb=take)
        await link.round_trip(self._owner.options.ack_timeout)
        return subscription

    async def _receive(self, link: Link) -> None:
        await link.lost.wait()
        raise LinkLost
