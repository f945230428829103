"""What connections have carried, in numbers.

A connection counts what happens to every request in a few integers. How a request that went wrong
ended, and which resets there were, is counted in a dictionary that is made with the first of it:
most of thousands of connections never need one.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from restsock.protocol import ResetCode

__all__ = ["OUTCOMES", "Counters", "EventCounts", "Statistics", "outcome_of", "reset_name"]

OUTCOMES = ("answered", "cancelled", "timed_out", "refused", "reset", "lost")
"""How a request can end once it has a stream.

- `answered`: the response was complete, whatever its status;
- `cancelled`: one side left it (CANCEL), mostly the one that had asked;
- `timed_out`: one side had enough of waiting (TIMEOUT);
- `refused`: it was not started (REFUSED) and may be sent again;
- `reset`: it was cut off for any other reason;
- `lost`: the connection ended under it.
"""

_BY_CODE = {
    ResetCode.NO_ERROR: "answered",
    ResetCode.CANCEL: "cancelled",
    ResetCode.TIMEOUT: "timed_out",
    ResetCode.REFUSED: "refused",
}

# What was counted, and which of it: ("sent", "cancelled"), ("resets_received", "FLOW").
EventCounts = dict[tuple[str, str], int]


def outcome_of(code: int) -> str:
    """How a request has ended that was reset with this code."""
    return _BY_CODE.get(code, "reset")  # type: ignore[call-overload,no-any-return]  # an int will do


def reset_name(code: int) -> str:
    """The name of a reset code; of those that are not defined, `"OTHER"`."""
    try:
        return ResetCode(code).name
    except ValueError:
        return "OTHER"


@dataclass(frozen=True, slots=True)
class Statistics:
    """Counters of a connection since its handshake, or of several together.

    What counts never falls; `open_streams`, `waiting_requests` and `round_trip` are of now. Ready
    for `dataclasses.asdict` and JSON.

    Attributes:
        bytes_sent: all that was handed to the socket (or to TLS).
        bytes_received: all that came from there.
        requests_sent: requests of this side that got a stream.
        requests_received: requests of the peer that were given to the app.
        open_streams: requests under way, both ways.
        waiting_requests: requests of this side that wait for a free stream.
        round_trip: seconds, from the latest pong; `None` before the first, and for a sum.
        sent: how `requests_sent` have ended, by `OUTCOMES`; those under way are in none.
        received: the same for `requests_received`.
        rejected: requests of the peer that were refused before the app saw them: malformed, too
            large, too many at once.
        resets_sent: streams that this side has cut off, by the name of the code.
        resets_received: streams that the peer has, a GOAWAY's refusals among them.
    """

    bytes_sent: int
    bytes_received: int
    requests_sent: int
    requests_received: int
    open_streams: int
    waiting_requests: int
    round_trip: float | None
    sent: Mapping[str, int] = field(default_factory=dict)
    received: Mapping[str, int] = field(default_factory=dict)
    rejected: int = 0
    resets_sent: Mapping[str, int] = field(default_factory=dict)
    resets_received: Mapping[str, int] = field(default_factory=dict)


class Counters:
    """Counters of one connection, or of several together.

    Attributes:
        bytes_sent: and the four below it as in `Statistics`.
        open_sent: requests of this side under way.
        open_received: requests of the peer under way.
        open_streams: what the protocol still has open.
    """

    __slots__ = (
        "bytes_received",
        "bytes_sent",
        "event_counts",
        "open_received",
        "open_sent",
        "open_streams",
        "requests_received",
        "requests_sent",
        "waiting_requests",
    )

    def __init__(self) -> None:
        self.bytes_sent = self.bytes_received = 0
        self.requests_sent = self.requests_received = 0
        self.open_sent = self.open_received = self.open_streams = 0
        self.waiting_requests = 0
        self.event_counts: EventCounts = {}

    def copy(self) -> Counters:
        """The same, to go on from."""
        other = Counters()
        for name in self.__slots__:
            setattr(other, name, getattr(self, name))
        other.event_counts = dict(self.event_counts)
        return other

    def add_event_counts(self, event_counts: EventCounts) -> None:
        """Adds the event counts of a connection."""
        for key, count in event_counts.items():
            self.event_counts[key] = self.event_counts.get(key, 0) + count

    def statistics(self, round_trip: float | None = None) -> Statistics:
        """The sum as it is now."""
        return Statistics(
            bytes_sent=self.bytes_sent,
            bytes_received=self.bytes_received,
            requests_sent=self.requests_sent,
            requests_received=self.requests_received,
            open_streams=self.open_streams,
            waiting_requests=self.waiting_requests,
            round_trip=round_trip,
            sent=self._outcomes("sent", self.requests_sent - self.open_sent),
            received=self._outcomes("received", self.requests_received - self.open_received),
            rejected=sum(self._named("rejected").values()),
            resets_sent=self._named("resets_sent"),
            resets_received=self._named("resets_received"),
        )

    def _outcomes(self, direction: str, ended: int) -> dict[str, int]:
        """All outcomes; that of most requests is not counted, but follows from the others."""
        counts = dict.fromkeys(OUTCOMES, 0) | self._named(direction)
        counts["answered"] = ended - sum(counts.values())
        return counts

    def _named(self, kind: str) -> dict[str, int]:
        return {name: count for (what, name), count in self.event_counts.items() if what == kind}
