"""A pull consumer of JetStream while it is open."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING

import nats.aio.subscription
import nats.js.errors
from nats.aio.msg import Msg
from nats.js.api import AckPolicy, ConsumerConfig

from restsock._logging import PartLog
from restsock.messaging._errors import MessagingError

from ._link import Link, LinkLost
from ._subscription import NANO, PAUSE, Subscription

if TYPE_CHECKING:
    from ._publisher import Owner

__all__ = ["Pull"]

_log = PartLog("restsock.messaging")

_EXPIRES = 30.0
_HEARTBEAT = 3.0


class Pull(Subscription):
    def __init__(
        self,
        owner: Owner,
        stream: str,
        durable: str,
        subject: str,
        most: int,
        ack_wait: float,
        max_deliver: int,
    ) -> None:
        super().__init__(owner, most)
        self._stream = stream
        self._durable = durable
        self._subject = subject
        self._ack_wait = ack_wait
        self._max_deliver = max_deliver
        self._pulls = 0
        self._inbox = ""
        # Messages, and None where something else has changed.
        self._changes: asyncio.Queue[Msg | None] | None = None

    def _freed(self) -> None:
        if self._changes is not None:
            self._changes.put_nowait(None)

    async def _prepare(self, link: Link) -> None:
        js = link.client.jetstream(timeout=self._owner.options.ack_timeout)
        try:
            found = (await js.consumer_info(self._stream, self._durable)).config
        except nats.js.errors.NotFoundError:
            config = ConsumerConfig(
                durable_name=self._durable,
                filter_subject=self._subject or None,
                ack_policy=AckPolicy.EXPLICIT,
                ack_wait=self._ack_wait,
                max_deliver=self._max_deliver,
                max_ack_pending=max(1000, self._most),
            )
            try:
                found = (await js.add_consumer(self._stream, config)).config
            except nats.js.errors.NotFoundError as exc:
                words = f"NATS has no stream {self._stream!r}"
                raise _NotThere(words) from exc
            except nats.js.errors.APIError as exc:
                if exc.code == 503:
                    raise
                raise _NotThere(f"NATS: {exc.description}") from exc
        if found.ack_policy != AckPolicy.EXPLICIT or found.deliver_subject:
            raise _NotThere(f"the consumer {self._durable!r} is none to pull, with explicit acks")
        self._ack_wait = found.ack_wait or self._ack_wait  # of a consumer that was there

    async def _begin(self, link: Link) -> nats.aio.subscription.Subscription:
        self._inbox = link.client.new_inbox()
        changes: asyncio.Queue[Msg | None] = asyncio.Queue()
        self._changes = changes

        async def put(message: Msg) -> None:
            changes.put_nowait(message)

        return await link.client.subscribe(f"{self._inbox}.*", cb=put)

    async def _receive(self, link: Link) -> None:
        changes = self._changes
        assert changes is not None

        def wake() -> None:
            changes.put_nowait(None)

        link.when_lost.add(wake)
        left = 0  # how many the present pull may still give
        try:
            while not link.lost.is_set():
                free = self._most - len(self._held)
                if not left and free >= max(1, self._most // 2) and not self._closing:
                    left = free
                    await self._pull(link, free)
                try:
                    found = await asyncio.wait_for(
                        changes.get(), 2.5 * _HEARTBEAT if left else None
                    )
                except asyncio.TimeoutError:
                    left = 0  # nothing is heard of it
                    continue
                if found is None:
                    continue
                status = (found.headers or {}).get("Status")
                if not status or found.reply:
                    left = max(0, left - 1)
                    self._hold(found, _key_of(found))
                elif status != "100" and found.subject == f"{self._inbox}.{self._pulls}":
                    left = 0  # it is over
                    if status not in ("404", "408"):
                        await self._trouble(found)
        finally:
            link.when_lost.discard(wake)
        raise LinkLost

    async def _trouble(self, message: Msg) -> None:
        words = (message.headers or {}).get("Description", "")[:200]
        if "deleted" in words.lower():
            raise _NotThere(f"the consumer {self._durable!r} was deleted")
        _log.debug("a pull of NATS: %s", words)
        await asyncio.sleep(PAUSE)  # or the next one fails at once, too

    async def _pull(self, link: Link, batch: int) -> None:
        self._pulls += 1
        wanted = {
            "batch": batch,
            "expires": int(_EXPIRES * NANO),
            "idle_heartbeat": int(_HEARTBEAT * NANO),
        }
        subject = f"$JS.API.CONSUMER.MSG.NEXT.{self._stream}.{self._durable}"
        reply = f"{self._inbox}.{self._pulls}"
        await link.client.publish(subject, json.dumps(wanted).encode(), reply)

    async def _extend(self) -> None:
        while True:
            await asyncio.sleep(self._ack_wait / 3)
            for reply in [*self._held.values()]:
                self._words.put_nowait((reply, b"+WPI"))


class _NotThere(MessagingError):
    kind = "invalid"
    may_have_run = False


def _key_of(message: Msg) -> str:
    found = message.metadata
    # A stream that was made anew begins with the same numbers.
    return f"{found.stream}:{found.sequence.stream}:{found.timestamp.isoformat()}"
