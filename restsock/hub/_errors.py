"""What is wrong with a configuration."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches

__all__ = ["ConfigError", "nearest"]


class ConfigError(ValueError):
    """A configuration cannot be used. Nothing was changed by it.

    Attributes:
        key: what is wrong, as in `peers.listen` or `route[2].host`; empty for the file as a whole.
    """

    def __init__(self, key: str, problem: str) -> None:
        super().__init__(f"{key}: {problem}" if key else problem)
        self.key = key


def nearest(name: str, known: Iterable[str]) -> str:
    """What may be meant by a name that is not known, as the end of a sentence."""
    close = get_close_matches(name, list(known), n=1)
    return f"; did you mean {close[0]!r}?" if close else ""
