"""What messages and sessions show of themselves in the APIs beside that for trio."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from restsock.protocol import CloseCode

from ._channel import Channel, Receipt
from ._message import Message
from ._session import Session

if TYPE_CHECKING:
    from restsock._principal import Principal

    from ._options import Delivery
    from ._portal import MessagingPortal

__all__ = ["ChannelView", "MessageView", "ReceiptView", "SessionView"]

S = TypeVar("S")


class SessionView:
    """What is known of a session. Two of these are equal when they mean the same one.

    Attributes:
        id: that of its connection.
        name: the name of the peer, if it has one.
        principal: who it is, if it was authenticated.
        metadata: what is known of it.
        connected_at: Unix time in seconds.
        foreign: whether it speaks a foreign dialect.
    """

    def __init__(self, session: Session) -> None:
        self.id: str = session.id
        self.name: str | None = session.name
        self.principal: Principal | None = session.principal
        self.metadata: Mapping[str, Any] = session.metadata
        self.connected_at: float = session.connected_at
        self.foreign: bool = session.foreign
        self._session = session
        self._portal = session.portal

    @property
    def on_loop(self) -> Session:
        """The session itself. It is not for threads."""
        return self._session

    @property
    def open(self) -> bool:
        """Whether it is still connected. Sending after that raises an error."""
        return self._session.open

    @property
    def subscriptions(self) -> frozenset[str]:
        """The channels that the peer has subscribed to; empty after it has disconnected."""
        return self._session.subscriptions

    def close_soon(self, code: int = CloseCode.NORMAL, reason: str = "") -> None:
        """Begin to close the connection, and do not wait."""
        self._portal.post(self._session.close_soon, code, reason)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, type(self)) and other._session is self._session

    def __hash__(self) -> int:
        return hash(self._session)

    def __repr__(self) -> str:
        return repr(self._session)


class MessageView(Generic[S]):
    """What a message says. The attributes are those of `restsock.messaging.Message`.

    Args:
        message: on the loop.
        session: where it came from, as this API has it.
    """

    def __init__(self, message: Message, session: S) -> None:
        self.body: Any = message.body
        self.channel: str = message.channel
        self.id: str = message.id
        self.timestamp: int = message.timestamp
        self.headers: Mapping[str, str] = message.headers
        self.seq: int = message.seq
        self.attempt: int = message.attempt
        self.delivery: Delivery = message.delivery
        self.missed: int | None = message.missed
        self.session: S = session
        self.reply_to: str = message.reply_to
        self.origins: tuple[str, ...] = message.origins
        self._message = message
        self._portal = message.session.portal

    @property
    def acknowledged(self) -> bool:
        """Whether `ack` was called."""
        return self._message.acknowledged

    def nack(
        self, reason: str = "", *, retry_after: float | None = None, final: bool = False
    ) -> None:
        """Say that it is not handled. In a handler function, this counts once that has ended.

        After `ack` it does nothing.

        Args:
            reason: why, in a few words, for the sender's log.
            retry_after: seconds to wait before it is sent again.
            final: never send it again: it becomes a dead letter of its sender.
        """
        self._message.nack(reason, retry_after=retry_after, final=final)

    def working(self, seconds: float) -> None:
        """Ask for time: the sender waits so many seconds from now before it sends it again.

        Does nothing for a message that is sent at most once.
        """
        self._message.working(seconds)

    def __repr__(self) -> str:
        return repr(self._message)


class ChannelView:
    """What is known of a channel.

    Attributes:
        name: the name.
        to: the destination: the name of a peer, or empty for the listener that was dialed.
        delivery: `"at_most_once"` or `"at_least_once"`.
    """

    def __init__(self, channel: Channel) -> None:
        self.name: str = channel.name
        self.to: str = channel.to
        self.delivery: Delivery = channel.delivery
        self._channel = channel

    def __repr__(self) -> str:
        return repr(self._channel)


class ReceiptView:
    """What is known of a message that was sent at least once.

    Attributes:
        id: of the message.
    """

    def __init__(self, portal: MessagingPortal, receipt: Receipt) -> None:
        self.id: str = receipt.id
        self._portal = portal
        self._receipt = receipt

    def __repr__(self) -> str:
        return repr(self._receipt)
