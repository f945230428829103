"""What leaves: over which link, when, and in whose turn.

A peer has three kinds of sources, which take turns: the outboxes of its destination, the queue of
its destination, and its own queue. Before any of them go its controls: acks, credit, requests.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING, Literal, TypeAlias

from restsock.protocol import CloseCode

from ._entry import Entry
from ._outbox import Outbox
from ._outgoing import Outgoing
from ._payloads import ResumePoint, content_size, encode_json, quoted, utf8_length
from ._peer import Destination, Peer
from ._queue import Queue
from ._settling import Settling
from ._timers import Timers

if TYPE_CHECKING:
    from ._context import Context
    from ._records import OutRecord

__all__ = ["Sending", "parts", "point_json"]

_Turn: TypeAlias = Literal["sent", "last", "empty", "held", "blocked"]

# Bytes of a `resumed` or `resume`: every peer takes so many.
_PART = 12 * 1024
# Names of peers that are connected without messaging.
_MAX_WITHOUT = 100_000


class Sending:
    """All that goes out.

    Args:
        context: what the parts of an engine share.

    Attributes:
        destinations: by name.
        timers: when it has something to do.
    """

    def __init__(self, context: Context) -> None:
        self._context = context
        self._options = context.options
        self.destinations: dict[str, Destination] = {}
        self._without: OrderedDict[str, None] = OrderedDict()
        self._settling = Settling(context)
        self.timers = Timers(context.host.alarm)

    def destination(self, name: str) -> Destination:
        """The destination of that name; a new one if there is none yet."""
        found = self.destinations.get(name)
        if found is None:
            found = self.destinations[name] = Destination(name, self._options)
        return found

    def outbox(self, destination: Destination, channel: str) -> Outbox:
        """The outbox of a channel; a new one if there is none yet."""
        found = destination.outboxes.get(channel)
        if found is None:
            found = destination.outboxes[channel] = Outbox(
                destination.name,
                channel,
                self._context.epoch,
                ack_timeout=self._options.ack_timeout,
                redelivery=self._options.redelivery,
            )
        return found

    # --- what is put in -----------------------------------------------------------------------

    def restore(self, record: OutRecord) -> None:
        """A message of a former run, in the order in which they were added."""
        destination = self.destination(record.destination)
        outbox = self.outbox(destination, record.channel)
        before = outbox.bytes
        outbox.restore(record, content_size(record.channel, record.content))
        destination.messages += 1
        destination.bytes += outbox.bytes - before

    def has_room(self, destination: Destination, size: int) -> bool:
        """Whether there is room for one more message to be sent at least once."""
        if not destination.messages:
            return True  # one that fits nowhere is refused elsewhere
        return (
            destination.messages < self._options.outbox_messages
            and destination.bytes + size <= self._options.outbox_bytes
        )

    def add(
        self, destination: Destination, channel: str, content: str, size: int, now: float
    ) -> tuple[Outbox, Entry]:
        """A message to be sent at least once. It leaves when it was `saved`, or is withdrawn.

        Args:
            destination: where to.
            channel: on which channel.
            content: as in `OutRecord`.
            size: bytes of the content and the channel.
            now: the time.
        """
        outbox = self.outbox(destination, channel)
        entry = outbox.add(self._context.new_id(), self._context.timestamp(now), content, size)
        destination.messages += 1
        destination.bytes += entry.size
        return outbox, entry

    def saved(self, outbox: Outbox, entry: Entry, now: float) -> None:
        """The store has a message."""
        outbox.saved(entry)
        destination = self.destinations.get(outbox.destination)
        if destination is not None and destination.peer is not None:
            destination.peer.list(outbox)
            self.pump(destination.peer, now)

    def withdraw(self, outbox: Outbox, entry: Entry) -> None:
        """The store does not have a message."""
        if not entry.settled:
            outbox.drop(entry)
            self._settling.left(self.destinations[outbox.destination], outbox, [entry])

    def make_room(self, destination: Destination, size: int, now: float) -> bool:
        """Gives up the oldest messages that are not under way, until there is room."""
        while not self.has_room(destination, size):
            oldest = [
                (entry.timestamp, entry.seq, outbox, entry)
                for outbox in destination.outboxes.values()
                if (entry := outbox.oldest_idle()) is not None
            ]
            if not oldest:
                return False
            _, _, outbox, entry = min(oldest, key=lambda one: one[:2])
            outbox.drop(entry)
            self._settling.bury(destination, outbox, entry, "overflow", now)
        return True

    def data(
        self, channel: str, content: str, now: float, *, epoch: str = "", seq: int = 0
    ) -> Outgoing:
        """A message to be sent at most once."""
        number = f'"epoch":"{epoch}","seq":{seq},' if seq else ""
        payload = f'{{"channel":{quoted(channel)},{number}{content}}}'
        return self._context.envelope("data", payload, now, channel=channel)

    def numbered(
        self, destination: Destination, channel: str, content: str, now: float
    ) -> Outgoing:
        """The next message of a channel to be sent at most once."""
        seq = destination.numbers[channel] = destination.numbers.get(channel, 0) + 1
        return self.data(channel, content, now, epoch=self._context.epoch, seq=seq)

    def enqueue(self, queue: Queue[Outgoing], peer: Peer | None, outgoing: Outgoing) -> bool:
        """Puts a message in a queue; tells whether it is in there.

        Args:
            queue: that of a destination, or of a peer.
            peer: who is connected, if anybody is.
            outgoing: the message.
        """
        ticket, dropped = queue.put(outgoing, outgoing.size)
        if dropped:
            self._context.counters.one(self._context.counters.dropped, queue.policy, len(dropped))
        if peer is not None:
            if ticket:
                peer.list(queue)
            elif queue.policy == "disconnect":
                peer.link.close_soon(CloseCode.TRY_AGAIN_LATER, "the queue of messages is full")
        return ticket > 0

    def without(self, name: str, *, connected: bool) -> None:
        """The peer of a destination knows no messaging, and is connected or not any more."""
        self._without.pop(name, None)
        if connected:
            self._without[name] = None
            if len(self._without) > _MAX_WITHOUT:
                self._without.popitem(last=False)

    def is_without(self, destination: Destination) -> bool:
        """Whether the peer of a destination is connected, and knows no messaging."""
        return destination.peer is None and destination.name in self._without

    # --- links --------------------------------------------------------------------------------

    def connect(self, peer: Peer, now: float) -> None:
        """A peer is connected: from now on messages to its destination go there."""
        destination = peer.destination
        self._without.pop(destination.name, None)
        destination.peers.append(peer)
        if destination.peer is not None:
            self._leave(destination)
        self._enter(destination, peer, now)

    def disconnect(self, peer: Peer, now: float) -> None:
        """A peer is not connected any more."""
        destination = peer.destination
        peer.closed = True
        peer.ready.clear()
        peer.listed.clear()
        destination.peers.remove(peer)
        dropped = peer.queue.clear()
        if dropped:
            self._context.counters.one(self._context.counters.dropped, "disconnected", len(dropped))
        if destination.peer is not peer:
            return
        self._leave(destination)
        if destination.peers:
            self._enter(destination, destination.peers[-1], now)
            self.pump(destination.peers[-1], now)
        elif destination.temporary:
            self._end(destination, now)
        elif destination.unused:
            del self.destinations[destination.name]

    def _enter(self, destination: Destination, peer: Peer, now: float) -> None:
        destination.peer = peer
        for outbox in destination.outboxes.values():
            if len(outbox):
                peer.list(outbox)
                self.timers.schedule(outbox, now)
        if destination.queue:
            peer.list(destination.queue)

    def _leave(self, destination: Destination) -> None:
        peer = destination.peer
        assert peer is not None
        destination.peer = None
        for outbox in destination.outboxes.values():
            outbox.detach()
        own = peer.queue in peer.listed
        peer.ready.clear()
        peer.listed.clear()
        if own:
            peer.list(peer.queue)

    def _end(self, destination: Destination, now: float) -> None:
        """A destination that nobody can come back as."""
        del self.destinations[destination.name]
        dropped = destination.queue.clear()
        if dropped:
            self._context.counters.one(self._context.counters.dropped, "disconnected", len(dropped))
        for outbox in destination.outboxes.values():
            while (entry := outbox.oldest_idle()) is not None:
                outbox.drop(entry)
                self._settling.bury(destination, outbox, entry, "closed", now)
        self._context.host.room(destination)

    # --- the pump -----------------------------------------------------------------------------

    def pump(self, peer: Peer, now: float) -> None:
        """Sends what may leave."""
        if peer.blocked or peer.closed:
            return
        controls = peer.controls
        while controls:
            if not peer.link.send(controls[0]):
                peer.blocked = True
                return
            peer.control_bytes -= controls.popleft().size
        ready = peer.ready
        held = 0
        while held < len(ready):
            if (wait := peer.pace.wait(now)) > 0:
                self.timers.wait(peer, now + wait)
                return
            source = ready[0]
            if isinstance(source, Outbox):
                turn = self._send_entry(peer, source, now)
            else:
                turn = self._send_queued(peer, source, now)
            if turn in ("sent", "last"):
                held = 0
                peer.pace.sent(now)
                if turn == "sent":
                    ready.rotate(-1)
                else:
                    peer.listed.discard(ready.popleft())
            elif turn == "empty":
                peer.listed.discard(ready.popleft())
            elif turn == "held":
                held += 1
                ready.rotate(-1)
            else:
                peer.blocked = True
                return

    def _may_leave(self, peer: Peer, size: int, *, again: bool) -> bool:
        """Whether there is credit for a message."""
        credit = peer.credit
        if credit is None:
            return True
        if again or not peer.destination.troubled:
            return credit.messages >= 1 and credit.bytes >= size
        messages, bytes = peer.destination.reserved()
        return credit.messages > messages and credit.bytes - bytes >= size

    def _send_entry(self, peer: Peer, outbox: Outbox, now: float) -> _Turn:
        destination = peer.destination
        if outbox.skip_due:
            self._skip(peer, outbox, now)
        entry, again = outbox.next(now)
        if entry is None:
            if outbox.timer is None:
                self.timers.schedule(outbox, now)
            return "empty"
        if not self._may_leave(peer, entry.size, again=again):
            return "held"
        if peer.credit is None and self._in_flight(destination) >= self._options.credit_messages:
            return "held"
        low = "" if outbox.introduced else f'"low":{outbox.low},'
        text = (
            f'{{"type":"data","id":"{entry.id}","timestamp":{entry.timestamp},"payload":'
            f'{{"channel":{quoted(outbox.channel)},"delivery":"at_least_once",'
            f'"epoch":"{entry.epoch}","seq":{entry.seq},"attempt":{entry.attempts + 1},'
            f"{low}{entry.content}}}}}"
        )
        size = utf8_length(text)
        if size > peer.link.max_message:
            outbox.drop(entry)
            self._settling.bury(destination, outbox, entry, "too_large", now)
            return "sent"  # it is out of the way
        outgoing = Outgoing(
            "data", entry.id, entry.timestamp, text, size, urgent=False, channel=outbox.channel
        )
        if not peer.link.send(outgoing):
            return "blocked"
        if peer.credit is not None:
            peer.credit.take(size)
        outbox.sent(entry, now)
        if outbox.timer is None:
            self.timers.schedule(outbox, now)
        counters = self._context.counters
        counters.by_channel(counters.sent, outbox.channel)
        if again:
            counters.redelivered += 1
        return "sent" if outbox.pending else "last"

    def _send_queued(self, peer: Peer, queue: Queue[Outgoing], now: float) -> _Turn:
        if not queue:
            return "empty"
        outgoing, size = queue.first()
        if not self._may_leave(peer, size, again=False):
            return "held"
        counters = self._context.counters
        if size > peer.link.max_message:
            queue.pop()
            counters.one(counters.dropped, "too_large")
            return "sent"
        if not peer.link.send(outgoing):
            return "blocked"
        queue.pop()
        if peer.credit is not None:
            peer.credit.take(size)
        counters.by_channel(counters.sent, outgoing.channel)
        if queue.policy == "block":
            self._context.host.room(peer.destination)
        return "sent" if queue else "last"

    def _in_flight(self, destination: Destination) -> int:
        return sum(outbox.in_flight for outbox in destination.outboxes.values())

    def _skip(self, peer: Peer, outbox: Outbox, now: float) -> None:
        """Tells the receiver where a channel goes on."""
        point = outbox.skip_point()
        if peer.link.foreign:
            return
        channels = f"{quoted(outbox.channel)}:{point_json(point)}"
        outgoing = self._context.envelope("resumed", f'{{"channels":{{{channels}}}}}', now)
        if not peer.link.send(outgoing):
            peer.tell(outgoing)

    # --- time ---------------------------------------------------------------------------------

    def tick(self, now: float) -> None:
        """Deals with what is due."""
        while (what := self.timers.pop(now)) is not None:
            if isinstance(what, Peer):
                self.pump(what, now)
                continue
            destination = self.destinations.get(what.destination)
            if destination is None or destination.peer is None:
                continue  # the next link sets its time
            for settled in what.tick(now, self._context.chance):
                self._settling.apply(destination, what, settled, now, "attempts")
            self.timers.schedule(what, now)
            destination.peer.list(what)
            self.pump(destination.peer, now)


def point_json(point: ResumePoint) -> str:
    """Where a channel goes on, as a member of `resumed`."""
    members: dict[str, object] = {"recovered": point.recovered, "missed": point.missed}
    if point.epoch:
        members |= {"epoch": point.epoch, "next": point.next}
    return encode_json(members)


def parts(members: list[str]) -> list[str]:
    """Payloads with all these members of `channels`, each short enough for any peer."""
    payloads: list[str] = []
    left: list[str] = []
    length = 0
    for member in members:
        size = utf8_length(member)
        if left and length + size > _PART:
            payloads.append(f'{{"channels":{{{",".join(left)}}}}}')
            left, length = [], 0
        left.append(member)
        length += size
    if left:
        payloads.append(f'{{"channels":{{{",".join(left)}}}}}')
    return payloads
