"""Clients of a gateway that an honest one is measured beside; they go on until their stdin ends.

python -m tests.bench.gateway_hostile URL [KIND ...]      by default those that mean harm

There are 10 of each kind. Those that mean harm do their worst 20 times a second: send what is no
JSON, send ids that are in use, ask and never read; or twice a second: open half an upgrade, begin
a message of 1 TiB and are closed. Of the others, `steady` makes 20 calls a second as it should, and
`flood` makes calls without a pause. Each goes its own way: they do not act at the same moment.
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

HARM = ("malformed", "repeated", "deaf", "half", "giant")
_CLIENTS = 10
_PAUSE = 0.05  # seconds
_LONG_PAUSE = 0.5


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

    async def _pour(self, data: bytes, *, reads: bool, pause: float = _PAUSE) -> None:
        """Sends the same again and again, for as long as it is let."""
        reader, writer = await self._open(self._upgrade)
        reading = asyncio.ensure_future(_read(reader)) if reads else None
        try:
            while reading is None or not reading.done():
                writer.write(data)
                await writer.drain()
                await asyncio.sleep(pause)
        finally:
            if reading is not None:
                reading.cancel()
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

    async def half(self) -> None:
        """Half an upgrade."""
        _, writer = await self._open(self._upgrade[:-2])
        await asyncio.sleep(_LONG_PAUSE)
        writer.close()

    async def giant(self) -> None:
        """A message that nobody would take."""
        head = frame(2, b"", 0x80)[:1] + b"\xff" + (1 << 40).to_bytes(8, "big") + bytes(4)
        reader, writer = await self._open(self._upgrade + head)
        await _read(reader)
        writer.close()
        await asyncio.sleep(_LONG_PAUSE)

    async def steady(self) -> None:
        """It does no harm."""
        await self._pour(masked(1, message(1)), reads=True)

    async def flood(self) -> None:
        """Calls, as many as are taken."""
        calls = b"".join(masked(1, message(id)) for id in range(64))
        await self._pour(calls, reads=True, pause=0)


async def _read(reader: asyncio.StreamReader) -> None:
    while await reader.read(65536):
        pass


async def _again(act: Callable[[], Awaitable[None]]) -> None:
    await asyncio.sleep(random.uniform(0, _LONG_PAUSE))
    while True:
        with contextlib.suppress(OSError):
            await act()
        await asyncio.sleep(random.uniform(0, 2 * _PAUSE))


async def _run(url: str, kinds: Collection[str]) -> None:
    hostile = Hostile(url)
    acts = [getattr(hostile, kind) for kind in kinds or HARM]
    tasks = [asyncio.ensure_future(_again(act)) for act in acts for _ in range(_CLIENTS)]
    await asyncio.sleep(_LONG_PAUSE)
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
