"""What messages and sessions show of themselves in the APIs beside that for trio."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any, Generic, TypeAlias, TypeVar

import trio

from restsock.protocol import CloseCode

from ._channel import Channel, Receipt
from ._errors import MessagingClosed
from ._message import Message
from ._session import Session
from ._sessions import Sent, Sessions
from ._stream import MessageStream

if TYPE_CHECKING:
    from restsock._principal import Principal

    from ._options import Delivery
    from ._portal import MessagingPortal

__all__ = [
    "ChannelView",
    "MessageStreamView",
    "MessageView",
    "ReceiptView",
    "SessionView",
    "SessionsView",
]

S = TypeVar("S")
V = TypeVar("V", bound="SessionView")

_Where: TypeAlias = "Mapping[str, Any] | Callable[[V], bool]"


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


class SessionsView(Generic[V]):
    """The sessions of a messaging, as they are now.

    Args:
        portal: to their loop.
        sessions: those of the API for trio.
        show: makes what is shown of a session.
    """

    def __init__(
        self, portal: MessagingPortal, sessions: Sessions, show: Callable[[Session], V]
    ) -> None:
        self._portal = portal
        self._sessions = sessions
        self._show = show

    def __len__(self) -> int:
        return len(self._sessions)

    def __iter__(self) -> Iterator[V]:
        """A snapshot, the oldest first."""
        return iter(self.select())

    def select(self, where: _Where[V] | None = None) -> list[V]:
        """The selected sessions, oldest first; by default all."""
        values = None if callable(where) else where
        found = [*map(self._show, self._portal.look_up(self._sessions.select, values))]
        return [one for one in found if where(one)] if callable(where) else found

    def get(self, session_id: str) -> V | None:
        """The session of that id, if there is one."""
        found = self._portal.look_up(self._sessions.get, session_id)
        return None if found is None else self._show(found)

    def named(self, name: str) -> V | None:
        """The latest session of the peer of that name, if it is connected."""
        found = self._portal.look_up(self._sessions.named, name)
        return None if found is None else self._show(found)

    def _broadcasting(
        self, channel: str, body: Any, where: _Where[V] | None, headers: Mapping[str, str] | None
    ) -> Callable[[], Awaitable[list[Sent]]]:
        """What broadcasts a message on the loop. A function that selects is called here."""
        if not callable(where):
            return partial(self._sessions.broadcast, channel, body, where=where, headers=headers)
        targets = [one.on_loop for one in self.select(where)]
        return partial(self._sessions.send_each, targets, channel, body, headers)


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


class MessageStreamView:
    """The messages of a channel, one after the other.

    Args:
        portal: to its loop.
        stream: that of the API for trio.
    """

    def __init__(self, portal: MessagingPortal, stream: MessageStream) -> None:
        self._portal = portal
        self._stream = stream

    def close(self) -> None:
        """Ends it: those who wait see the end. Messages without an ack come again.

        Raises nothing; twice is harmless.
        """
        self._portal.post(self._stream.close)

    @contextmanager
    def _receiving(self) -> Iterator[tuple[Callable[[], Awaitable[None]], list[Message]]]:
        """What receives a message on the loop, to be waited for in this block; and that message.

        Raises:
            EOFError: there are no more: this or the messaging was closed.
        """
        stream = self._stream
        taken: list[Message] = []

        async def receive() -> None:
            taken.append(await stream.receive())

        try:
            yield receive, taken
        except BaseException as exc:
            if taken:  # interrupted, or cancelled, in the moment in which it came
                self._portal.post(stream.put_back, taken[0])
            if isinstance(exc, trio.EndOfChannel) or (
                isinstance(exc, MessagingClosed) and stream.closed
            ):
                raise EOFError("there are no more messages") from None
            raise
