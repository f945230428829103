"""How often something may be done: a bucket of tokens for each who does it."""

from __future__ import annotations

import math
import re
from collections import OrderedDict
from collections.abc import Hashable

__all__ = ["Buckets", "rate_of", "whole_seconds"]

_RATE = re.compile(r"([0-9]{1,9}(?:\.[0-9]{1,6})?)/(s|m|h)")
_SECONDS = {"s": 1.0, "m": 60.0, "h": 3600.0}
# Sums of fractions are not exact: a little less than one token is one. Seconds.
_EXACT = 1e-9


def rate_of(text: str) -> tuple[float, float]:
    """What a rate such as `"50/s"` says: tokens a second, and how many at once.

    Raises:
        ValueError: It is none.
    """
    found = _RATE.fullmatch(text)
    if found is None or not float(found[1]):
        raise ValueError(f'not a rate: {text!r}; one is "50/s", "100/m" or "1000/h"')
    return float(found[1]) / _SECONDS[found[2]], max(1.0, float(found[1]))


class Buckets:
    """Buckets of tokens, one for each key. A new one is full.

    Of each only the time is kept at which it is full again; from then on it is as good as a new one
    and is forgotten (GCRA: the virtual scheduling of ITU-T I.371, annex A).

    Args:
        per_second: Tokens that come in a second.
        burst: Tokens that a full one has: 1 or more.
        most: Keys that are known at a time; of more, the one that has not come for longest is
            forgotten.
    """

    def __init__(self, per_second: float, burst: float, *, most: int = 10_000) -> None:
        self._each = 1 / per_second
        self._room = (burst - 1) * self._each
        self._most = most
        self._full: OrderedDict[Hashable, float] = OrderedDict()

    def take(self, key: Hashable, now: float) -> float:
        """Takes a token.

        Args:
            key: Whose.
            now: Seconds of any clock that only moves forward.

        Returns:
            0 if there was one; else the seconds until there is.
        """
        self._forget(now)
        wait = self.wait(key, now)
        full = max(now, self._full.pop(key, now))
        self._full[key] = full if wait else full + self._each
        if len(self._full) > self._most:
            self._full.popitem(last=False)
        return wait

    def wait(self, key: Hashable, now: float) -> float:
        """The seconds until there is a token; 0 if there is one. Takes none."""
        wait = self._full.get(key, now) - now - self._room
        return wait if wait > _EXACT else 0.0

    def _forget(self, now: float) -> None:
        """Forgets two that are full, of those that have not come for longest: more than come."""
        for _ in range(2):
            key = next(iter(self._full), None)
            if not self._full or self._full[key] > now:
                return
            del self._full[key]

    def __len__(self) -> int:
        """How many keys are known."""
        return len(self._full)


def whole_seconds(seconds: float) -> int:
    """As a field like Retry-After has them: never too few."""
    return max(0, math.ceil(seconds - _EXACT))
