"""An input of the fuzzer, read as a row of decisions."""

from __future__ import annotations

import itertools
import random
from collections.abc import Sequence
from typing import TypeVar

__all__ = ["Choices", "Fed", "blob"]

T = TypeVar("T")


class Choices:
    """Takes decisions from bytes, front to back; behind the end everything is 0 or empty.

    One decision takes one byte where it can, so that a small change of the input is a small change
    of what happens.
    """

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    def __bool__(self) -> bool:
        """Whether there are bytes left."""
        return self._at < len(self._data)

    def byte(self) -> int:
        return self.number(1)

    def number(self, nbytes: int) -> int:
        taken = self._data[self._at : self._at + nbytes]
        self._at += nbytes
        return int.from_bytes(taken.ljust(nbytes, b"\0"), "big")

    def pick(self, options: Sequence[T]) -> T:
        return options[self.byte() % len(options)]

    def blob(self) -> bytes:
        """Two bytes of length, then as much of that as there is; `blob()` below writes one."""
        size = self.number(2)
        taken = self._data[self._at : self._at + size]
        self._at += size
        return taken

    def rest(self) -> bytes:
        taken = self._data[self._at :]
        self._at = max(self._at, len(self._data))
        return taken

    def pieces(self) -> list[bytes]:
        """All that is left, cut at places that it names itself: up to 15, two bytes each."""
        places = [self.number(2) for _ in range(self.byte() % 16)]
        data = self.rest()
        edges = sorted({0, len(data), *(place % (len(data) + 1) for place in places)})
        return [data[a:b] for a, b in itertools.pairwise(edges)]


class Fed(random.Random):
    """A `random.Random` whose chances are an input of the fuzzer."""

    def __init__(self, choices: Choices) -> None:
        super().__init__(0)
        self._choices = choices

    def random(self) -> float:
        return self._choices.byte() / 256

    def getrandbits(self, k: int, /) -> int:
        return self._choices.number((k + 7) // 8) & ((1 << k) - 1)


def blob(data: bytes) -> bytes:
    """What `Choices.blob()` reads as `data`, cut where its length would not fit."""
    data = data[:0xFFFF]
    return len(data).to_bytes(2, "big") + data
