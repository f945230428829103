"""The states of one circuit breaker, without a clock of its own.

closed -> open        too many calls failed: so many in a row, or such a part of those in the window
open -> half-open     the pause is over
half-open -> closed   so many probes have succeeded
half-open -> open     a probe has failed

A call that hangs for too long has failed when anybody looks: the next call, or whoever asks for the
state. What comes of a call that began before the last change of the state counts for nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, TypeAlias

from ._windows import Window

__all__ = ["Circuit", "CircuitRules", "CircuitState", "Ticket"]

CircuitState: TypeAlias = Literal["closed", "open", "half-open"]
"""`"closed"`: calls pass. `"open"`: they are refused. `"half-open"`: a few pass, as probes."""

_GOOD, _BAD = 0, 1


@dataclass(frozen=True)
class CircuitRules:
    """What opens and closes a circuit; the arguments of `Breaker`, checked."""

    failures: int | None
    ratio: float | None
    window: float
    minimum: int
    slow: float | None
    pause: float
    probes: int


class Ticket:
    """A call that a circuit has let pass."""

    __slots__ = ("era", "since")

    def __init__(self, era: int, since: float) -> None:
        self.era = era
        self.since = since


class Circuit:
    """One circuit. All times are seconds of one clock that only moves forward.

    Args:
        rules: When to open and to close.
        changed: Is told of each new state.
    """

    def __init__(self, rules: CircuitRules, changed: Callable[[CircuitState], object]) -> None:
        self._rules = rules
        self._changed = changed
        self.state: CircuitState = "closed"
        self._era = 0  # so many changes of the state
        self._opened_at = 0.0
        self._window = Window(rules.window, 2)
        self._in_a_row = 0
        self._probes_passed = 0
        self._under_way: dict[Ticket, None] = {}  # in the order in which they began

    @property
    def idle(self) -> bool:
        """Whether it is closed, and has no call that could open it."""
        return self.state == "closed" and not self._under_way

    def admit(self, now: float) -> Ticket | float:
        """Lets a call pass, or tells the seconds after which another one may."""
        self.look(now)
        if self.state == "open":
            return max(0.0, self._opened_at + self._rules.pause - now)
        probing = len(self._under_way) + self._probes_passed
        if self.state == "half-open" and probing >= self._rules.probes:
            oldest = next(iter(self._under_way))
            return max(0.0, oldest.since + self._patience - now)
        ticket = Ticket(self._era, now)
        self._under_way[ticket] = None
        return ticket

    def end(self, ticket: Ticket, good: bool | None, now: float) -> None:
        """A call is over.

        Args:
            ticket: It.
            good: Whether it has succeeded; `None` if that cannot be told.
            now: The time.
        """
        self.look(now)
        if ticket in self._under_way:
            del self._under_way[ticket]
            if good is not None:
                self._count(good, now)

    def fail_later(self, ticket: Ticket, now: float) -> None:
        """A call that has succeeded has failed after all."""
        self.look(now)
        if ticket.era == self._era:
            self._count(False, now)

    def look(self, now: float) -> None:
        """Finds the calls that hang, and whether the pause is over."""
        if self.state == "open":
            if now >= self._opened_at + self._rules.pause:
                self._change("half-open")
            return
        while self._under_way:
            oldest = next(iter(self._under_way))
            if now - oldest.since < self._patience:
                return
            del self._under_way[oldest]
            self._count(False, now)

    @property
    def _patience(self) -> float:
        """Seconds after which a call has failed that is not over."""
        if self._rules.slow is not None:
            return self._rules.slow
        # Without a bound, a probe that hangs would keep all others out for ever.
        return self._rules.pause if self.state == "half-open" else float("inf")

    def _count(self, good: bool, now: float) -> None:
        rules = self._rules
        if self.state == "half-open":
            if not good:
                self._open(now)
                return
            self._probes_passed += 1
            if self._probes_passed >= rules.probes:
                self._change("closed")
            return
        self._window.count(_GOOD if good else _BAD, now)
        self._in_a_row = 0 if good else self._in_a_row + 1
        if good:
            return
        good_ones, bad_ones = self._window.sums(now)
        all_of_them = good_ones + bad_ones
        if (rules.failures is not None and self._in_a_row >= rules.failures) or (
            rules.ratio is not None
            and all_of_them >= rules.minimum
            and bad_ones >= rules.ratio * all_of_them
        ):
            self._open(now)

    def _open(self, now: float) -> None:
        self._opened_at = now
        self._change("open")

    def _change(self, state: CircuitState) -> None:
        self.state = state
        self._era += 1
        self._under_way.clear()
        self._window.clear()
        self._in_a_row = self._probes_passed = 0
        self._changed(state)
