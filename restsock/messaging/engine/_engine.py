"""Engine: all that messaging does, without I/O.

The order of calls. `restore` and `restore_mark` for what a store holds; then, as things happen,
`attach`, `receive`, `writable` and `detach` for links, `send_reliable`, `send`, `publish`, `ask`
for what goes out, `next` and `finish` for what has come. Each takes the time, in seconds of a clock
that only moves forward. What comes of it the engine does at once, by `Link.send`, or tells its
host. When the host is told that there is something to do (`Host.dirty`), it calls `take`, does with
the store what that says, and then `stored` and `flush`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from ._answers import Answers
from ._calls import Calls
from ._context import Context, Counters, Effects, Host
from ._entry import Entry
from ._inbox import Delivery, Inbox, Line
from ._outbox import Outbox
from ._payloads import (
    Ack,
    Data,
    Grant,
    Malformed,
    Nack,
    Reply,
    Request,
    Resume,
    Resumed,
    Slow,
    Working,
    encode_json,
    is_name,
    quoted,
)
from ._peer import Destination, Peer, destination_of, sender_of
from ._reading import decode_payload
from ._receiving import Receiving, Refusal
from ._senders import Senders
from ._sending import Sending
from ._topics import Subscription, Topics

if TYPE_CHECKING:
    from restsock.messaging._options import MessagingOptions
    from restsock.protocol import Envelope

    from ._link import Link
    from ._outgoing import Outgoing
    from ._records import InboxKey, Mark, OutRecord

__all__ = ["Engine"]


class Engine:
    """See above.

    Args:
        options: limits and times.
        epoch: of the numbers of this run, unlike that of any other run: printable, at most 64
            characters.
        host: who runs it.
        new_id: makes the id of an envelope, a UUID of version 4.
        chance: makes a random number in [0, 1).
        wall: what to add to a time to make Unix time of it, in seconds.
        remembers: whether all that former runs have sent, and was not handled, is restored.

    Attributes:
        peers: the connected ones by id, the oldest first.
        counters: what is counted.
    """

    def __init__(
        self,
        options: MessagingOptions,
        *,
        epoch: str,
        host: Host,
        new_id: Callable[[], str],
        chance: Callable[[], float],
        wall: float = 0.0,
        remembers: bool = False,
    ) -> None:
        context = Context(
            options,
            epoch=epoch,
            host=host,
            new_id=new_id,
            chance=chance,
            wall=wall,
            remembers=remembers,
        )
        self._context = context
        self._options = options
        self._host = host
        self._sending = Sending(context)
        self._senders = Senders(context)
        self._receiving = Receiving(context, self._sending, self._senders)
        self._topics = Topics(context, self._sending)
        self._calls = calls = Calls(context, self._sending)
        answers = Answers(context, self._sending)
        self._handlers: dict[type, Callable[[Peer, Any, float], None]] = {
            Ack: answers.acknowledged,
            Nack: answers.refused,
            Working: answers.extended,
            Grant: self._granted,
            Resume: answers.resume,
            Resumed: self._receiving.resumed,
            Request: calls.asked,
            Reply: calls.answered,
            Slow: self._slow,
        }
        self.peers: dict[str, Peer] = {}

    @property
    def counters(self) -> Counters:
        return self._context.counters

    # --- the store ----------------------------------------------------------------------------

    def restore(self, record: OutRecord) -> None:
        """A message of a former run, in the order in which they were added."""
        self._sending.restore(record)

    def restore_mark(self, mark: Mark) -> None:
        """What is known of a sender from a former run."""
        self._senders.restore(mark)

    def take(self) -> Effects:
        """What there is to do with the store."""
        return self._context.take()

    def stored(self, effects: Effects) -> None:
        """The marks of it are stored: who has sent those messages may know."""
        self._receiving.stored(effects)

    def flush(self, now: float) -> None:
        """Tells peers what they are to be told."""
        peers = self._context.to_flush
        self._context.to_flush = {}
        for peer in peers:
            self._receiving.flush(peer, now)

    # --- links --------------------------------------------------------------------------------

    def attach(self, link: Link, now: float) -> Peer:
        """A connection is open."""
        destination = self._sending.destination(destination_of(link))
        sender = self._senders.sender(sender_of(link))
        self.counters.attached += 1
        peer = Peer(link, destination, sender, self._options, self.counters.attached)
        self.peers[link.id] = peer
        self._receiving.connect(peer, now)
        self._sending.connect(peer, now)
        self._sending.pump(peer, now)
        return peer

    def detach(self, peer: Peer, now: float) -> None:
        """A connection has ended."""
        if peer.closed:
            return
        if self.peers.get(peer.link.id) is peer:
            del self.peers[peer.link.id]
        self._topics.disconnect(peer)
        self._sending.disconnect(peer, now)
        self._receiving.disconnect(peer)
        for waiter in peer.requests.clear():
            self._host.answered(waiter, None)
        self._host.drained(peer)

    def writable(self, peer: Peer, now: float) -> None:
        """A link has room again."""
        peer.blocked = False
        self._sending.pump(peer, now)
        if peer.acks:
            self._receiving.flush(peer, now)

    def without(self, name: str, *, connected: bool) -> None:
        """The peer of a destination knows no messaging, and is connected or not any more."""
        self._sending.without(name, connected=connected)

    def is_without(self, destination: Destination) -> bool:
        """Whether the peer of a destination is connected, and knows no messaging."""
        return self._sending.is_without(destination)

    def receive(self, peer: Peer, envelope: Envelope, size: int, now: float) -> None:
        """An envelope has come; `size` is that of its message in bytes."""
        if peer.closed:
            return
        type, payload = envelope.type, envelope.payload
        try:
            found = decode_payload(
                type, envelope.id, envelope.timestamp, payload, foreign=peer.link.foreign
            )
        except Malformed as problem:
            self._malformed(peer, envelope, size, str(problem), now)
            return
        if found.__class__ is Data:
            self._receiving.receive(peer, found, size, now)
        elif found is None:
            self.counters.one(self.counters.errors, "unknown_type")
        else:
            self._handlers[found.__class__](peer, found, now)

    def _malformed(
        self, peer: Peer, envelope: Envelope, size: int, problem: str, now: float
    ) -> None:
        self.counters.one(self.counters.errors, "malformed_" + envelope.type)
        if envelope.type != "data":
            return
        if peer.grants is not None:
            if not peer.grants.take(size):
                return
            peer.grants.release(size)
        self._context.flush(peer)
        if not is_name(envelope.id) or peer.deaf:
            return
        members = {"reason": "malformed: " + problem, "final": True}
        if isinstance(envelope.payload, dict):
            for name in ("channel", "seq", "attempt"):
                value = envelope.payload.get(name)
                if is_name(value) if name == "channel" else type(value) is int:
                    members[name] = value
        self.counters.one(self.counters.nacks_sent, "malformed")
        payload = encode_json(members)
        peer.tell(self._context.envelope("nack", payload, now, id=envelope.id))

    # --- what goes out ------------------------------------------------------------------------

    def destination(self, name: str) -> Destination:
        """The destination of that name."""
        return self._sending.destination(name)

    def has_room(self, destination: Destination, size: int) -> bool:
        """Whether there is room for a message to be sent at least once."""
        return self._sending.has_room(destination, size)

    def make_room(self, destination: Destination, size: int, now: float) -> bool:
        """Gives up the oldest messages of a destination, until there is."""
        return self._sending.make_room(destination, size, now)

    def send_reliable(
        self, destination: Destination, channel: str, content: str, size: int, now: float
    ) -> tuple[Outbox, Entry]:
        """A message to be sent at least once. It leaves when it was `saved`, or is `withdrawn`.

        Args:
            destination: where to.
            channel: on which channel.
            content: as in `OutRecord`.
            size: bytes of the content and the channel.
            now: the time.
        """
        return self._sending.add(destination, channel, content, size, now)

    def saved(self, outbox: Outbox, entry: Entry, now: float) -> None:
        """The store has it."""
        self._sending.saved(outbox, entry, now)

    def withdrawn(self, outbox: Outbox, entry: Entry) -> None:
        """The store could not keep it."""
        self._sending.withdraw(outbox, entry)

    def send(
        self, destination: Destination, channel: str, content: str, now: float
    ) -> Outgoing | None:
        """A message to be sent at most once, numbered in its channel.

        Returns:
            The message, or `None` if there is no room for it.
        """
        sending = self._sending
        outgoing = sending.numbered(destination, channel, content, now)
        queued = sending.enqueue(destination.queue, destination.peer, outgoing)
        if destination.peer is not None:
            sending.pump(destination.peer, now)
        return outgoing if queued else None

    def message(self, channel: str, content: str, now: float) -> Outgoing:
        """A message without a number, for any number of peers."""
        return self._sending.data(channel, content, now)

    def send_to(self, peer: Peer, outgoing: Outgoing, now: float) -> bool:
        """Sends it to one of them; `False` if there is no room for it."""
        queued = self._sending.enqueue(peer.queue, peer, outgoing)
        self._sending.pump(peer, now)
        return queued

    def publish(self, channel: str, content: str, now: float) -> list[Peer]:
        """Sends a message to all who have subscribed to a channel, and returns them."""
        return self._topics.publish(channel, content, now)

    def subscribe(
        self, peer: Peer, channel: str, epoch: str, seq: int, now: float, *, keep: bool = True
    ) -> Subscription | None:
        """See `Topics.subscribe`. What is sent leaves at the next `flush`."""
        self._context.flush(peer)
        return self._topics.subscribe(peer, channel, epoch, seq, now, keep=keep)

    def unsubscribe(self, peer: Peer, channel: str) -> None:
        """Ends a subscription of a peer."""
        self._topics.unsubscribe(peer, channel)

    def position(self, peer: Peer, channel: str) -> tuple[str, int]:
        """The epoch and number of the last message of a channel that a peer publishes."""
        line = peer.sender.lines.get(channel)
        return ("", 0) if line is None else line.last

    def begin(self, peer: Peer, channel: str, epoch: str, seq: int) -> None:
        """What a peer publishes follows this number, if it is not known better."""
        self._senders.begin(peer, channel, epoch, seq)

    def working(self, delivery: Delivery, seconds: float, now: float) -> None:
        """Asks for time for a message that is being handled."""
        peer: Peer = delivery.session
        data = delivery.data
        if data.reliable and not peer.closed and not peer.deaf:
            payload = (
                f'{{"channel":{quoted(data.channel)},"seq":{data.seq},'
                f'"attempt":{data.attempt},"seconds":{seconds}}}'
            )
            outgoing = self._context.envelope("working", payload, now, id=data.id)
            peer.tell(outgoing)
            self._sending.pump(peer, now)

    # --- requests -----------------------------------------------------------------------------

    def ask(self, peer: Peer, method: str, params: str, waiter: object, now: float) -> Outgoing:
        """Asks a peer, of whom not too much may be asked already; see `Calls.ask`."""
        return self._calls.ask(peer, method, params, waiter, now)

    def reply(
        self,
        peer: Peer,
        id: str,
        now: float,
        *,
        result: str = "null",
        error: str = "",
        kind: str = "",
    ) -> None:
        """Answers a request of a peer, with a result as JSON text or with an error."""
        self._calls.reply(peer, id, now, result=result, error=error, kind=kind)

    # --- what comes in ------------------------------------------------------------------------

    def next(self, line: Inbox | Line, window: int, *, ordered: bool) -> Delivery | None:
        """The message to begin with in a line, if there is one."""
        return self._receiving.next(line, window, ordered=ordered)

    def knows(self, key: InboxKey) -> bool:
        """Whether it still remembers an epoch of a sender, or again."""
        return self._senders.knows(key)

    def mark_of(self, delivery: Delivery) -> Sequence[Mark]:
        """What is to be noted of a message that is being handled, with what its handler stores.

        Returns:
            Nothing, if it is known by no number, or its sender by no name.
        """
        return self._receiving.mark_of(delivery)

    def finish(self, delivery: Delivery, refusal: Refusal | None, now: float) -> bool:
        """A message that was begun was handled (`None`), or not.

        Returns:
            Whether that is for the store: it is among `Effects.acks`.
        """
        return self._receiving.finish(delivery, refusal, now)

    def _granted(self, peer: Peer, grant: Grant, now: float) -> None:
        if peer.credit is None or not peer.credit.grant(grant.messages, grant.bytes):
            self.counters.one(self.counters.errors, "credit_grant")
        else:
            self._sending.pump(peer, now)

    def _slow(self, peer: Peer, slow: Slow, now: float) -> None:
        self.counters.slow_received += 1
        peer.pace.slow(now)

    # --- time and totals ----------------------------------------------------------------------

    def due(self) -> float | None:
        """When `tick` is due."""
        return self._sending.timers.due()

    def tick(self, now: float) -> None:
        """Deals with what is due."""
        self._sending.tick(now)

    def waiting(self) -> tuple[int, int]:
        """How many messages wait to be handled, of connected peers, and how many may."""
        queues = [peer.waiting for peer in self.peers.values()]
        return sum(map(len, queues)), sum(queue.capacity for queue in queues)

    def outgoing(self) -> tuple[int, int]:
        """How many messages wait to be handled by their receivers, and their bytes."""
        destinations = self._sending.destinations.values()
        return sum(one.messages for one in destinations), sum(one.bytes for one in destinations)
