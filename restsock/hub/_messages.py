"""Messages of peers: what one publishes on a channel goes to all who have subscribed to it."""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager, nullcontext
from typing import Any

from restsock.messaging import Message, Messaging, MessagingOptions

from ._tables import MessagingTable

__all__ = ["relay", "running"]


def relay(table: MessagingTable) -> Messaging | None:
    """A messaging that passes on what peers send; `None` if there is to be none.

    A message is acknowledged once it was sent to those who are subscribed, and kept for those who
    come back.
    """
    if not table.enabled:
        return None
    messaging = Messaging(options=MessagingOptions(history_messages=table.history))

    @messaging.on("*")
    async def pass_on(message: Message) -> None:
        await messaging.publish(message.channel, message.body, headers=message.headers)

    return messaging


def running(messaging: Messaging | None) -> AbstractAsyncContextManager[Any]:
    """Has it open while the block runs."""
    return nullcontext() if messaging is None else messaging
