"""Session: one peer while it is connected."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

import trio

from restsock.protocol import CloseCode

from ._errors import (
    AskFailed,
    AskTimeout,
    InvalidMessage,
    MessageTooLarge,
    QueueFull,
    SessionClosed,
)
from .engine import Delivery, Link, Malformed, Peer, Reply, check_name, encode_json, is_name

if TYPE_CHECKING:
    from restsock._principal import Principal
    from restsock.protocol import Envelope

    from ._channel import Content
    from ._driver import Driver
    from ._options import Delivery as DeliveryPromise
    from ._statistics import RequestCounters
    from ._transaction import Transaction

__all__ = ["Session", "SessionOwner", "Subscribed"]

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Subscribed:
    """What became of a subscription.

    Attributes:
        recovered: whether nothing was lost since the last message that this side got.
        missed: how many messages were lost; `None` if that is not known, because this side had none
            before or the peer has restarted.
    """

    recovered: bool
    missed: int | None


class SessionOwner(Protocol):
    """What a session needs of the messaging that it belongs to."""

    requests: RequestCounters

    def content(
        self,
        channel: str,
        body: Any,
        headers: Mapping[str, str] | None = None,
        reply_to: str | None = None,
    ) -> Content:
        """A message that is to be sent, encoded."""

    async def send_reliable(
        self,
        session: Session,
        channel: str,
        body: Any,
        headers: Mapping[str, str] | None,
        reply_to: str | None,
    ) -> str:
        """Sends at least once to the peer of a session."""

    async def reply(
        self,
        session: Session,
        reply_to: str,
        body: Any,
        channel: str,
        headers: Mapping[str, str] | None,
    ) -> None:
        """Sends an answer to where it is to go."""

    def wanted(self, session: Session, channel: str, *, wanted: bool) -> None:
        """A subscription is to be made anew when the peer comes back, or not any more."""

    def detached(self, session: Session, reason: str) -> None:
        """A session has ended."""


class _Waiter:
    """Waits for the answer to a request."""

    __slots__ = ("done", "reply")

    def __init__(self) -> None:
        self.done = trio.Event()
        self.reply: Reply | None = None

    def answer(self, reply: Reply | None) -> None:
        self.reply = reply
        self.done.set()


class Session:
    """One peer while it is connected.

    Attributes:
        id: that of its connection.
        name: the name of the peer, if it has one.
        principal: who it is, if it was authenticated.
        metadata: what is known of it.
        connected_at: Unix time in seconds.
        foreign: whether it speaks a foreign dialect.
        state: what the engine knows of it.
        portal: to its loop, for threads and for asyncio.
    """

    def __init__(self, link: Link, driver: Driver, owner: SessionOwner) -> None:
        self.id = link.id
        self.name = link.name
        self.principal: Principal | None = link.principal
        self.metadata: Mapping[str, Any] = link.metadata
        self.connected_at = link.connected_at
        self.foreign = link.foreign
        self.state: Peer
        self.portal = driver.portal
        self._link = link
        self._driver = driver
        self._owner = owner

    def __repr__(self) -> str:
        state = "open" if self.open else "closed"
        return f"<restsock.messaging.Session {self.id} of {self.name!r}, {state}>"

    @property
    def open(self) -> bool:
        """Whether it is still connected. Sending after that raises an error."""
        return not self.state.closed

    @property
    def subscriptions(self) -> frozenset[str]:
        """The channels that the peer has subscribed to; empty after it has disconnected."""
        return frozenset(self.state.subscriptions)

    # --- messages -----------------------------------------------------------------------------

    async def send(
        self,
        channel: str,
        body: Any,
        *,
        headers: Mapping[str, str] | None = None,
        reply_to: str | None = None,
        delivery: DeliveryPromise = "at_most_once",
    ) -> str:
        """Sends a message to this session; see `Channel.send`.

        With at least once, the message is for the peer: if that has a name and this session ends,
        it gets the message over its next session.

        Raises:
            SessionClosed: the session has ended.
            ValueError: the channel or the delivery is not valid.
            MessagingError: as `Channel.send`.
        """
        check_name("channel", channel)
        if delivery == "at_least_once":
            self._check_open()
            return await self._owner.send_reliable(self, channel, body, headers, reply_to)
        if delivery != "at_most_once":
            raise ValueError(f"delivery is at_most_once or at_least_once, not {delivery!r}")
        await trio.lowlevel.checkpoint()
        content = self._owner.content(channel, body, headers, reply_to)
        queue = self.state.queue
        while queue.policy == "block" and not queue.fits(content.size):
            self._check_open()
            await self._driver.park(self.state.destination)
        self._check_open()
        engine, now = self._driver.engine, self._driver.now()
        outgoing = engine.message(channel, content.text, now)
        if not engine.send_to(self.state, outgoing, now):
            raise QueueFull(f"too many messages wait for the session {self.id}")
        return outgoing.id

    async def ask(self, method: str, params: Any = None, *, timeout: float | None = None) -> Any:
        """Asks the peer, and waits for its answer.

        At most `MessagingOptions.ask_limit` requests are open at once; more wait for their turn. If
        cancelled, the answer is dropped.

        Args:
            method: the name of the method.
            params: any JSON value.
            timeout: seconds, including the wait for its turn; by default
                `MessagingOptions.ask_timeout`.

        Returns:
            What the peer's method has returned: any JSON value.

        Raises:
            AskTimeout: there was no answer in time. AskFailed: the answer is an error.
            SessionClosed: the session has ended. InvalidMessage: the parameters are not JSON.
            MessageTooLarge: they do not fit into an envelope. ValueError: the method is no name.
        """
        check_name("method", method)
        if timeout is None:
            timeout = self._driver.options.ask_timeout
        try:
            text = encode_json(params)
            text.encode()
        except (Malformed, UnicodeEncodeError) as exc:
            raise InvalidMessage(f"the parameters are {exc}") from exc
        began = trio.current_time()
        with trio.move_on_after(timeout):
            return self._result(method, began, await self._ask(method, text))
        self._owner.requests.timed_out(method, trio.current_time() - began)
        raise AskTimeout(f"no answer to {method!r} from {self._who} within {timeout} s")

    async def _ask(self, method: str, params: str) -> _Waiter:
        await trio.lowlevel.checkpoint()
        requests = self.state.requests
        while requests.full and self.open:
            await self._driver.park(self.state)
        self._check_open()
        waiter = _Waiter()
        engine = self._driver.engine
        outgoing = engine.ask(self.state, method, params, waiter, self._driver.now())
        if outgoing.size > self._link.max_message:
            raise MessageTooLarge(
                f"a request of {outgoing.size} bytes: it may have {self._link.max_message}"
            )
        self._owner.requests.sent(method)
        try:
            await waiter.done.wait()
        finally:
            requests.discard(outgoing.id)
            self._driver.drained(self.state)  # the next one may have its turn
        return waiter

    def _result(self, method: str, began: float, waiter: _Waiter) -> Any:
        reply = waiter.reply
        if reply is None:
            raise SessionClosed(f"{self._who} has gone before its answer", may_have_run=True)
        self._owner.requests.answered(method, trio.current_time() - began)
        if reply.ok:
            return reply.result
        raise AskFailed(reply.error, kind=reply.kind)  # type: ignore[arg-type]  # it was read so

    # --- subscriptions ------------------------------------------------------------------------

    async def subscribe(self, channel: str, *, timeout: float | None = None) -> Subscribed:
        """Subscribes to a channel of the peer. Its messages come to the handlers of that channel.

        If the peer has a name (or is the listener that was dialed), this side subscribes again
        after each reconnect, and gets the missed messages that the peer still has.

        Raises:
            MessagingError: as `ask`.
        """
        engine = self._driver.engine
        epoch, seq = engine.position(self.state, channel)
        params: dict[str, Any] = {"channel": channel}
        if epoch:
            params |= {"epoch": epoch, "seq": seq}
        found = await self.ask("subscribe", params, timeout=timeout)
        try:
            subscribed = _subscribed(found)
            engine.begin(self.state, channel, found["epoch"], found["seq"] - found["replayed"])
        except (KeyError, TypeError, ValueError) as exc:
            raise AskFailed("an answer to a subscription that is none", kind="invalid") from exc
        self._owner.wanted(self, channel, wanted=True)
        return subscribed

    async def unsubscribe(self, channel: str, *, timeout: float | None = None) -> None:
        """Ends a subscription.

        Raises:
            MessagingError: as `ask`.
        """
        self._owner.wanted(self, channel, wanted=False)
        await self.ask("unsubscribe", {"channel": channel}, timeout=timeout)

    def close_soon(self, code: int = CloseCode.NORMAL, reason: str = "") -> None:
        """Begins to close the connection, and does not wait."""
        self._link.close_soon(code, reason)

    # --- for messages -------------------------------------------------------------------------

    async def reply(
        self, reply_to: str, body: Any, *, channel: str, headers: Mapping[str, str] | None
    ) -> None:
        """Sends an answer to a message of this session; see `Message.reply`.

        Raises:
            MessagingError: as `Sessions.send`.
        """
        await self._owner.reply(self, reply_to, body, channel, headers)

    async def transact_message(self, delivery: Delivery, work: Callable[[Transaction], T]) -> T:
        """Handles a message in a transaction of the store; see `Message.transact`.

        Raises:
            MessagingError: as there.
            RuntimeError: likewise.
            TypeError: likewise.
        """
        return await self._driver.transact(work, delivery)

    def working(self, delivery: Delivery, seconds: float) -> None:
        """Asks for time for a message; see `Message.working`."""
        self.call_soon(self._working, delivery, seconds)

    def _working(self, delivery: Delivery, seconds: float) -> None:
        if self._driver.open:
            self._driver.engine.working(delivery, seconds, self._driver.now())

    def call_soon(self, function: Any, *args: Any) -> None:
        """Has something called on the loop, from any thread."""
        self._driver.call_soon(function, *args)

    @property
    def durable(self) -> bool:
        """Whether the store of this side takes its time."""
        return self._driver.durable

    # --- for carriers -------------------------------------------------------------------------

    def receive(self, envelope: Envelope, size: int) -> None:
        """Takes in an envelope. Never waits, and raises nothing: a malformed one is counted.

        Args:
            envelope: as it came; the payload may be anything.
            size: bytes of the message that it came in.
        """
        self._driver.engine.receive(self.state, envelope, size, self._driver.now())

    def writable(self) -> None:
        """There is room again, after a `Link.send` that had none."""
        self._driver.engine.writable(self.state, self._driver.now())

    def detach(self, reason: str) -> None:
        """The connection has ended. A second call does nothing."""
        if self.open:
            self._driver.engine.detach(self.state, self._driver.now())
            self._owner.detached(self, reason)
            self.changed()

    def changed(self) -> None:
        """The link has written what it had, or has read something; see `Messaging.wait_until`."""
        self._driver.changed()

    async def wait_until(self, reached: Callable[[], bool]) -> None:
        """Waits until a function gives true; see `Messaging.wait_until`. Raises nothing."""
        await self._driver.wait_until(reached)

    async def ready(self) -> None:
        """Waits until more may be read: at once, unless a queue is full whose policy is to block.

        For foreign carriers, which have no credit. Raises nothing.
        """
        while self.state.full and self.open and self._driver.open:
            await self._driver.wait_drained(self.state)

    # ------------------------------------------------------------------------------------------

    @property
    def _who(self) -> str:
        return self.name or f"the session {self.id}"

    def _check_open(self) -> None:
        self._driver.check_open()
        if not self.open:
            raise SessionClosed(f"{self._who} is not connected any more", may_have_run=False)


def _subscribed(found: Any) -> Subscribed:
    """Reads what a peer has answered. Raises `KeyError`, `TypeError` or `ValueError`."""
    missed = found["missed"]
    for number in (found["seq"], found["replayed"], 0 if missed is None else missed):
        if type(number) is not int or number < 0:
            raise ValueError
    if not is_name(found["epoch"]) or found["replayed"] > found["seq"]:
        raise ValueError
    return Subscribed(missed == 0, missed)
