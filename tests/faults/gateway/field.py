"""What a fault of a gateway is tried on: its clients, who call at a steady rate, and what answers.

Clients are in this process, with sockets between them and the gateway. That is here, too, or
`restsock gateway` in a process of its own. What answers is in others, which are killed, or end.
"""

from __future__ import annotations

import contextlib
import signal
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import trio

import restsock
from restsock.gateway import (
    HTTP,
    Action,
    Answers,
    Breaker,
    Channel,
    Gateway,
    HTTPMapping,
    Peer,
    Pipe,
    Retry,
    Router,
    Timeout,
)
from tests.faults.config import Config, options_of
from tests.faults.field import BACKOFF, ROOT, Child, Family
from tests.faults.gateway.callers import CLIENTS, Caller
from tests.faults.gateway.rows import AGAIN, ONCE, GatewayRow, judge_calls
from tests.faults.ledger import Ledger, read
from tests.waiting import until

__all__ = ["GatewayField", "OwnProcess", "gateway_field"]

TIMEOUT = 0.5
"""Seconds that a call has where the server stalls. Elsewhere a busy machine is to fail none."""
_PATIENT = 5.0
FAILURES, PAUSE = 5, 0.3
"""Of the circuit breaker: failures in a row, and seconds."""
_OPEN = "this is out of order at the moment"  # what it says


class GatewayField:
    """See above.

    Attributes:
        row: is filled in.
        peers: that answer, by name of their process.
        url: where clients connect.
        answers: how many there were that are no failures.
        open: whether the circuit breaker refuses calls, as far as clients have heard.
    """

    def __init__(self, row: GatewayRow, ledger: Ledger, family: Family) -> None:
        self.row = row
        self.ledger = ledger
        self._dialect = Action()
        self.peers: dict[str, Child] = {}
        self.url = ""
        self.answers = 0
        self.open = False
        self._family = family
        self._server: restsock.Server
        self._gateway: Gateway
        self._backend: subprocess.Popen[str] | None = None
        self._port = 0
        self._chances = (0.0, 0.0)
        self._broken_at: float | None = None
        self._stopped = False

    # --- the gateway ------------------------------------------------------------------------

    def channel(self) -> Channel:
        """A new one, with other backends."""
        behind: Answers
        if self._port:
            url = f"http://127.0.0.1:{self._port}/"
            seconds = TIMEOUT if any(self._chances) else _PATIENT
            breaker = Breaker(failures=FAILURES, pause=PAUSE, slow=None)
            behind = Pipe(HTTP(url, max_connections=64), [breaker, Timeout(seconds)])
        else:
            mapping = HTTPMapping(path="/work?reply=100", tell={"X-Request-Id": "body[call]"})
            behind = Pipe(Peer("edge", mapping, wait=5))
        again = Pipe(behind, [Retry(3, idempotent=AGAIN, budget=1.0)])
        router = Router({AGAIN: again, ONCE: behind})
        return Channel("/ws", self._dialect, router, in_flight=100)

    @contextlib.asynccontextmanager
    async def serving(self) -> AsyncIterator[None]:
        """The gateway, on a port."""
        self._gateway = Gateway([self.channel()])
        config = Config(who="", ledger="")
        async with restsock.listen(
            "127.0.0.1", 0, endpoints=self._gateway, names="share", options=options_of(config)
        ) as self._server:
            self.url = f"ws://127.0.0.1:{self._server.address[1]}/ws"
            yield

    async def reload(self) -> None:
        """Has other backends in the place of those that serve."""
        changes = await self._gateway.swap([self.channel()], grace=5)
        assert changes == {"/ws": "moved"}, changes

    # --- what answers -----------------------------------------------------------------------

    async def start_backend(self, errors: float = 0.0, stalls: float = 0.0) -> None:
        """The server of HTTP, or another one in its place."""
        self._chances = errors, stalls
        words = [self.ledger.path, self._port, *self._chances]
        command = [sys.executable, "-m", "tests.faults.gateway.backend", *map(str, words)]
        self._backend = await trio.to_thread.run_sync(_started, command)
        assert self._backend.stdout is not None
        line = await trio.to_thread.run_sync(self._backend.stdout.readline)
        self._port = int(line)

    async def kill_backend(self) -> None:
        """SIGKILL, and nothing listens there any more."""
        assert self._backend is not None
        self._broken_at = trio.current_time()
        await trio.to_thread.run_sync(_end, self._backend, signal.SIGKILL)
        self._backend = None

    async def restart_backend(self) -> None:
        """Another one in its place, on the same port; then it ends in good order."""
        old = self._backend
        await self.start_backend()
        assert old is not None
        await trio.to_thread.run_sync(_end, old, signal.SIGTERM)

    async def start_peer(self) -> str:
        """One that dials; returns once it has been called."""
        url = f"ws://127.0.0.1:{self._server.address[1]}/"
        who = self._family.new_name("peer")
        config = Config(who=who, ledger=str(self.ledger.path), name="edge", backoff=BACKOFF)
        before = len(self._server.connections)
        self.peers[who] = await self._family.start(Config(**{**asdict(config), "urls": (url,)}))
        await until(lambda: len(self._server.connections) > before)
        return who

    async def end_peer(self, who: str, number: int) -> None:
        """By a signal; returns once it is not connected any more."""
        before = len(self._server.connections)
        self.peers.pop(who).send(number)
        await until(lambda: len(self._server.connections) < before)

    def end(self) -> None:
        """All processes."""
        if self._backend is not None:
            _end(self._backend, signal.SIGKILL)
        for child in self.peers.values():
            child.kill()

    # --- clients ----------------------------------------------------------------------------

    async def answered(self, more: int = 20) -> None:
        """Waits for so many more answers that are no failures."""
        wanted = self.answers + more
        await until(lambda: self.answers >= wanted)

    async def back(self) -> None:
        """The fault is over: waits for an answer, and notes how long that took."""
        begun = trio.current_time()
        await self.answered(1)
        self.row.back = max(self.row.back or 0.0, trio.current_time() - begun)

    @contextlib.asynccontextmanager
    async def calling(self) -> AsyncIterator[None]:
        """Clients, as long as the block runs, and until each call is answered or given up."""
        async with trio.open_nursery() as nursery:
            for number in range(CLIENTS):
                nursery.start_soon(Caller(self, number).run, self.url)
            try:
                yield
            finally:
                self._stopped = True

    @property
    def stopped(self) -> bool:
        """Whether no further calls are made."""
        return self._stopped

    def note(self, action: str, said: dict[str, Any], took: float) -> None:
        """An answer has come. Those that stand behind a `Retry` do not tell of the breaker."""
        good = said["status"] < 400
        self.answers += good
        if action != ONCE:
            return
        self.open = not good and said["error"].get("detail") == _OPEN
        if not self.open:
            return
        self.row.refused.append(took)
        if self._broken_at is not None:
            late = trio.current_time() - self._broken_at
            self.row.opened = max(self.row.opened or 0.0, late)
            self._broken_at = None


class OwnProcess(GatewayField):
    """The same, where the gateway is `restsock gateway` in a process of its own, with a file."""

    def __init__(self, row: GatewayRow, ledger: Ledger, family: Family) -> None:
        super().__init__(row, ledger, family)
        self._file = Path(ledger.path).with_name("gateway.toml")
        self._listen = "127.0.0.1:0"
        self._process: subprocess.Popen[str] | None = None
        self._version = 0  # of the file
        self._heard = -1  # what answers are of

    def _write(self) -> None:
        """A file with new backends, which can be told by their path."""
        self._version += 1
        route = (
            f'http = "http://127.0.0.1:{self._port}", path = "/{self._version}", method = "POST",'
            f' breaker = {{ failures = {FAILURES}, pause = {PAUSE}, slow = "none" }},'
            f" timeout = {_PATIENT}"
        )
        retry = f'retry = {{ attempts = 3, idempotent = ["{AGAIN}"], budget = 1.0 }}'
        self._file.write_text(
            f'[hub]\nlisten = "{self._listen}"\n[sockets]\nreuse_port = true\n'
            '[[channel]]\npath = "/ws"\nlimits = { in_flight = 100 }\ngrace = 5\n'
            f'[channel.routes]\n"{AGAIN}" = {{ {route}, {retry} }}\n"{ONCE}" = {{ {route} }}\n'
        )

    @contextlib.asynccontextmanager
    async def serving(self) -> AsyncIterator[None]:
        """The gateway, on a port."""
        self._write()
        try:
            await self._start()
            yield
        finally:
            if self._process is not None:
                _end(self._process, signal.SIGKILL)

    async def _start(self) -> None:
        words = ["-m", "restsock", "gateway", "-q", "-c", str(self._file)]
        self._process = await trio.to_thread.run_sync(_started, [sys.executable, *words])
        assert self._process.stdout is not None
        self.url = (await trio.to_thread.run_sync(self._process.stdout.readline)).strip()
        self._listen = self.url.split("/")[2]

    async def reload(self) -> None:
        """SIGHUP, with other backends in the file; returns once these answer."""
        self._write()
        assert self._process is not None
        self._process.send_signal(signal.SIGHUP)
        await until(lambda: self._heard == self._version)

    async def restart(self) -> None:
        """Another one on the same port; then SIGTERM to the one before, and its end."""
        old = self._process
        self._write()
        await self._start()
        assert old is not None
        await trio.to_thread.run_sync(_end, old, signal.SIGTERM)
        await until(lambda: self._heard == self._version)

    def note(self, action: str, said: dict[str, Any], took: float) -> None:
        """See `GatewayField`."""
        super().note(action, said, took)
        if said["status"] < 400:
            self._heard = int(said["body"]["path"].strip("/"))


def _started(command: list[str]) -> subprocess.Popen[str]:
    return subprocess.Popen(command, stdout=subprocess.PIPE, cwd=ROOT, text=True)


def _end(process: subprocess.Popen[str], number: int) -> None:
    process.send_signal(number)
    process.wait()
    assert process.stdout is not None
    process.stdout.close()


@contextlib.asynccontextmanager
async def gateway_field(
    row: GatewayRow,
    family: Family,
    *,
    backend: tuple[float, float] | None,
    own_process: bool = False,
) -> AsyncIterator[GatewayField]:
    """A gateway with clients that call; behind the block, its row is complete.

    Args:
        row: to be filled in.
        family: makes peers.
        backend: what answers is a server of HTTP, with these parts of errors and stalls; else two
            peers of one name.
        own_process: whether the gateway has one; there is a server of HTTP then.
    """
    with tempfile.TemporaryDirectory(prefix="restsock-faults-") as folder:
        ledger = Ledger(Path(folder) / "ledger")
        one = (OwnProcess if own_process else GatewayField)(row, ledger, family)
        try:
            if backend is not None:
                await one.start_backend(*backend)
            async with one.serving():
                for _ in range(0 if backend else 2):
                    await one.start_peer()
                async with one.calling():
                    await one.answered()
                    yield one
            judge_calls(row, (line.words[0] for line in read(ledger.path) if line.kind == "R"))
        finally:
            one.end()
            ledger.close()
