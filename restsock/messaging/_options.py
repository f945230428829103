"""MessagingOptions: limits and times, as one frozen object."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal, TypeAlias, get_args

from restsock._options import Backoff, between, not_negative, positive

__all__ = ["Delivery", "MessagingOptions", "QueuePolicy"]

Delivery: TypeAlias = Literal["at_most_once", "at_least_once"]
"""The guarantee for a message: it is never handled twice, or it is handled."""

QueuePolicy: TypeAlias = Literal["drop_oldest", "drop_newest", "block", "disconnect"]
"""What happens when a queue is full: the oldest or the new message is dropped; the sender waits
(the socket is not read); or the connection is closed with 1013."""


@dataclass(frozen=True, kw_only=True)
class MessagingOptions:
    """Options of a `Messaging`. Sizes in bytes, times in seconds.

    Raises:
        ValueError: a value is not valid; the message names it.
    """

    max_message: int = 64 * 1024
    """Bytes of the largest envelope that this side accepts or sends."""

    credit_messages: int = 64
    """Messages of a peer that are received, and not handled yet."""

    credit_bytes: int = 1024 * 1024
    """Bytes of those messages. At least twice `max_message`."""

    ack_timeout: float = 30.0
    """How long a receiver may take for a message before it is sent again. It may ask for more."""

    redelivery: Backoff = field(default_factory=lambda: Backoff(tries=10))
    """How long to wait before a message that was not handled is sent again. After `tries` attempts
    it is a dead letter; 0 never gives up."""

    outbox_messages: int = 100_000
    """At-least-once messages to one destination that are not handled yet."""

    outbox_bytes: int = 64 * 1024 * 1024
    """Bytes of those messages."""

    outbox_full: QueuePolicy = "block"
    """What `send` does when that is full: `"block"` waits, `"drop_newest"` raises `QueueFull`,
    `"drop_oldest"` makes the oldest message a dead letter."""

    queue_messages: int = 1000
    """At-most-once messages that wait for one destination; and messages of a foreign peer that wait
    to be handled."""

    queue_bytes: int = 4 * 1024 * 1024
    """Bytes of those messages."""

    queue_full: QueuePolicy = "drop_oldest"
    """What happens when that is full. Each drop is counted. If the sender of a dropped message
    expects an ack, it gets a nack."""

    foreign_rate: float | None = None
    """Messages per second of a foreign peer, and the most at once. Its socket is not read any
    faster. `None` sets no bound."""

    slow_above: float = 0.8
    """The share of a queue above which a foreign peer is sent `slow`."""

    slow_below: float = 0.6
    """The share below which it may be sent `slow` again."""

    dedup_messages: int = 10_000
    """Handled messages of one sender and channel that are remembered one by one, in addition to all
    those up to some number."""

    dedup_seconds: float = 600.0
    """How long the id of a message is remembered if its sender does not number messages."""

    ask_timeout: float = 5.0
    """How long `ask` waits for its answer."""

    ask_limit: int = 10
    """Requests to one session, and from one session, that are open at once."""

    history_messages: int = 100
    """Messages of a published channel that are kept for subscribers that reconnect; 0 for none."""

    history_bytes: int = 1024 * 1024
    """Bytes of those messages."""

    history_seconds: float = 60.0
    """How long those messages are kept."""

    max_channels: int = 200
    """Channels of one peer, and channels that are counted by name."""

    max_epochs: int = 16
    """Runs of one sender for which handled messages are remembered."""

    max_inboxes: int = 50_000
    """Notes of handled messages in all: one for each sender, channel and run of the sender. Above
    it, the senders that have been away longest are forgotten."""

    dead_letters: int = 1000
    """Dead letters that `Messaging.dead_letters` has."""

    threads: int = 32
    """Threads for handlers and methods that are plain functions."""

    grace: float = 5.0
    """How long handlers may go on when the messaging is closed."""

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
