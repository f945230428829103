"""Clients of a gateway that mean harm, at a steady pace; they go on until their stdin ends.

python -m tests.bench.gateway_hostile URL [KIND ...]      all kinds, or these alone

There are 10 of each kind, each of which does its worst 20 times a second: sends what is no JSON,
sends ids that are in use, asks and never reads; or twice a second: opens half an upgrade, begins a
message of 1 TiB and is closed.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import sys
from collections.abc import Awaitable, Callable, Collection
from urllib.parse import urlsplit

from tests.bench.gateway_load import message
from tests.bench.gateway_wire import event_loop, frame, masked, raise_file_limit

KINDS = ("malformed", "repeated", "deaf", "half", "giant")
_CLIENTS = 10
_PAUSE = 0.05  # seconds


class Hostile:
    """What they do."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        self._host, self._port = parts.hostname or "", parts.port or 80
        self._upgrade = (
            f"GET {parts.path} HTTP/1.1\r\nHost: {parts.netloc}\r\nUpgrade: websocket\r\n"
            "Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
            "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
        ).encode()

    async def _open(self, data: bytes) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        reader, writer = await asyncio.open_connection(self._host, self._port, limit=1024)
        writer.write(data)
        return reader, writer

    async def _pour(self, data: bytes, *, reads: bool) -> None:
        """Sends the same again and again, for as long as it is let."""
        reader, writer = await self._open(self._upgrade)
        try:
            while True:
                writer.write(data)
                await writer.drain()
                await asyncio.sleep(_PAUSE)
                if reads:
                    await asyncio.wait_for(reader.read(65536), 1)
        finally:
            writer.close()

    async def malformed(self) -> None:
        """No JSON."""
        await self._pour(masked(1, b"{" * 50), reads=True)

    async def repeated(self) -> None:
        """One id for all calls."""
        await self._pour(masked(1, message(1)) * 3, reads=True)

    async def deaf(self) -> None:
        """It asks, and never reads."""
        await self._pour(masked(1, message(None)), reads=False)

    async def honest(self) -> None:
        """Calls, one after the other."""
        await self._pour(masked(1, message(1)), reads=True)

    async def flood(self) -> None:
        """Calls without end."""
        reader, writer = await self._open(self._upgrade)
        data = b"".join(masked(1, message(id)) for id in range(64))
        async def read():
            while await reader.read(65536): pass
        t = asyncio.ensure_future(read())
        try:
            while True:
                writer.write(data)
                await writer.drain()
        finally:
            t.cancel()
            writer.close()

    async def half(self) -> None:
        """Half an upgrade."""
        _, writer = await self._open(self._upgrade[:-2])
        await asyncio.sleep(_PAUSE * _CLIENTS)
        writer.close()

    async def giant(self) -> None:
        """A message that nobody would take."""
        head = frame(2, b"", 0x80)[:1] + b"\xff" + (1 << 40).to_bytes(8, "big") + bytes(4)
        reader, writer = await self._open(self._upgrade + head)
        while await reader.read(65536):
            pass
        writer.close()
        await asyncio.sleep(_PAUSE * _CLIENTS)


async def _again(act: Callable[[], Awaitable[None]]) -> None:
    await asyncio.sleep(_PAUSE * _CLIENTS * random.random())
    while True:
        with contextlib.suppress(OSError, asyncio.TimeoutError):
            await act()
        await asyncio.sleep(_PAUSE)


async def _run(url: str, only: Collection[str]) -> None:
    hostile = Hostile(url)
    acts = [getattr(hostile, kind) for kind in only or KINDS]
    tasks = [asyncio.ensure_future(_again(act)) for act in acts for _ in range(_CLIENTS)]
    print("{}", flush=True)
    await asyncio.to_thread(sys.stdin.read)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


def main() -> None:
    raise_file_limit()
    event_loop().run_until_complete(_run(sys.argv[1], sys.argv[2:]))


if __name__ == "__main__":
    main()
