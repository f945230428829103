"""What comes in: who sent it, whether it is new, whose turn it is, and what its sender is told.

A peer has its credit back for a message once it was told what became of it, so what it is to be
told is bounded by its credit, too.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from restsock.protocol import CloseCode

from ._inbox import Delivery, Epoch, Inbox, Line
from ._payloads import Data, Resumed, quoted
from ._peer import Peer
from ._queue import Queue
from ._senders import Senders, new_line
from ._sending import Sending, parts

if TYPE_CHECKING:
    from ._context import Context, Effects
    from ._outgoing import Outgoing
    from ._records import Mark

__all__ = ["Receiving", "Refusal"]


class Refusal(NamedTuple):
    """That a message was not handled.

    Attributes:
        reason: why, for its sender.
        retry_after: seconds in which it should not come again.
        final: whether it should not at all.
        label: the reason as it is counted.
    """

    reason: str
    retry_after: float | None = None
    final: bool = False
    label: str = "handler"


class Receiving:
    """All that comes in.

    Args:
        context: what the parts of an engine share.
        sending: what goes out.
        senders: what is remembered.
    """

    def __init__(self, context: Context, sending: Sending, senders: Senders) -> None:
        self._context = context
        self._options = context.options
        self._sending = sending
        self._senders = senders
        self._nowhere = new_line(context.options, "", "")  # where refused messages are
        # What has come at most once and was not begun when its session ended.
        self._left_over: Queue[Delivery] = Queue(
            messages=context.options.queue_messages,
            bytes=context.options.queue_bytes,
            policy="drop_oldest",
        )

    # --- connections --------------------------------------------------------------------------

    def connect(self, peer: Peer, now: float) -> None:
        """A peer is connected: it is told what has come of its messages."""
        self._senders.connected(peer.sender)
        if peer.link.foreign:
            return
        points = []
        for channel, inbox in peer.sender.inboxes.items():
            epoch = next(reversed(inbox.epochs.values()))
            point = f'{{"epoch":{quoted(epoch.epoch)},"seq":{epoch.stored}}}'
            points.append(f"{quoted(channel)}:{point}")
        for part in parts(points):
            peer.tell(self._context.envelope("resume", part, now))

    def disconnect(self, peer: Peer) -> None:
        """A peer is not connected any more: what it sends at least once comes again."""
        peer.acks.clear()
        for inbox in peer.sender.inboxes.values():
            for epoch in inbox.epochs.values():
                if not epoch.idle:
                    epoch.drop(peer)
        for delivery in peer.waiting.clear():
            if isinstance(delivery.line, Line):
                self._leave_over(delivery, delivery.line)
        self._senders.disconnected(peer.sender)

    def _leave_over(self, delivery: Delivery, line: Line) -> None:
        if delivery.data.reliable:
            line.refuse(delivery)
            return
        delivery.queue = self._left_over
        delivery.ticket, dropped = self._left_over.put(delivery, delivery.size)
        for other in dropped:
            assert isinstance(other.line, Line)
            other.line.refuse(other)
        self._dropped("disconnected", len(dropped))

    # --- messages -----------------------------------------------------------------------------

    def receive(self, peer: Peer, data: Data, size: int, now: float) -> None:
        """A message has come."""
        counters = self._context.counters
        counters.by_channel(counters.received, data.channel)
        if peer.grants is not None and not peer.grants.take(size):
            counters.one(counters.errors, "credit")
            if data.reliable and not peer.deaf:
                refusal = Refusal("credit", label="credit")
                peer.tell(self._nack(data, refusal, now))
                self._sending.pump(peer, now)
            return
        if peer.grants is not None and peer.grants.starved:
            self._context.flush(peer)
        problem = self._problem(peer, data)
        if problem is not None:
            self._refuse(peer, data, size, problem)
            return
        line: Inbox | Line | None
        if data.reliable and data.seq:
            line = self._senders.inbox(peer.sender, data)
            if line is not None and data.low:
                self.skip(line, data.epoch, data.low)
        else:
            line = self._senders.line(peer.sender, data.channel)
        if line is None:
            self._refuse(peer, data, size, Refusal("channels", label="channels"))
            return
        verdict, delivery = line.receive(data, size, peer, now)
        if verdict == "new":
            assert delivery is not None
            self._wait(peer, delivery, now)
        elif verdict == "again":
            assert delivery is not None
            counters.duplicate += 1
            self._again(peer, delivery, data, size)
        elif verdict == "duplicate":
            counters.duplicate += 1
            if data.reliable:
                known = Delivery(data, size, peer, line)
                known.epoch = line.epochs[data.epoch] if isinstance(line, Inbox) else None
                if known.epoch is not None and known.epoch.unstored:
                    self._context.effects.acks.append(known)  # it may be one of those
                else:
                    peer.owe(known)
                self._context.flush(peer)
            else:
                self._release(peer, size)
        else:
            self._refuse(peer, data, size, Refusal("gap", label="gap"))

    def _problem(self, peer: Peer, data: Data) -> Refusal | None:
        """Why a message is not taken, whatever is in it."""
        if data.reply_to is not None and not _may_answer(peer, data.reply_to):
            return Refusal("reply_to is another one's", final=True, label="reply_to")
        if not self._context.host.may(peer, "send", data.channel):
            return Refusal("not allowed", final=True, label="not_allowed")
        return None

    def _refuse(self, peer: Peer, data: Data, size: int, refusal: Refusal) -> None:
        if data.reliable:
            delivery = Delivery(data, size, peer, self._nowhere)
            delivery.verdict = refusal
            peer.owe(delivery)
            self._context.flush(peer)
        else:
            self._dropped(refusal.label)
            self._release(peer, size)

    def _wait(self, peer: Peer, delivery: Delivery, now: float) -> None:
        """Lets a message wait for its turn, if there is room."""
        queue = peer.waiting
        delivery.queue = queue
        delivery.ticket, dropped = queue.put(delivery, delivery.size)
        for other in dropped:  # of a foreign peer: others keep to their credit
            assert isinstance(other.line, Line)
            other.line.refuse(other)
            self._dropped("queue_full")
            if other.data.reliable:
                other.verdict = Refusal("overflow", label="overflow")
                peer.owe(other)
                self._context.flush(peer)
            else:
                self._release(peer, other.size)
        if peer.link.foreign:
            if dropped and queue.policy == "disconnect":
                peer.link.close_soon(CloseCode.TRY_AGAIN_LATER, "the queue of messages is full")
            if peer.high.passed(queue.level):
                self._tell_slow(peer, now)
        if delivery.ticket:
            self._context.host.work(delivery.line)

    def _again(self, peer: Peer, delivery: Delivery, data: Data, size: int) -> None:
        """A message has come again that is here still: its end is told to the latest delivery.

        What comes late over a former connection is an earlier one.
        """
        before: Peer = delivery.session
        if peer.number < before.number:
            self._release(peer, size)
        else:
            self._release(before, delivery.size)
            delivery.data.attempt = data.attempt
            delivery.session, delivery.size = peer, size

    def _tell_slow(self, peer: Peer, now: float) -> None:
        if peer.deaf:
            return
        queue = peer.waiting
        depth, level = len(queue), queue.level
        above = self._options.slow_above
        payload = (
            f'{{"queue_depth":{depth},"queue_capacity":{queue.capacity},'
            f'"utilization":{level:.4f},"threshold":{above},"recommendation":"reduce_rate"}}'
        )
        self._context.counters.slow_sent += 1
        peer.tell(self._context.envelope("slow", payload, now))
        self._sending.pump(peer, now)

    # --- handling -----------------------------------------------------------------------------

    def next(self, line: Inbox | Line, window: int, *, ordered: bool) -> Delivery | None:
        """The message to begin with in a line, if there is one."""
        delivery = line.next(window, ordered=ordered)
        if delivery is not None and delivery.queue is not None:
            peer: Peer = delivery.session
            full = peer.full
            delivery.queue.remove(delivery.ticket)
            delivery.queue = None
            if peer.link.foreign:
                peer.high.passed(peer.waiting.level)
                if full and not peer.full:
                    self._context.host.drained(peer)
        return delivery

    def mark_of(self, delivery: Delivery) -> tuple[Mark, ...]:
        """What is to be noted of a message that is being handled, with what its handler stores.

        Nothing, if it is known by no number, or its sender by no name.
        """
        peer: Peer = delivery.session
        if delivery.epoch is None or peer.sender.temporary:
            return ()
        return (delivery.epoch.mark(delivery.data.seq),)

    def finish(self, delivery: Delivery, refusal: Refusal | None, now: float) -> bool:
        """A message that was begun is finished: it was handled, or not.

        Returns:
            Whether that is for the store.
        """
        line, data, context = delivery.line, delivery.data, self._context
        peer: Peer = delivery.session
        mark = line.finish(delivery, now, handled=refusal is None)
        counters = context.counters
        delivery.verdict = refusal
        if refusal is None:
            counters.handled += 1
            counters.by_channel(counters.published, line.channel)
        if mark is not None:
            assert delivery.epoch is not None
            if not peer.sender.temporary:
                delivery.epoch.unstored += 1
                context.effects.mark(mark)
                context.effects.acks.append(delivery)
                context.dirty()
                return True
            delivery.epoch.stored = mark.upto
        if data.reliable:
            peer.owe(delivery)
            context.flush(peer)
        else:
            if refusal is not None:
                self._dropped(refusal.label)
            self._release(peer, delivery.size)
        return False

    def skip(self, inbox: Inbox, epoch: str, next: int) -> int:
        """Messages of a sender below a number do not come any more; returns how many."""
        dropped, missed = inbox.epochs[epoch].skip(next)
        for delivery in dropped:
            peer: Peer = delivery.session
            if delivery.queue is not None:
                delivery.queue.remove(delivery.ticket)
            self._dropped("skipped")
            self._release(peer, delivery.size)
        self._context.host.work(inbox)
        return missed

    def resumed(self, peer: Peer, resumed: Resumed, now: float) -> None:
        """A sender says where its channels go on."""
        for channel, point in resumed.channels.items():
            inbox = peer.sender.inboxes.get(channel)
            if inbox is None:
                continue
            epoch = inbox.epochs.get(point.epoch)
            missed = point.missed
            if epoch is not None:
                missed = self.skip(inbox, point.epoch, point.next)
            if missed != 0:
                self._context.host.recovered(peer, channel, missed)

    # --- what its sender is told --------------------------------------------------------------

    def stored(self, effects: Effects) -> None:
        """That messages were handled is stored: their senders may know."""
        for delivery in effects.acks:
            epoch, peer = delivery.epoch, delivery.session
            assert epoch is not None
            mark = effects.marks.get((epoch.sender, epoch.channel, epoch.epoch))
            if mark is not None:
                epoch.stored = max(epoch.stored, mark.upto)
            if delivery.started:  # others were known before
                epoch.unstored -= 1
            if not peer.closed:
                peer.owe(delivery)
                self._context.flush(peer)

    def flush(self, peer: Peer, now: float) -> None:
        """Tells a peer what became of its messages, and gives it credit."""
        if peer.closed:
            return
        sending = self._sending
        if not peer.controls and peer.acks:  # else it does not read what it was told before
            acks, peer.acks = peer.acks, []
            last: dict[Epoch, Delivery] = {}
            for delivery in acks:
                if peer.grants is not None:
                    peer.grants.release(delivery.size)
                epoch, seq = delivery.epoch, delivery.data.seq
                if delivery.verdict is not None:
                    peer.tell(self._nack(delivery.data, delivery.verdict, now))
                elif epoch is not None and seq <= epoch.stored:
                    other = last.get(epoch)
                    if other is None or other.data.seq < seq:
                        last[epoch] = delivery
                else:
                    peer.tell(self._ack(delivery.data, now, upto=False))
            for delivery in last.values():
                peer.tell(self._ack(delivery.data, now, upto=True))
        if peer.grants is not None:
            grant = peer.grants.due()
            if grant is not None:
                payload = f'{{"messages":{grant[0]},"bytes":{grant[1]}}}'
                peer.tell(self._context.envelope("credit", payload, now))
        sending.pump(peer, now)

    def _ack(self, data: Data, now: float, *, upto: bool) -> Outgoing:
        more = ',"upto":true' if upto else ""
        payload = f"{_delivery(data)}{more}}}"
        return self._context.envelope("ack", payload, now, id=data.id)

    def _nack(self, data: Data, refusal: Refusal, now: float) -> Outgoing:
        counters = self._context.counters
        counters.one(counters.nacks_sent, refusal.label)
        payload = f'{_delivery(data)},"reason":{quoted(refusal.reason)}'
        if refusal.retry_after is not None:
            payload += f',"retry_after":{refusal.retry_after}'
        payload += ',"final":true}' if refusal.final else "}"
        return self._context.envelope("nack", payload, now, id=data.id)

    def _release(self, peer: Peer, size: int) -> None:
        """A peer has its credit back for a message, and is told so when that is worth a word."""
        if peer.grants is not None:
            peer.grants.release(size)
            if peer.grants.ripe:
                self._context.flush(peer)

    def _dropped(self, reason: str, count: int = 1) -> None:
        if count:
            self._context.counters.one(self._context.counters.dropped, reason, count)


def _delivery(data: Data) -> str:
    """The members that name a delivery; the brace is open."""
    return f'{{"channel":{quoted(data.channel)},"seq":{data.seq},"attempt":{data.attempt}'


def _may_answer(peer: Peer, reply_to: str) -> bool:
    """Whether a peer may have answers go there: to itself, or to a name that it may have."""
    link = peer.link
    if reply_to in (link.id, link.name):
        return True
    return link.principal is not None and link.principal.registers(reply_to)
