"""What becomes of a message that has left: it was handled, it leaves again, or it is given up."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from ._entry import Entry, Settled
from ._outbox import Outbox
from ._peer import Destination

if TYPE_CHECKING:
    from ._context import Context

__all__ = ["Settling"]

# Why a message is given up on this side.
_OWN_REASONS = frozenset({"attempts", "overflow", "too_large", "closed"})


class Settling:
    """Counts it, notes it for the store, and tells the host.

    Args:
        context: what the parts of an engine share.
    """

    def __init__(self, context: Context) -> None:
        self._context = context

    def apply(
        self, destination: Destination, outbox: Outbox, settled: Settled, now: float, reason: str
    ) -> None:
        """What came of a word of the receiver, or of its silence.

        Args:
            destination: whose outbox it is.
            outbox: the outbox.
            settled: what came of it.
            now: the time.
            reason: why a message was given up, if one was.
        """
        if settled.handled:
            self.handled(destination, outbox, settled.handled)
        elif settled.dead is not None:
            self.bury(destination, outbox, settled.dead, reason, now)
        elif settled.again is not None:
            entry = settled.again
            destination.troubled.add(outbox)
            if not destination.temporary:
                self._context.effects.attempts[outbox.record(entry).key] = entry.attempts
                self._context.dirty()

    def handled(self, destination: Destination, outbox: Outbox, entries: Sequence[Entry]) -> None:
        """Messages were handled."""
        counters = self._context.counters
        counters.by_channel(counters.acknowledged, outbox.channel, len(entries))
        if not destination.temporary:
            names = outbox.destination, outbox.channel
            done = self._context.effects.done
            for entry in entries:
                done.append((*names, entry.epoch, entry.seq))
            self._context.dirty()
        self.left(destination, outbox, entries)

    def bury(
        self, destination: Destination, outbox: Outbox, entry: Entry, reason: str, now: float
    ) -> None:
        """A message was given up: it is a dead letter from now on."""
        context = self._context
        letter = outbox.letter(entry, reason, now + context.wall)
        entry.content = ""
        label = reason if reason in _OWN_REASONS else "refused"
        context.counters.one(context.counters.dead, label)
        if not destination.temporary:
            context.effects.dead.append(letter)
            context.dirty()
        context.host.dead(letter)
        self.left(destination, outbox, [entry])

    def left(self, destination: Destination, outbox: Outbox, entries: Sequence[Entry]) -> None:
        """Messages are not in an outbox any more."""
        destination.messages -= len(entries)
        for entry in entries:
            destination.bytes -= entry.size
        if outbox.skip_due and destination.peer is not None:
            destination.peer.list(outbox)
        self._context.host.room(destination)
