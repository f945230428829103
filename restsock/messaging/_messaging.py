"""Messaging: channels, handlers and sessions of one program, over any number of connections."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from types import TracebackType

    from ._channel import Channel
    from ._link import Link
    from ._message import Message
    from ._options import Delivery, MessagingOptions
    from ._session import Session
    from ._sessions import Sent, Sessions
    from ._statistics import MessagingHealth, MessagingStatistics
    from ._store import Store
    from .engine import DeadLetter

__all__ = ["Messaging"]

F = TypeVar("F", bound=Callable[..., Any])


class Messaging:
    """Messages to and from peers: sent once, kept until they are handled, answered, broadcast.

        messaging = restsock.messaging.Messaging()

        @messaging.on("readings")
        async def keep(message):
            await database.insert(message.body)

        async with messaging:
            async with restsock.listen("127.0.0.1", 8443, messaging=messaging):
                await trio.sleep_forever()

    It owns its store and its tasks, which end with the `async with` block. It is for one trio run,
    on the loop of its connections.

    Args:
        store: keeps what is sent at least once, and what was handled; a `MemoryStore` by default.
        options: limits and times.

    Attributes:
        options: as given.
        sessions: who is connected.
    """

    options: MessagingOptions
    sessions: Sessions

    def __init__(
        self, store: Store | None = None, *, options: MessagingOptions | None = None
    ) -> None:
        raise NotImplementedError

    async def __aenter__(self) -> Messaging:
        raise NotImplementedError

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> bool | None:
        raise NotImplementedError

    # --- sending ------------------------------------------------------------------------------

    def channel(
        self, name: str, *, delivery: Delivery = "at_most_once", to: str | Session = ""
    ) -> Channel:
        """A channel to a peer.

        Args:
            name: of the channel; 1 to 255 printable characters.
            delivery: `"at_most_once"`: it is sent once, and may be lost; `"at_least_once"`: it is
                kept until the receiver has handled it, which sees it once.
            to: the name of a peer, or a session; by default the listener that was dialed.

        Raises:
            ValueError: the name or the delivery is not valid.
        """
        raise NotImplementedError

    async def publish(
        self, channel: str, body: Any, *, headers: Mapping[str, str] | None = None
    ) -> int:
        """Sends a message to all who have subscribed to a channel, at most once each.

        What was published last is kept for subscribers who come back
        (`MessagingOptions.history_messages`).

        Returns:
            How many sessions it was sent to.

        Raises:
            MessagingError: as `Sessions.broadcast`.
        """
        raise NotImplementedError

    async def send_to(
        self,
        origins: Sequence[str],
        body: Any,
        *,
        channel: str = "messages",
        headers: Mapping[str, str] | None = None,
    ) -> list[Sent]:
        """Sends a message to several sessions, such as the `origins` of an aggregate.

        Returns:
            What became of it, for each of them.

        Raises:
            MessagingError: as `Sessions.broadcast`.
        """
        raise NotImplementedError

    # --- receiving ----------------------------------------------------------------------------

    def on(
        self,
        channel: str,
        *,
        required: bool = True,
        ordered: bool = True,
        loop: str = "trio",
    ) -> Callable[[F], F]:
        """Makes a function a handler of a channel: it is called with each `Message`.

        Each handler of a channel gets each message, and one that fails does not keep the others
        from it. A message is acknowledged when all required ones have returned; else it comes
        again, for those that have failed.

        Args:
            channel: the channel; `"*"` for all that have no handler of their own.
            required: whether the acknowledgement waits for it.
            ordered: whether the messages of one sender are handled one after the other.
            loop: `"trio"`, or `"asyncio"` for a coroutine function that runs on a loop of that in
                a thread. A plain function is called in a thread.

        Raises:
            ValueError: the channel or the loop is not valid.
        """
        raise NotImplementedError

    def messages(self, channel: str, *, window: int = 1) -> AsyncIterator[Message]:
        """The messages of a channel, as a handler that is a loop; see `on`.

            async for message in messaging.messages("readings"):
                ...
                await message.ack()

        Args:
            channel: the channel.
            window: how many messages of one sender may be under way before the first of them has
                its `ack` or `nack`. With 1 they come strictly in order. With more, one that was
                not handled comes again after others.

        Raises:
            ValueError: the channel or the window is not valid.
        """
        raise NotImplementedError

    def method(self, name: str, *, loop: str = "trio") -> Callable[[F], F]:
        """Makes a function answer requests: it is called with a `Request`, and returns JSON.

        What it raises is an error for who has asked.

        Raises:
            ValueError: the name or the loop is not valid, or there is such a method.
        """
        raise NotImplementedError

    # --- dead letters -------------------------------------------------------------------------

    @property
    def dead_letters(self) -> Sequence[DeadLetter]:
        """Messages that were given up, the oldest first."""
        raise NotImplementedError

    def on_dead_letter(self, function: F) -> F:
        """Has a function called with each `DeadLetter`, on the loop; it must not block."""
        raise NotImplementedError

    async def retry_dead_letters(self, ids: Sequence[str] | None = None) -> int:
        """Sends dead letters again, as new messages; by default all.

        Returns:
            How many.

        Raises:
            MessagingError: as `Channel.send`.
        """
        raise NotImplementedError

    # --- what it is doing ---------------------------------------------------------------------

    def statistics(self) -> MessagingStatistics:
        """Counters since it was opened."""
        raise NotImplementedError

    def health(self) -> MessagingHealth:
        """Whether it does its work."""
        raise NotImplementedError

    # --- for carriers -------------------------------------------------------------------------

    def attach(self, link: Link) -> Session:
        """A connection is open. On the loop.

        Raises:
            MessagingClosed: the messaging is not open.
        """
        raise NotImplementedError

    def unavailable(self, name: str | None, *, dialed: bool) -> None:
        """A peer has connected that knows no messaging.

        What is sent to it is refused from now on, until one of that name is attached.
        """
        raise NotImplementedError

    def note_listening(self) -> None:
        """A carrier waits for peers: with nobody connected for 5 minutes, it is not healthy."""
        raise NotImplementedError

    def note_dialing(self) -> None:
        """A carrier begins to dial. Each further call counts as an attempt to reconnect."""
        raise NotImplementedError

    def note_gave_up(self, reason: str) -> None:
        """A carrier dials no more: it is not healthy from now on."""
        raise NotImplementedError

    def note_error(self, kind: str) -> None:
        """Counts an error of a carrier: `"auth_failed"`, `"upgrade_error"` and so on."""
        raise NotImplementedError
