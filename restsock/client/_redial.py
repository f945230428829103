"""When to dial again, and whether: what a client makes of its `Backoff`. No clock, no I/O."""

from __future__ import annotations

from collections.abc import Callable

from restsock._exceptions import HandshakeError
from restsock._options import Backoff
from restsock.protocol import CloseCode

__all__ = ["Redial"]

# Seconds. A listener that accepts and then fails, again and again, is as good as away: a connection
# that lasted less than this, or less than the pause due after it, does not shorten the pauses.
_BRIEF = 5.0

# What a listener closes with when another one is going to stand in its place soon.
_RESTARTS = frozenset((CloseCode.GOING_AWAY, CloseCode.SERVICE_RESTART))

# Seconds: the longest pause while a listener restarts. Requests wait for it, and not for long.
_SHORT = 1.0


class Redial:
    """The pauses between attempts.

    They grow with each attempt. After a connection that lasted they start over; and for
    `Backoff.restart` seconds after a listener has said that it restarts, they grow to a second and
    no further.

    Order of calls: `pause()` and `begin()` for each attempt; `end()` for each connection.

    Args:
        backoff: How long they are.
        chance: Random numbers in [0, 1), for the jitter.
    """

    def __init__(self, backoff: Backoff, chance: Callable[[], float]) -> None:
        self._backoff = backoff
        self._chance = chance
        self._attempts = 0  # since a connection lasted, the one that made it included
        self._restarting_until = float("-inf")
        self._hurried = False  # since a connection lasted

    def begin(self, now: float) -> None:
        """Notes an attempt that is about to be made, at this time in seconds."""
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
            now: In seconds.
            lasted: For how many seconds it was there.
            code: The close code, of the listener.
        """
        if lasted >= max(self._backoff.delay(self._attempts, 1.0), _BRIEF):
            self._attempts = 1
            self._hurried = False
        # One that accepts and says so each time gets no more than one half minute.
        if code in _RESTARTS and not self._hurried:
            self._restarting_until = now + self._backoff.restart
            self._hurried = True

    def gives_up(
        self, error: HandshakeError, *, failures: int, connected_before: bool, renewable: bool
    ) -> bool:
        """Whether this failure is the last.

        Args:
            error: Why there is no connection.
            failures: How many attempts have failed in a row, this one included.
            connected_before: Whether there ever was a connection.
            renewable: Whether the credentials may be others the next time.
        """
        if failures == self._backoff.tries:
            return True
        if error.retryable or self._backoff.give_up == "never":
            return False
        if not connected_before:
            return True
        # It was the right URL with the right credentials, so what answers now may be something else
        # that stands there during a deployment, unless it is the listener that says no.
        if not error.by_listener or (error.status == 401 and renewable):
            return False
        return self._backoff.give_up == "refused"
