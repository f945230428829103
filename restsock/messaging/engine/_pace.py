"""How quickly to send to a peer that has said that it is too quick."""

from __future__ import annotations

__all__ = ["Pace"]

# Seconds over which a rate is measured.
_SPAN = 1.0
# After so many seconds without a word the rate grows by half of what it is.
_STEP = 1.0
# No wait is shorter.
_LEAST = 0.001
# Never below a message a second, and no bound any more from here on.
_SLOWEST = 1.0
_FREE = 10_000.0


class Pace:
    """A rate that is halved with each `slow`, and grows again while none comes.

    Attributes:
        rate: messages per second that may leave; `None` for as many as there are.
    """

    __slots__ = ("_allowance", "_counted", "_grown", "_last", "_since", "_then", "rate")

    def __init__(self) -> None:
        self.rate: float | None = None
        self._since = 0.0  # when the present span of the measurement began
        self._counted = 0
        self._last = 0.0  # the rate in the span before
        self._allowance = 0.0
        self._then = 0.0
        self._grown = 0.0

    def sent(self, now: float) -> None:
        """A message leaves."""
        if now - self._since >= _SPAN:
            self._last = self._counted / (now - self._since)
            self._since, self._counted = now, 0
        self._counted += 1
        if self.rate is not None:
            self._allowance -= 1

    def slow(self, now: float) -> None:
        """The peer has said so: from now on half as quick as it was."""
        span = max(now - self._since, 0.1)
        measured = max(self._last, self._counted / span)
        rate = measured if self.rate is None else min(self.rate, measured or self.rate)
        self.rate = max(rate / 2, _SLOWEST)
        self._allowance = min(self._allowance, 1.0)
        self._then = self._grown = now

    def wait(self, now: float) -> float:
        """How many seconds the next message has to wait; 0 if it may leave now."""
        if self.rate is None:
            return 0.0
        while now - self._grown >= _STEP and self.rate is not None:
            self._grown += _STEP
            self.rate *= 1.5
            if self.rate > _FREE:
                self.rate = None
                return 0.0
        self._allowance = min(self._allowance + (now - self._then) * self.rate, 1.0)
        self._then = now
        missing = 1 - self._allowance
        return 0.0 if missing < 1e-6 else max(missing / self.rate, _LEAST)
