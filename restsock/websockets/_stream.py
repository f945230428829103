"""`StreamBytes`: the raw bytes of a WebSocket that was dialed, over a stream of trio."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import trio

from restsock._exceptions import ConnectionClosed
from restsock.connection import RawFeed

__all__ = ["StreamBytes"]

_READ = 64 * 1024
# Bytes that are handed to the stream at once: what has left is known after each of them.
_PIECE = 64 * 1024

# Seconds. How long the server may take to close the socket after both have said that nothing more
# comes (RFC 6455, section 7.1.1: it is the first), and how long TLS and the last bytes may take.
_PATIENCE = 1.0
_LAST = 0.1

_FAILURES = (trio.BrokenResourceError, trio.ClosedResourceError, OSError)


class StreamBytes(RawFeed):
    """`RawBytes` over a stream, while `running()` is open.

    Args:
        stream: closed in the end.
        received: bytes that have been read from it.
        limit: bytes that may wait to be sent before writing is paused.

    Attributes:
        unsent: bytes that wait, with those that are being sent.
    """

    def __init__(self, stream: trio.abc.Stream, received: bytes, limit: int) -> None:
        self.unsent = 0
        self._stream = stream
        self._received = received
        self._limit = limit
        self._out: list[bytes] = []
        self._ended = False  # no more is sent
        self._failed = False  # the stream takes nothing
        self._broken_off = False
        self._writing = trio.CancelScope(shield=True)  # the last bytes leave in any case
        self._filled = trio.Event()
        self._changed = trio.Event()

    @property
    def write_paused(self) -> bool:
        """Whether more waits to be sent than should."""
        return self.unsent > self._limit and not self._failed

    async def receive_data(self) -> bytes:
        """Waits for bytes; `b""` at the end.

        Raises:
            ConnectionClosed: the socket has failed.
        """
        data, self._received = self._received, b""
        if data:
            await trio.lowlevel.checkpoint()
            return data
        try:
            with trio.CancelScope() as scope:
                if self._ended:
                    scope.deadline = trio.current_time() + _PATIENCE
                return bytes(await self._stream.receive_some(_READ))
        except _FAILURES as exc:
            raise ConnectionClosed(f"the socket failed: {exc.__cause__ or exc}") from exc
        return b""

    def send_nowait(self, data: bytes) -> None:
        """Sends bytes. Look at `write_paused` before sending more."""
        if data and not (self._ended or self._failed):
            self._out.append(data)
            self.unsent += len(data)
            self._filled.set()

    async def send_data(self, data: bytes) -> bool:
        """Sends bytes, and waits while too many wait to leave; tells whether more can be sent."""
        self.send_nowait(data)
        while self.write_paused:
            await self._changed.wait()
        return not (self._ended or self._failed)

    def send_end(self) -> None:
        """No more bytes will follow: this half of the stream ends after the last one."""
        self._ended = True
        self._filled.set()

    def close(self) -> None:
        """Breaks it off after what the socket takes at once, unless `send_end` was called."""
        if not self._ended:
            self.send_end()
            self._broken_off = True
            self._writing.deadline = trio.current_time() + _LAST

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Sends what there is to send; at the end what the socket still takes, and closes it."""
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._write)
                try:
                    yield
                finally:
                    self.send_end()
                    with trio.CancelScope(deadline=trio.current_time() + _LAST, shield=True):
                        while self.unsent and not self._failed:
                            await self._changed.wait()
                    self._writing.cancel()
        finally:
            with trio.CancelScope(deadline=trio.current_time() + _LAST, shield=True):
                await self._stream.aclose()  # closes it in any case

    async def _write(self) -> None:
        with self._writing:
            try:
                while not self._ended or self._out:
                    await self._filled.wait()
                    self._filled = trio.Event()
                    while self._out:
                        data, self._out = b"".join(self._out), []
                        for at in range(0, len(data), _PIECE):
                            piece = memoryview(data)[at : at + _PIECE]
                            await self._stream.send_all(piece)
                            self.unsent -= len(piece)
                            self._tell()
                if isinstance(self._stream, trio.abc.HalfCloseableStream):
                    await self._stream.send_eof()
            except _FAILURES:
                self._failed = True  # who reads learns of it, and says so
                self._tell()
        if self._broken_off:
            self._failed = True
            self._tell()
            with trio.CancelScope(shield=True):
                await trio.aclose_forcefully(self._stream)

    def _tell(self) -> None:
        self._changed.set()
        self._changed = trio.Event()
