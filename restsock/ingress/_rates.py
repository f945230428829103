"""How many requests a second a caller may make: a bucket of tokens for each."""

from __future__ import annotations

import math
import re
from collections import OrderedDict

__all__ = ["Rate"]

_RATE = re.compile(r"([0-9]{1,9}(?:\.[0-9]{1,6})?)/(s|m|h)")
_SECONDS = {"s": 1.0, "m": 60.0, "h": 3600.0}
# Callers that are known at a time; of more, the one that has not called for longest is forgotten.
_CALLERS = 10_000


class Rate:
    """A bound such as `"50/s"`: so many a second, and as many at once.

    Args:
        text: a number, and `/s`, `/m` or `/h`.

    Raises:
        ValueError: it is none.
    """

    def __init__(self, text: str) -> None:
        found = _RATE.fullmatch(text)
        if found is None or not float(found[1]):
            raise ValueError(f'not a rate: {text!r}; one is "50/s", "100/m" or "1000/h"')
        self.text = text
        self._per_second = float(found[1]) / _SECONDS[found[2]]
        self._burst = max(1.0, float(found[1]))
        self._callers: OrderedDict[str, tuple[float, float]] = OrderedDict()  # tokens, and when

    def take(self, caller: str, now: float) -> int | None:
        """Takes a token for a request.

        Args:
            caller: who makes it.
            now: seconds of any clock that only moves forward.

        Returns:
            `None` if there was one; else the seconds until there is.
        """
        tokens = self._tokens(caller, now)
        self._callers.pop(caller, None)
        self._callers[caller] = (tokens - 1 if not self._seconds(tokens) else tokens, now)
        if len(self._callers) > _CALLERS:
            self._callers.popitem(last=False)
        return self._seconds(tokens) or None

    def wait(self, caller: str, now: float) -> int:
        """The seconds until there is a token for a caller; 0 if there is one. Takes none."""
        return self._seconds(self._tokens(caller, now))

    def _tokens(self, caller: str, now: float) -> float:
        tokens, then = self._callers.get(caller, (self._burst, now))
        return min(self._burst, tokens + (now - then) * self._per_second)

    def _seconds(self, tokens: float) -> int:
        # A little less than one is one: sums of fractions are not exact.
        return max(0, math.ceil((1 - tokens) / self._per_second - 1e-9))

    def __len__(self) -> int:
        """How many callers are known."""
        return len(self._callers)
