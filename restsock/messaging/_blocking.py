"""Messages, channels, requests and sessions for threads."""

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
    "BlockingChannel",
    "BlockingMessage",
    "BlockingReceipt",
    "BlockingRequest",
    "BlockingSession",
    "seen_in_thread",
]

T = TypeVar("T")


class BlockingSession(SessionView):
    """A `restsock.messaging.Session` for threads: one peer while it is connected."""

    @documented_like(Session.send)
    def send(
        self,
        channel: str,
        body: Any,
        *,
        headers: Mapping[str, str] | None = None,
        reply_to: str | None = None,
        delivery: Delivery = "at_most_once",
        timeout: float | None = None,
    ) -> str:
        """Send a message to this session; see `Channel.send`.

        With at least once, the message is for the peer: if that has a name and this session ends,
        it gets the message over its next session.

        Args:
            timeout: seconds to wait; `None` waits as long as it takes.

        Raises:
            TimeoutError: it still waits. It may be sent all the same.
        """
        send = partial(
            self._session.send,
            channel,
            body,
            headers=headers,
            reply_to=reply_to,
            delivery=delivery,
        )
        return self._portal.run(timeout, send)

    @documented_like(Session.ask)
    def ask(self, method: str, params: Any = None, *, timeout: float | None = None) -> Any:
        """Ask the peer, and wait for its answer: what its method has returned, any JSON value.

        At most `MessagingOptions.ask_limit` are open at once; more wait for their turn.

        Raises:
            KeyboardInterrupt: the answer is dropped.
        """
        return self._portal.run(None, partial(self._session.ask, method, params, timeout=timeout))

    @documented_like(Session.subscribe)
    def subscribe(self, channel: str, *, timeout: float | None = None) -> Subscribed:
        """Subscribe to what the peer publishes on a channel. It comes to the handlers of that.

        If the peer has a name (or is the listener that was dialed), this side subscribes again
        after each reconnect, and gets the missed messages that the peer still has.
        """
        return self._portal.run(None, partial(self._session.subscribe, channel, timeout=timeout))

    @documented_like(Session.unsubscribe)
    def unsubscribe(self, channel: str, *, timeout: float | None = None) -> None:
        """End a subscription."""
        self._portal.run(None, partial(self._session.unsubscribe, channel, timeout=timeout))


class BlockingMessage(MessageView[BlockingSession]):
    """A `restsock.messaging.Message` for threads.

    A handler that returns has handled it; one that raises has not. So most handlers call nothing
    here. Whoever iterates over `messages()` calls `ack` or `nack`.
    """

    def __init__(self, message: Message) -> None:
        super().__init__(message, BlockingSession(message.session))

    @documented_like(Message.reply)
    def reply(
        self,
        body: Any,
        *,
        channel: str | None = None,
        headers: Mapping[str, str] | None = None,
        timeout: float | None = None,
    ) -> None:
        """Send an answer to `reply_to`, at most once.

        Args:
            timeout: seconds to wait for room; `None` waits as long as it takes.

        Raises:
            TimeoutError: there is no room.
        """
        reply = partial(self._message.reply, body, channel=channel, headers=headers)
        self._portal.run(timeout, reply)

    def ack(self, timeout: float | None = None) -> None:
        """Say that it is handled. A second call does nothing, nor does one after `nack`.

        Returns when the store has noted it, where it came from `messages()`. In a handler function
        it counts when that has ended, whatever it raises.

        Args:
            timeout: seconds to wait for the store; `None` waits as long as it takes.

        Raises:
            TimeoutError: the store has not noted it yet. It counts all the same.
            MessagingClosed: the messaging was closed; the message may come again.
        """
        self._portal.run(timeout, self._message.ack)

    @documented_like(Message.transact)
    def transact(self, work: Callable[[Transaction], T]) -> T:
        """Handle it in the store: what the function does there is done once, and only once.

        It is called in a transaction of the store's database, which also notes that the message is
        handled. See `restsock.messaging.Message.transact`.
        """
        result: T = self._portal.run(None, self._message.transact, work)
        return result


class BlockingRequest(RequestOf[BlockingSession]):
    """What a method is called with in a thread.

    Attributes:
        method: its name.
        params: any JSON value.
        session: who asks.
    """

    __slots__ = ()


class BlockingReceipt(ReceiptView):
    """A `restsock.messaging.Receipt` for threads. See `Channel.send_tracked`."""

    @documented_like(Receipt.handled)
    def handled(self, timeout: float | None = None) -> bool:
        """Wait until the receiver has handled it, or it was given up.

        Tells whether it was handled; else it is a dead letter.

        Args:
            timeout: seconds to wait; `None` waits as long as it takes.

        Raises:
            TimeoutError: neither has happened yet. It may be asked again.
        """
        return self._portal.run(timeout, self._receipt.handled)


class BlockingChannel(ChannelView):
    """The messages of one name to one destination, for threads. Made by `Messaging.channel`.

    Attributes:
        name: the name.
        to: the destination: the name of a peer, or empty for the listener that was dialed.
        delivery: `"at_most_once"` or `"at_least_once"`.
    """

    def __init__(self, portal: MessagingPortal, channel: Channel) -> None:
        super().__init__(channel)
        self._portal = portal

    @documented_like(Channel.send)
    def send(
        self,
        body: Any,
        *,
        headers: Mapping[str, str] | None = None,
        reply_to: str | None = None,
        timeout: float | None = None,
    ) -> str:
        """Send a message, in order; return its id.

        Returns when the store has it (at least once), or when it is queued (at most once). Nobody
        need be connected.

        Args:
            timeout: seconds to wait for the store and for room; `None` waits as long as it takes.

        Raises:
            TimeoutError: it still waits. It may be sent all the same.
            KeyboardInterrupt: it may be sent all the same.
        """
        send = partial(self._channel.send, body, headers=headers, reply_to=reply_to)
        return self._portal.run(timeout, send)

    @documented_like(Channel.send_tracked)
    def send_tracked(
        self,
        body: Any,
        *,
        headers: Mapping[str, str] | None = None,
        reply_to: str | None = None,
        timeout: float | None = None,
    ) -> BlockingReceipt:
        """Send a message at least once, as `send`, and tell what becomes of it.

        Args:
            timeout: seconds to wait for the store and for room; `None` waits as long as it takes.

        Raises:
            TimeoutError: it still waits. It may be sent all the same.
            KeyboardInterrupt: it may be sent all the same.
        """
        send = partial(self._channel.send_tracked, body, headers=headers, reply_to=reply_to)
        return BlockingReceipt(self._portal, self._portal.run(timeout, send))

    @documented_like(Channel.send_nowait)
    def send_nowait(
        self,
        body: Any,
        *,
        headers: Mapping[str, str] | None = None,
        reply_to: str | None = None,
    ) -> str:
        """Sends a message without waiting, neither for the store nor for room.

        A message that the store cannot keep is lost, and logged.
        """
        send = partial(self._channel.send_nowait, body, headers=headers, reply_to=reply_to)
        return self._portal.call(send)

    @documented_like(Channel.drain)
    def drain(self, timeout: float | None = None) -> None:
        """Wait until all that was sent before is handled, or was given up.

        Args:
            timeout: seconds to wait; `None` waits as long as it takes.

        Raises:
            TimeoutError: something is not handled yet.
        """
        self._portal.run(timeout, self._channel.drain)


def seen_in_thread(argument: Any) -> Any:
    """What a function in a thread sees of what it is called with."""
    if isinstance(argument, Message):
        return BlockingMessage(argument)
    if isinstance(argument, Request):
        return BlockingRequest(argument.method, argument.params, BlockingSession(argument.session))
    if isinstance(argument, Session):
        return BlockingSession(argument)
    return argument
