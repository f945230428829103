"""What each framework's app serves, so that one set of tests asks all of them the same.

GET  /hello      the text HELLO
POST /json       the number of the body plus one, and the name of the connection
POST /upload     size and digest of the body, which is read in pieces
GET  /download   PIECES times PIECE, streamed
GET  /events     server-sent events, each made when the gate lets it
GET  /error      raises
WS   /ws         says back what it hears, in capitals
"""

from __future__ import annotations

import hashlib
import threading

import anyio.to_thread

__all__ = ["EVENTS", "HELLO", "PATIENCE", "PIECE", "PIECES", "Digest", "Site"]

HELLO = "Grüße"
PIECE = bytes(range(256)) * 64
PIECES = 250
EVENTS = 3

# Seconds after which one side takes the other for stuck.
PATIENCE = 20


class Site:
    """What an app and its test share.

    Attributes:
        log: what the app's lifespan has seen.
    """

    def __init__(self) -> None:
        self.log: list[str] = []
        self._gate = threading.Semaphore(0)

    def release(self) -> None:
        """Lets the app make one more event."""
        self._gate.release()

    def wait(self) -> None:
        """Waits, in a thread, until the next event may be made."""
        assert self._gate.acquire(timeout=PATIENCE)

    async def wait_async(self) -> None:
        """The same in a task, of trio or of asyncio."""
        await anyio.to_thread.run_sync(self.wait)


class Digest:
    """Size and digest of what it is fed."""

    def __init__(self) -> None:
        self.size = 0
        self._hash = hashlib.sha256()

    def feed(self, data: bytes) -> None:
        self.size += len(data)
        self._hash.update(data)

    def result(self) -> dict[str, object]:
        return {"size": self.size, "digest": self._hash.hexdigest()}
