"""What an engine keeps in a store: messages that are not handled yet, and which ones were."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

__all__ = ["DeadLetter", "InboxKey", "Mark", "OutRecord", "RecordKey"]

RecordKey: TypeAlias = tuple[str, str, str, int]
"""Destination, channel, epoch and sequence number of a message."""

InboxKey: TypeAlias = tuple[str, str, str]
"""Sender, channel and epoch of the messages that a mark is about."""


@dataclass(frozen=True, slots=True)
class OutRecord:
    """A message that is sent at least once, until its receiver has handled it.

    Attributes:
        destination: the name of the peer; empty for the listener that was dialed.
        channel: the channel.
        epoch: of the run that has numbered it. A new run has a new one, and begins at 1.
        seq: its number in that destination, channel and epoch, from 1.
        id: the id of the envelope, a UUID.
        timestamp: when it was sent, Unix time in milliseconds.
        content: the members of its payload that never change, as JSON text without braces:
            `"body":{"t":21.5},"headers":{"unit":"C"}`.
        attempts: how many deliveries have failed.
    """

    destination: str
    channel: str
    epoch: str
    seq: int
    id: str
    timestamp: int
    content: str
    attempts: int = 0

    @property
    def key(self) -> RecordKey:
        """What names it in a store."""
        return self.destination, self.channel, self.epoch, self.seq


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """A message that is not sent any more, though nobody has handled it.

    Attributes:
        record: the message.
        reason: why, in a word or a line: what the receiver gave, or `"attempts"`, `"overflow"`,
            `"too_large"`.
        at: when it was given up, Unix time in seconds.
    """

    record: OutRecord
    reason: str
    at: float


@dataclass(frozen=True, slots=True)
class Mark:
    """Which messages of a sender were handled.

    To a store it is a change: `upto` replaces the one before, `seqs` are added, and those up to
    `upto` are forgotten. From a store it is all there is.

    Attributes:
        sender: who sent them, as `Engine` names a peer.
        channel: the channel.
        epoch: the sender's.
        upto: all up to this one are done with.
        seqs: so are these above it.
    """

    sender: str
    channel: str
    epoch: str
    upto: int
    seqs: tuple[int, ...] = ()

    @property
    def key(self) -> InboxKey:
        """What names it in a store."""
        return self.sender, self.channel, self.epoch
