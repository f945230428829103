"""What a gateway counts."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ._session import Delivery

__all__ = ["ChannelCounters", "ChannelStatistics", "GatewayStatistics"]

# Clients choose the code of their close, among four thousand.
_CLOSE_CODES = {*range(1000, 1015), *range(4000, 4007)}


@dataclass(frozen=True, kw_only=True)
class ChannelStatistics:
    """Counters of a channel since its gateway was made, and some present values.

    Attributes:
        sessions_active: Sessions now.
        sessions_total: Sessions that began.
        turned_away: Clients that got no WebSocket, by the limit (`"max_websockets"`, `"draining"`)
            or else by the status of the response.
        closed: Sessions that have ended, by the close code; unknown codes are `"other"`.
        messages_received: Messages of clients.
        calls: Calls that are over, by outcome: `"ok"`, `"client_error"` (a status of 400 to 499),
            `"server_error"` (500 to 599) or `"cancelled"`: the session ended first.
        in_flight: Calls in flight.
        refused: Calls that were refused before they began, by reason: `"malformed"`,
            `"duplicate_id"`, `"draining"` or `"expired"`.
        pushes: Pushed messages, by what became of them: see `Delivery`.
        pushes_dropped: Queued pushes that were dropped later to make room.
    """

    sessions_active: int = 0
    sessions_total: int = 0
    turned_away: Mapping[str, int] = field(default_factory=dict)
    closed: Mapping[str, int] = field(default_factory=dict)
    messages_received: int = 0
    calls: Mapping[str, int] = field(default_factory=dict)
    in_flight: int = 0
    refused: Mapping[str, int] = field(default_factory=dict)
    pushes: Mapping[str, int] = field(default_factory=dict)
    pushes_dropped: int = 0


@dataclass(frozen=True, kw_only=True)
class GatewayStatistics:
    """Counters of a gateway.

    Attributes:
        channels: Those of its channels, by path.
        groups: Groups that somebody is in.
    """

    channels: Mapping[str, ChannelStatistics]
    groups: int = 0

    @property
    def total(self) -> ChannelStatistics:
        """All channels together."""
        counted: dict[str, Any] = {}
        for each in self.channels.values():
            for name, value in vars(each).items():
                if isinstance(value, int):
                    counted[name] = counted.get(name, 0) + value
                else:
                    counted.setdefault(name, Counter()).update(value)
        return ChannelStatistics(**counted)


class ChannelCounters:
    """Counts what happens on a channel. On the loop."""

    def __init__(self) -> None:
        self.sessions_active = self.sessions_total = 0
        self.messages_received = self.in_flight = self.pushes_dropped = 0
        self.turned_away: Counter[str] = Counter()
        self.closed: Counter[str] = Counter()
        self.calls: Counter[str] = Counter()
        self.refused: Counter[str] = Counter()
        self.pushes: Counter[str] = Counter()

    def note_push(self, delivery: Delivery, dropped: int) -> None:
        """Something was sent, for which so many others were dropped."""
        self.pushes[delivery.value] += 1
        self.pushes_dropped += dropped

    def note_closed(self, code: int) -> None:
        """A session has ended."""
        self.sessions_active -= 1
        self.closed[str(code) if code in _CLOSE_CODES else "other"] += 1

    def statistics(self) -> ChannelStatistics:
        """The numbers as they are now."""
        found: dict[str, Any] = {
            name: dict(value) if isinstance(value, Counter) else value
            for name, value in vars(self).items()
        }
        return ChannelStatistics(**found)
