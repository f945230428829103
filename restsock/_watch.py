"""Watch: loads files again when they have changed; asking often costs little."""

from __future__ import annotations

import hashlib
import logging
import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from restsock._logging import LogLike

__all__ = ["Watch"]

# Seconds between two looks, however often it is asked.
_INTERVAL = 1.0
# A file that was written so recently may be written again without its time or size showing it:
# file systems count time in steps. Until it is older than this it is read to be sure. Seconds.
_FRESH = 2.0
# Seconds between two lines in the log about files that fail in the same way.
_REMIND = 60.0


class _Reserve:
    """A descriptor kept back, so that a file can be read when sockets have taken all others.

    Otherwise a peer that opens sockets could delay what the file says: that a token is withdrawn.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._spare: int | None = None

    def fill(self) -> None:
        """Takes one, if there is none and the system has one."""
        if self._spare is None:
            with suppress(OSError):
                self._spare = os.open(os.devnull, os.O_RDONLY)

    @contextmanager
    def lent(self) -> Iterator[None]:
        """There is one more to be had in its block."""
        with self._lock:
            if self._spare is not None:
                os.close(self._spare)
                self._spare = None
            try:
                yield
            finally:
                self.fill()


_reserve = _Reserve()


class Watch:
    """Notes what files are like when it is made, and has them loaded again when that has changed.

    It looks at their time, size and inode (so it notices a link that points elsewhere), reads what
    differs there, and has new contents loaded only.

    What was loaded last holds until others were loaded. A file that is gone, cannot be read or
    holds nonsense is tried again at each look, for it may be its contents or the moment that is
    wrong: a file that is being replaced, say. For one descriptor there is always room.

    Args:
        paths: of small files, which are read at once.
        log: where it is said what was loaded, and what could not be.
        clock: seconds, as of `time.monotonic`.
        wall: seconds, as of `time.time`, the clock of file systems.
    """

    def __init__(
        self,
        *paths: str | os.PathLike[str],
        log: LogLike,
        clock: Callable[[], float] = time.monotonic,
        wall: Callable[[], float] = time.time,
    ) -> None:
        self.paths = tuple(map(Path, paths))
        self._log = log
        self._clock = clock
        self._wall = wall
        self._due = clock() + _INTERVAL
        self._settled = False
        self._failure: str | None = None  # of the latest try; while there is one, it goes on trying
        self._remind_at = 0.0
        self._outside = self._look()
        self._loaded = self._read()
        if self.paths:
            _reserve.fill()

    def renew(self, load: Callable[[], object], owner: object) -> bool:
        """Calls `load` if the contents are others than at its last success, or at the start.

        To be called as often as one likes: it looks once a second. A failure of `load` goes to the
        log, when it begins, changes, ends, and once a minute, and changes nothing else.

        Args:
            load: Reads the files and uses them; raises `OSError`, `ValueError` or `TypeError` when
                that cannot be, and has then changed nothing.
            owner: Whose files they are; its `repr` begins each line in the log.

        Returns:
            Whether something new was loaded.
        """
        now = self._clock()
        if now < self._due:
            return False
        self._due = now + _INTERVAL
        # In this order: a change after the look is seen by the next one.
        outside = self._look()
        if outside == self._outside and self._settled and self._failure is None:
            return False
        wall = self._wall()
        self._settled = all(
            found is None or abs(wall - found[0] / 1e9) > _FRESH for found in outside
        )
        self._outside = outside
        with _reserve.lent():
            inside = self._read()
            if inside == self._loaded and None not in inside:
                if self._failure is not None:
                    self._failure = None
                    self._log.warning("%r: the files are what they were again", owner)
                return False
            try:
                load()
            except (OSError, ValueError, TypeError) as exc:
                self._note(exc, owner, now)
                return False
        # Only now: what was not loaded has to be tried again.
        self._loaded = inside
        # At the level of the failure, if there was one: who reads of it reads of its end.
        level = logging.INFO if self._failure is None else logging.WARNING
        self._failure = None
        self._log.log(level, "%r: new files are in use", owner)
        return True

    def _note(self, error: Exception, owner: object, now: float) -> None:
        failure = str(error)
        if failure != self._failure or now >= self._remind_at:
            self._failure = failure
            self._remind_at = now + _REMIND
            self._log.warning("%r: cannot use the new files, keeping the old: %s", owner, failure)

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
