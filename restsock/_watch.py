"""Watch: whether files have changed, at little cost for whoever asks often."""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Callable
from pathlib import Path

__all__ = ["Watch"]

# Seconds between two looks, however often somebody asks.
_INTERVAL = 1.0
# A file that was written so recently may be written again without its time or size showing it:
# file systems count time in steps. Until it is older than this it is read to be sure. Seconds.
_FRESH = 2.0


class Watch:
    """Notes what files are like when it is made, and tells when that has changed.

    It looks at their time, size and inode (so it notices a link that points elsewhere), reads what
    differs there, and tells of new contents only. A file that is gone counts as changed, once.

    Args:
        paths: of small files, which are read at once.
        clock: seconds, as of `time.monotonic`.
        wall: seconds, as of `time.time`, the clock of file systems.
    """

    def __init__(
        self,
        *paths: str | os.PathLike[str],
        clock: Callable[[], float] = time.monotonic,
        wall: Callable[[], float] = time.time,
    ) -> None:
        self.paths = tuple(map(Path, paths))
        self._clock = clock
        self._wall = wall
        self._due = clock() + _INTERVAL
        self._settled = False
        self._outside = self._look()
        self._inside = self._read()

    def changed(self) -> bool:
        """Whether the contents are others than at the last True, or at the start."""
        now = self._clock()
        if now < self._due:
            return False
        self._due = now + _INTERVAL
        # In this order: a change behind the look is seen by the next one.
        outside = self._look()
        if outside == self._outside and self._settled:
            return False
        wall = self._wall()
        self._settled = all(
            found is None or abs(wall - found[0] / 1e9) > _FRESH for found in outside
        )
        self._outside = outside
        inside, self._inside = self._inside, self._read()
        return inside != self._inside

    def _look(self) -> list[tuple[int, int, int] | None]:
        return [_outside_of(path) for path in self.paths]

    def _read(self) -> list[bytes | None]:
        return [_digest_of(path) for path in self.paths]


def _outside_of(path: Path) -> tuple[int, int, int] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return (found.st_mtime_ns, found.st_size, found.st_ino)


def _digest_of(path: Path) -> bytes | None:
    try:
        # Of the contents no more than this is kept: they are secrets.
        return hashlib.sha256(path.read_bytes()).digest()
    except OSError:
        return None
