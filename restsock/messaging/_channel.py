"""Channel: where messages are sent."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ._options import Delivery

__all__ = ["Channel"]


class Channel:
    """The messages of one name to one destination. Made by `Messaging.channel`.

    Attributes:
        name: the name.
        to: the destination: the name of a peer, the id of a session, or empty for the listener
            that was dialed.
        delivery: what is promised.
    """

    name: str
    to: str
    delivery: Delivery

    async def send(
        self,
        body: Any,
        *,
        headers: Mapping[str, str] | None = None,
        reply_to: str | None = None,
    ) -> str:
        """Sends a message, in order.

        Returns when the store has it (at least once), or when it is queued (at most once). Nobody
        need be connected. If cancelled, it may be sent all the same.

        Args:
            body: any JSON value, or bytes.
            headers: text by name.
            reply_to: where an answer is to go, if not here.

        Returns:
            The id of the message.

        Raises:
            InvalidMessage: the body is neither JSON nor bytes, or the headers are not text.
            MessageTooLarge: it is larger than an envelope may be.
            MessagingUnavailable: the peer is connected, and knows no messaging.
            QueueFull: there is no room, and the policy is to say so.
            StoreFailed: the store could not keep it.
            MessagingClosed: the messaging is not open.
        """
        raise NotImplementedError

    def send_nowait(
        self,
        body: Any,
        *,
        headers: Mapping[str, str] | None = None,
        reply_to: str | None = None,
    ) -> str:
        """The same without waiting: not for the store, and not for room.

        Raises:
            QueueFull: there is no room, though the policy would be to wait.
            MessagingError: as `send`, except of the store: what that cannot keep becomes a dead
                letter.
        """
        raise NotImplementedError

    async def drain(self) -> None:
        """Waits until all that was sent before is handled, or was given up. Raises nothing."""
        raise NotImplementedError
