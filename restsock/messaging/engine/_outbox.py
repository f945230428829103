"""The messages of one destination and channel that are sent at least once.

Rules:

- A message leaves in order of its number. What leaves again, after a nack or without an ack in
  time, leaves on its own; its receiver keeps what comes behind it until then.
- An ack, nack or working names a delivery: the id of the message, its number and the attempt. It
  counts for the delivery that is under way and for no other; what was sent on a link that is gone
  is under way no more.
- An attempt is a delivery that has failed: by a nack of the receiver that has tried, or by silence.
  A receiver that keeps the order has messages wait for those before them. So with each word about a
  message the time of those behind it begins anew, and silence is a failure of the lowest message
  alone: others are sent again, as the same attempt.
  A link that ends is nobody's failure, so being cut off makes no dead letters.
- When a message is given up, the receiver is told that it will not come (`skip_due`), since it may
  be waiting for it.
- Messages of a former run are sent before those of this one, by their own numbers.
- No number leaves that is `SPAN` above the lowest one that is not settled: a receiver need not
  remember more than that.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Callable
from heapq import heappop, heappush

from restsock._options import Backoff

from ._entry import Entry, Settled
from ._payloads import DATA_OVERHEAD, ResumePoint
from ._records import DeadLetter, OutRecord

__all__ = ["NOT_TRIED", "SPAN", "Outbox"]

SPAN = 10_000
# Reasons of a nack that say that the message was not looked at.
NOT_TRIED = frozenset({"overflow", "no_handler", "closing", "credit", "gap"})


_UNKNOWN = Settled(known=False)


class Outbox:
    """The messages of one destination and channel.

    Args:
        destination: where they go.
        channel: on which channel.
        epoch: of the numbers of this run.
        ack_timeout: seconds.
        redelivery: when a message that has failed is sent again, and how often.

    Attributes:
        destination: as above.
        channel: as above.
        epoch: as above.
        seq: the last number that was given.
        bytes: of all messages in it.
        again_bytes: of those that have failed and leave again.
        skip_due: whether the receiver is to be told that something does not come (`skip_point`).
        introduced: whether something was sent on the present link.
        timer: for who keeps the times: when it is known to be due.
    """

    def __init__(
        self, destination: str, channel: str, epoch: str, *, ack_timeout: float, redelivery: Backoff
    ) -> None:
        self.destination = destination
        self.channel = channel
        self.epoch = epoch
        self.seq = 0
        self.bytes = 0
        self.again_bytes = 0
        self.skip_due = False
        self.introduced = False
        self.timer: float | None = None
        self._ack_timeout = ack_timeout
        self._redelivery = redelivery
        self._count = 0
        self._order: deque[Entry] = deque()  # all that are not settled, and some that are
        self._unsent: deque[Entry] = deque()
        # Under way, by id: the first one is due first; those that may take longer are apart.
        self._in_flight: OrderedDict[str, Entry] = OrderedDict()
        self._extended: dict[str, Entry] = {}
        # Those that have failed and leave again, and when; what is not in the first is over.
        self._again: dict[str, Entry] = {}
        self._again_due: list[tuple[float, int, str]] = []
        # The last word of the receiver: about which number, and for how long others wait for it.
        self._heard = ("", 0, 0.0)
        self._gone = ("", 0)  # the last message that was given up, of those that are over

    def __len__(self) -> int:
        return self._count

    @property
    def pending(self) -> bool:
        """Whether there may be more to send: messages, or word of what does not come."""
        return bool(self._unsent or self._again or self.skip_due)

    @property
    def in_flight(self) -> int:
        """How many messages are under way."""
        return len(self._in_flight) + len(self._extended)

    @property
    def again(self) -> int:
        """How many have failed and leave again."""
        return len(self._again)

    def has(self, id: str) -> bool:
        """Whether a message of that id is under way."""
        return id in self._in_flight or id in self._extended

    # --- what is put in -----------------------------------------------------------------------

    def add(self, id: str, timestamp: int, content: str, size: int) -> Entry:
        """A new message, with the next number. It leaves once it was `saved`.

        Args:
            id: of its envelope.
            timestamp: of its envelope.
            content: as in `OutRecord`.
            size: bytes of the content and the channel.
        """
        self.seq += 1
        entry = Entry(self.epoch, self.seq, id, timestamp, content, size + DATA_OVERHEAD, 0)
        self._put(entry)
        return entry

    def restore(self, record: OutRecord, size: int) -> None:
        """A message of a former run, in the order in which they were added."""
        entry = Entry(
            record.epoch,
            record.seq,
            record.id,
            record.timestamp,
            record.content,
            size + DATA_OVERHEAD,
            record.attempts,
        )
        self._put(entry)
        self.saved(entry)

    def _put(self, entry: Entry) -> None:
        self._order.append(entry)
        self._count += 1
        self.bytes += entry.size

    def saved(self, entry: Entry) -> None:
        """The store has it: it may leave."""
        entry.stored = True
        if not entry.settled:
            self._unsent.append(entry)

    def oldest_idle(self) -> Entry | None:
        """The oldest message that is not under way, to be given up where there is no room."""
        busy = self._in_flight, self._extended
        for entry in self._order:
            idle = entry.stored and not entry.settled
            if idle and not any(entry.id in one for one in busy):
                return entry
        return None

    def drop(self, entry: Entry) -> None:
        """Gives a message up: the store does not have it, or there is no room."""
        if not entry.settled:
            self._give_up(entry)

    def record(self, entry: Entry) -> OutRecord:
        """A message as a store knows it."""
        return OutRecord(
            self.destination,
            self.channel,
            entry.epoch,
            entry.seq,
            entry.id,
            entry.timestamp,
            entry.content,
            entry.attempts,
        )

    def letter(self, entry: Entry, reason: str, at: float) -> DeadLetter:
        """A message that was given up, as a store knows it; Unix time in seconds."""
        return DeadLetter(self.record(entry), reason, at)

    # --- the link -----------------------------------------------------------------------------

    def detach(self) -> None:
        """There is no link now: what was under way leaves again, first and in order."""
        lost = [*self._in_flight.values(), *self._extended.values()]
        lost.sort(key=lambda entry: entry.seq)
        self._in_flight.clear()
        self._extended.clear()
        self._heard = ("", 0, 0.0)
        self._unsent.extendleft(reversed(lost))
        self.introduced = False
        self.skip_due = False  # the first message on the next link says it

    def next(self, now: float) -> tuple[Entry | None, bool]:
        """What leaves next, and whether it leaves again after it has failed.

        The numbers of one epoch at a time: those of the next begin when the last ones are settled.
        """
        again = self._next_again()
        if again is not None and again.due <= now:
            return again, True
        unsent = self._unsent
        while unsent and unsent[0].settled:
            unsent.popleft()
        if not unsent:
            return None, False
        first = self._lowest()
        assert first is not None
        entry = unsent[0]
        if entry.epoch != first.epoch or entry.seq >= first.seq + SPAN:
            return None, False
        return entry, False

    def _next_again(self) -> Entry | None:
        """The first message that is to leave again."""
        heap = self._again_due
        while heap:
            due, _, id = heap[0]
            entry = self._again.get(id)
            if entry is not None and entry.due == due:
                return entry
            heappop(heap)
        return None

    def sent(self, entry: Entry, now: float) -> None:
        """What `next` gave has left."""
        if self._again.pop(entry.id, None) is None:
            popped = self._unsent.popleft()
            assert popped is entry
        else:
            self.again_bytes -= entry.size
        entry.due = now + self._ack_timeout
        self._in_flight[entry.id] = entry
        self.introduced = True

    @property
    def low(self) -> int:
        """The lowest number that may still come, of the epoch that is being sent."""
        first = self._lowest()
        return self.seq + 1 if first is None else first.seq

    def skip_point(self) -> ResumePoint:
        """Where a receiver goes on that may wait for what was given up."""
        self.skip_due = False
        epoch, seq = self._gone
        point = self.point()
        return point if point.epoch == epoch else ResumePoint(epoch, seq + 1, False, None)

    def point(self) -> ResumePoint:
        """Where the channel goes on."""
        first = self._lowest()
        if first is None:
            return ResumePoint(self.epoch, self.seq + 1, False, None)
        return ResumePoint(first.epoch, first.seq, False, None)

    # --- the receiver's words -----------------------------------------------------------------

    def acknowledge(self, id: str, seq: int, attempt: int, *, upto: bool) -> Settled:
        """A delivery was handled; with `upto`, all of its epoch before it, too.

        Args:
            id: of the message.
            seq: its number; 0 if the receiver knows none.
            attempt: which delivery; 0 if the receiver does not know.
            upto: as above.
        """
        entry = self._delivered(id, seq, attempt)
        if entry is None:
            return _UNKNOWN
        handled = [entry]
        if upto:  # what is before it was sent before it, be it on a former link
            for other in self._order:
                if other is entry or other.epoch != entry.epoch:
                    break
                if not other.settled:
                    handled.append(other)
        for each in handled:
            self._settle(each)
        return Settled(handled=handled)

    def refuse(
        self,
        id: str,
        seq: int,
        attempt: int,
        *,
        reason: str,
        retry_after: float | None,
        final: bool,
        now: float,
        chance: float,
    ) -> Settled:
        """A delivery was not handled.

        Args:
            id: and the two others as in `acknowledge`.
            seq: see there.
            attempt: see there.
            reason: of the receiver.
            retry_after: seconds in which it is not to come again.
            final: whether it is not to come again at all.
            now: the time.
            chance: a random number in [0, 1).
        """
        entry = self._delivered(id, seq, attempt)
        if entry is None:
            return _UNKNOWN
        if final:
            self._give_up(entry)
            return Settled(dead=entry)
        return self._failed(entry, now, chance, retry_after, tried=reason not in NOT_TRIED)

    def extend(self, id: str, seq: int, attempt: int, seconds: float, now: float) -> bool:
        """A delivery takes its time. `False` if there is no such delivery under way."""
        entry = self._delivered(id, seq, attempt)
        if entry is None:
            return False
        self._in_flight.pop(id, None)
        self._extended[id] = entry
        entry.due = now + seconds
        self._note_word(entry, entry.due)
        return True

    def heard(self, entry: Entry, now: float) -> None:
        """A word about a message has come: those behind it may have waited for it."""
        self._note_word(entry, now + self._ack_timeout)

    def _note_word(self, entry: Entry, until: float) -> None:
        epoch, seq, before = self._heard
        # An ack may come after the word that more time is needed for the message after it.
        if entry.epoch != epoch or entry.seq >= seq or until > before:
            self._heard = entry.epoch, entry.seq, until

    def resume(self, epoch: str, seq: int) -> tuple[list[Entry], ResumePoint]:
        """The receiver is back, and has handled all up to a number of an epoch.

        Returns:
            What is done with by that, and where the channel goes on.
        """
        handled: list[Entry] = []
        if epoch == self.epoch and seq > self.seq:
            return handled, self.point()  # what it has handled was never sent
        for entry in self._order:
            if entry.epoch == epoch:
                if entry.seq > seq:
                    break
                if not entry.settled:
                    handled.append(entry)
        for entry in handled:
            self._settle(entry)
        point = self.point()
        if point.epoch == epoch:
            point.missed = max(0, point.next - seq - 1)
            point.recovered = not point.missed
        return handled, point

    def tick(self, now: float, chance: Callable[[], float]) -> list[Settled]:
        """Deals with deliveries that had no ack in time."""
        found = [entry for entry in self._extended.values() if entry.due <= now]
        for entry in self._in_flight.values():
            if entry.due > now:
                break
            found.append(entry)
        lowest = self._lowest()
        epoch, seq, until = self._heard
        settled = []
        for entry in found:
            if entry.epoch == epoch and entry.seq > seq and until > now:
                self._in_flight.pop(entry.id, None)
                self._extended[entry.id] = entry
                entry.due = until
            else:
                tried = entry is lowest
                settled.append(self._failed(entry, now, chance(), None, tried=tried))
        return settled

    def due(self, now: float) -> float | None:
        """When to call `tick`, or look at `next` again; `None` if nothing is to come.

        What is due already waits for room or credit, and not for its time.
        """
        times = [entry.due for entry in self._extended.values()]
        again = self._next_again()
        if again is not None:
            if again.due > now:
                times.append(again.due)
            else:
                times += [one.due for one in self._again.values() if one.due > now]
        if self._in_flight:
            times.append(next(iter(self._in_flight.values())).due)
        return min(times, default=None)

    # ------------------------------------------------------------------------------------------

    def _delivered(self, id: str, seq: int, attempt: int) -> Entry | None:
        entry = self._in_flight.get(id) or self._extended.get(id)
        if entry is None or (seq and entry.seq != seq):
            return None
        return entry if not attempt or attempt == entry.attempts + 1 else None

    def _failed(
        self, entry: Entry, now: float, chance: float, retry_after: float | None, *, tried: bool
    ) -> Settled:
        if tried:
            entry.attempts += 1
            tries = self._redelivery.tries
            if tries and entry.attempts >= tries:
                self._give_up(entry)
                return Settled(dead=entry)
        else:
            entry.refusals += 1
        if retry_after is None:
            retry_after = self._redelivery.delay(entry.attempts + entry.refusals, chance)
        self._in_flight.pop(entry.id, None)
        self._extended.pop(entry.id, None)
        entry.due = now + retry_after
        self._again[entry.id] = entry
        self.again_bytes += entry.size
        heappush(self._again_due, (entry.due, entry.seq, entry.id))
        return Settled(again=entry)

    def _give_up(self, entry: Entry) -> None:
        entry.gone = True
        self._settle(entry)
        self._lowest()

    def _settle(self, entry: Entry) -> None:
        entry.settled = True
        self._count -= 1
        self.bytes -= entry.size
        if self._in_flight.pop(entry.id, None) is None:
            self._extended.pop(entry.id, None)
            if self._again.pop(entry.id, None) is not None:
                self.again_bytes -= entry.size
        if not entry.gone:
            entry.content = ""  # it may stay behind one that is not settled
            self._lowest()

    def _lowest(self) -> Entry | None:
        """The first message that is not settled."""
        order = self._order
        while order and order[0].settled:
            entry = order.popleft()
            if entry.gone and self.introduced:
                self.skip_due = True
                self._gone = entry.epoch, entry.seq
        return order[0] if order else None
