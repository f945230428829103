"""Subscribers of NATS: core, and pull consumers of JetStream.

Rules:

- Messages are held from when they come until their `ack`, `nack` or `refuse`. No more are asked for
  than there is room to hold.
- A held message of JetStream is reported as in progress three times within its time for an ack, so
  it does not come again while it is handled.
- What a pull asks for is not remembered by a server that restarts. So each connection has pulls of
  its own, and a pull of which nothing is heard, not even a heartbeat, is made again.
- A word about a message that cannot be sent now is sent on the next connection. If it is lost all
  the same, the message comes again, and whoever handles it knows its `key`.
"""

from __future__ import annotations

import asyncio
import json
import math
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import nats.errors
import nats.js.errors
import trio
from nats.aio.msg import Msg
from nats.aio.subscription import Subscription
from nats.js.api import AckPolicy, ConsumerConfig

from restsock._logging import PartLog
from restsock.connection import failure_of
from restsock.messaging._errors import BrokerUnavailable, MessagingError

from ._link import Link, LinkLost

if TYPE_CHECKING:
    from ._publisher import Owner

__all__ = ["CoreSubscriber", "NatsMessage", "PullSubscriber"]

_log = PartLog("restsock.messaging")

_EXPIRES = 30.0
_HEARTBEAT = 3.0
_PAUSE = 0.5
_FAREWELL = 2.0  # seconds to say at the end what is left to say
_NANO = 1_000_000_000


class NatsMessage:
    """A message of NATS; see `Incoming`.

    Attributes:
        subject: where it was published.
        body: the message.
        headers: text by name.
        key: the stream, the number in it, and when it was stored; empty for one of core NATS.
    """

    __slots__ = ("_reply", "_subscription", "body", "headers", "key", "subject")

    def __init__(self, subscription: _Subscription, message: Msg, key: str) -> None:
        self.subject = message.subject
        self.body: bytes = message.data
        self.headers: Mapping[str, str] = message.headers or {}
        self.key = key
        self._reply = message.reply
        self._subscription = subscription

    def __repr__(self) -> str:
        return f"<restsock.messaging.nats.NatsMessage on {self.subject!r}>"

    def ack(self) -> None:
        """See `Incoming.ack`. Raises nothing."""
        self._say(b"+ACK")

    def nack(self, delay: float) -> None:
        """See `Incoming.nack`. Raises nothing."""
        self._say(b"-NAK " + json.dumps({"delay": int(delay * _NANO)}).encode())

    def refuse(self) -> None:
        """See `Incoming.refuse`. Raises nothing."""
        self._say(b"+TERM")

    def _say(self, word: bytes) -> None:
        self._subscription.say(self, self._reply, word)


class _Subscription(ABC):
    """One subscription while it is open: on asyncio, but for `say`."""

    def __init__(self, owner: Owner, most: int) -> None:
        self._owner = owner
        self._most = most
        self._held: dict[NatsMessage, str] = {}  # and the subject that takes a word about it
        self._latest: dict[str, NatsMessage] = {}  # of those held, by key
        self._words: asyncio.Queue[tuple[str, bytes]]
        self._out: trio.MemorySendChannel[NatsMessage]
        self._failure: MessagingError | None = None
        self._subscription: Subscription | None = None
        self._closing = False

    # --- on trio ------------------------------------------------------------------------------

    def say(self, message: NatsMessage, reply: str, word: bytes) -> None:
        """Has the server told what became of a message. The first word counts."""
        self._owner.tell(self._say, message, reply, word)

    @asynccontextmanager
    async def open(self) -> AsyncIterator[AsyncIterator[NatsMessage]]:
        """See `Subscriber.open`.

        Raises:
            MessagingError: the server does not let it subscribe, or has no such stream.
            BrokerUnavailable: there was no connection in `NatsOptions.ready_timeout`.
            MessagingClosed: the `Nats` is not open.
        """
        # Not bounded here: no more are asked for than may be held.
        self._out, receive = trio.open_memory_channel[NatsMessage](math.inf)
        error: BaseException | None = None
        async with trio.open_nursery() as nursery, receive:
            begun = trio.Event()
            nursery.start_soon(self._run_and_close, begun)
            with trio.move_on_after(self._owner.options.ready_timeout):
                await begun.wait()
            if not begun.is_set():
                error = BrokerUnavailable("NATS cannot be reached, or does not answer")
            elif self._failure is not None:
                error = self._failure
            else:
                try:
                    yield receive
                except (Exception, KeyboardInterrupt, SystemExit) as exc:  # noqa: BLE001  # raised below
                    error = exc
                finally:
                    with trio.CancelScope(shield=True), trio.move_on_after(_FAREWELL):
                        await self._say_the_rest()
            nursery.cancel_scope.cancel()
        if error is not None:
            raise error

    async def _say_the_rest(self) -> None:
        try:
            await self._owner.call(self._finish)
        except (MessagingError, LinkLost, nats.errors.Error, asyncio.TimeoutError) as exc:
            _log.debug("a subscription of NATS ends early: %s", failure_of(exc))

    async def _run_and_close(self, begun: trio.Event) -> None:
        with self._out:
            try:
                await self._owner.call(self._run, begun)
            except MessagingError as exc:
                self._failure = exc
                begun.set()

    def _give(self, message: NatsMessage) -> None:
        try:
            self._out.send_nowait(message)
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            pass  # it is over

    # --- on asyncio ---------------------------------------------------------------------------

    async def _run(self, begun: trio.Event) -> None:
        self._words = asyncio.Queue()
        tasks = [asyncio.ensure_future(one) for one in (self._speak(), self._extend())]
        first = True
        try:
            while True:
                link = await self._owner.link()
                try:
                    await self._prepare(link)
                    self._subscription = await self._begin(link)
                    if first:
                        first = False
                        self._owner.tell_trio(begun.set)
                    await self._receive(link)
                except LinkLost:
                    await link.lost.wait()
                except MessagingError as exc:
                    if first:
                        raise
                    _log.warning("a subscription of NATS: %s", exc)
                    await asyncio.sleep(_PAUSE)
                except (nats.errors.Error, asyncio.TimeoutError) as exc:
                    if not link.lost.is_set():
                        _log.warning("a subscription of NATS: %s", failure_of(exc))
                    await asyncio.sleep(_PAUSE)
        finally:
            for task in tasks:
                task.cancel()

    async def _finish(self) -> None:
        """Ends the subscription, and says what is left to say."""
        self._closing = True
        link = await self._owner.link()
        if self._subscription is not None:
            await self._subscription.unsubscribe()
        for message, reply in self._held.items():
            if message.key:  # it may come again at once, here or elsewhere
                self._words.put_nowait((reply, b"-NAK"))
        self._held.clear()
        while not self._words.empty():
            reply, word = self._words.get_nowait()
            await link.client.publish(reply, word)
        await link.round_trip(_FAREWELL)

    async def _prepare(self, link: Link) -> None:  # noqa: B027  # core NATS needs nothing
        """Makes what the server needs for it."""

    @abstractmethod
    async def _begin(self, link: Link) -> Subscription:
        """Subscribes."""

    @abstractmethod
    async def _receive(self, link: Link) -> None:
        """Takes what comes, until the connection is lost."""

    def _hold(self, message: Msg, key: str) -> None:
        if self._closing:
            if key:
                self._words.put_nowait((message.reply, b"-NAK"))
            return
        found = NatsMessage(self, message, key)
        if key:
            former = self._latest.get(key)
            if former is not None:  # it has come again: what is said of it is for this delivery
                self._held.pop(former, None)
            self._latest[key] = found
        self._held[found] = message.reply
        self._owner.tell_trio(self._give, found)

    def _say(self, message: NatsMessage, reply: str, word: bytes) -> None:
        if self._held.pop(message, None) is None:
            return
        if message.key:
            self._latest.pop(message.key, None)
            self._words.put_nowait((reply, word))
        self._freed()

    def _freed(self) -> None:  # noqa: B027  # likewise
        """There is room for another one."""

    async def _speak(self) -> None:
        while True:
            reply, word = await self._words.get()
            link = await self._owner.link()
            try:
                await link.client.publish(reply, word)
            except nats.errors.Error as exc:
                _log.debug("a word for NATS was lost: %s", failure_of(exc))

    async def _extend(self) -> None:  # noqa: B027  # likewise
        """Reports what is held as in progress."""


class _Pull(_Subscription):
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

    async def _begin(self, link: Link) -> Subscription:
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
        await asyncio.sleep(_PAUSE)  # or the next one fails at once, too

    async def _pull(self, link: Link, batch: int) -> None:
        self._pulls += 1
        wanted = {
            "batch": batch,
            "expires": int(_EXPIRES * _NANO),
            "idle_heartbeat": int(_HEARTBEAT * _NANO),
        }
        subject = f"$JS.API.CONSUMER.MSG.NEXT.{self._stream}.{self._durable}"
        reply = f"{self._inbox}.{self._pulls}"
        await link.client.publish(subject, json.dumps(wanted).encode(), reply)

    async def _extend(self) -> None:
        while True:
            await asyncio.sleep(self._ack_wait / 3)
            for reply in [*self._held.values()]:
                self._words.put_nowait((reply, b"+WPI"))


class _Core(_Subscription):
    def __init__(self, owner: Owner, subject: str, queue: str, most: int) -> None:
        super().__init__(owner, most)
        self._subject = subject
        self._queue = queue
        self._dropped = 0

    async def _begin(self, link: Link) -> Subscription:
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


class PullSubscriber:
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
        self._arguments = (owner, stream, durable, subject, window, ack_wait, max_deliver)

    @asynccontextmanager
    async def open(self) -> AsyncIterator[AsyncIterator[NatsMessage]]:
        """See `Subscriber.open`.

        Raises:
            MessagingError: there is no such stream, or the consumer is none of this kind.
            BrokerUnavailable: there was no connection in `NatsOptions.ready_timeout`.
            MessagingClosed: the `Nats` is not open.
        """
        async with _Pull(*self._arguments).open() as messages:
            yield messages


class CoreSubscriber:
    """A subscription of core NATS; see `Nats.subscribe`."""

    def __init__(self, owner: Owner, subject: str, queue: str, window: int) -> None:
        self._arguments = (owner, subject, queue, window)

    @asynccontextmanager
    async def open(self) -> AsyncIterator[AsyncIterator[NatsMessage]]:
        """See `Subscriber.open`.

        Raises:
            BrokerUnavailable: there was no connection in `NatsOptions.ready_timeout`.
            MessagingClosed: the `Nats` is not open.
        """
        async with _Core(*self._arguments).open() as messages:
            yield messages


class _NotThere(MessagingError):
    kind = "invalid"
    may_have_run = False


def _key_of(message: Msg) -> str:
    found = message.metadata
    # A stream that was made anew begins with the same numbers.
    return f"{found.stream}:{found.sequence.stream}:{found.timestamp.isoformat()}"
