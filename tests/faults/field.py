"""The field: a caller in this process, a peer in another, and a wire in between that breaks."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal, Protocol

import trio

import restsock
from restsock.connection import Requester
from restsock.testing import FaultyProxy
from tests.faults.config import Config, options_of
from tests.faults.hosted import CallerInHost
from tests.faults.ledger import Counts, Ledger, judge
from tests.faults.load import Load
from tests.faults.peer import line_for
from tests.waiting import until

__all__ = ["BACKOFF", "INTERVAL", "TIMEOUT", "Child", "Family", "Field", "Row", "Side", "field"]

ROOT = Path(__file__).resolve().parents[2]

INTERVAL, TIMEOUT = 0.3, 0.3
HANDSHAKE = 0.5
BACKOFF = (0.05, 0.2)
"""The first pause and the longest, in seconds; without jitter, so that a step is a step."""

Side = Literal["dials", "listens", "dials uvicorn", "dials hypercorn", "in uvicorn"]
"""The end that the caller is at: it dials a listener, which may be in a web server; or it listens,
on a port of its own or in a web server, and is dialed."""


class Connected(Protocol):
    """What is known of a caller's connection."""

    async def wait_closed(self) -> Any: ...


@dataclass
class Child:
    """A peer in another process."""

    who: str
    pid: int
    port: int

    def send(self, number: int) -> None:
        os.kill(self.pid, number)

    def kill(self) -> None:
        """At once, whatever it is doing; stopped or not."""
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, signal.SIGKILL)


class Family:
    """The process that forks peers.

    Args:
        prefix: words in front of the command, for another network namespace, say.
    """

    def __init__(
        self, prefix: Sequence[str] = (), environment: dict[str, str] | None = None
    ) -> None:
        self._prefix = prefix
        self._environment = {} if environment is None else environment
        self._process: trio.Process | None = None
        self._buffer = b""
        self._numbers = 0
        self._starting = trio.Lock()

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    async def __aenter__(self) -> Family:
        self._process = await trio.lowlevel.open_process(
            [*self._prefix, sys.executable, "-m", "tests.faults.peer"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": str(ROOT), **self._environment},
        )
        return self

    async def __aexit__(self, *args: object) -> None:
        process = self._process
        assert process is not None
        assert process.stdin is not None
        assert process.stdout is not None
        with trio.CancelScope(shield=True):
            await process.stdin.aclose()  # it kills its children, and ends
            with trio.move_on_after(5):
                await process.wait()
            process.kill()
            await process.wait()
            await process.stdout.aclose()

    def new_name(self, role: str) -> str:
        """A name that nobody else in the ledger has."""
        self._numbers += 1
        return f"{role}{self._numbers}"

    async def start(self, config: Config) -> Child:
        """Starts a peer; returns when it listens, or has its connections."""
        assert self._process is not None
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        with trio.fail_after(20):
            await self._starting.acquire()
        try:
            return await self._start(config)
        finally:
            self._starting.release()

    async def _start(self, config: Config) -> Child:
        assert self._process is not None
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        await self._process.stdin.send_all(line_for(config))
        with trio.fail_after(20):
            while True:
                line, newline, rest = self._buffer.partition(b"\n")
                if newline:
                    self._buffer = rest
                    said: dict[str, Any] = json.loads(line)
                    if said["who"] == config.who:
                        return Child(said["who"], said["pid"], said["port"])
                    continue
                data = await self._process.stdout.receive_some()
                if not data:
                    raise RuntimeError("the process that forks peers has ended")
                self._buffer += data


@dataclass
class Row:
    """One line of the table.

    Attributes:
        fault: what was done.
        caller: the end that the caller is at.
        counts: what became of the requests.
        detect: seconds from the fault until the caller's connection had ended; the longest.
        detect_limit: what is promised.
        recover: seconds from the end of the fault until an answer; the longest.
        recover_limit: what is promised.
        lost: whether the connection was to be lost.
        connections: how many there were, at the caller.
        skipped: why it was not tried.
    """

    fault: str
    caller: str
    counts: Counts
    detect: float | None = None
    detect_limit: float | None = None
    recover: float | None = None
    recover_limit: float | None = None
    lost: bool = True
    connections: int = 0
    skipped: str = ""

    def as_json(self) -> dict[str, Any]:
        return {**asdict(replace(self, counts=Counts())), "counts": self.counts.as_json()}


class Field:
    """What a fault is tried on.

    Attributes:
        row: is filled in.
        requester: what the load calls.
        family: makes peers.
        child: the peer now.
        proxy: the wire.
        answers: how many the callers have had.
    """

    def __init__(
        self, row: Row, family: Family, ledger: Ledger, side: Side, config: Config
    ) -> None:
        self.row = row
        self.family = family
        self.ledger = ledger
        self.side = side
        self.config = config
        self.requester: Requester | CallerInHost
        self.proxy: FaultyProxy
        self.child: Child
        self.answers = 0

    def note_answer(self) -> None:
        self.answers += 1

    @property
    def connection(self) -> Connected | None:
        """The caller's, now."""
        return self.requester.connection

    async def wait_connected(self) -> Connected:
        await until(lambda: self.connection is not None)
        assert self.connection is not None
        return self.connection

    async def answered(self, more: int = 1) -> None:
        """Waits for so many more answers."""
        wanted = self.answers + more
        await until(lambda: self.answers >= wanted)

    @contextlib.asynccontextmanager
    async def load(self, *kinds: str, tasks: int = 4, threads: int = 2) -> AsyncIterator[None]:
        """Callers, for as long as the block runs."""
        load = Load(
            self.ledger,
            self.family.new_name("caller"),
            [self.requester],
            kinds=kinds,
            tasks=tasks,
            threads=threads,
            answered=self.note_answer,
        )
        async with load.running():
            yield

    async def restart(self) -> None:
        """A new peer in the place of the old one, on its port."""
        port = None if self.config.port is None else self.child.port
        self.config = replace(self.config, who=self.family.new_name("peer"), port=port)
        self.child = await self.family.start(self.config)

    async def suffer(
        self,
        fault: Callable[[], Awaitable[None]],
        mend: Callable[[], Awaitable[None]],
        *,
        linger: float = 0.0,
    ) -> None:
        """A fault that costs the connection: until it is noticed, and a moment more; then mended.

        Measures how long it takes to notice, and how long until there is an answer again.
        """
        connection = await self.wait_connected()
        begun = trio.current_time()
        await fault()
        with trio.fail_after(20):
            await connection.wait_closed()
        took = trio.current_time() - begun
        self.row.detect = max(self.row.detect or 0.0, took)
        await trio.sleep(linger)
        before = self.answers
        await mend()
        mended = trio.current_time()
        await until(lambda: self.answers > before)
        self.row.recover = max(self.row.recover or 0.0, trio.current_time() - mended)


@contextlib.asynccontextmanager
async def field(
    fault: str,
    side: Side,
    family: Family,
    *,
    app: str = "asgi",
    through: tuple[str, str] | None = None,
    heartbeat: tuple[float, float] | None = None,
) -> AsyncIterator[Field]:
    """A caller and a peer, connected; behind the block, its row is complete.

    Args:
        fault: for the row.
        side: the end that the caller is at.
        family: makes the peer.
        app: that the peer serves.
        through: the addresses of this process and of the peer on a network between them; without,
            a proxy is the wire.
        heartbeat: interval and timeout, if not the usual ones.
    """
    interval, timeout = heartbeat or (INTERVAL, TIMEOUT)
    with tempfile.TemporaryDirectory(prefix="restsock-faults-") as folder:
        ledger = Ledger(Path(folder) / "ledger")
        row = Row(fault, side, Counts())
        config = Config(
            who=family.new_name("peer"),
            ledger=str(ledger.path),
            app=app,
            name="edge",
            interval=interval,
            timeout=timeout,
            handshake=HANDSHAKE,
            backoff=BACKOFF,
        )
        try:
            async with contextlib.AsyncExitStack() as stack:
                one = Field(row, family, ledger, side, config)
                if side.startswith("dials"):
                    one.config = replace(one.config, host=side.removeprefix("dials").strip())
                    await _caller_dials(one, stack, through)
                elif side == "in uvicorn":
                    await _caller_in_host(one, stack)
                else:
                    await _caller_listens(one, stack, through)
                await one.wait_connected()
                yield one
            row.counts = judge(ledger.path)
        finally:
            ledger.close()


def _kill_child_of(one: Field) -> None:
    one.child.kill()  # the one that it has by then


async def _caller_dials(
    one: Field, stack: contextlib.AsyncExitStack, through: tuple[str, str] | None
) -> None:
    one.config = replace(one.config, port=0)
    one.child = await one.family.start(one.config)
    stack.callback(_kill_child_of, one)
    if through is None:
        url = await _through_proxy(one, stack, "127.0.0.1", one.child.port)
    else:
        url = f"ws://{through[1]}:{one.child.port}/"
    client = restsock.connect(
        url,
        options=options_of(one.config),
        backoff=restsock.Backoff(initial=BACKOFF[0], cap=BACKOFF[1], jitter=False),
    )
    one.requester = await stack.enter_async_context(client)
    stack.callback(lambda: setattr(one.row, "connections", client.statistics().connections))


async def _through_proxy(one: Field, stack: contextlib.AsyncExitStack, host: str, port: int) -> str:
    one.proxy = await stack.enter_async_context(FaultyProxy(host, port))
    return f"ws://127.0.0.1:{one.proxy.port}/"


async def _start_dialer(one: Field, stack: contextlib.AsyncExitStack, url: str) -> None:
    one.config = replace(one.config, urls=(url,))
    one.child = await one.family.start(one.config)
    stack.callback(_kill_child_of, one)


async def _caller_in_host(one: Field, stack: contextlib.AsyncExitStack) -> None:
    caller = CallerInHost("edge", options_of(one.config))
    port = await stack.enter_async_context(caller.serving())
    url = await _through_proxy(one, stack, "127.0.0.1", port)
    await _start_dialer(one, stack, url)
    one.requester = caller
    stack.callback(lambda: setattr(one.row, "connections", caller.connections))


async def _caller_listens(
    one: Field, stack: contextlib.AsyncExitStack, through: tuple[str, str] | None
) -> None:
    host = "127.0.0.1" if through is None else through[0]
    server = await stack.enter_async_context(
        restsock.listen(host, 0, options=options_of(one.config))
    )
    events = server.events(capacity=10_000)
    url = server.url
    if through is None:
        url = await _through_proxy(one, stack, *server.address)
    await _start_dialer(one, stack, url)
    one.requester = server.route("edge")

    def count() -> None:
        with contextlib.suppress(trio.WouldBlock):
            while True:
                one.row.connections += events.receive_nowait().type == "ConnectionReceived"

    stack.callback(count)
