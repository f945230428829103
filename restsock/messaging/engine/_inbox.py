"""What has come on one channel from one sender, and in which order it is handled.

Rules of an `Inbox`, for messages that have numbers and are sent at least once:

- A number up to `upto`, or in `done`, was dealt with: a message that comes again with it is only
  acknowledged. One that is here, waiting or being handled, is not put in twice either; its ack goes
  to the delivery that came last.
- In order, a message begins when each number below it is done, or is being handled. What is missing
  holds up those behind it until it comes, or until the sender says that it will not. They wait
  within the credit of their sender.
- One that was not handled is missing from then on.
- What is remembered one by one is bounded by `SPAN`: a message that would need more is refused.

A `Line` is for messages without that promise: they are handled as they come.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from heapq import heapify, heappop, heappush
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from ._outbox import SPAN
from ._payloads import Data
from ._records import Mark

if TYPE_CHECKING:
    from ._queue import Queue

__all__ = ["Delivery", "Epoch", "Inbox", "Line", "Verdict"]

Verdict: TypeAlias = Literal["new", "again", "duplicate", "refused"]
"""What came of a message: it is put in; it is here already; it was handled before; or there is no
room to remember it."""


class Delivery:
    """A message that has come.

    Attributes:
        data: what has come.
        size: bytes of its envelope.
        session: over what; the latest one, if it came again.
        line: the `Inbox` or `Line` that it is in.
        epoch: the epoch of the inbox.
        queue: counts it while it waits.
        ticket: its place there.
        started: whether a handler has it.
        missed: how many messages just before it will not come; `None` if that is not known.
        handled_by: the handlers that are done with it, from deliveries before.
        verdict: what a handler has said of it.
        owner: who waits until that is stored.
    """

    __slots__ = (
        "data",
        "epoch",
        "handled_by",
        "line",
        "missed",
        "owner",
        "queue",
        "session",
        "size",
        "started",
        "ticket",
        "verdict",
    )

    def __init__(self, data: Data, size: int, session: Any, line: Inbox | Line) -> None:
        self.data = data
        self.size = size
        self.session = session
        self.line = line
        self.epoch: Epoch | None = None
        self.queue: Queue[Delivery] | None = None
        self.ticket = 0
        self.started = False
        self.missed: int | None = None
        self.handled_by: set[int] | None = None
        self.verdict: Any = None
        self.owner: Any = None


class Epoch:
    """The messages of one epoch of an `Inbox`.

    Args:
        sender: who sends them.
        channel: the channel.
        epoch: of the numbers.
        upto: the number up to which all was dealt with.
        done: and those above it.

    Attributes:
        sender: and the others as above.
        upto: as above.
        stored: the number up to which the store knows that.
        unstored: how many messages were handled since.
    """

    def __init__(
        self, sender: str, channel: str, epoch: str, upto: int = 0, done: tuple[int, ...] = ()
    ) -> None:
        self.sender = sender
        self.channel = channel
        self.epoch = epoch
        self.upto = self.stored = upto
        self.unstored = 0
        self._done = set(done)
        self._here: dict[int, Delivery] = {}  # waiting or being handled
        self._waiting: list[int] = []  # a heap; what is not in `_here` any more is over
        self._failed: dict[int, set[int] | None] = {}  # and who has handled them all the same
        self._top = upto  # the highest number that was started or dealt with
        self._missed = 0  # that were skipped and not told yet

    @property
    def idle(self) -> bool:
        """Whether nothing waits here, and nothing is being handled."""
        return not self._here

    def receive(
        self, data: Data, size: int, session: Any, inbox: Inbox
    ) -> tuple[Verdict, Delivery | None]:
        """Takes in a message."""
        seq = data.seq
        here = self._here.get(seq)
        if here is not None:
            return "again", here
        if seq <= self.upto or seq in self._done:
            return "duplicate", None
        if len(self._done) + len(self._failed) >= SPAN and seq not in self._failed:
            return "refused", None
        delivery = Delivery(data, size, session, inbox)
        delivery.epoch = self
        self._here[seq] = delivery
        heappush(self._waiting, seq)
        return "new", delivery

    def next(self, *, ordered: bool) -> Delivery | None:
        """The message to begin with now, if there is one.

        Args:
            ordered: whether it has to be the one whose turn it is.
        """
        waiting = self._waiting
        while waiting:
            delivery = self._here.get(waiting[0])
            if delivery is None or delivery.started:
                heappop(waiting)
            elif ordered and waiting[0] != self._turn():
                return None
            else:
                heappop(waiting)
                self._start(delivery)
                return delivery
        return None

    def _turn(self) -> int:
        """The number whose turn it is."""
        turn = min(self._failed) if self._failed else self._top + 1
        while turn in self._done:
            turn += 1
        return turn

    def _start(self, delivery: Delivery) -> None:
        seq = delivery.data.seq
        delivery.started = True
        delivery.handled_by = self._failed.pop(seq, None)
        delivery.missed, self._missed = self._missed, 0
        self._top = max(self._top, seq)

    def finish(self, delivery: Delivery, *, handled: bool) -> Mark | None:
        """A message that was begun is finished.

        Returns:
            What to note of it, if it was handled.
        """
        seq = delivery.data.seq
        self._here.pop(seq, None)
        if seq <= self.upto:  # skipped meanwhile
            return Mark(self.sender, self.channel, self.epoch, self.upto) if handled else None
        if not handled:
            self._failed[seq] = delivery.handled_by
            return None
        return self._note(seq)

    def mark(self, seq: int) -> Mark:
        """What to note of a message of that number, once it is handled."""
        seqs = (seq,) if seq > self.upto else ()
        return Mark(self.sender, self.channel, self.epoch, self.upto, seqs)

    def drop(self, session: Any) -> list[Delivery]:
        """The session has ended: what came over it and was not begun comes again over the next.

        Returns:
            What was dropped.
        """
        dropped = [one for one in self._here.values() if one.session is session and not one.started]
        for delivery in dropped:
            del self._here[delivery.data.seq]
        if dropped:
            self._waiting = [seq for seq in self._waiting if seq in self._here]
            heapify(self._waiting)
        return dropped

    def skip(self, next: int) -> tuple[list[Delivery], int]:
        """No number below this one will come.

        Returns:
            What came and was not begun, which is over; and how many will not come, of those that
            this side has not refused itself.
        """
        if next - 1 <= self.upto:
            return [], 0
        below = [one for seq, one in self._here.items() if seq < next]
        dropped = [one for one in below if not one.started]
        known = [*filter(lambda seq: seq < next, self._done)]
        known += filter(lambda seq: seq < next, self._failed)
        missed = next - 1 - self.upto - len(known) - (len(below) - len(dropped))
        self._missed += missed
        for delivery in dropped:
            del self._here[delivery.data.seq]
        self.upto = next - 1
        self._done.difference_update(known)
        self._advance()
        return dropped, missed

    def _note(self, seq: int) -> Mark:
        self._done.add(seq)
        self._advance()
        return self.mark(seq)

    def _advance(self) -> None:
        """Brings `upto` as far as it goes, and forgets what it covers."""
        done = self._done
        upto = self.upto
        while upto + 1 in done:
            upto += 1
            done.discard(upto)
        self.upto = upto
        if self._top < upto:
            self._top = upto
        if self._failed:
            self._failed = {seq: by for seq, by in self._failed.items() if seq > upto}


class Inbox:
    """Messages with numbers: of one sender and channel.

    A sender that has begun anew has a new epoch. As long as it lives it sends those of one epoch at
    a time.

    Args:
        sender: who sends them.
        channel: the channel.

    Attributes:
        sender: and the other as above.
        epochs: by name, the latest used last.
        active: how many messages are being handled.
    """

    def __init__(self, sender: str, channel: str) -> None:
        self.sender = sender
        self.channel = channel
        self.epochs: OrderedDict[str, Epoch] = OrderedDict()
        self.active = 0

    @property
    def idle(self) -> bool:
        """Whether nothing waits here, and nothing is being handled."""
        return all(epoch.idle for epoch in self.epochs.values())

    def receive(
        self, data: Data, size: int, session: Any, now: float
    ) -> tuple[Verdict, Delivery | None]:
        """Takes in a message, of an epoch that is there."""
        return self.epochs[data.epoch].receive(data, size, session, self)

    def next(self, window: int, *, ordered: bool) -> Delivery | None:
        """The message to begin with now, if there is one.

        Args:
            window: how many may be handled at once.
            ordered: whether it has to be the one whose turn it is.
        """
        if self.active >= window:
            return None
        for epoch in self.epochs.values():
            delivery = epoch.next(ordered=ordered)
            if delivery is not None:
                self.active += 1
                return delivery
        return None

    def finish(self, delivery: Delivery, now: float, *, handled: bool) -> Mark | None:
        """A message that was begun is finished.

        Returns:
            What to note of it, if it was handled.
        """
        self.active -= 1
        assert delivery.epoch is not None
        return delivery.epoch.finish(delivery, handled=handled)


class Line:
    """Messages that are handled as they come: of one sender and channel.

    Those that have no number, and want an ack all the same, are known by their ids for a while.

    Args:
        sender: who sends them.
        channel: the channel.
        epochs: of how many epochs the last number is known.
        ids: how many ids are known of messages that were handled.
        seconds: for how long.

    Attributes:
        sender: and the other as above.
        active: how many are being handled.
    """

    def __init__(self, sender: str, channel: str, *, epochs: int, ids: int, seconds: float) -> None:
        self.sender = sender
        self.channel = channel
        self.active = 0
        self._epochs = epochs
        self._ids = ids
        self._seconds = seconds
        self._last: OrderedDict[str, int] = OrderedDict()
        self._waiting: deque[Delivery] = deque()
        self._here: dict[str, Delivery] = {}  # of those that are known by their ids
        self._handled: OrderedDict[str, float] = OrderedDict()  # until when their ids are known

    @property
    def idle(self) -> bool:
        """Whether nothing waits here, and nothing is being handled."""
        return not self._waiting and not self.active

    @property
    def last(self) -> tuple[str, int]:
        """The epoch and number of the last message; empty and 0 if it has none."""
        return next(reversed(self._last.items())) if self._last else ("", 0)

    def receive(
        self, data: Data, size: int, session: Any, now: float
    ) -> tuple[Verdict, Delivery | None]:
        """Takes in a message."""
        missed: int | None = None
        by_id = data.reliable and not data.seq
        if by_id:
            self._forget(now)
            if data.id in self._here:
                return "again", self._here[data.id]
            if data.id in self._handled:
                return "duplicate", None
        elif data.seq:
            last = self._last.get(data.epoch)
            if last is not None:
                if data.seq <= last:
                    return "duplicate", None
                missed = data.seq - last - 1
                self._last.move_to_end(data.epoch)
            self._last[data.epoch] = data.seq
            if len(self._last) > self._epochs:
                self._last.popitem(last=False)
        delivery = Delivery(data, size, session, self)
        delivery.missed = missed
        self._waiting.append(delivery)
        if by_id:
            self._here[data.id] = delivery
        return "new", delivery

    def begin_epoch(self, epoch: str, seq: int) -> None:
        """Numbers of this epoch follow this one, if none has come yet."""
        self._last.setdefault(epoch, seq)
        self._last.move_to_end(epoch)
        if len(self._last) > self._epochs:
            self._last.popitem(last=False)

    def next(self, window: int, *, ordered: bool) -> Delivery | None:
        """The message to begin with now, if there is one; see `Inbox.next`."""
        if self.active >= window or not self._waiting:
            return None
        delivery = self._waiting.popleft()
        delivery.started = True
        self.active += 1
        return delivery

    def finish(self, delivery: Delivery, now: float, *, handled: bool) -> None:
        """A message that was begun is finished."""
        self.active -= 1
        id = delivery.data.id
        if self._here.pop(id, None) is not None and handled:
            self._handled[id] = now + self._seconds
            if len(self._handled) > self._ids:
                self._handled.popitem(last=False)

    def _forget(self, now: float) -> None:
        handled = self._handled
        while handled and next(iter(handled.values())) <= now:
            handled.popitem(last=False)

    def refuse(self, delivery: Delivery) -> None:
        """A message that was not begun is given up."""
        self._here.pop(delivery.data.id, None)
        if self._waiting and self._waiting[0] is delivery:
            self._waiting.popleft()
        else:
            self._waiting.remove(delivery)
