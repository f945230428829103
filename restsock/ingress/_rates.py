"""How many requests a second a caller may make."""

from __future__ import annotations

from restsock._rates import Buckets, rate_of, whole_seconds

__all__ = ["Rate"]


class Rate:
    """A bound such as `"50/s"`: so many a second, and as many at once.

    Args:
        text: a number, and `/s`, `/m` or `/h`.

    Raises:
        ValueError: it is none.
    """

    def __init__(self, text: str) -> None:
        self.text = text
        self._buckets = Buckets(*rate_of(text))

    def take(self, caller: str, now: float) -> int | None:
        """Takes a token for a request.

        Args:
            caller: who makes it.
            now: seconds of any clock that only moves forward.

        Returns:
            `None` if there was one; else the seconds until there is.
        """
        return whole_seconds(self._buckets.take(caller, now)) or None

    def wait(self, caller: str, now: float) -> int:
        """The seconds until there is a token for a caller; 0 if there is one. Takes none."""
        return whole_seconds(self._buckets.wait(caller, now))

    def __len__(self) -> int:
        """How many callers are known."""
        return len(self._buckets)
