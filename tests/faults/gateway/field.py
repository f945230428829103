"""What a fault of a gateway is tried on: its clients, who call at a steady rate, and what answers.

The gateway and its clients are in this process, with sockets between them; what answers is in
others, which are killed, or end.
"""

from __future__ import annotations

import base64
import contextlib
import json
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Iterable
from dataclasses import asdict, dataclass, field
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
from restsock.websockets import connect
from tests.faults.config import Config, options_of
from tests.faults.field import BACKOFF, ROOT, Child, Family
from tests.faults.ledger import Ledger, read
from tests.waiting import until

__all__ = [
    "GatewayCounts",
    "GatewayField",
    "GatewayRow",
    "gateway_field",
    "judge_calls",
    "percentile",
]

RATE = 200.0
"""Calls per second, of all clients together."""
CLIENTS = 8
TIMEOUT = 0.5
"""Seconds that a call has where the server stalls. Elsewhere a busy machine is to fail none."""
_PATIENT = 5.0

_PATIENCE = 10.0  # seconds for the last answers
_AGAIN = "quotes.get"  # may run more than once, and is asked for again
_ONCE = "orders.add"


@dataclass
class GatewayCounts:
    """What became of the calls of a run.

    Attributes:
        sent: all.
        answered: with what they asked for.
        failed: that were answered with a failure.
        unanswered: that were not answered. Must be 0.
        twice: that may run once, and ran more often. Must be 0.
        again: of those that may run more than once: that did.
        wrong: answered twice, or with the answer to another call. Must be 0.
        lost: sockets that ended though nobody has ended them. Must be 0.
    """

    sent: int = 0
    answered: int = 0
    failed: int = 0
    unanswered: int = 0
    twice: int = 0
    again: int = 0
    wrong: int = 0
    lost: int = 0

    def faults(self) -> list[str]:
        """What must not be."""
        names = ("unanswered", "twice", "wrong", "lost")
        return [f"{getattr(self, name)} {name}" for name in names if getattr(self, name)]


@dataclass
class GatewayRow:
    """One line of the table. Times in seconds.

    Attributes:
        fault: what was done.
        counts: what became of the calls.
        delays: of all answers.
        opened: from a fault until the circuit breaker had opened; the longest.
        refused: how long answers took while it was open.
        back: from the end of a fault until an answer; the longest.
        limit: what is promised of that.
        may_fail: whether calls may be answered with a failure.
        opens: whether the circuit breaker has to open.
    """

    fault: str
    counts: GatewayCounts = field(default_factory=GatewayCounts)
    delays: list[float] = field(default_factory=list, repr=False)
    opened: float | None = None
    refused: list[float] = field(default_factory=list, repr=False)
    back: float | None = None
    limit: float | None = None
    may_fail: bool = True
    opens: bool = False

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


def percentile(values: list[float], part: float) -> float | None:
    """`None` of nothing."""
    return sorted(values)[min(int(len(values) * part), len(values) - 1)] if values else None


class GatewayField:
    """See above.

    Attributes:
        row: is filled in.
        breaker: stands before the server of HTTP.
        peers: that answer, by name of their process.
    """

    def __init__(self, row: GatewayRow, ledger: Ledger, family: Family) -> None:
        self.row = row
        self.ledger = ledger
        self.breaker = self._new_breaker()
        self._dialect = Action()
        self.peers: dict[str, Child] = {}
        self.answers = 0
        self._family = family
        self._server: restsock.Server
        self._gateway: Gateway
        self._backend: subprocess.Popen[str] | None = None
        self._port = 0
        self._chances = (0.0, 0.0)
        self._broken_at: float | None = None
        self._stopped = False
        self._calls = 0

    # --- the gateway ------------------------------------------------------------------------

    def _new_breaker(self) -> Breaker:
        return Breaker(failures=5, pause=0.3, slow=None, on_change=self._changed)

    def _changed(self, key: object, state: str) -> None:
        if state == "open" and self._broken_at is not None:
            took = trio.current_time() - self._broken_at
            self.row.opened = max(self.row.opened or 0.0, took)
            self._broken_at = None

    @property
    def open(self) -> bool:
        """Whether the circuit breaker is open."""
        return "open" in self.breaker.states().values()

    def channel(self) -> Channel:
        """A new one, with other backends."""
        self.breaker = self._new_breaker()
        behind: Answers
        if self._port:
            url = f"http://127.0.0.1:{self._port}/"
            seconds = TIMEOUT if any(self._chances) else _PATIENT
            behind = Pipe(HTTP(url, max_connections=64), [self.breaker, Timeout(seconds)])
        else:
            mapping = HTTPMapping(path="/work?reply=100", tell={"X-Request-Id": "body[call]"})
            behind = Pipe(Peer("edge", mapping, wait=5))
        again = Pipe(behind, [Retry(3, idempotent=_AGAIN, budget=1.0)])
        router = Router({_AGAIN: again, _ONCE: behind})
        return Channel("/ws", self._dialect, router, in_flight=100)

    @contextlib.asynccontextmanager
    async def serving(self) -> AsyncIterator[None]:
        """The gateway, on a port."""
        self._gateway = Gateway([self.channel()])
        config = Config(who="", ledger="")
        async with restsock.listen(
            "127.0.0.1", 0, endpoints=self._gateway, names="share", options=options_of(config)
        ) as self._server:
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

    def kill_backend(self) -> None:
        """SIGKILL, and nothing listens there any more."""
        if self._backend is None:
            return
        self._broken_at = trio.current_time()
        self._backend.kill()
        self._backend.wait()
        assert self._backend.stdout is not None
        self._backend.stdout.close()
        self._backend = None

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
        self.kill_backend()
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
        url = f"ws://127.0.0.1:{self._server.address[1]}/ws"
        async with trio.open_nursery() as nursery:
            for number in range(CLIENTS):
                nursery.start_soon(_Caller(self, number).run, url)
            try:
                yield
            finally:
                self._stopped = True

    @property
    def stopped(self) -> bool:
        """Whether no further calls are made."""
        return self._stopped


def _started(command: list[str]) -> subprocess.Popen[str]:
    return subprocess.Popen(command, stdout=subprocess.PIPE, cwd=ROOT, text=True)


class _Caller:
    """A client."""

    def __init__(self, one: GatewayField, number: int) -> None:
        self._one = one
        self._number = number
        self._sent: dict[str, tuple[float, bool]] = {}
        self._over: set[str] = set()

    async def run(self, url: str) -> None:
        counts = self._one.row.counts
        try:
            async with connect(url, proxy=False) as websocket, trio.open_nursery() as nursery:
                nursery.start_soon(self._hear, websocket)
                await self._ask(websocket)
                nursery.cancel_scope.cancel()
        except restsock.WebSocketClosed:
            counts.lost += 1
        counts.unanswered += len(self._sent)

    async def _ask(self, websocket: restsock.ClientWebSocket) -> None:
        one, begun = self._one, trio.current_time()
        pause, made = CLIENTS / RATE, 0
        await trio.sleep(self._number * pause / CLIENTS)
        while not one.stopped:
            made += 1
            id = f"c{self._number}-{made}"
            action = _ONCE if made % 2 else _AGAIN
            call = f"{action}/{id}"
            self._sent[id] = trio.current_time(), one.open
            one.row.counts.sent += 1
            await websocket.send(json.dumps({"action": action, "id": id, "call": call}))
            await trio.sleep_until(begun + made * pause)
        with trio.move_on_after(_PATIENCE):
            while self._sent:  # noqa: ASYNC110  # the other task need not say each time
                await trio.sleep(0.01)

    async def _hear(self, websocket: restsock.ClientWebSocket) -> None:
        one = self._one
        while True:
            said = json.loads(await websocket.receive())
            sent = self._sent.pop(said["id"], None)
            if sent is None:
                one.row.counts.wrong += 1
                continue
            begun, was_open = sent
            took = trio.current_time() - begun
            one.row.delays.append(took)
            if said["status"] < 400:
                one.answers += 1
                one.row.counts.answered += 1
                one.row.counts.wrong += not _is_answer(said)
                continue
            one.row.counts.failed += 1
            if was_open and one.open:
                one.row.refused.append(took)


def _is_answer(said: dict[str, Any]) -> bool:
    body = said["body"]
    if isinstance(body, str):  # of a peer: a line that begins with the id of the call
        body = {"call": base64.b64decode(body).split(b" ")[0].decode()}
    return str(body["call"]).endswith("/" + str(said["id"]))


def judge_calls(row: GatewayRow, ran: Iterable[str]) -> None:
    """Counts what ran more often than once."""
    seen: dict[str, int] = {}
    for call in ran:
        seen[call] = seen.get(call, 0) + 1
    for call, count in seen.items():
        row.counts.again += count > 1 and call.startswith(_AGAIN)
        row.counts.twice += count > 1 and not call.startswith(_AGAIN)


@contextlib.asynccontextmanager
async def gateway_field(
    row: GatewayRow, family: Family, *, backend: tuple[float, float] | None
) -> AsyncIterator[GatewayField]:
    """A gateway with clients that call; behind the block, its row is complete.

    Args:
        row: to be filled in.
        family: makes peers.
        backend: what answers is a server of HTTP, with these parts of errors and stalls; else two
            peers of one name.
    """
    with tempfile.TemporaryDirectory(prefix="restsock-faults-") as folder:
        ledger = Ledger(Path(folder) / "ledger")
        one = GatewayField(row, ledger, family)
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
