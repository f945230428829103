"""Message: what a handler is given."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ._options import Delivery
    from ._session import Session

__all__ = ["Message"]


class Message:
    """One message of a peer.

    A handler that returns has handled it; one that raises has not. So most handlers call nothing
    here. Whoever iterates over `Messaging.messages()` calls `ack` or `nack`.

    Attributes:
        body: any JSON value, or bytes.
        channel: the channel.
        id: the id that its sender has given it.
        timestamp: Unix time of the sender in milliseconds; not to be relied on.
        headers: text by name, from the sender.
        seq: its number in the channel; 0 where the peer gives none.
        attempt: 1, and more where it was delivered before and not handled.
        delivery: what the sender promises.
        missed: how many messages of the channel just before this one will not come; 0 for none,
            `None` if it is not known.
        session: the session that it came over.
        reply_to: the id of a session, or the name of a peer, to which an answer goes: that of the
            sender, unless it has given another one that it may give.
        origins: the sessions that it came from: more than one for an aggregate.
    """

    body: Any
    channel: str
    id: str
    timestamp: int
    headers: Mapping[str, str]
    seq: int
    attempt: int
    delivery: Delivery
    missed: int | None
    session: Session
    reply_to: str
    origins: tuple[str, ...]

    async def reply(
        self, body: Any, *, channel: str | None = None, headers: Mapping[str, str] | None = None
    ) -> None:
        """Sends an answer to `reply_to`, at most once.

        Args:
            body: any JSON value, or bytes.
            channel: the channel; by default that of this message.
            headers: text by name.

        Raises:
            MessagingError: as `Sessions.send`.
        """
        raise NotImplementedError

    async def ack(self) -> None:
        """Says that it is handled. A second call does nothing.

        Returns when the store has noted it. If cancelled, it counts as handled all the same.

        Raises:
            StoreFailed: the store could not note it.
        """
        raise NotImplementedError

    def nack(
        self, reason: str = "", *, retry_after: float | None = None, final: bool = False
    ) -> None:
        """Says that it is not handled. In a handler, this counts once the handler has ended.

        For any thread. After `ack` it does nothing.

        Args:
            reason: why, in a word or a line, for the sender's log.
            retry_after: seconds in which it should not be sent again.
            final: that it should never be.
        """
        raise NotImplementedError

    def working(self, seconds: float) -> None:
        """Asks for time: the sender waits so many seconds from now before it sends it again.

        For any thread. Does nothing for a message that is sent at most once.
        """
        raise NotImplementedError
