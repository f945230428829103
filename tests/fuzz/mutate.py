"""Small changes of an input, by chance alone: what the suite runs where there is no atheris."""

from __future__ import annotations

import random
from collections.abc import Sequence

__all__ = ["mutate"]

_OCTETS = (0, 1, 2, 9, 10, 13, 32, 35, 58, 127, 128, 255)


def mutate(
    rng: random.Random, pool: Sequence[bytes], words: Sequence[bytes], longest: int
) -> bytes:
    """One of the pool, with one to four changes."""
    data = bytearray(rng.choice(pool))
    for _ in range(rng.randint(1, 4)):
        at = rng.randint(0, len(data))
        what = rng.randrange(7)
        if what == 0:
            data[at : at + 1] = bytes([rng.randrange(256)])
        elif what == 1:
            data[at : at + 1] = bytes([rng.choice(_OCTETS)])
        elif what == 2:
            data[at:at] = rng.choice(words)
        elif what == 3:
            del data[at : at + rng.randint(1, 8)]
        elif what == 4:
            data[at:at] = data[at : at + rng.randint(1, 40)]
        elif what == 5:
            other = rng.choice(pool)
            start = rng.randint(0, len(other))
            data[at:] = other[start:]
        elif at < len(data):
            data[at] ^= 1 << rng.randrange(8)
    return bytes(data[:longest])
