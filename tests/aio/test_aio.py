"""restsock.aio: what is special to asyncio. What it shares with the others is in tests/e2e."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import functools
import gc
import inspect
import os
import signal
import subprocess
import sys
import threading
import warnings
from collections.abc import AsyncIterator, Callable, Coroutine
from pathlib import Path
from typing import Any

import anyio
import fastapi
import flask
import httpx
import httpx2
import pytest
import trio
import uvloop

import restsock
import restsock.aio
import restsock.sync
from restsock import Request, Response, RestsockError
from restsock.openapi import OpenAPIHandler

PATIENCE = 20
ROOT = Path(__file__).parents[2]


def threads() -> set[threading.Thread]:
    return {thread for thread in threading.enumerate() if thread.name.startswith("restsock")}


def on_asyncio(function: Callable[..., Coroutine[Any, Any, None]]) -> Callable[..., None]:
    """Runs a test on asyncio, and sees that no thread is left."""

    def test(**fixtures: Any) -> None:
        asyncio.run(asyncio.wait_for(function(**fixtures), PATIENCE))
        assert threads() == set()

    functools.update_wrapper(test, function)
    del test.__wrapped__  # type: ignore[attr-defined]  # pytest would see that it is async
    test.__signature__ = inspect.signature(function)  # type: ignore[attr-defined]
    return test


@contextlib.asynccontextmanager
async def serving(app: Any, **options: Any) -> AsyncIterator[restsock.aio.Route]:
    async with (
        restsock.aio.listen("127.0.0.1", 0) as server,
        restsock.aio.connect(server.url, app=app, name="edge-1", **options),
    ):
        yield server.route("edge-1")


async def echo(request: Request) -> Response:
    return Response(200, body=await request.read())


class Slow:
    """A function that never answers, and tells that it was cancelled."""

    def __init__(self) -> None:
        self.begun, self.left = asyncio.Event(), asyncio.Event()

    async def __call__(self, request: Request) -> Response:
        self.begun.set()
        try:
            await asyncio.Event().wait()
        finally:
            self.left.set()
        raise AssertionError


# --- cancellation -----------------------------------------------------------------------------


@on_asyncio
async def test_a_cancelled_task_reaches_the_app() -> None:
    app = Slow()
    async with serving(app) as route:
        task = asyncio.create_task(route.request("GET", "/"))
        await app.begun.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await app.left.wait()


@on_asyncio
async def test_a_cancelled_upload_reaches_the_app_and_its_generator() -> None:
    app = Slow()
    closed = asyncio.Event()

    async def pieces() -> AsyncIterator[bytes]:
        try:
            while True:
                yield bytes(100_000)
        finally:
            closed.set()

    async with serving(app) as route:
        task = asyncio.create_task(route.request("POST", "/", body=pieces()))
        await app.begun.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert closed.is_set()
        await app.left.wait()


@on_asyncio
async def test_a_time_limit_of_asyncios() -> None:
    app = Slow()
    async with serving(app) as route:
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(route.request("GET", "/"), 0.1)
        await app.left.wait()
        if sys.version_info >= (3, 11):
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.1):
                    async with route.stream("GET", "/"):
                        pass


@pytest.mark.skipif(sys.version_info < (3, 11), reason="TaskGroup is new in 3.11")
@on_asyncio
async def test_a_task_group() -> None:
    app = Slow()
    async with serving(app) as route:
        group: Any = getattr(asyncio, "TaskGroup")()  # noqa: B009  # 3.10 has none

        async def fail() -> None:
            await app.begun.wait()
            raise ZeroDivisionError

        with pytest.raises(BaseException) as caught:  # noqa: PT011  # a group, new in 3.11
            async with group as tasks:
                tasks.create_task(route.request("GET", "/"))
                tasks.create_task(fail())
        assert [type(error) for error in getattr(caught.value, "exceptions", ())] == [
            ZeroDivisionError
        ]
        await app.left.wait()


@on_asyncio
async def test_who_gives_up_dialing_leaves_nothing() -> None:
    with pytest.raises(asyncio.TimeoutError):
        await asyncio.wait_for(_connect("ws://127.0.0.1:9/"), 0.2)


async def _connect(url: str) -> None:
    async with restsock.aio.connect(url):
        pass


@on_asyncio
async def test_a_cancelled_block_drops_the_connection() -> None:
    async with restsock.aio.listen("127.0.0.1", 0) as server:
        events = server.events()
        entered, app = asyncio.Event(), Slow()

        async def stay() -> None:
            async with restsock.aio.connect(server.url, app=app, name="edge-1"):
                entered.set()
                await asyncio.Event().wait()

        task = asyncio.create_task(stay())
        await entered.wait()
        asking = asyncio.create_task(server.request("edge-1", "GET", "/"))
        await app.begun.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        with pytest.raises(restsock.ConnectionClosed) as caught:
            await asking
        assert caught.value.may_have_run is not False
        assert [(await events.receive()).type for _ in range(2)] == [
            "ConnectionReceived",
            "ConnectionFailure",
        ]


# --- loops ------------------------------------------------------------------------------------


def test_run_twice_and_from_two_loops() -> None:
    async def main() -> None:
        async with serving(echo) as route:
            assert (await route.request("POST", "/", body="a")).text == "a"

    asyncio.run(main())
    asyncio.run(main())


@on_asyncio
async def test_requests_from_another_loop() -> None:
    async with serving(echo) as route:

        async def elsewhere() -> None:
            assert (await route.request("POST", "/", body="b")).text == "b"

        await asyncio.to_thread(asyncio.run, elsewhere())


def test_uvloop() -> None:
    async def main() -> None:
        async with serving(echo) as route:
            body = bytes(3_000_000)
            answers = await asyncio.gather(
                *(route.request("POST", "/", body=body) for _ in range(4))
            )
            assert all(answer.content == body for answer in answers)

    loop = uvloop.new_event_loop()
    try:
        loop.run_until_complete(asyncio.wait_for(main(), PATIENCE))
    finally:
        loop.close()


def test_a_loop_that_is_closed_while_a_client_is_open() -> None:
    with restsock.sync.listen("127.0.0.1", 0) as server:
        loop = asyncio.new_event_loop()

        async def begin() -> Any:
            return await restsock.aio.connect(server.url, app=echo, name="edge-1").__aenter__()

        client = loop.run_until_complete(begin())
        loop.close()
        with pytest.raises(restsock.RestsockError):  # refused: nothing is served there any more
            server.request("edge-1", "GET", "/", timeout=1)
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            del client
            gc.collect()
        assert [warning.category for warning in caught] == [ResourceWarning]
        events = server.events()
        while len(server.connections):
            events.receive(timeout=0.05)
    for thread in threads():
        thread.join(PATIENCE)
    assert threads() == set()


def test_each_api_says_which_one_to_use() -> None:
    async def entering(manager: Any) -> None:
        async with manager:
            pass

    for manager, right in (
        (restsock.connect("ws://127.0.0.1:9/"), "use restsock.aio.connect"),
        (restsock.listen("127.0.0.1", 0), "use restsock.aio.listen"),
    ):
        with pytest.raises(RestsockError, match=f"this is asyncio: {right}"):
            asyncio.run(entering(manager))
    for aio_manager, right in (
        (restsock.aio.connect("ws://127.0.0.1:9/"), "use restsock.connect"),
        (restsock.aio.listen("127.0.0.1", 0), "use restsock.listen"),
    ):
        with pytest.raises(RestsockError, match=f"this is trio: {right}"):
            trio.run(entering, aio_manager)


@on_asyncio
async def test_what_is_not_entered_or_closed_says_so() -> None:
    client = restsock.aio.connect("ws://127.0.0.1:9/")
    with pytest.raises(RuntimeError, match="not entered"):
        await client.request("GET", "/")
    with pytest.raises(RuntimeError, match="not entered"):
        await client.wait_closed()
    await client.aclose()
    async with restsock.aio.listen("127.0.0.1", 0, app=echo) as server:
        async with restsock.aio.connect(server.url) as client:
            with pytest.raises(RuntimeError, match="once"):
                await client.__aenter__()
        with pytest.raises(restsock.ConnectionClosed):
            await client.request("GET", "/")
        assert (await client.wait_closed()).code == 1000
        await client.aclose()


# --- apps -------------------------------------------------------------------------------------


@on_asyncio
async def test_an_asgi_app_runs_on_the_callers_loop_and_shares_what_is_there() -> None:
    loop = asyncio.get_running_loop()
    asked_by: contextvars.ContextVar[str] = contextvars.ContextVar("asked_by", default="nobody")
    asked_by.set("the program")
    queue: asyncio.Queue[str] = asyncio.Queue()  # a pool, so to speak
    log: list[str] = []

    @contextlib.asynccontextmanager
    async def lifespan(app: Any) -> AsyncIterator[None]:
        log.append("startup")
        yield
        log.append("shutdown")

    app = fastapi.FastAPI(lifespan=lifespan)
    before = asyncio.all_tasks()

    @app.get("/shared")
    async def shared() -> Any:
        return [await queue.get(), asked_by.get(), asyncio.get_running_loop() is loop]

    async with serving(app) as route:
        assert log == ["startup"]
        asking = asyncio.create_task(route.request("GET", "/shared"))
        await queue.put("item")
        assert (await asking).json() == ["item", "the program", True]
    assert log == ["startup", "shutdown"]
    assert asyncio.all_tasks() == before


@on_asyncio
async def test_an_app_that_goes_on_is_cancelled_at_the_end() -> None:
    app = Slow()
    options = restsock.Options(timeouts=restsock.Timeouts(grace=0.05, close=0.5))
    async with restsock.aio.listen("127.0.0.1", 0) as server:
        async with restsock.aio.connect(server.url, app=app, name="edge-1", options=options):
            asking = asyncio.create_task(server.request("edge-1", "GET", "/"))
            await app.begun.wait()
        await app.left.wait()
        with pytest.raises(RestsockError):
            await asking


@on_asyncio
async def test_a_function_asks_back_over_its_connection() -> None:
    async def ask_back(request: Request) -> Response:
        return await request.connection.request("POST", "/", body=b"back " + await request.read())

    async with restsock.aio.listen("127.0.0.1", 0, app=echo) as server:
        async with restsock.aio.connect(server.url, app=ask_back, name="edge-1"):
            answer = await server.request("edge-1", "POST", "/", body="and forth")
            assert answer.text == "back and forth"


@on_asyncio
async def test_wsgi_and_checked_apps() -> None:
    site = flask.Flask("edge")
    site.get("/")(lambda: threading.current_thread().name)
    async with serving(site) as route:
        assert "wsgi" in (await route.request("GET", "/")).text
    loop = asyncio.get_running_loop()
    api = fastapi.FastAPI()

    @api.get("/here")
    async def here() -> bool:
        return asyncio.get_running_loop() is loop

    async with serving(OpenAPIHandler(api)) as route:
        assert (await route.request("GET", "/here")).json() is True
        assert (await route.request("GET", "/nowhere")).status == 404


@on_asyncio
async def test_auth_runs_on_the_callers_loop() -> None:
    loop = asyncio.get_running_loop()

    async def who(upgrade: Any) -> restsock.Principal:
        await asyncio.sleep(0)
        assert asyncio.get_running_loop() is loop
        return restsock.Principal(dict(upgrade.headers)[b"x-me"].decode())

    async def me() -> dict[str, str]:
        await asyncio.sleep(0)
        assert asyncio.get_running_loop() is loop
        return {"X-Me": "edge-1"}

    async with restsock.aio.listen("127.0.0.1", 0, auth=who) as server:
        async with restsock.aio.connect(server.url, auth=me, app=echo, name="edge-1"):
            assert (await server.request("edge-1", "POST", "/", body="a")).text == "a"
            (connection,) = server.connections
            assert connection.principal is not None
            assert connection.principal.name == "edge-1"
            assert server.revoke("edge-1") == 1
            assert (await connection.wait_closed()).code == 4005


# --- httpx ------------------------------------------------------------------------------------


@pytest.mark.parametrize("package", [httpx, httpx2], ids=["httpx", "httpx2"])
@on_asyncio
async def test_httpx(package: Any) -> None:
    async with serving(echo) as route:
        transport = route.transport()
        async with package.AsyncClient(transport=transport, base_url="http://edge-1") as client:
            assert (await client.post("/", content=b"a")).text == "a"
            body = bytes(2_000_000)
            assert (await client.post("/", content=body)).content == body

        def call() -> str:
            with package.Client(transport=transport, base_url="http://edge-1") as client:
                text: str = client.post("/", content=b"b").text
                return text

        assert await asyncio.to_thread(call) == "b"

        async def on_trio() -> str:
            async with package.AsyncClient(transport=transport, base_url="http://x") as client:
                text: str = (await client.post("/", content=b"c")).text
                return text

        assert await asyncio.to_thread(trio.run, on_trio) == "c"


# --- signals ----------------------------------------------------------------------------------


@on_asyncio
async def test_drain_on_signal() -> None:
    app = Slow()
    async with restsock.aio.listen("127.0.0.1", 0) as server:
        async with restsock.aio.connect(server.url, app=app, name="edge-1") as client:
            async with restsock.aio.drain_on_signal(client, server, grace=0.05):
                os.kill(os.getpid(), signal.SIGTERM)
                await anyio.sleep_forever()
        assert client.closed


def test_ctrl_c_ends_a_program_in_good_order() -> None:
    program = """
import asyncio, sys, restsock.aio

async def main():
    async with restsock.aio.listen("127.0.0.1", 0) as server:
        async with restsock.aio.connect(server.url, name="edge-1") as client:
            print("there", flush=True)
            await client.wait_closed()

try:
    asyncio.run(main())
except KeyboardInterrupt:
    print("interrupted", flush=True)
"""
    child = subprocess.Popen(
        [sys.executable, "-X", "dev", "-c", program],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    try:
        assert child.stdout is not None
        assert child.stdout.readline() == b"there\n"
        child.send_signal(signal.SIGINT)
        out, err = child.communicate(timeout=PATIENCE)
        assert (out, child.returncode) == (b"interrupted\n", 0)
        assert b"Traceback" not in err
        assert b"Warning" not in err
    finally:
        child.kill()
        child.communicate()


# --- what it looks like -----------------------------------------------------------------------


def test_the_names_and_arguments_are_those_of_the_api_for_trio() -> None:
    for ours, theirs in (
        (restsock.aio.connect, restsock.connect),
        (restsock.aio.listen, restsock.listen),
        (restsock.aio.Client.request, restsock.Client.request),
        (restsock.aio.Client.stream, restsock.Client.stream),
        (restsock.aio.Client.aclose, restsock.Client.aclose),
        (restsock.aio.Server.request, restsock.Server.request),
        (restsock.aio.Server.aclose, restsock.Server.aclose),
        (restsock.aio.Connection.drain, restsock.Connection.drain),
    ):
        assert list(inspect.signature(ours).parameters) == list(
            inspect.signature(theirs).parameters
        )
    towards_its_loop = {"submit", "authority", "token", "pick", "serve_here"}
    towards_its_loop |= {"dial_over", "speak", "accept_from", "keep_apart", "options"}
    towards_its_loop |= {"bind", "listen_at", "tell_urls"}
    for face, behind in (
        (restsock.aio.Client, restsock.Client),
        (restsock.aio.Server, restsock.Server),
        (restsock.aio.Route, restsock.Route),
    ):
        public = {name for name in vars(behind) if not name.startswith("_")}
        assert public - towards_its_loop - set(dir(face)) == set()


@pytest.mark.parametrize("name", ["Client.request", "Server.request", "Client.stream"])
def test_help_tells_units_errors_cancellation_and_retry(name: str) -> None:
    kind, method = name.split(".")
    text = inspect.getdoc(getattr(getattr(restsock.aio, kind), method)) or ""
    for wanted in ("Raises:", "may_have_run"):
        assert wanted in text
    if method == "request":
        for wanted in ("Seconds", "cancelled", "RequestTimeout"):
            assert wanted in text
