"""Callers that never stop: each request is noted in the ledger, and so is what came of it."""

from __future__ import annotations

import itertools
import os
import random
import threading
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import anyio
import requests
import trio

import restsock
from restsock.connection import Requester
from tests.e2e.raw_peer import CLOSE, TEXT, websocket_frame
from tests.faults.hosted import CallerInHost
from tests.faults.ledger import Ledger
from tests.faults.work import BLOCK, blocks, expected

__all__ = ["KINDS", "Load", "Plan"]

_PIECE = 16 * 1024
_UPGRADE = (
    ("Connection", "upgrade"),
    ("Upgrade", "websocket"),
    ("Sec-WebSocket-Version", "13"),
    ("Sec-WebSocket-Key", "AAAAAAAAAAAAAAAAAAAAAA=="),
)


@dataclass(frozen=True)
class Plan:
    """What one kind of request is like. Sizes in bytes, times in seconds.

    Attributes:
        up: of the request body.
        reply: of the response.
        up_pause: between the pieces of an upload; they are sent as they are made, then.
        reply_pause: between the blocks of the response.
        leave: whether the caller goes in the middle of the response.
        echo: messages to send through a WebSocket; then nothing else counts.
        timeout: of the whole.
    """

    up: int = 0
    reply: int = 0
    up_pause: float = 0.0
    reply_pause: float = 0.0
    leave: bool = False
    echo: int = 0
    timeout: float = 15.0

    @property
    def target(self) -> str:
        return f"/work?reply={self.reply}&pause={self.reply_pause}"


KINDS: dict[str, Plan] = {
    "small": Plan(up=100),
    "impatient": Plan(up=10, timeout=0.5),
    "large": Plan(reply=300_000),
    "both": Plan(up=150_000, reply=150_000),
    "upload": Plan(up=200_000, up_pause=0.005),
    "stream": Plan(reply=12 * BLOCK, reply_pause=0.005),
    "leave": Plan(reply=1_000_000, reply_pause=0.001, leave=True),
    "websocket": Plan(echo=10),
    # Long enough that whatever happens, happens in the middle of one.
    "long upload": Plan(up=40 * _PIECE, up_pause=0.02),
    "long stream": Plan(reply=40 * BLOCK, reply_pause=0.02),
}


class Wrong(Exception):
    """An answer that is not the one to the request."""


class Load:
    """Workers that send requests, one behind the other, for as long as `running` runs.

    Args:
        ledger: where everything is noted.
        who: the caller, unique in the ledger.
        requesters: what requests are sent through, in turn.
        kinds: names out of `KINDS`, drawn evenly.
        tasks: how many workers are trio tasks.
        threads: how many are threads with a `requests.Session`.
        pause: seconds between two requests of a worker.
        seed: of all that is drawn.
        answered: is called with each answer, on whatever thread has it.
    """

    def __init__(
        self,
        ledger: Ledger,
        who: str,
        requesters: Sequence[Requester | CallerInHost],
        *,
        kinds: Sequence[str] = ("small",),
        tasks: int = 4,
        threads: int = 0,
        pause: float = 0.005,
        seed: int = 0,
        answered: Callable[[], None] | None = None,
    ) -> None:
        self._ledger = ledger
        self._who = who
        self._requesters = requesters
        self._kinds = kinds
        self._tasks = tasks
        self._threads = threads
        self._pause = pause
        self._seed = seed
        self._answered = answered
        self._numbers = itertools.count(1)
        self._ending = trio.Event()
        self._ending_threads = threading.Event()
        self._over = trio.Event()

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Sends for as long as the block runs; behind it, what is under way comes to its end."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self.run)
            try:
                yield
            finally:
                self.stop()

    async def run(self) -> None:
        """Sends until `stop()`; then what is under way comes to its end."""
        try:
            async with trio.open_nursery() as nursery:
                limiter = trio.CapacityLimiter(max(self._threads, 1))
                for number in range(self._tasks):
                    nursery.start_soon(self._work, number)
                for number in range(self._threads):
                    nursery.start_soon(self._in_thread, self._tasks + number, limiter)
        finally:
            self._over.set()

    def stop(self) -> None:
        """No request is begun from now on."""
        self._ending.set()
        self._ending_threads.set()

    async def wait_ended(self) -> None:
        """Waits until nothing is under way, behind a `stop()`."""
        await self._over.wait()

    def _begin(self, dice: random.Random) -> tuple[str, Plan, bytes]:
        kind = dice.choice(self._kinds)
        id_ = f"{self._who}-{next(self._numbers)}"
        plan = KINDS[kind]
        self._ledger.note("S", self._who, id_, kind.replace(" ", "-"))
        return id_, plan, b"".join(blocks(id_ + "up", plan.up))

    def _failed(self, id_: str, error: BaseException) -> None:
        """Notes what the error says, in restsock's words."""
        cause: BaseException | None = error
        while cause is not None and not isinstance(cause, restsock.RestsockError):
            cause = cause.__cause__ or cause.__context__
        kind = "N" if cause is not None and cause.may_have_run is False else "M"
        self._ledger.note(kind, id_, describe(cause or error))

    # --- trio -----------------------------------------------------------------------------

    async def _work(self, number: int) -> None:
        dice = random.Random(self._seed * 1000 + number)
        turn = itertools.cycle(self._requesters[number:] or self._requesters)
        while not self._ending.is_set():
            id_, plan, body = self._begin(dice)
            try:
                with trio.fail_after(plan.timeout + 5):
                    await self._one(next(turn), id_, plan, body)
            except restsock.RestsockError as exc:
                self._failed(id_, exc)
            except trio.TooSlowError as exc:
                self._failed(id_, exc)
            except Wrong as exc:
                self._ledger.note("W", id_, exc)
            with trio.move_on_after(self._pause * (1 + dice.random())):
                await self._ending.wait()

    async def _one(self, requester: Any, id_: str, plan: Plan, body: bytes) -> None:
        fields = [("X-Request-Id", id_)]
        if plan.echo:
            await self._echo(requester, id_, plan, fields)
        elif plan.leave:
            async with requester.stream("POST", plan.target, headers=fields, body=body) as got:
                await got.receive()
            self._ledger.note("L", id_)
        else:
            pieces = _slowly(body, plan.up_pause) if plan.up_pause else body
            response = await requester.request(
                "POST", plan.target, headers=fields, body=pieces, timeout=plan.timeout
            )
            self._check(id_, plan, body, response.status, response.content)

    async def _echo(
        self, requester: Requester, id_: str, plan: Plan, fields: list[tuple[str, str]]
    ) -> None:
        async with requester.stream("GET", "/echo", headers=[*fields, *_UPGRADE]) as response:
            if response.status != 101:
                self._refused(id_, response.status)
                return
            buffer = b""
            for number in range(plan.echo):
                text = f"{id_} {number}".encode()
                await response.send(websocket_frame(TEXT, text))
                wanted = bytes((0x80 | TEXT, len(text))) + text
                while len(buffer) < len(wanted):
                    data = await response.receive()
                    if not data:
                        raise Wrong("the WebSocket has ended")
                    buffer += data
                if buffer != wanted:
                    raise Wrong(f"the echo of {text!r} is {buffer[:100]!r}")
                buffer = b""
            await response.send(websocket_frame(CLOSE, b"\x03\xe8"))
        self._right(id_)

    # --- threads --------------------------------------------------------------------------

    async def _in_thread(self, number: int, limiter: trio.CapacityLimiter) -> None:
        await trio.to_thread.run_sync(self._work_in_thread, number, limiter=limiter)

    def _work_in_thread(self, number: int) -> None:
        dice = random.Random(self._seed * 1000 + number)
        sessions = []
        for requester in self._requesters:
            session = requests.Session()
            session.trust_env = False
            if isinstance(requester, CallerInHost):
                session.mount("http://", requester.adapter())
            else:
                session.mount("http://", restsock.TunnelAdapter(requester))
            sessions.append(session)
        turn = itertools.cycle(sessions[number:] or sessions)
        while not self._ending_threads.is_set():
            id_, plan, body = self._begin(dice)
            if plan.echo:  # requests has no WebSockets
                plan = KINDS["small"]
            try:
                self._one_in_thread(next(turn), id_, plan, body)
            except requests.RequestException as exc:
                self._failed(id_, exc)
            except Wrong as exc:
                self._ledger.note("W", id_, exc)
            self._ending_threads.wait(self._pause * (1 + dice.random()))
        for session in sessions:
            session.close()

    def _one_in_thread(self, session: requests.Session, id_: str, plan: Plan, body: bytes) -> None:
        data: Any = body
        if plan.up_pause:
            data = self._slowly(body, plan.up_pause)
        with session.post(
            f"http://work{plan.target}",
            data=data,
            headers={"X-Request-Id": id_},
            timeout=(min(plan.timeout, 10.0), plan.timeout),
            stream=True,
        ) as response:
            if plan.leave:
                next(response.iter_content(1000))
                self._ledger.note("L", id_)
            else:
                self._check(id_, plan, body, response.status_code, response.content)

    def _slowly(self, body: bytes, pause: float) -> Iterator[bytes]:
        for at in range(0, len(body), _PIECE):
            threading.Event().wait(pause)
            yield body[at : at + _PIECE]

    # --- the outcome ----------------------------------------------------------------------

    def _check(self, id_: str, plan: Plan, body: bytes, status: int, content: bytes) -> None:
        if status != 200:
            self._refused(id_, status)
        elif content == expected(id_, body, plan.reply):
            self._right(id_)
        else:
            size = len(expected(id_, body, plan.reply))
            raise Wrong(f"{len(content)} bytes instead of {size}: {content[:60]!r}")

    def _right(self, id_: str) -> None:
        self._ledger.note("A", id_)
        if self._answered is not None:
            self._answered()

    def _refused(self, id_: str, status: int) -> None:
        """The app answers with 200 or 101; anything else was said in front of it."""
        if status == 503:
            self._ledger.note("N", id_, "503")
        else:
            raise Wrong(f"status {status}")


async def _slowly(body: bytes, pause: float) -> AsyncIterator[bytes]:
    for at in range(0, len(body), _PIECE):
        await anyio.sleep(pause)
        yield body[at : at + _PIECE]


def describe(error: BaseException) -> str:
    """The error without what differs each time: for counting."""
    words = [type(error).__name__]
    for name in ("code", "phase", "status"):
        value = getattr(error, name, None)
        if value is not None:
            words.append(str(value))
    return " ".join(words)


def name_of_this_process(role: str) -> str:
    return f"{role}.{os.getpid()}"
