"""Channel: where messages are sent."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import trio

from ._errors import InvalidMessage, MessageTooLarge, MessagingUnavailable, QueueFull, SessionClosed
from .engine import (
    DATA_OVERHEAD,
    Destination,
    Entry,
    Malformed,
    Outbox,
    content_size,
    encode_content,
)

if TYPE_CHECKING:
    from ._driver import Driver
    from ._options import Delivery, MessagingOptions

__all__ = ["Channel", "Content", "Receipt", "content_of"]


class Content:
    """A message that is to be sent, encoded.

    Attributes:
        text: as in `OutRecord.content`.
        size: bytes of it and of its channel.
    """

    __slots__ = ("size", "text")

    def __init__(self, text: str, size: int) -> None:
        self.text = text
        self.size = size


def content_of(
    channel: str,
    body: Any,
    headers: Mapping[str, str] | None,
    reply_to: str | None,
    most: int,
) -> Content:
    """Encodes a message that is to be sent.

    Raises:
        InvalidMessage: it cannot be.
        MessageTooLarge: its envelope may be larger than so many bytes.
    """
    try:
        text = encode_content(body, headers, reply_to)
        size = content_size(channel, text)
    except Malformed as exc:
        raise InvalidMessage(str(exc)) from exc
    if size + DATA_OVERHEAD > most:
        raise MessageTooLarge(
            f"a message of {size} bytes: with its envelope it may have {most},"
            f" {DATA_OVERHEAD} of them for that"
        )
    return Content(text, size)


class Receipt:
    """Says when a message that was sent at least once is handled. See `Channel.send_tracked`.

    Attributes:
        id: of the message.
    """

    __slots__ = ("_destination", "_driver", "_entry", "id")

    def __init__(self, driver: Driver, destination: Destination, entry: Entry) -> None:
        self.id = entry.id
        self._driver = driver
        self._destination = destination
        self._entry = entry

    def __repr__(self) -> str:
        return f"<restsock.messaging.Receipt of {self.id}>"

    async def handled(self) -> bool:
        """Waits until the receiver has handled the message, or it was given up.

        Returns:
            Whether it was handled; if not, it is a dead letter.

        Raises:
            MessagingClosed: the messaging was closed before.
        """
        await trio.lowlevel.checkpoint()
        while not self._entry.settled:
            self._driver.check_open()
            await self._driver.park(self._destination)
        return not self._entry.gone


class Channel:
    """The messages of one name to one destination. Made by `Messaging.channel`.

    Attributes:
        name: the name.
        to: the destination: the name of a peer, or empty for the listener that was dialed.
        delivery: `"at_most_once"` or `"at_least_once"`.
    """

    def __init__(
        self,
        driver: Driver,
        options: MessagingOptions,
        name: str,
        destination: str,
        delivery: Delivery,
    ) -> None:
        self.name = name
        self.to = destination
        self.delivery = delivery
        self._driver = driver
        self._options = options

    def __repr__(self) -> str:
        return f"<restsock.messaging.Channel {self.name!r} to {self.to!r}, {self.delivery}>"

    async def send(
        self,
        body: Any,
        *,
        headers: Mapping[str, str] | None = None,
        reply_to: str | None = None,
    ) -> str:
        """Sends a message, in order.

        Returns when the store has it (at least once), or when it is queued (at most once). It does
        not need a connection. If cancelled, the message may still be sent.

        Args:
            body: any JSON value, or bytes.
            headers: text by name.
            reply_to: where to send an answer, if not here.

        Returns:
            The id of the message.

        Raises:
            InvalidMessage: the body is neither JSON nor bytes, or the headers are not text.
            MessageTooLarge: it does not fit into an envelope. MessagingUnavailable: the peer is
            connected, but does not support messaging. QueueFull: there is no room, and the policy
            is to refuse. SessionClosed: it is for a session without a name, which has ended.
            StoreFailed: the store could not keep it. MessagingClosed: the messaging is not open.
        """
        await self._driver.pause()
        content, destination = self._prepare(body, headers, reply_to)
        return await self._send(content, destination)

    async def send_tracked(
        self,
        body: Any,
        *,
        headers: Mapping[str, str] | None = None,
        reply_to: str | None = None,
    ) -> Receipt:
        """Sends a message at least once, as `send`, and returns a receipt.

        Raises:
            ValueError: this channel is `"at_most_once"`.
            MessagingError: as `send`.
        """
        if self.delivery != "at_least_once":
            raise ValueError("what is sent at most once has no receipt")
        await self._driver.pause()
        content, destination = self._prepare(body, headers, reply_to)
        entry = await self._send_reliable(content, destination)
        return Receipt(self._driver, destination, entry)

    async def send_content(self, text: str) -> str:
        """Sends a message that is encoded already; as `send`.

        Raises:
            MessagingError: as `send`.
        """
        size = content_size(self.name, text)
        self._driver.check_open()
        return await self._send(Content(text, size), self._driver.engine.destination(self.to))

    async def _send(self, content: Content, destination: Destination) -> str:
        if self.delivery == "at_most_once":
            queue = destination.queue
            while queue.policy == "block" and not queue.fits(content.size):
                await self._driver.park(destination)
            return self._send_once(destination, content)
        return (await self._send_reliable(content, destination)).id

    async def _send_reliable(self, content: Content, destination: Destination) -> Entry:
        driver, engine = self._driver, self._driver.engine
        while not engine.has_room(destination, content.size + DATA_OVERHEAD):
            if not self._made_room(destination, content):
                await driver.park(destination)
        outbox, entry = self._add(destination, content)
        if destination.temporary:
            engine.saved(outbox, entry, driver.now())
        else:
            await driver.save(outbox, entry)
        return entry

    def send_nowait(
        self,
        body: Any,
        *,
        headers: Mapping[str, str] | None = None,
        reply_to: str | None = None,
    ) -> str:
        """Sends a message without waiting, neither for the store nor for room.

        A message that the store cannot keep is lost, and logged.

        Raises:
            QueueFull: there is no room, though the policy would be to wait.
            MessagingError: as `send`.
        """
        content, destination = self._prepare(body, headers, reply_to)
        driver, engine = self._driver, self._driver.engine
        if self.delivery == "at_most_once":
            return self._send_once(destination, content)
        room = engine.has_room(destination, content.size + DATA_OVERHEAD)
        if not room and not self._made_room(destination, content):
            raise QueueFull(f"too many messages wait for {destination.name!r}")
        outbox, entry = self._add(destination, content)
        id = entry.id
        if destination.temporary:
            engine.saved(outbox, entry, driver.now())
        else:
            driver.save_nowait(outbox, entry)
        return id

    async def drain(self) -> None:
        """Waits until all earlier messages are handled, or were given up.

        Raises:
            MessagingClosed: the messaging was closed before.
        """
        await trio.lowlevel.checkpoint()
        self._driver.check_open()
        destination = self._driver.engine.destination(self.to)
        outbox = destination.outboxes.get(self.name)
        while outbox is not None and len(outbox):
            await self._driver.park(destination)

    # ------------------------------------------------------------------------------------------

    def _prepare(
        self, body: Any, headers: Mapping[str, str] | None, reply_to: str | None
    ) -> tuple[Content, Destination]:
        self._driver.check_open()
        destination = self._driver.engine.destination(self.to)
        most = self._options.max_message
        if destination.peer is not None:
            most = min(most, destination.peer.link.max_message)
        elif self._driver.engine.is_without(destination):
            name = self.to or "the listener"
            raise MessagingUnavailable(f"{name} is connected, and knows no messaging")
        return content_of(self.name, body, headers, reply_to, most), destination

    def _made_room(self, destination: Destination, content: Content) -> bool:
        """Makes room by dropping, if that is the policy; `False` if the policy is to wait."""
        policy, engine = self._options.outbox_full, self._driver.engine
        if policy == "block":
            return False
        size = content.size + DATA_OVERHEAD
        if policy == "drop_oldest" and engine.make_room(destination, size, self._driver.now()):
            return True
        engine.counters.one(engine.counters.dropped, "outbox_full")
        raise QueueFull(f"too many messages wait for {destination.name!r}")

    def _add(self, destination: Destination, content: Content) -> tuple[Outbox, Entry]:
        if not destination.peers and destination.temporary:  # nobody comes back for it
            raise _ended()
        return self._driver.engine.send_reliable(
            destination, self.name, content.text, content.size, self._driver.now()
        )

    def _send_once(self, destination: Destination, content: Content) -> str:
        if not destination.peers and destination.temporary:  # nobody comes back for it
            raise _ended()
        outgoing = self._driver.engine.send(
            destination, self.name, content.text, self._driver.now()
        )
        if outgoing is None:
            raise QueueFull(f"too many messages wait for {destination.name!r}")
        return outgoing.id


def _ended() -> SessionClosed:
    return SessionClosed("the session has ended", may_have_run=False)
