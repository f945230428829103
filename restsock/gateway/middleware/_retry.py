"""`Retry`: repeats failed calls, if that is safe and useful."""

from __future__ import annotations

import random
from collections.abc import Callable, Collection
from itertools import count
from typing import TYPE_CHECKING

import trio

from restsock._exceptions import RestsockError
from restsock._options import Backoff, between, number
from restsock._patterns import like
from restsock.gateway._errors import CallFailed, as_failure
from restsock.gateway._middleware import Middleware

from ._outcomes import failure_in
from ._parts import discard
from ._windows import Window

if TYPE_CHECKING:
    from restsock.gateway._backend import Call
    from restsock.gateway._message import Message, Reply

__all__ = ["Retry"]

# Those after which another try may go better. Others fail again for the same reason.
_PASSING = frozenset((429, 502, 503, 504))
# They mean the same however often they come (RFC 9110, section 9.2.2).
_IDEMPOTENT = frozenset(("DELETE", "GET", "HEAD", "OPTIONS", "PUT", "TRACE"))
# Seconds over which the budget is counted.
_BUDGET = 10.0
_CALLS, _RETRIES = 0, 1


class Retry(Middleware):
    """Repeats a call after a temporary failure: 429, 502, 503 or 504.

        Retry(3, idempotent=["quotes.*", "orders.list"])

    It does so if the call provably has not run (`CallFailed.may_have_run`), or if it may run more
    than once: because of its HTTP method (GET, PUT, DELETE ...) or its key. It waits before each
    further attempt, longer each time, and for as long as the failure asks for (`retry_after`). It
    gives up at once if the wait would exceed the deadline of the message, or if the failure asks
    for more than `backoff.cap`.

    A budget keeps retries from overloading a backend in trouble: in ten seconds, a tenth of the
    calls (`budget`), plus `reserve`.

    Args:
        attempts: How often a call is made at most, the first time included.
        backoff: How long to wait: its `initial`, `factor`, `cap` and `jitter`.
        idempotent: Patterns of keys that may run more than once; `*` stands for any text.
        when: A function that decides instead whether to repeat a call; it gets the message and the
            failure. Attempts, budget, deadline and waits still apply. It is called on the loop.
        budget: Retries for each call, 0 to 1.
        reserve: Further retries in ten seconds.

    Attributes:
        retries: How often a call was made again.
        exhausted: How often a call was not repeated because the budget was used up.

    Raises:
        TypeError: An argument is of a wrong type.
        ValueError: A number is out of bounds.
    """

    def __init__(
        self,
        attempts: int = 3,
        *,
        backoff: Backoff = Backoff(initial=0.1, cap=5.0),  # noqa: B008  # it is frozen
        idempotent: str | Collection[str] = (),
        when: Callable[[Message, CallFailed], bool] | None = None,
        budget: float = 0.1,
        reserve: int = 100,
    ) -> None:
        self.attempts = attempts
        self.budget = budget
        self.reserve = reserve
        between(self, "attempts", 1, 1000)
        number(self, "budget", 0, 1)
        between(self, "reserve", 0, 2**31)
        if not isinstance(backoff, Backoff):
            raise TypeError(f"Retry.backoff must be a Backoff, not {type(backoff).__name__}")
        if when is not None and not callable(when):
            raise TypeError(f"Retry.when must be a function, not {type(when).__name__}")
        self._backoff = backoff
        self._idempotent = (idempotent,) if isinstance(idempotent, str) else tuple(idempotent)
        self._when = when or self._is_safe
        self._window = Window(_BUDGET, 2)
        self.retries = 0
        self.exhausted = 0

    async def __call__(self, message: Message, call_next: Call) -> Reply:
        """See `Middleware`. Raises the last failure."""
        self._window.count(_CALLS, trio.current_time())
        for attempt in count(1):
            try:
                reply = await call_next(message)
            except RestsockError as exc:
                pause = self._pause(message, as_failure(exc), attempt)
                if pause is None:
                    raise
            else:
                pause = self._pause(message, failure_in(reply), attempt)
                if pause is None:
                    return reply
                await discard(reply)
            await trio.sleep(pause)
        raise AssertionError("it counts for ever")

    def _pause(self, message: Message, failure: CallFailed | None, attempt: int) -> float | None:
        """Seconds until the next attempt; `None` if there is none."""
        if failure is None or attempt >= self.attempts or not self._when(message, failure):
            return None
        asked = failure.retry_after or 0.0
        if asked > self._backoff.cap:
            return None
        # On top: else all that were asked to wait come back as one.
        pause = asked + self._backoff.delay(attempt, random.random())  # noqa: S311  # not a secret
        now = trio.current_time()
        if now + pause >= message.deadline:
            return None
        calls, retries = self._window.sums(now)
        if retries + 1 > calls * self.budget + self.reserve:
            self.exhausted += 1
            return None
        self._window.count(_RETRIES, now)
        self.retries += 1
        return pause

    def _is_safe(self, message: Message, failure: CallFailed) -> bool:
        if failure.status not in _PASSING:
            return False
        return (
            not failure.may_have_run
            or message.method in _IDEMPOTENT
            or any(like(pattern, message.key) for pattern in self._idempotent)
        )
