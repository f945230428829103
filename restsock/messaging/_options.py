"""MessagingOptions: how much of everything, and how long, as one frozen object."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal, TypeAlias, get_args

from restsock._options import Backoff, between, not_negative, positive

__all__ = ["Delivery", "MessagingOptions", "QueuePolicy"]

Delivery: TypeAlias = Literal["at_most_once", "at_least_once"]
"""What is promised of a message: that it is never handled twice, or that it is handled."""

QueuePolicy: TypeAlias = Literal["drop_oldest", "drop_newest", "block", "disconnect"]
"""What happens when a queue is full: the oldest message goes, or the new one; who puts it in waits
(the socket is not read); or the connection is closed with 1013."""


@dataclass(frozen=True, kw_only=True)
class MessagingOptions:
    """Options of a `Messaging`. Sizes in bytes, times in seconds.

    Raises:
        ValueError: a value is not valid; the message names it.
    """

    max_message: int = 64 * 1024
    """Bytes of the largest envelope that this side takes, and of the largest it makes."""

    credit_messages: int = 64
    """Messages that a peer may have under way here: received, and not handled yet."""

    credit_bytes: int = 1024 * 1024
    """Bytes of those messages. Twice `max_message` at least."""

    ack_timeout: float = 30.0
    """How long a receiver may take for a message before it is sent again. It may ask for more."""

    redelivery: Backoff = field(default_factory=lambda: Backoff(tries=10))
    """How long to wait before a message is sent again that was not handled. After so many `tries`
    it is a dead letter; 0 never gives up."""

    outbox_messages: int = 100_000
    """Messages of one destination that wait to be handled, of those that are sent at least once."""

    outbox_bytes: int = 64 * 1024 * 1024
    """Bytes of those messages."""

    outbox_full: QueuePolicy = "block"
    """What `send` does then: `"block"` waits, `"drop_newest"` raises `QueueFull`, `"drop_oldest"`
    makes a dead letter of the oldest one."""

    queue_messages: int = 1000
    """Messages that wait to be sent at most once, for each destination; and messages of a foreign
    peer that wait to be handled."""

    queue_bytes: int = 4 * 1024 * 1024
    """Bytes of those messages."""

    queue_full: QueuePolicy = "drop_oldest"
    """What happens then. Each drop is counted, and that of a message which its sender wants to be
    told of is answered with a nack."""

    foreign_rate: float | None = None
    """Messages a second that a foreign peer may send, and at most so many at once. It is read no
    quicker. `None` sets no bound."""

    slow_above: float = 0.8
    """The part of a queue from which on a foreign peer is told that it is too quick."""

    slow_below: float = 0.6
    """The part below which it may be told again."""

    dedup_messages: int = 10_000
    """Messages of one sender and channel of which it is known one by one that they were handled,
    beside all those up to some number."""

    dedup_seconds: float = 600.0
    """How long the id of a message is known whose sender gives no numbers."""

    ask_timeout: float = 5.0
    """How long `ask` waits for its answer."""

    ask_limit: int = 10
    """Requests to one session, and of one session, that are open at once."""

    history_messages: int = 100
    """Messages of a published channel that are kept for subscribers who come back; 0 for none."""

    history_bytes: int = 1024 * 1024
    """Bytes of those messages."""

    history_seconds: float = 60.0
    """For how long."""

    max_channels: int = 200
    """Channels of one peer; and channels that are counted by name."""

    max_epochs: int = 16
    """Runs of one sender of which is remembered what was handled."""

    max_inboxes: int = 50_000
    """What is remembered in all of what was handled: for each sender, channel and run of it. Above
    it the senders that were gone for longest are forgotten."""

    dead_letters: int = 1000
    """Dead letters that are at hand."""

    threads: int = 32
    """Threads for handlers and methods that are plain functions."""

    grace: float = 5.0
    """How long handlers may take to their end when the messaging is closed."""

    def __post_init__(self) -> None:
        between(self, "max_message", 16 * 1024, 64 * 1024)
        between(self, "credit_messages", 1, 2**31 - 1)
        between(self, "credit_bytes", 2 * self.max_message, 2**53)
        for name in ("ack_timeout", "dedup_seconds", "ask_timeout"):
            positive(self, name)
        if self.foreign_rate is not None:
            positive(self, "foreign_rate")
        for name in ("history_seconds", "grace"):
            not_negative(self, name)
        for name in ("outbox_messages", "queue_messages", "ask_limit", "threads"):
            between(self, name, 1, 2**31)
        for name in ("outbox_bytes", "queue_bytes"):
            between(self, name, self.max_message, 2**53)
        for name in ("max_channels", "max_epochs", "max_inboxes", "dedup_messages"):
            between(self, name, 1, 2**31)
        for name in ("history_messages", "dead_letters"):
            between(self, name, 0, 2**31)
        between(self, "history_bytes", 0, 2**53)
        _one_of(self, "queue_full", get_args(QueuePolicy))
        _one_of(self, "outbox_full", ("block", "drop_newest", "drop_oldest"))
        if not 0 < self.slow_below < self.slow_above <= 1:
            raise ValueError(
                "MessagingOptions.slow_below must be above 0 and below slow_above, which is at"
                f" most 1, not {self.slow_below!r} and {self.slow_above!r}"
            )


def _one_of(options: object, name: str, values: tuple[str, ...]) -> None:
    value = getattr(options, name)
    if value not in values:
        known = ", ".join(map(repr, values))
        raise ValueError(f"{type(options).__name__}.{name} must be one of {known}, not {value!r}")
