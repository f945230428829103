"""A server of HTTP behind a gateway, in a process of its own, that fails when it is asked to.

python -m tests.faults.gateway.backend LEDGER PORT ERRORS STALLS      prints its port

Each request is noted in the ledger ("R id") before it is answered. ERRORS and STALLS are parts of
the requests, 0 to 1: those that are answered with 503, and those that take two seconds.
"""

from __future__ import annotations

import asyncio
import json
import random
import signal
import sys

from tests.faults.ledger import Ledger

_STALL = 2.0
_WORK = 0.002  # so that some are under way at any time
_LAST = 1.0  # until a connection is closed that nobody asks anything on


class Backend:
    """See above."""

    def __init__(self, ledger: Ledger, errors: float, stalls: float) -> None:
        self._ledger = ledger
        self._errors = errors
        self._stalls = stalls
        self._chance = random.Random(1)  # the same each time
        self._ending = False
        self._writers: set[asyncio.StreamWriter] = set()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """A connection."""
        self._writers.add(writer)
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                path = head.split(b" ", 2)[1].decode()
                head = head.lower()
                size = int(head.partition(b"content-length:")[2].partition(b"\r\n")[0] or b"0")
                said = json.loads(await reader.readexactly(size))
                self._ledger.note("R", said["call"])
                status = await self._work()
                body = json.dumps({"call": said["call"], "path": path}).encode()
                last = b"Connection: close\r\n" if self._ending else b""
                writer.write(
                    b"HTTP/1.1 %d X\r\nContent-Type: application/json\r\n"
                    b"%sContent-Length: %d\r\n\r\n%s" % (status, last, len(body), body)
                )
                await writer.drain()
                if last:
                    break
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            self._writers.discard(writer)
            writer.close()

    async def end(self) -> None:
        """Says with each answer that it was the last one on its connection; then it is over."""
        self._ending = True
        await asyncio.sleep(_LAST)
        for writer in [*self._writers]:
            writer.close()

    async def _work(self) -> int:
        chance = self._chance.random()
        await asyncio.sleep(_STALL if chance < self._stalls else _WORK)
        return 503 if 0 <= chance - self._stalls < self._errors else 200


async def _main(ledger: str, port: str, errors: str, stalls: str) -> None:
    backend = Backend(Ledger(ledger), float(errors), float(stalls))
    server = await asyncio.start_server(
        backend.serve, "127.0.0.1", int(port), backlog=1024, reuse_port=True
    )
    print(server.sockets[0].getsockname()[1], flush=True)
    ended = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, ended.set)
    await ended.wait()
    server.close()
    await backend.end()


if __name__ == "__main__":
    asyncio.run(_main(*sys.argv[1:]))
