"""A subscription of NATS while it is open: what core and JetStream have in common.

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
import trio
from nats.aio.msg import Msg
from nats.aio.subscription import Subscription as _Subscription

from restsock._logging import PartLog
from restsock.connection import failure_of
from restsock.messaging._errors import BrokerUnavailable, MessagingError

from ._link import Link, LinkLost

if TYPE_CHECKING:
    from ._publisher import Owner

__all__ = ["NANO", "PAUSE", "NatsMessage", "Subscription"]

_log = PartLog("restsock.messaging")

NANO = 1_000_000_000
PAUSE = 0.5  # seconds before something that has failed is tried again
_FAREWELL = 2.0  # seconds to say at the end what is left to say


class NatsMessage:
    """A message of NATS; see `Incoming`.

    Attributes:
        subject: where it was published.
        body: the message.
        headers: text by name.
        key: the stream, the number in it, and when it was stored; empty for one of core NATS.
    """

    __slots__ = ("_reply", "_subscription", "body", "headers", "key", "subject")

    def __init__(self, subscription: Subscription, message: Msg, key: str) -> None:
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
        self._say(b"-NAK " + json.dumps({"delay": int(delay * NANO)}).encode())

    def refuse(self) -> None:
        """See `Incoming.refuse`. Raises nothing."""
        self._say(b"+TERM")

    def _say(self, word: bytes) -> None:
        self._subscription.say(self, self._reply, word)


class Subscription(ABC):
    """One subscription while it is open: on asyncio, but for `say`."""

    def __init__(self, owner: Owner, most: int) -> None:
        self._owner = owner
        self._most = most
        self._held: dict[NatsMessage, str] = {}  # and the subject that takes a word about it
        self._latest: dict[str, NatsMessage] = {}  # of those held, by key
        self._words: asyncio.Queue[tuple[str, bytes]]
        self._out: trio.MemorySendChannel[NatsMessage]
        self._failure: MessagingError | None = None
        self._subscription: _Subscription | None = None
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
                    await asyncio.sleep(PAUSE)
                except (nats.errors.Error, asyncio.TimeoutError) as exc:
                    if not link.lost.is_set():
                        _log.warning("a subscription of NATS: %s", failure_of(exc))
                    await asyncio.sleep(PAUSE)
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
    async def _begin(self, link: Link) -> _Subscription:
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
