"""`Rate`: bounds the messages per second."""

from __future__ import annotations

from typing import TYPE_CHECKING

import trio

from restsock._options import between, number
from restsock._rates import Buckets, rate_of
from restsock.gateway._errors import CallFailed
from restsock.gateway._middleware import Middleware

from ._scopes import Scope, key_function

if TYPE_CHECKING:
    from restsock.gateway._backend import Call
    from restsock.gateway._message import Message, Reply

__all__ = ["Rate"]


class Rate(Middleware):
    """Limits messages per second. Others are refused with 429 and the time to wait.

        middleware=[Rate(20, burst=40), Rate("1000/s", key="channel"), ...]

    In any time of t seconds one key gets through at most `burst + rate * t` messages.

    Args:
        rate: Messages a second, or a text such as `"50/s"`, `"100/m"`, `"1000/h"`.
        burst: Messages at once, after a quiet time; by default as many as the rate names.
        key: Which messages count together.
        max_keys: Keys that are remembered at a time. A key whose burst is full again is forgotten;
            if there are still too many, the one that was quiet longest is.

    Raises:
        TypeError: An argument is of a wrong type.
        ValueError: A number is out of bounds, or a word is unknown.
    """

    def __init__(
        self,
        rate: float | str,
        *,
        burst: float | None = None,
        key: Scope = "principal",
        max_keys: int = 10_000,
    ) -> None:
        self.rate, at_once = rate_of(rate) if isinstance(rate, str) else (rate, rate)
        number(self, "rate", 1e-6)
        self.burst = max(1.0, at_once) if burst is None else burst
        self.max_keys = max_keys
        number(self, "burst", 1)
        between(self, "max_keys", 1, 2**31)
        self._key = key_function(key)
        self._buckets = Buckets(self.rate, self.burst, most=max_keys)

    async def __call__(self, message: Message, call_next: Call) -> Reply:
        """See `Middleware`.

        Raises:
            CallFailed: With 429 there are too many. It has not run.
        """
        key = self._key(message)
        if key is not None:
            seconds = self._buckets.take(key, trio.current_time())
            if seconds:
                raise CallFailed(429, "there are too many messages", retry_after=seconds)
        return await call_next(message)
