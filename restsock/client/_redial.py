"""Whether and when a client dials again, by its `Backoff`. No clock, no I/O."""

from __future__ import annotations

from collections.abc import Callable

from restsock._exceptions import HandshakeError
from restsock._options import Backoff
from restsock.protocol import CloseCode

__all__ = ["Redial"]

# Seconds. A listener that repeatedly accepts and then fails is treated like one that is away: after
# a connection shorter than this, or than the pause due after it, the pauses do not start over.
_BRIEF = 5.0

# Close codes of a listener that will soon be back or be replaced.
_RESTARTS = frozenset((CloseCode.GOING_AWAY, CloseCode.SERVICE_RESTART))

# Seconds: the longest pause while a listener restarts, since requests wait for it.
_SHORT = 1.0


class Redial:
    """The pauses between attempts.

    They grow with each attempt, and start over after a connection that lasted. For
    `Backoff.restart` seconds after a listener has announced a restart, they are at most one second.

    Order of calls: `pause()` and `begin()` for each attempt; `end()` for each connection.

    Args:
        backoff: How long the pauses are.
        chance: Returns random numbers in [0, 1), for the jitter.
    """

    def __init__(self, backoff: Backoff, chance: Callable[[], float]) -> None:
        self._backoff = backoff
        self._chance = chance
        self._attempts = 0  # since the attempt, inclusive, that made a lasting connection
        self._restarting_until = float("-inf")
        self._hurried = False  # since the last lasting connection

    def begin(self, now: float) -> None:
        """Notes that an attempt begins, at this time in seconds."""
        longest = self._backoff.delay(self._attempts, 1.0) if self._attempts else 0.0
        if now >= self._restarting_until or longest < _SHORT:
            self._attempts += 1

    def pause(self, now: float) -> float | None:
        """Seconds to wait before the next attempt; `None` if it is the first of all."""
        if not self._attempts:
            return None
        bound = _SHORT if now < self._restarting_until else float("inf")
        return self._backoff.delay(self._attempts, self._chance(), bound=bound)

    def end(self, now: float, lasted: float, code: int) -> None:
        """Notes that a connection has ended, or that its end was announced.

        Args:
            now: The time in seconds.
            lasted: How many seconds the connection lasted.
            code: The listener's close code.
        """
        if lasted >= max(self._backoff.delay(self._attempts, 1.0), _BRIEF):
            self._attempts = 1
            self._hurried = False
        # A listener that announces a restart on every connection gets only one such period.
        if code in _RESTARTS and not self._hurried:
            self._restarting_until = now + self._backoff.restart
            self._hurried = True

    def gives_up(
        self, error: HandshakeError, *, failures: int, connected_before: bool, renewable: bool
    ) -> bool:
        """Whether this failure is the last.

        Args:
            error: Why there is no connection.
            failures: How many attempts have failed in a row, including this one.
            connected_before: Whether there ever was a connection.
            renewable: Whether the next attempt may have other credentials.
        """
        if failures == self._backoff.tries:
            return True
        if error.retryable or self._backoff.give_up == "never":
            return False
        if not connected_before:
            return True
        # The URL and the credentials were right before. So what answers now may be a stand-in
        # during a deployment, unless it is the listener itself that refuses.
        if not error.by_listener or (error.status == 401 and renewable):
            return False
        return self._backoff.give_up == "refused"
