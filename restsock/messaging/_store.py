"""Stores: messages that wait to be delivered, and notes of handled ones."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

from .engine import DeadLetter, InboxKey, Mark, OutRecord, RecordKey

__all__ = ["Loaded", "MemoryStore", "Store"]


@dataclass(frozen=True, slots=True)
class Loaded:
    """What a store holds when it is opened.

    Attributes:
        records: messages that are still to be delivered, in the order in which they were added.
        marks: which messages of each sender were handled, the least recently changed first.
        dead: dead letters, the oldest first.
    """

    records: Sequence[OutRecord] = ()
    marks: Sequence[Mark] = ()
    dead: Sequence[DeadLetter] = ()


class Store(Protocol):
    """Keeps the outbox and the inbox of one `Messaging`; used by one at a time, on its loop.

    Each method returns when its data is as safe as this store makes it. All raise the errors of the
    storage (`OSError`, `sqlite3.Error`). Then nothing of that call is stored, and the engine raises
    an error or tries again. A cancelled call may still have been stored.
    """

    @property
    def durable(self) -> bool:
        """Whether a call may take long: the engine then collects further data meanwhile."""

    async def open(self) -> None:
        """Opens it. Raises what makes it unusable."""

    async def load(self) -> Loaded:
        """Everything that it holds. Called once, after `open`."""

    async def add(self, records: Sequence[OutRecord]) -> None:
        """Adds messages to the outbox, all or none."""

    async def done(self, keys: Sequence[RecordKey]) -> None:
        """Removes messages that were handled. Unknown ones are ignored."""

    async def attempts(self, counts: Mapping[RecordKey, int]) -> None:
        """Notes how many deliveries of a message have failed. Unknown ones are ignored."""

    async def dead(self, letters: Sequence[DeadLetter]) -> None:
        """Moves messages from the outbox to the dead letters."""

    async def revive(self, keys: Sequence[RecordKey]) -> None:
        """Removes dead letters that were sent again or deleted. Unknown ones are ignored."""

    async def mark(self, marks: Sequence[Mark]) -> None:
        """Notes messages as handled. Their acknowledgement is sent after this.

        A note up to a number remains, even if a later call names a lower one.
        """

    async def forget(self, keys: Sequence[InboxKey]) -> None:
        """Removes marks of senders' epochs that are over."""

    async def aclose(self) -> None:
        """Closes it. Data of calls that have returned is kept."""


class MemoryStore:
    """Keeps everything in memory: it survives a `Messaging`, but not the process.

    Args:
        dead_letters: how many of them are kept; above it, the oldest are dropped.
    """

    def __init__(self, *, dead_letters: int = 1000) -> None:
        if dead_letters < 0:
            raise ValueError(f"dead_letters must be 0 or more, not {dead_letters!r}")
        self._records: dict[RecordKey, OutRecord] = {}
        self._marks: dict[InboxKey, tuple[int, set[int]]] = {}
        self._dead: dict[RecordKey, DeadLetter] = {}
        self._dead_letters = dead_letters

    @property
    def durable(self) -> bool:
        """It never takes long."""
        return False

    async def open(self) -> None:
        """See `Store`. Raises nothing."""

    async def load(self) -> Loaded:
        """See `Store`. Raises nothing."""
        marks = [
            Mark(*key, upto=upto, seqs=tuple(sorted(seqs)))
            for key, (upto, seqs) in self._marks.items()
        ]
        return Loaded(tuple(self._records.values()), tuple(marks), tuple(self._dead.values()))

    async def add(self, records: Sequence[OutRecord]) -> None:
        """See `Store`. Raises nothing."""
        for record in records:
            self._records[record.key] = record

    async def done(self, keys: Sequence[RecordKey]) -> None:
        """See `Store`. Raises nothing."""
        for key in keys:
            self._records.pop(key, None)

    async def attempts(self, counts: Mapping[RecordKey, int]) -> None:
        """See `Store`. Raises nothing."""
        for key, count in counts.items():
            if (record := self._records.get(key)) is not None:
                self._records[key] = replace(record, attempts=count)

    async def dead(self, letters: Sequence[DeadLetter]) -> None:
        """See `Store`. Raises nothing."""
        for letter in letters:
            self._records.pop(letter.record.key, None)
            self._dead[letter.record.key] = letter
        while len(self._dead) > self._dead_letters:
            del self._dead[next(iter(self._dead))]

    async def revive(self, keys: Sequence[RecordKey]) -> None:
        """See `Store`. Raises nothing."""
        for key in keys:
            self._dead.pop(key, None)

    async def mark(self, marks: Sequence[Mark]) -> None:
        """See `Store`. Raises nothing."""
        for mark in marks:
            before, seqs = self._marks.pop(mark.key, (0, set()))  # to the end: last changed
            upto = max(before, mark.upto)
            seqs.update(mark.seqs)
            if seqs:
                seqs = {seq for seq in seqs if seq > upto}
            self._marks[mark.key] = (upto, seqs)

    async def forget(self, keys: Sequence[InboxKey]) -> None:
        """See `Store`. Raises nothing."""
        for key in keys:
            self._marks.pop(key, None)

    async def aclose(self) -> None:
        """See `Store`. Raises nothing."""
