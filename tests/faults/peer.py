"""The other processes: peers that listen or dial, serve the app and, if asked to, send requests.

    python -m tests.faults.peer       internal: reads one line of JSON for each peer to start

Peers are forks of this process, which has everything loaded and no thread: so that a peer can be
killed and be back within a few milliseconds, twenty times. A peer obeys signals:

SIGTERM   close in good order, and end
SIGUSR1   let all requests under way end, send no more, and note in the ledger what is left
SIGUSR2   send requests again
"""

from __future__ import annotations

import contextlib
import ctypes
import gc
import json
import logging
import os
import select
import signal
import sys
import threading
import traceback
from collections.abc import AsyncIterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import trio

import restsock
from restsock import testing as _testing  # noqa: F401  # loaded here, and so in all forks
from restsock.connection import Requester
from tests.faults.config import Config, Errors, options_of
from tests.faults.hosted import Hosted
from tests.faults.ledger import Ledger
from tests.faults.listening import listening
from tests.faults.load import Load
from tests.faults.messages.peer import MessagePeer
from tests.faults.work import asgi_work, wsgi_work

__all__ = ["count", "line_for"]


def count() -> dict[str, int]:
    """What this process holds on to. On the loop, with nothing under way."""
    gc.collect()
    _give_back()
    statistics = trio.lowlevel.current_statistics()
    files = Path("/proc/self/fd")
    threads = [thread.name for thread in threading.enumerate()]
    # Of WSGI apps: as many as there were requests at once, up to a bound of their own.
    workers = sum(name.startswith("restsock-wsgi-") for name in threads)
    return {
        "tasks": statistics.tasks_living,
        "threads": len(threads) - workers,
        "workers": workers,
        "files": len(list(files.iterdir())) if files.exists() else 0,
        "objects": len(gc.get_objects()),
        "blocks": sys.getallocatedblocks(),
    }


def _give_back() -> None:
    """Gives free memory back to the system, so that what is resident afterwards is in use.

    glibc has an arena for each thread that allocates, and keeps in it what was freed: 1 to 2 MiB
    for each worker of a WSGI app. Where there is no such function, that counts as in use.
    """
    with contextlib.suppress(AttributeError, OSError):
        ctypes.CDLL(None).malloc_trim(0)


class Peer:
    """One peer, in its own process."""

    def __init__(self, config: Config) -> None:
        self.config = config
        self.ledger = Ledger(config.ledger)
        apps: dict[str, Any] = {"asgi": asgi_work, "wsgi": wsgi_work}
        self.app = apps[config.app](self.ledger, config.leak) if config.app else None
        self.requesters: list[Requester] = []
        self._runs = 0
        logging.getLogger("restsock").addHandler(Errors(self.ledger, config.who))

    async def run(self) -> None:
        async with self._open() as port:
            print(
                json.dumps({"who": self.config.who, "pid": os.getpid(), "port": port}), flush=True
            )
            async with trio.open_nursery() as nursery:
                await self._obey(nursery)
                nursery.cancel_scope.cancel()

    @contextlib.asynccontextmanager
    async def _open(self) -> AsyncIterator[int]:
        config = self.config
        options = options_of(config)
        workers: dict[str, Any] = {"workers": 8} if config.app == "wsgi" else {}
        async with contextlib.AsyncExitStack() as stack:
            watching = await stack.enter_async_context(_cancelled_behind())
            if config.port is not None:
                server = await listening(
                    stack, config.port, app=self.app, options=options, **workers
                )
                watching.start_soon(self._watch_server, server)
                self.requesters = [server.route(name) for name in config.names]
                yield server.address[1]
            else:
                initial, cap = config.backoff
                for url in config.urls:
                    client = restsock.connect(
                        url,
                        app=self.app,
                        name=config.name,
                        options=options,
                        backoff=restsock.Backoff(initial=initial, cap=cap, jitter=False),
                        **workers,
                    )
                    await stack.enter_async_context(client)
                    watching.start_soon(self._watch_client, client)
                    self.requesters.append(client)
                yield 0

    async def _watch_server(self, server: restsock.Server) -> None:
        async for event in server.events():
            kind = "O" if event.type == "ConnectionReceived" else "C"
            self.ledger.note(kind, self.config.who, event.connection_id, event.code)

    async def _watch_client(self, client: restsock.Client) -> None:
        with contextlib.suppress(restsock.ConnectionClosed):  # the client's end
            while True:
                connection = await client.wait_connected()
                self.ledger.note("O", self.config.who, connection.id)
                closed = await connection.wait_closed()
                self.ledger.note("C", self.config.who, connection.id, closed.code)

    async def _obey(self, nursery: trio.Nursery) -> None:
        load = self._start(nursery)
        with trio.open_signal_receiver(signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2) as signals:
            async for number in signals:
                if number == signal.SIGUSR2:
                    load = load or self._start(nursery)
                    continue
                if load is not None:
                    load.stop()
                    await load.wait_ended()
                    load = None
                if number == signal.SIGTERM:
                    return
                self.ledger.note("T", self.config.who, json.dumps(count()))

    def _start(self, nursery: trio.Nursery) -> Load | None:
        config = self.config
        if not config.kinds:
            return None
        self._runs += 1
        load = Load(
            self.ledger,
            f"{config.who}/{self._runs}",
            self.requesters,
            kinds=config.kinds,
            tasks=config.tasks,
            threads=config.threads,
            pause=config.pause,
            seed=self._runs,
        )
        nursery.start_soon(load.run)
        return load


@contextlib.asynccontextmanager
async def _cancelled_behind() -> AsyncIterator[trio.Nursery]:
    async with trio.open_nursery() as nursery:
        try:
            yield nursery
        finally:
            nursery.cancel_scope.cancel()


# --- the process that forks -------------------------------------------------------------------


def _become(config: dict[str, Any]) -> None:
    """In a fork: is the peer, and ends."""
    status = 1
    try:
        with contextlib.suppress(OSError, AttributeError):
            ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG: not beyond its parent
        nothing = os.open(os.devnull, os.O_RDONLY)
        os.dup2(nothing, 0)
        for name in ("urls", "backoff", "names", "kinds"):
            config[name] = tuple(config[name])
        if config["host"]:
            Hosted(Config(**config)).run()
        elif config["messages"]:
            trio.run(MessagePeer(Config(**config)).run)
        else:
            trio.run(Peer(Config(**config)).run)
        status = 0
    except KeyboardInterrupt:
        pass
    except BaseException:  # noqa: BLE001  # the last stop before _exit, which says nothing
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        os._exit(status)


def _reap(children: set[int]) -> None:
    while children:
        pid, _ = os.waitpid(-1, os.WNOHANG)
        if not pid:
            return
        children.discard(pid)


def main() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a Ctrl-C is for the process that started this
    children: set[int] = set()
    buffer = b""
    while True:
        _reap(children)
        if not select.select([0], [], [], 0.05)[0]:
            continue
        data = os.read(0, 65536)
        if not data:
            break
        *lines, buffer = (buffer + data).split(b"\n")
        for line in lines:
            pid = os.fork()
            if not pid:
                _become(json.loads(line))
            children.add(pid)
    for pid in children:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)


def line_for(config: Config) -> bytes:
    """What makes the process above start a peer."""
    return json.dumps(asdict(config)).encode() + b"\n"


if __name__ == "__main__":
    main()
