"""Engine: all that messaging does, without I/O.

The order of calls. `restore` and `restore_mark` for what a store holds; then, as things happen,
`attach`, `receive`, `writable` and `detach` for links, `send_reliable`, `send`, `publish`, `ask`
for what goes out, `next` and `finish` for what has come. Each takes the time, in seconds of a clock
that only moves forward. What comes of it the engine does at once, by `Link.send`, or tells its
host. When the host is told that there is something to do (`Host.dirty`), it calls `take`, does with
the store what that says, and then `stored` and `flush`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from ._answers import Answers
from ._calls import Calls
from ._context import Context, Host
from ._inbox import Delivery
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
from ._receiving import Receiving
from ._senders import Senders
from ._sending import Sending
from ._topics import Subscription, Topics

if TYPE_CHECKING:
    from restsock.messaging._options import MessagingOptions
    from restsock.protocol import Envelope

    from ._link import Link
    from ._outgoing import Outgoing

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
        self.counters = context.counters
        self._sending = sending = Sending(context)
        self._senders = senders = Senders(context)
        self._receiving = receiving = Receiving(context, sending, senders)
        self._topics = topics = Topics(context, sending)
        calls = Calls(context, sending)
        answers = Answers(context, sending)
        # What one part does by itself: see there.
        self.restore, self.restore_mark = sending.restore, senders.restore
        self.take, self.stored = context.take, receiving.stored
        self.destination = sending.destination
        self.without, self.is_without = sending.without, sending.is_without
        self.has_room, self.make_room = sending.has_room, sending.make_room
        self.send_reliable, self.saved, self.withdrawn = (
            sending.add,
            sending.saved,
            sending.withdraw,
        )
        self.message = sending.data
        self.publish, self.unsubscribe = topics.publish, topics.unsubscribe
        self.ask, self.reply = calls.ask, calls.reply
        self.begin, self.knows = senders.begin, senders.knows
        self.next, self.mark_of, self.finish = receiving.next, receiving.mark_of, receiving.finish
        self.due, self.tick = sending.timers.due, sending.tick
        self._handlers: dict[type, Callable[[Peer, Any, float], None]] = {
            Ack: answers.acknowledged,
            Nack: answers.refused,
            Working: answers.extended,
            Grant: self._granted,
            Resume: answers.resume,
            Resumed: receiving.resumed,
            Request: calls.asked,
            Reply: calls.answered,
            Slow: self._slow,
        }
        self.peers: dict[str, Peer] = {}

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

    def send_to(self, peer: Peer, outgoing: Outgoing, now: float) -> bool:
        """Sends it to one of them; `False` if there is no room for it."""
        queued = self._sending.enqueue(peer.queue, peer, outgoing)
        self._sending.pump(peer, now)
        return queued

    def subscribe(
        self, peer: Peer, channel: str, epoch: str, seq: int, now: float, *, keep: bool = True
    ) -> Subscription | None:
        """See `Topics.subscribe`. What is sent leaves at the next `flush`."""
        self._context.flush(peer)
        return self._topics.subscribe(peer, channel, epoch, seq, now, keep=keep)

    def position(self, peer: Peer, channel: str) -> tuple[str, int]:
        """The epoch and number of the last message of a channel that a peer publishes."""
        line = peer.sender.lines.get(channel)
        return ("", 0) if line is None else line.last

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

    def _granted(self, peer: Peer, grant: Grant, now: float) -> None:
        if peer.credit is None or not peer.credit.grant(grant.messages, grant.bytes):
            self.counters.one(self.counters.errors, "credit_grant")
        else:
            self._sending.pump(peer, now)

    def _slow(self, peer: Peer, slow: Slow, now: float) -> None:
        self.counters.slow_received += 1
        peer.pace.slow(now)

    # --- totals -------------------------------------------------------------------------------

    def waiting(self) -> tuple[int, int]:
        """How many messages wait to be handled, of connected peers, and how many may."""
        queues = [peer.waiting for peer in self.peers.values()]
        return sum(map(len, queues)), sum(queue.capacity for queue in queues)

    def outgoing(self) -> tuple[int, int]:
        """How many messages wait to be handled by their receivers, and their bytes."""
        destinations = self._sending.destinations.values()
        return sum(one.messages for one in destinations), sum(one.bytes for one in destinations)
