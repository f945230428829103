"""What an exchange tells its observer, beside the events of its stream."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

from restsock._exceptions import RestsockError
from restsock.protocol import DataReceived, EndReceived, ResponseReceived, StopSending

__all__ = [
    "ExchangeEvent",
    "Failed",
    "Requeued",
    "Started",
    "Writable",
    "ignore",
    "unobserved",
]


@dataclass(frozen=True, slots=True)
class Started:
    """An exchange of this side has a stream now. From here on it may run at the peer."""


@dataclass(frozen=True, slots=True)
class Requeued:
    """The peer provably did not start on the exchange, which waits for another stream.

    It has none until the next `Started`; what was sent of it is going to be sent again.
    """

    error: RestsockError


@dataclass(frozen=True, slots=True)
class Writable:
    """`buffered` has fallen to half of the send buffer, after it had been above the whole."""


@dataclass(frozen=True, slots=True)
class Failed:
    """The exchange is over before its time; the last event."""

    error: RestsockError


ExchangeEvent: TypeAlias = (
    Started
    | Requeued
    | ResponseReceived
    | DataReceived
    | EndReceived
    | Writable
    | StopSending
    | Failed
)


def ignore(event: ExchangeEvent) -> None:
    """Observes nothing: for an exchange that is over, or that is answered at once."""


def unobserved(event: ExchangeEvent) -> None:
    """Stands in for an observer, until there is one."""
    raise AssertionError("an event before there is an observer")
