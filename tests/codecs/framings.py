"""How framings are run in tests."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence

from hypothesis import strategies as st

from restsock._exceptions import CodecError
from restsock.codecs import Framing, Piece, Step, after_encoding, before_decoding

__all__ = ["cuts", "decoded", "encoded", "pieces", "results", "run"]

NOW = 1_700_000_000_000_000_000


def run(framing: Framing, data: Iterable[bytes], *, end: bool = True) -> list[Piece | CodecError]:
    """What comes out for pieces that come one nanosecond after another, and at the end."""
    found: list[Piece | CodecError] = []
    now = NOW
    for now, each in enumerate(data, NOW):
        found += framing.feed(Piece(each, now))
    if end:
        found += framing.finish(now)
    return found


def results(items: Iterable[Piece | CodecError]) -> list[bytes | str]:
    """The data, or in its place the kind of the error."""
    return [item.kind if isinstance(item, CodecError) else item.data for item in items]


def decoded(steps: Iterable[Step], data: Iterable[bytes]) -> list[bytes | str]:
    """What comes out before decoding."""
    return results(run(before_decoding(steps), data))


def encoded(steps: Iterable[Step], data: Iterable[bytes]) -> list[bytes | str]:
    """What comes out after encoding."""
    return results(run(after_encoding(steps), data))


def pieces(data: bytes, places: Sequence[int]) -> list[bytes]:
    """The data, cut at these places."""
    edges = sorted({0, len(data), *(place % (len(data) + 1) for place in places)})
    return [data[a:b] for a, b in itertools.pairwise(edges)] or [b""]


cuts = st.lists(st.integers(0, 10_000), max_size=12)
