"""A message in an outbox, and what comes of a word about it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

__all__ = ["Entry", "Settled"]


class Entry:
    """One message in an outbox.

    Attributes:
        epoch: of its number.
        seq: its number.
        id: of its envelope.
        timestamp: of its envelope.
        content: as in `OutRecord`.
        size: of its envelope, in bytes, at most.
        attempts: how many deliveries have failed.
        refusals: how often it was not looked at.
        due: when something happens: no ack came in time, or it leaves again.
        stored: whether the store has it.
        settled: whether it is over: handled, given up or withdrawn.
        gone: whether it is over, and its receiver has not handled it.
    """

    __slots__ = (
        "attempts",
        "content",
        "due",
        "epoch",
        "gone",
        "id",
        "refusals",
        "seq",
        "settled",
        "size",
        "stored",
        "timestamp",
    )

    def __init__(
        self, epoch: str, seq: int, id: str, timestamp: int, content: str, size: int, attempts: int
    ) -> None:
        self.epoch = epoch
        self.seq = seq
        self.id = id
        self.timestamp = timestamp
        self.content = content
        self.size = size
        self.attempts = attempts
        self.refusals = 0
        self.due = 0.0
        self.stored = self.settled = self.gone = False


class Settled(NamedTuple):
    """What came of a word of the receiver, or of its silence.

    Attributes:
        known: whether it was about a delivery that is under way.
        handled: the messages that are done with.
        dead: a message that was given up.
        again: one that will be sent again.
    """

    known: bool = True
    handled: Sequence[Entry] = ()
    dead: Entry | None = None
    again: Entry | None = None
