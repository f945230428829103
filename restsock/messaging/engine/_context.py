"""What all parts of an engine share: options, counters, what is for the store, and its host."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Protocol

from ._outgoing import Outgoing
from ._payloads import quoted, utf8_length
from ._records import DeadLetter, InboxKey, Mark, RecordKey

if TYPE_CHECKING:
    from restsock.messaging._options import MessagingOptions

    from ._inbox import Delivery, Inbox, Line
    from ._payloads import Request
    from ._peer import Destination, Peer

__all__ = ["Context", "Counters", "Effects", "Host"]


class Host(Protocol):
    """Who runs an engine. It is called in the middle of the engine's work, so it only takes notes.

    It must neither raise, nor wait, nor call the engine.
    """

    def work(self, line: Inbox | Line) -> None:
        """Something may be begun there."""

    def dirty(self) -> None:
        """There is something to do now, once, before the next call: `Engine.take` and `flush`."""

    def asked(self, peer: Peer, request: Request) -> None:
        """A peer asks; `Engine.reply` answers."""

    def answered(self, waiter: Any, reply: Any) -> None:
        """There is a `Reply` to a request of this side; `None`: the session has ended."""

    def dead(self, letter: DeadLetter) -> None:
        """A message was given up."""

    def room(self, destination: Destination) -> None:
        """There is room again, or nothing is left to be handled."""

    def recovered(self, peer: Peer, channel: str, missed: int | None) -> None:
        """A channel goes on after a reconnect; so many messages of it will not come."""

    def may(self, peer: Peer, action: str, name: str) -> bool:
        """Whether a peer may `"send"` to or `"subscribe"` to a channel, or `"call"` a method."""

    def alarm(self, due: float) -> None:
        """`Engine.tick` is due then, which is earlier than it was."""

    def drained(self, peer: Peer) -> None:
        """The queue of a foreign peer was full, and has room again."""


class Counters:
    """What an engine counts; `MessagingStatistics` says what each one means."""

    def __init__(self, labels: int) -> None:
        self._labels = labels
        self.received: dict[str, int] = {}
        self.published: dict[str, int] = {}
        self.sent: dict[str, int] = {}
        self.acknowledged: dict[str, int] = {}
        self.dropped: dict[str, int] = {}
        self.dead: dict[str, int] = {}
        self.nacks_sent: dict[str, int] = {}
        self.replies: dict[str, int] = {}
        self.errors: dict[str, int] = {}
        self.redelivered = self.duplicate = self.nacks_received = 0
        self.slow_sent = self.slow_received = self.late = 0
        self.attached = 0
        self.handled = 0

    def by_channel(self, table: dict[str, int], channel: str, count: int = 1) -> None:
        """Counts for a channel, of which only so many have a count of their own."""
        if channel not in table and len(table) >= self._labels:
            channel = "other"
        table[channel] = table.get(channel, 0) + count

    @staticmethod
    def one(table: dict[str, int], kind: str, count: int = 1) -> None:
        """Counts for one of a few kinds."""
        table[kind] = table.get(kind, 0) + count


class Effects:
    """What is to be done with the store, in the order of the attributes.

    Attributes:
        marks: messages that were handled, by sender, channel and epoch.
        acks: what may be acknowledged once that is stored.
        done: messages that a receiver has handled.
        attempts: how many deliveries of a message have failed.
        dead: messages that were given up.
        forget: what is not needed any more.
    """

    def __init__(self) -> None:
        self.marks: dict[InboxKey, Mark] = {}
        self.acks: list[Delivery] = []
        self.done: list[RecordKey] = []
        self.attempts: dict[RecordKey, int] = {}
        self.dead: list[DeadLetter] = []
        self.forget: list[InboxKey] = []

    def __bool__(self) -> bool:
        return bool(
            self.marks or self.acks or self.done or self.attempts or self.dead or self.forget
        )

    def mark(self, mark: Mark) -> None:
        """Adds a mark to what there is of its kind."""
        before = self.marks.get(mark.key)
        if before is not None and before.seqs:
            seqs = tuple(seq for seq in before.seqs if seq > mark.upto) + mark.seqs
            mark = Mark(mark.sender, mark.channel, mark.epoch, mark.upto, seqs)
        self.marks[mark.key] = mark


class Context:
    """See above.

    Args:
        options: limits and times.
        epoch: of the numbers of this run, unlike that of any other.
        host: who runs the engine.
        new_id: makes the id of an envelope, a UUID of version 4.
        chance: makes a random number in [0, 1).
        wall: what to add to a time to make Unix time of it, in seconds.
        remembers: whether all that former runs have sent, and was not handled, was restored.
    """

    def __init__(
        self,
        options: MessagingOptions,
        *,
        epoch: str,
        host: Host,
        new_id: Callable[[], str],
        chance: Callable[[], float],
        wall: float,
        remembers: bool,
    ) -> None:
        self.options = options
        self.epoch = epoch
        self.host = host
        self.new_id = new_id
        self.chance = chance
        self.wall = wall
        self.remembers = remembers
        self.counters = Counters(options.max_channels)
        self.effects = Effects()
        self.to_flush: dict[Peer, None] = {}
        self._dirty = False

    def dirty(self) -> None:
        """There is something for the store, or to be flushed."""
        if not self._dirty:
            self._dirty = True
            self.host.dirty()

    def flush(self, peer: Peer) -> None:
        """There is something that a peer is to be told."""
        self.to_flush[peer] = None
        self.dirty()

    def take(self) -> Effects:
        """What there is for the store."""
        self._dirty = False
        effects, self.effects = self.effects, Effects()
        return effects

    def timestamp(self, now: float) -> int:
        """Unix time in milliseconds."""
        return int((now + self.wall) * 1000)

    def envelope(
        self, type: str, payload: str, now: float, *, id: str | None = None, channel: str = ""
    ) -> Outgoing:
        """An envelope of a payload that is JSON text already; `data` is that of a channel."""
        if id is None:
            id = self.new_id()
        timestamp = self.timestamp(now)
        text = f'{{"type":"{type}","id":{quoted(id)},"timestamp":{timestamp},"payload":{payload}}}'
        size = utf8_length(text)
        return Outgoing(type, id, timestamp, text, size, urgent=not channel, channel=channel)
