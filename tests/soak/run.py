"""The soak: five processes that call each other in every way, while something breaks.

::

    listener  <-- wire -- a   (ASGI; also dials the victim)
        ^  ^----- wire -- b   (WSGI; also dials the victim)
        ^-------- wire -- c   (ASGI; is killed, closed, started again)
    victim    <---------- a, b    (is killed, closed, started again)

Everybody serves the app of `tests.faults.work` and calls everybody whom it is connected to, from
tasks and from threads: small requests, large ones, uploads and downloads in pieces, WebSockets, and
callers who leave early. Listener, a and b live from the beginning to the end: it is they that must
not grow.
"""

from __future__ import annotations

import contextlib
import functools
import json
import os
import random
import signal
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import trio

from restsock.testing import FaultyProxy
from tests.bench.processes import cpu_seconds, rss_bytes
from tests.faults.config import Config
from tests.faults.field import Child, Family
from tests.faults.ledger import Ledger, judge, read
from tests.soak.figures import Figures, problems
from tests.waiting import until

__all__ = ["soak"]

_KINDS = ("small", "small", "small", "impatient", "large", "both", "upload", "stream", "leave")
_WITH_WEBSOCKET = (*_KINDS, "websocket")

_MIB = 1024 * 1024


class _Tail:
    """Reads on in a ledger that grows.

    Attributes:
        told: what each process has counted of itself, each time.
    """

    def __init__(self, path: Path) -> None:
        self.told: dict[str, list[dict[str, Any]]] = {}
        self._path = path
        self._at = 0
        self._rest = b""

    def read(self) -> None:
        with self._path.open("rb") as file:
            file.seek(self._at)
            data = file.read()
        self._at += len(data)
        *lines, self._rest = (self._rest + data).split(b"\n")
        for line in lines:
            _, kind, *words = line.split(b" ", 3)
            if kind == b"T":
                self.told.setdefault(words[0].decode(), []).append(json.loads(words[1]))


class _Soak:
    """One run."""

    def __init__(self, family: Family, ledger: Ledger, seed: int, leak: int) -> None:
        self.family = family
        self.ledger = ledger
        self.dice = random.Random(seed)
        self.figures = Figures()
        self._tail = _Tail(ledger.path)
        self.base = Config(
            who="",
            ledger=str(ledger.path),
            leak=leak,
            interval=0.5,
            timeout=0.5,
            handshake=1.0,
            pause=0.02,
        )
        self.proxy: FaultyProxy
        self.listener: Child
        self.stable: dict[str, Child] = {}
        self.victim: Child
        self.mortal: Child  # c

    # --- who there is ---------------------------------------------------------------------

    @contextlib.asynccontextmanager
    async def everybody(self) -> AsyncIterator[None]:
        self.listener = await self.family.start(
            replace(
                self.base,
                who="listener",
                port=0,
                names=("a", "b", "c"),
                kinds=_KINDS,
                tasks=4,
                threads=2,
            )
        )
        self.victim = await self._start_victim(0)
        async with FaultyProxy("127.0.0.1", self.listener.port) as self.proxy:
            for name, app in (("a", "asgi"), ("b", "wsgi")):
                self.stable[name] = await self.family.start(
                    replace(
                        self.base,
                        who=name,
                        name=name,
                        app=app,
                        urls=(self._url, f"ws://127.0.0.1:{self.victim.port}/"),
                        kinds=_WITH_WEBSOCKET,
                        tasks=3,
                        threads=2,
                    )
                )
            self.mortal = await self._start_mortal()
            self.stable["listener"] = self.listener
            yield

    @property
    def _url(self) -> str:
        return f"ws://127.0.0.1:{self.proxy.port}/"

    async def _start_victim(self, port: int) -> Child:
        who = self.family.new_name("victim")
        return await self.family.start(
            replace(self.base, who=who, port=port, names=("a", "b"), kinds=_KINDS, tasks=2)
        )

    async def _start_mortal(self) -> Child:
        who = self.family.new_name("c")
        return await self.family.start(
            replace(
                self.base, who=who, name="c", urls=(self._url,), kinds=_WITH_WEBSOCKET, threads=1
            )
        )

    # --- what goes wrong ------------------------------------------------------------------

    async def break_something(self) -> None:
        """One fault, from its beginning to its end."""
        name, fault = self.dice.choice(_FAULTS)
        self.figures.faults[name] += 1
        await fault(self)

    def some_link(self) -> Any:
        links = self.proxy.links
        return self.dice.choice(links).stream if links else None

    async def cut(self) -> None:
        await self.proxy.cut(self.dice.choice(["reset", "eof"]))

    async def cut_anywhere(self) -> None:
        stream = self.some_link()
        if stream is not None:
            wire = self.dice.choice([stream.sending, stream.receiving])
            wire.cut_after(self.dice.randrange(1, 50_000), self.dice.choice(["reset", "eof"]))

    async def blackhole(self) -> None:
        self.proxy.stall()
        await trio.sleep(self.dice.choice([0.3, 1.5]))
        self.proxy.resume()

    async def forget(self) -> None:
        stream = self.some_link()
        if stream is not None:
            self.dice.choice([stream.drop, stream.sending.drop, stream.receiving.drop])()
        await trio.sleep(1.2)

    async def slow(self) -> None:
        stream = self.some_link()
        if stream is not None:
            stream.sending.delay = stream.receiving.delay = 0.15
            await trio.sleep(1)
            stream.sending.delay = stream.receiving.delay = 0.0

    async def bytewise(self) -> None:
        stream = self.some_link()
        if stream is not None:
            stream.sending.chunk = stream.receiving.chunk = 1
            await trio.sleep(0.5)
            stream.sending.chunk = stream.receiving.chunk = None

    async def stop(self) -> None:
        child = self.dice.choice([*self.stable.values(), self.mortal, self.victim])
        child.send(signal.SIGSTOP)
        try:
            await trio.sleep(self.dice.choice([0.3, 1.5]))
        finally:
            child.send(signal.SIGCONT)

    async def kill_mortal(self) -> None:
        self.ledger.note("K", self.mortal.who)
        self.mortal.kill()
        await trio.sleep(self.dice.random() * 0.3)
        self.mortal = await self._start_mortal()

    async def close_mortal(self) -> None:
        self.mortal.send(signal.SIGTERM)
        self.mortal = await self._start_mortal()

    async def kill_victim(self) -> None:
        self.ledger.note("K", self.victim.who)
        self.victim.kill()
        await trio.sleep(self.dice.random() * 0.3)
        self.victim = await self._start_victim(self.victim.port)

    async def close_victim(self) -> None:
        self.victim.send(signal.SIGTERM)
        self.victim = await self._start_victim(self.victim.port)

    # --- what is counted ------------------------------------------------------------------

    async def weigh(self) -> dict[str, dict[str, Any]]:
        """Lets everything come to rest and counts; behind it nobody sends until `go_on`."""
        self.proxy.resume()
        for _ in range(2):  # the first time ends the load, the second counts what is left of it
            everybody = [*self.stable.values(), self.victim, self.mortal]
            before = {child.who: self._told(child) for child in everybody}
            for child in everybody:
                child.send(signal.SIGUSR1)
            await until(functools.partial(self._have_told, before), 60)
            await trio.sleep(1.5)
        return {
            name: {
                **self._tail.told[child.who][-1],
                "mib": _mib(child.pid),
                "cpu": cpu_seconds([child.pid]) or 0.0,
            }
            for name, child in self.stable.items()
        }

    def _have_told(self, before: dict[str, int]) -> bool:
        self._tail.read()
        return all(len(self._tail.told.get(who, ())) > n for who, n in before.items())

    def _told(self, child: Child) -> int:
        self._tail.read()
        return len(self._tail.told.get(child.who, ()))

    def go_on(self) -> None:
        for child in (*self.stable.values(), self.victim, self.mortal):
            child.send(signal.SIGUSR2)

    async def run(self, seconds: float, every: float) -> None:
        """Load and faults for so long."""
        with trio.move_on_after(seconds):
            while True:
                await trio.sleep(every * (0.5 + self.dice.random()))
                with trio.CancelScope(shield=True):
                    await self.break_something()

    async def sample(self, every: float) -> None:
        while True:
            for name, child in self.stable.items():
                self.figures.processes[name]["samples"].append(_mib(child.pid))
            await trio.sleep(every)


_FAULTS: tuple[tuple[str, Callable[[_Soak], Awaitable[None]]], ...] = (
    ("cut", _Soak.cut),
    ("cut after any byte", _Soak.cut_anywhere),
    ("blackhole", _Soak.blackhole),
    ("forgotten, one way or both", _Soak.forget),
    ("300 ms", _Soak.slow),
    ("byte by byte", _Soak.bytewise),
    ("SIGSTOP", _Soak.stop),
    ("SIGKILL a dialer", _Soak.kill_mortal),
    ("SIGTERM a dialer", _Soak.close_mortal),
    ("SIGKILL a listener", _Soak.kill_victim),
    ("SIGTERM a listener", _Soak.close_victim),
)


async def soak(
    seconds: float,
    *,
    warm_up: float | None = None,
    every: float = 3.0,
    seed: int = 1,
    memory: bool = True,
    leak: int = 0,
    folder: Path | None = None,
) -> Figures:
    """Runs it.

    Args:
        seconds: all in all, warm-up included.
        warm_up: seconds before the first weighing; by default a fifth, a minute at most.
        every: seconds between two faults, on average.
        seed: of all that is drawn.
        memory: whether memory is judged: a short run has not filled what it fills once.
        leak: bytes that each app keeps of each request on purpose: the judgement must find them.
        folder: where the ledger goes, and stays when it has something to tell; by default it is
            removed in any case.
    """
    warm_up = min(seconds / 5, 60.0) if warm_up is None else warm_up
    with contextlib.ExitStack() as stack:
        if folder is None:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="restsock-soak-")))
        ledger = Ledger(folder / f"ledger.{os.getpid()}")
        stack.callback(ledger.close)
        async with Family() as family:
            one = _Soak(family, ledger, seed, leak)
            async with one.everybody():
                await one.run(warm_up, every)
                before = await one.weigh()
                for name in one.stable:
                    one.figures.processes[name] = {"before": before[name], "samples": []}
                one.go_on()
                begun = trio.current_time()
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(one.sample, max(1.0, seconds / 200))
                    await one.run(seconds - warm_up, every)
                    nursery.cancel_scope.cancel()
                one.figures.seconds = trio.current_time() - begun
                after = await one.weigh()
                for child in (one.victim, one.mortal):
                    child.kill()
        figures = one.figures
        for name in one.stable:
            figures.processes[name]["after"] = after[name]
            figures.processes[name]["cpu_seconds"] = after[name]["cpu"] - before[name]["cpu"]
        figures.counts = judge(ledger.path)
        figures.connections = _connections(ledger)
        figures.problems = problems(figures, memory=memory)
        if figures.problems:
            figures.problems.append(f"the ledger of it all: {ledger.path}")
        else:
            ledger.path.unlink()
        return figures


def _connections(ledger: Ledger) -> int:
    return len({line.words[1] for line in read(ledger.path) if line.kind == "O"})


def _mib(pid: int) -> float:
    return round((rss_bytes(pid) or 0) / _MIB, 1)
