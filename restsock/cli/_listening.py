"""A listener that serves an app, to clients of plain HTTP and perhaps to peers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import trio

from restsock._addresses import url_host
from restsock.server import Server, listen

from ._apps import RunsAlready
from ._collector import collect_seldom
from ._peer import Signals, reporting
from ._traffic import Traffic

if TYPE_CHECKING:
    from restsock.connection import Handler

    from ._output import Output
    from ._panel import View

__all__ = ["Listening"]


@dataclass
class Listening:
    """Listens, and serves.

    Args:
        address: Host and port.
        handler: What serves.
        served: What that is, for people.
        output: Where to write.
        peers: Whether peers may dial in, and call it.
    """

    address: tuple[str, int]
    handler: Handler
    served: str
    output: Output
    peers: bool = False

    def run(self) -> int:
        """Runs until a signal; returns the exit code.

        Raises:
            OSError: It cannot listen there. The message says what to do.
        """
        traffic = Traffic()
        host, port = self.address
        server = listen(
            host,
            port,
            app=self.handler if self.peers else None,
            endpoints={"/": RunsAlready(self.handler) if self.peers else self.handler},
            peers=self.peers,
            instrument=traffic,
        )
        collect_seldom()
        return trio.run(self._run, server, traffic)

    async def _run(self, server: Server, traffic: Traffic) -> int:
        signals = Signals(server)
        async with signals.drained():
            async with server:
                await self._serve(server, traffic)
        return 0 if signals.exit_code is None else signals.exit_code

    async def _serve(self, server: Server, traffic: Traffic) -> None:
        host, port = server.address
        url = f"http://{url_host(host)}:{port}/"
        self.output.event("listening", url=url)
        if not self.output.as_json:
            self.output.data(url)
        async with reporting(self.output, traffic, lambda: self._look(server, traffic, url)):
            await server.wait_closed()

    def _look(self, server: Server, traffic: Traffic, url: str) -> View:
        from ._panel import View

        rows = [("URL", url), ("Serves", self.served)]
        if self.peers:
            rows.append(("Peers", f"{len(server.connections)} connected"))
        return View(True, "listening", tuple(rows), traffic)
