"""What is published: to all who have subscribed, and for those who come back."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ._peer import Peer
from ._ring import Ring

if TYPE_CHECKING:
    from ._context import Context
    from ._outgoing import Outgoing
    from ._sending import Sending

__all__ = ["Subscription", "Topics"]


class Subscription:
    """Where a subscription begins.

    Attributes:
        epoch: of the numbers.
        seq: the number of the last message that was published.
        missed: how many messages are missing since the one that the subscriber had; `None` if that
            is not known, because the numbers are others now, or because it had none.
        replayed: how many are sent again.
    """

    __slots__ = ("epoch", "missed", "replayed", "seq")

    def __init__(self, epoch: str, seq: int, missed: int | None, replayed: int) -> None:
        self.epoch = epoch
        self.seq = seq
        self.missed = missed
        self.replayed = replayed


class _Topic:
    __slots__ = ("ring", "subscribers")

    def __init__(self, ring: Ring) -> None:
        self.ring = ring
        self.subscribers: dict[Peer, None] = {}


class Topics:
    """The channels that are published, and those that are subscribed to.

    Args:
        context: what the parts of an engine share.
        sending: what goes out.
    """

    def __init__(self, context: Context, sending: Sending) -> None:
        self._context = context
        self._sending = sending
        self._topics: dict[str, _Topic] = {}

    def publish(self, channel: str, content: str, now: float) -> list[Peer]:
        """Sends a message to all who have subscribed.

        Returns:
            Those that it was queued for.
        """
        topic = self._topic(channel)
        ring = topic.ring
        outgoing = self._sending.data(channel, content, now, epoch=ring.epoch, seq=ring.next_seq())
        ring.put(outgoing, now)
        return [peer for peer in [*topic.subscribers] if self._send(peer, outgoing, now)]

    def subscribe(
        self, peer: Peer, channel: str, epoch: str, seq: int, now: float, *, keep: bool = True
    ) -> Subscription | None:
        """Sends a peer what was published after a message and, with `keep`, what will be.

        Args:
            peer: who subscribes.
            channel: what to.
            epoch: of the last message that it had; empty if it had none.
            seq: the number of that.
            now: the time.
            keep: as above.

        Returns:
            Where it begins; `None` if it has subscribed to too many channels.
        """
        known = channel in self._topics
        if keep:
            many = len(peer.subscriptions) >= self._context.options.max_channels
            if many and channel not in peer.subscriptions:
                return None
            peer.subscriptions.add(channel)
        elif not known:
            return Subscription(self._context.epoch, 0, None, 0)
        topic = self._topic(channel)
        if keep:
            topic.subscribers[peer] = None
        ring = topic.ring
        replay: list[Outgoing] = []
        missed: int | None = None
        if epoch:
            replay, missed = ring.since(epoch, seq, now)
        for outgoing in replay:
            self._sending.enqueue(peer.queue, peer, outgoing)
        return Subscription(ring.epoch, ring.seq, missed, len(replay))

    def unsubscribe(self, peer: Peer, channel: str) -> None:
        """Ends a subscription, if there is one."""
        peer.subscriptions.discard(channel)
        topic = self._topics.get(channel)
        if topic is not None:
            topic.subscribers.pop(peer, None)
            if not topic.subscribers and not topic.ring.seq:
                del self._topics[channel]  # nobody here publishes it

    def disconnect(self, peer: Peer) -> None:
        """Ends all subscriptions of a peer."""
        for channel in [*peer.subscriptions]:
            self.unsubscribe(peer, channel)

    def _topic(self, channel: str) -> _Topic:
        topic = self._topics.get(channel)
        if topic is None:
            options = self._context.options
            ring = Ring(
                self._context.epoch,
                messages=options.history_messages,
                bytes=options.history_bytes,
                seconds=options.history_seconds,
            )
            topic = self._topics[channel] = _Topic(ring)
        return topic

    def _send(self, peer: Peer, outgoing: Outgoing, now: float) -> bool:
        queued = self._sending.enqueue(peer.queue, peer, outgoing)
        self._sending.pump(peer, now)
        return queued
