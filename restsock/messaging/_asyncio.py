"""Messages, channels, requests and sessions for tasks of asyncio."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

from restsock.endpoint import documented_like

from ._channel import Channel, Receipt
from ._message import Message
from ._methods import Request, RequestOf
from ._session import Session
from ._views import ChannelView, MessageView, ReceiptView, SessionView

if TYPE_CHECKING:
    from ._options import Delivery
    from ._portal import MessagingPortal
    from ._session import Subscribed
    from ._transaction import Transaction

__all__ = [
    "AsyncioChannel",
    "AsyncioMessage",
    "AsyncioReceipt",
    "AsyncioRequest",
    "AsyncioSession",
    "seen_on_asyncio",
]

T = TypeVar("T")


class AsyncioSession(SessionView):
    """A `restsock.messaging.Session` for asyncio: one peer while it is connected."""

    @documented_like(Session.send)
    async def send(
        self,
        channel: str,
        body: Any,
        *,
        headers: Mapping[str, str] | None = None,
        reply_to: str | None = None,
        delivery: Delivery = "at_most_once",
    ) -> str:
        """Sends a message to this session; see `Channel.send`.

        With at least once, the message is for the peer: if that has a name and this session ends,
        it gets the message over its next session.
        """
        send = partial(
            self._session.send,
            channel,
            body,
            headers=headers,
            reply_to=reply_to,
            delivery=delivery,
        )
        return await self._portal.run_from_asyncio(send)

    @documented_like(Session.ask)
    async def ask(self, method: str, params: Any = None, *, timeout: float | None = None) -> Any:
        """Asks the peer, and waits for its answer: what its method has returned, any JSON value.

        At most `MessagingOptions.ask_limit` requests are open at once; more wait for their turn. If
        cancelled, the answer is dropped.
        """
        ask = partial(self._session.ask, method, params, timeout=timeout)
        return await self._portal.run_from_asyncio(ask)

    @documented_like(Session.subscribe)
    async def subscribe(self, channel: str, *, timeout: float | None = None) -> Subscribed:
        """Subscribes to a channel of the peer. Its messages come to the handlers of that channel.

        If the peer has a name (or is the listener that was dialed), this side subscribes again
        after each reconnect, and gets the missed messages that the peer still has.
        """
        subscribe = partial(self._session.subscribe, channel, timeout=timeout)
        return await self._portal.run_from_asyncio(subscribe)

    @documented_like(Session.unsubscribe)
    async def unsubscribe(self, channel: str, *, timeout: float | None = None) -> None:
        """Ends a subscription."""
        unsubscribe = partial(self._session.unsubscribe, channel, timeout=timeout)
        await self._portal.run_from_asyncio(unsubscribe)


class AsyncioMessage(MessageView[AsyncioSession]):
    """A `restsock.messaging.Message` for asyncio.

    A handler that returns has handled it; one that raises has not. So most handlers call nothing
    here. Whoever iterates over `messages()` calls `ack` or `nack`.
    """

    def __init__(self, message: Message) -> None:
        super().__init__(message, AsyncioSession(message.session))

    @documented_like(Message.reply)
    async def reply(
        self, body: Any, *, channel: str | None = None, headers: Mapping[str, str] | None = None
    ) -> None:
        """Sends an answer to `reply_to`, at most once."""
        reply = partial(self._message.reply, body, channel=channel, headers=headers)
        await self._portal.run_from_asyncio(reply)

    async def ack(self) -> None:
        """Says that it is handled. Has no effect after another `ack` or a `nack`.

        Returns when the store has noted it, where it came from `messages()`. In a handler function
        it counts when that has ended, whatever it raises. If cancelled, it counts all the same.

        Raises:
            MessagingClosed: the messaging was closed; the message may come again.
        """
        await self._portal.run_from_asyncio(self._message.ack)

    @documented_like(Message.transact)
    async def transact(self, work: Callable[[Transaction], T]) -> T:
        """Handles it in the store: changes that the function makes there happen exactly once.

        It is called in a transaction of the store's database, which also notes that the message is
        handled. See `restsock.messaging.Message.transact`.
        """
        return await self._portal.run_from_asyncio(self._message.transact, work)


class AsyncioRequest(RequestOf[AsyncioSession]):
    """What a method is called with on asyncio.

    Attributes:
        method: its name.
        params: any JSON value.
        session: who asks.
    """

    __slots__ = ()


class AsyncioReceipt(ReceiptView):
    """A `restsock.messaging.Receipt` for asyncio. See `Channel.send_tracked`."""

    @documented_like(Receipt.handled)
    async def handled(self) -> bool:
        """Waits until the receiver has handled the message, or it was given up.

        Tells whether it was handled; else it is a dead letter. If cancelled, it may be asked again.
        """
        return await self._portal.run_from_asyncio(self._receipt.handled)


class AsyncioChannel(ChannelView):
    """The messages of one name to one destination, for asyncio. Made by `Messaging.channel`.

    Attributes:
        name: the name.
        to: the destination: the name of a peer, or empty for the listener that was dialed.
        delivery: `"at_most_once"` or `"at_least_once"`.
    """

    def __init__(self, portal: MessagingPortal, channel: Channel) -> None:
        super().__init__(channel)
        self._portal = portal

    @documented_like(Channel.send)
    async def send(
        self,
        body: Any,
        *,
        headers: Mapping[str, str] | None = None,
        reply_to: str | None = None,
    ) -> str:
        """Sends a message, in order; returns its id.

        Returns when the store has it (at least once), or when it is queued (at most once). It does
        not need a connection. If cancelled, the message may still be sent.
        """
        send = partial(self._channel.send, body, headers=headers, reply_to=reply_to)
        return await self._portal.run_from_asyncio(send)

    @documented_like(Channel.send_tracked)
    async def send_tracked(
        self,
        body: Any,
        *,
        headers: Mapping[str, str] | None = None,
        reply_to: str | None = None,
    ) -> AsyncioReceipt:
        """Sends a message at least once, as `send`, and returns a receipt."""
        send = partial(self._channel.send_tracked, body, headers=headers, reply_to=reply_to)
        return AsyncioReceipt(self._portal, await self._portal.run_from_asyncio(send))

    @documented_like(Channel.send_nowait)
    async def send_nowait(
        self,
        body: Any,
        *,
        headers: Mapping[str, str] | None = None,
        reply_to: str | None = None,
    ) -> str:
        """Sends a message without waiting, neither for the store nor for room.

        A message that the store cannot keep is lost, and logged. What this waits for is the other
        thread alone.
        """
        channel = self._channel

        async def send() -> str:
            return channel.send_nowait(body, headers=headers, reply_to=reply_to)

        return await self._portal.run_from_asyncio(send)

    @documented_like(Channel.drain)
    async def drain(self) -> None:
        """Waits until all earlier messages are handled, or were given up. Can be cancelled."""
        await self._portal.run_from_asyncio(self._channel.drain)


def seen_on_asyncio(argument: Any) -> Any:
    """What a function on asyncio sees of what it is called with."""
    if isinstance(argument, Message):
        return AsyncioMessage(argument)
    if isinstance(argument, Request):
        return AsyncioRequest(argument.method, argument.params, AsyncioSession(argument.session))
    if isinstance(argument, Session):
        return AsyncioSession(argument)
    return argument
