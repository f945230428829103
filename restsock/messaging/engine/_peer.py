"""What an engine knows of a peer: while it is connected, and what outlives that."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Any, TypeAlias

from restsock.protocol import CloseCode

from ._credit import Credit, Grants
from ._inbox import Delivery, Inbox, Line
from ._outbox import Outbox
from ._pace import Pace
from ._payloads import Data
from ._queue import Queue, Watermark
from ._requests import Requests

if TYPE_CHECKING:
    from restsock.messaging._options import MessagingOptions

    from ._link import Link
    from ._outgoing import Outgoing

__all__ = ["Destination", "Peer", "Sender", "Source", "destination_of", "sender_of"]

# The names of peers are printable, so these are none of theirs.
_SESSION = "\x00"
_PRINCIPAL = "\n"

# What may wait for a peer to read: more than all acks of an honest one.
_MAX_CONTROLS = 1000
_MAX_CONTROL_BYTES = 1024 * 1024
# Acks that may wait for a foreign peer, which has no credit to bound them.
_MAX_ACKS = 10_000


def destination_of(link: Link) -> str:
    """The destination that a link leads to: the name of its peer, or empty for the listener.

    A peer that has dialed in without a name is one as long as it is connected.
    """
    if link.name is not None:
        return link.name
    return "" if link.dialed else _SESSION + link.id


def sender_of(link: Link) -> str:
    """Who sends what comes over a link: its name, and the principal whose it is."""
    name = destination_of(link)
    if link.principal is None or name.startswith(_SESSION):
        return name
    return link.principal.name + _PRINCIPAL + name


class Destination:
    """Where messages go, connected or not.

    Args:
        name: as `destination_of` gives it.
        options: limits.

    Attributes:
        name: as above.
        outboxes: what is sent at least once, by channel.
        queue: what is sent at most once.
        numbers: of what is sent at most once, by channel.
        peers: the connected ones, the latest last.
        peer: the one that messages go to; `None` if there is none.
        messages: how many are in the outboxes.
        bytes: of those.
        troubled: outboxes with messages that have failed and leave again.
    """

    def __init__(self, name: str, options: MessagingOptions) -> None:
        self.name = name
        self.outboxes: dict[str, Outbox] = {}
        self.queue = new_queue(options)
        self.numbers: dict[str, int] = {}
        self.peers: list[Peer] = []
        self.peer: Peer | None = None
        self.messages = 0
        self.bytes = 0
        self.troubled: set[Outbox] = set()

    @property
    def temporary(self) -> bool:
        """Whether it ends with its connection."""
        return self.name.startswith(_SESSION)

    @property
    def unused(self) -> bool:
        """Whether there is nothing to know of it: not even the last number of a channel."""
        return not (self.outboxes or self.numbers or self.queue or self.peers)

    def reserved(self) -> tuple[int, int]:
        """Messages and bytes of credit that are kept for what is sent again.

        Else what comes after a message that has failed could take all credit, and wait at its
        receiver for that message, which could not leave.
        """
        messages = bytes = 0
        for outbox in [*self.troubled]:
            if outbox.again:
                messages += outbox.again
                bytes += outbox.again_bytes
            else:
                self.troubled.discard(outbox)
        return messages, bytes


class Sender:
    """Who sends messages to this side, connected or not.

    Args:
        name: as `sender_of` gives it.

    Attributes:
        name: as above.
        inboxes: what comes with numbers and at least once, by channel.
        lines: what comes without that promise, by channel.
        peers: how many of it are connected.
    """

    __slots__ = ("inboxes", "lines", "name", "peers")

    def __init__(self, name: str) -> None:
        self.name = name
        self.inboxes: dict[str, Inbox] = {}
        self.lines: dict[str, Line] = {}
        self.peers = 0

    @property
    def temporary(self) -> bool:
        """Whether it ends with its connection."""
        return self.name.startswith(_SESSION)

    @property
    def idle(self) -> bool:
        """Whether nothing of it waits, and nothing is being handled."""
        inboxes, lines = self.inboxes.values(), self.lines.values()
        return all(one.idle for one in inboxes) and all(one.idle for one in lines)

    @property
    def remembered(self) -> int:
        """How many epochs and lines it has."""
        return sum(len(one.epochs) for one in self.inboxes.values()) + len(self.lines)


Source: TypeAlias = "Outbox | Queue[Outgoing]"
"""Something to send from: the messages of a channel, or of a queue."""


class Peer:
    """A peer while it is connected.

    Args:
        link: the connection.
        destination: where messages to it go.
        sender: whose messages it brings.
        options: limits.
        number: above those of all peers that were connected before.

    Attributes:
        link: and the others as above.
        credit: what it lets this side send; `None` for a foreign peer.
        grants: what this side lets it send; `None` likewise.
        controls: envelopes that leave before any data.
        control_bytes: of those.
        queue: what is sent to this very connection, at most once.
        ready: what may have something to send, in turn.
        listed: the same, to look it up.
        blocked: whether the link had no room.
        waiting: what has come and was not begun.
        high: when to tell it that it is too quick.
        acks: deliveries whose end it is to be told.
        requests: those of this side.
        serving: ids of its own requests that are open.
        subscriptions: channels that it has subscribed to.
        resumed: channels that it has resumed on this connection.
        pace: how quickly to send.
        paced: whether an alarm is set for it.
        closed: whether the connection has ended.
        owner: for who runs the engine.
    """

    def __init__(
        self,
        link: Link,
        destination: Destination,
        sender: Sender,
        options: MessagingOptions,
        number: int,
    ) -> None:
        self.link = link
        self.destination = destination
        self.sender = sender
        self.number = number
        self.credit: Credit | None = None
        self.grants: Grants | None = None
        if link.credit is not None:
            self.credit = Credit(*link.credit)
            self.grants = Grants(options.credit_messages, options.credit_bytes, options.max_message)
        self.controls: deque[Outgoing] = deque()
        self.control_bytes = 0
        self.queue = new_queue(options)
        self.ready: deque[Source] = deque()
        self.listed: set[Source] = set()
        self.blocked = False
        if self.grants is None:
            self.waiting: Queue[Delivery] = new_queue(options)
        else:  # credit bounds it
            self.waiting = Queue(
                messages=options.credit_messages,
                bytes=options.credit_bytes,
                policy="drop_newest",
            )
        self.high = Watermark(options.slow_above, options.slow_below)
        self.acks: list[Delivery] = []
        self.requests: Requests[Any] = Requests(options.ask_limit)
        self.serving: set[str] = set()
        self.subscriptions: set[str] = set()
        self.resumed: set[str] = set()
        self.pace = Pace()
        self.paced = False
        self.closed = False
        self.owner: Any = None

    @property
    def deaf(self) -> bool:
        """Whether it does not read what it is told, so that it is not told more."""
        return len(self.controls) >= _MAX_CONTROLS or self.control_bytes >= _MAX_CONTROL_BYTES

    def tell(self, outgoing: Outgoing) -> None:
        """Has an envelope leave before all data, at the next `Sending.pump`."""
        self.controls.append(outgoing)
        self.control_bytes += outgoing.size

    def owe(self, delivery: Delivery) -> None:
        """It is to be told what became of a message, at the next `Receiving.flush`.

        A foreign peer that reads nothing of that is closed. Until then no bodies are kept for it.
        """
        if self.link.foreign:
            data = delivery.data
            named = Data(data.id, data.timestamp, data.channel, None, data.reliable)
            named.epoch, named.seq, named.attempt = data.epoch, data.seq, data.attempt
            told = Delivery(named, delivery.size, self, delivery.line)
            told.epoch, told.verdict = delivery.epoch, delivery.verdict
            delivery = told
            if len(self.acks) == _MAX_ACKS:
                self.link.close_soon(
                    CloseCode.TRY_AGAIN_LATER, "it does not read its acknowledgements"
                )
        self.acks.append(delivery)

    def list(self, source: Source) -> None:
        """There is something to send from a source."""
        if source not in self.listed:
            self.listed.add(source)
            self.ready.append(source)

    @property
    def full(self) -> bool:
        """Whether no more should be read: the queue is full, and its policy is to block."""
        return self.waiting.policy == "block" and self.waiting.full


def new_queue(options: MessagingOptions) -> Queue[Any]:
    """A queue with the bounds and the policy of the options."""
    return Queue(
        messages=options.queue_messages, bytes=options.queue_bytes, policy=options.queue_full
    )
