"""A process that calls: it takes orders as lines of JSON and answers each with figures.

    python -m tests.bench.caller requests URL [FOLDER]          a plain Session, over HTTP
    python -m tests.bench.caller adapter listen|URL [FOLDER]    a plain Session with the adapter
    python -m tests.bench.caller session listen|URL [FOLDER]    restsock.Session
    python -m tests.bench.caller mounted listen                 the same, asgi.Listener in uvicorn

These call from tasks of one loop instead of threads:

    python -m tests.bench.caller trio listen                    the async API, on trio
    python -m tests.bench.caller aio listen|URL                 the async API, on asyncio
    python -m tests.bench.caller transport listen|URL           httpx over its transport
    python -m tests.bench.caller httpx|aiohttp URL              these alone, over HTTP

With `listen` it says where it listens, and is ready once a peer has dialed; with the URL of a
listener it dials. `URL#HOST` asks for another host than that of the URL. With the FOLDER of the
certificates it uses TLS. It ends with its stdin.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import sys
import threading
from collections.abc import AsyncIterator, Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import anyio
import trio

from tests.bench import certificates
from tests.bench.processes import hide_c_masking
from tests.bench.profiling import profiled
from tests.bench.workloads import WORKLOADS, Workload

if TYPE_CHECKING:
    from tests.bench.spells import Fetch

NAME = "bench"


def say(message: dict[str, Any]) -> None:
    print(json.dumps(message), flush=True)


@contextlib.contextmanager
def tunnelled(where: str, folder: str | None) -> Iterator[Any]:
    """What makes the adapters, with a peer connected."""
    import restsock.sync

    if where != "listen":
        with restsock.sync.connect(where, tls=certificates.dialer_tls(folder)) as client:
            yield client.adapter()
        return
    tls = certificates.listener_tls(folder)
    with restsock.sync.listen("127.0.0.1", 0, tls=tls) as server, server.events() as events:
        say({"url": server.url})
        next(iter(events))
        yield server.adapter(NAME)


@contextlib.contextmanager
def mounted() -> Iterator[Any]:
    """What makes the adapters, with a peer connected to a listener that uvicorn runs."""
    import uvicorn

    import restsock.asgi
    from tests.bench.peers import listening_socket

    listener = restsock.asgi.Listener()
    config = uvicorn.Config(listener, loop="uvloop", http="httptools", log_level="warning")
    server = uvicorn.Server(config)
    with listener.sync.events() as events, listening_socket() as sock:
        thread = threading.Thread(target=server.run, kwargs={"sockets": [sock]})
        thread.start()
        try:
            say({"url": f"ws://127.0.0.1:{sock.getsockname()[1]}/"})
            next(iter(events))
            yield listener.adapter(NAME)
        finally:
            server.should_exit = True
            thread.join()


def serve_threads(kind: str, where: str, folder: str | None = None) -> None:
    import requests

    import restsock
    from tests.bench import spells

    with contextlib.ExitStack() as stack:
        adapter: Any = None
        base, _, host = where.partition("#")
        if kind != "requests":
            opened = mounted() if kind == "mounted" else tunnelled(where, folder)
            adapter = stack.enter_context(opened)
            base = f"http://{NAME}"
        make = restsock.Session if kind in ("session", "mounted") else requests.Session

        def new_session() -> requests.Session:
            session = make()
            if host:
                session.headers["Host"] = host
            if adapter is not None:
                session.mount(f"{base}/", adapter)
            elif folder is not None:
                session.verify = str(certificates.files_in(Path(folder)).ca)
            return session

        say({"ready": True})
        for line in sys.stdin:
            order = json.loads(line)
            what = order.pop("do")
            if what == "spell":
                workload = WORKLOADS[order.pop("workload")]
                say(spells.spell(new_session, base, workload, **order))
            elif what == "events":
                say(spells.events(new_session, base, **order))
            elif what == "bulk":
                say(spells.bulk(new_session, base, **order))
            elif what == "profile":
                post = adapter._way.requester.token.run_sync_soon if order["loop"] else None
                with new_session() as session:
                    run = partial(spells.calls, session, base, order["calls"])
                    run()
                    say({"shares": profiled(run, post)})
            elif what == "calls":
                with new_session() as session:
                    spells.calls(session, base, order["calls"])
                say({})
            else:
                say(spells.beside(new_session, base, **order))


# --- from tasks -------------------------------------------------------------------------------


@contextlib.asynccontextmanager
async def requester(api: Any, where: str) -> AsyncIterator[Any]:
    """What sends requests, with a peer connected: `api` is `restsock` or `restsock.aio`."""
    if where != "listen":
        async with api.connect(where) as client:
            yield client
        return
    async with api.listen("127.0.0.1", 0) as server:
        async with server.events() as events:
            say({"url": server.url})
            await anext(aiter(events))
        yield server.route(NAME)


@contextlib.asynccontextmanager
async def by_restsock(api: Any, where: str) -> AsyncIterator[Fetch]:
    async with requester(api, where) as opened:

        async def fetch(workload: Workload) -> tuple[int, bytes]:
            response = await opened.request(workload.method, workload.path, body=workload.body)
            return response.status, response.content

        yield fetch


@contextlib.asynccontextmanager
async def by_httpx(base: str, transport: Any = None) -> AsyncIterator[Fetch]:
    import httpx

    # By default it keeps 20 open, and 32 tasks would have to connect again and again.
    limits = httpx.Limits(max_keepalive_connections=100)
    async with httpx.AsyncClient(limits=limits, transport=transport) as client:

        async def fetch(workload: Workload) -> tuple[int, bytes]:
            url = base + workload.path
            response = await client.request(workload.method, url, content=workload.body)
            return response.status_code, response.content

        yield fetch


@contextlib.asynccontextmanager
async def by_transport(where: str) -> AsyncIterator[Fetch]:
    import restsock.aio

    async with requester(restsock.aio, where) as opened:
        async with by_httpx(f"http://{NAME}", opened.transport()) as fetch:
            yield fetch


@contextlib.asynccontextmanager
async def by_aiohttp(base: str) -> AsyncIterator[Fetch]:
    import aiohttp

    async with aiohttp.ClientSession() as session:

        async def fetch(workload: Workload) -> tuple[int, bytes]:
            url = base + workload.path
            async with session.request(workload.method, url, data=workload.body) as response:
                return response.status, await response.read()

        yield fetch


async def serve_tasks(opened: contextlib.AbstractAsyncContextManager[Fetch]) -> None:
    from tests.bench import spells

    async with opened as fetch:
        say({"ready": True})
        while line := await anyio.to_thread.run_sync(sys.stdin.readline):
            order = json.loads(line)
            workload = WORKLOADS[order["workload"]]
            say(await spells.task_spell(fetch, workload, order["threads"], order["seconds"]))


def serve_asyncio(kind: str, where: str) -> None:
    if kind == "aio":
        import restsock.aio

        opened = by_restsock(restsock.aio, where)
    elif kind == "transport":
        opened = by_transport(where)
    else:
        opened = {"httpx": by_httpx, "aiohttp": by_aiohttp}[kind](where)
    asyncio.run(serve_tasks(opened))


def serve_trio(where: str) -> None:
    import restsock

    trio.run(serve_tasks, by_restsock(restsock, where))


def main() -> None:
    hide_c_masking()
    kind, where, *folder = sys.argv[1:]
    try:
        if kind == "trio":
            serve_trio(where)
        elif kind in ("aio", "transport", "httpx", "aiohttp"):
            serve_asyncio(kind, where)
        else:
            serve_threads(kind, where, *folder)
    except Exception as error:
        say({"error": f"{kind} {where}: {type(error).__name__}: {error}"})
        raise


if __name__ == "__main__":
    main()
