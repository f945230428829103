"""What receivers say of the messages of this side."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ._entry import Settled
from ._outbox import Outbox
from ._payloads import Ack, Nack, Resume, ResumePoint, Working, quoted
from ._peer import Peer
from ._sending import Sending, parts, point_json
from ._settling import Settling

if TYPE_CHECKING:
    from ._context import Context

__all__ = ["Answers"]


class Answers:
    """Takes them in.

    Args:
        context: what the parts of an engine share.
        sending: what goes out.
    """

    def __init__(self, context: Context, sending: Sending) -> None:
        self._context = context
        self._sending = sending
        self._settling = Settling(context)

    def acknowledged(self, peer: Peer, ack: Ack, now: float) -> None:
        """A peer has handled a message."""
        outbox = self._named(peer, ack)
        if outbox is None:
            self._unknown()
            return
        settled = outbox.acknowledge(ack.id, ack.seq, ack.attempt, upto=ack.upto)
        self._apply(peer, outbox, settled, now)

    def refused(self, peer: Peer, nack: Nack, now: float) -> None:
        """A peer has not handled a message."""
        counters = self._context.counters
        counters.nacks_received += 1
        outbox = self._named(peer, nack)
        if outbox is None:
            self._unknown()
            return
        settled = outbox.refuse(
            nack.id,
            nack.seq,
            nack.attempt,
            reason=nack.reason,
            retry_after=nack.retry_after,
            final=nack.final,
            now=now,
            chance=self._context.chance(),
        )
        self._apply(peer, outbox, settled, now, nack.reason if nack.final else "attempts")

    def extended(self, peer: Peer, working: Working, now: float) -> None:
        """A peer needs time for a message."""
        outbox = self._named(peer, working)
        if outbox is None or not outbox.extend(
            working.id, working.seq, working.attempt, working.seconds, now
        ):
            self._unknown()
        else:
            self._sending.timers.schedule(outbox, now)

    def resume(self, peer: Peer, resume: Resume, now: float) -> None:
        """A peer says what it has handled, once on each link; it is told where that goes on."""
        if peer.deaf:
            self._context.counters.one(self._context.counters.errors, "unread")
            return
        points: list[str] = []
        for channel, (epoch, seq) in resume.channels.items():
            outbox = peer.destination.outboxes.get(channel)
            # What former runs have sent, and is not here, was handled, if they are remembered.
            known = self._context.remembers and epoch != self._context.epoch
            point = ResumePoint("", 0, known, 0 if known else None)
            if outbox is not None and peer.destination.peer is peer:
                if channel in peer.resumed:
                    continue
                peer.resumed.add(channel)
                handled, found = outbox.resume(epoch, seq)
                if handled:
                    self._settling.handled(peer.destination, outbox, handled)
                if found.epoch == epoch:
                    point = found
            points.append(f"{quoted(channel)}:{point_json(point)}")
        for part in parts(points):
            peer.tell(self._context.envelope("resumed", part, now))
        self._sending.pump(peer, now)

    def _named(self, peer: Peer, word: Ack | Nack | Working) -> Outbox | None:
        """The outbox that is meant, of those whose messages leave over this peer's link."""
        if peer.destination.peer is not peer:
            return None
        outboxes = peer.destination.outboxes
        if word.channel is not None:
            return outboxes.get(word.channel)
        return next((one for one in outboxes.values() if one.has(word.id)), None)

    def _apply(
        self, peer: Peer, outbox: Outbox, settled: Settled, now: float, reason: str = ""
    ) -> None:
        if not settled.known:
            self._unknown()
            return
        self._settling.apply(peer.destination, outbox, settled, now, reason)
        word = settled.again or settled.dead or settled.handled[0]
        outbox.heard(word, now)
        if settled.again is not None:
            self._sending.timers.schedule(outbox, now)
        peer.list(outbox)
        self._sending.pump(peer, now)

    def _unknown(self) -> None:
        """It was about no delivery that is under way: late, made up, or told twice."""
        self._context.counters.one(self._context.counters.errors, "ack_unknown")
