"""Which loop an ASGI app is served on: by its class, by its startup, or as its owner says."""

from __future__ import annotations

import asyncio
import functools
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import falcon.asgi
import fastapi
import litestar
import pytest
import quart
import quart_trio
import starlette.applications
import trio
import trio.lowlevel

import restsock
import restsock.sync
from restsock.apps import AppStartupError, make_handler
from restsock.apps._loop import detect_loop
from restsock.testing import connected_pair


class Middleware:
    def __init__(self, app: Any, attribute: str = "app") -> None:
        setattr(self, attribute, app)

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None: ...


async def bare(scope: Any, receive: Any, send: Any) -> None: ...


class OwnQuartTrio(quart_trio.QuartTrio): ...


def ring() -> Middleware:
    one = Middleware(None)
    vars(one)["app"] = Middleware(one)
    return one


def trios() -> quart_trio.QuartTrio:
    return quart_trio.QuartTrio("a")


@pytest.mark.parametrize(
    ("make", "loop"),
    [
        (trios, "trio"),
        (lambda: OwnQuartTrio("a"), "trio"),
        (lambda: trios().asgi_app, "trio"),
        (lambda: Middleware(trios()), "trio"),
        (lambda: Middleware(Middleware(trios()), "application"), "trio"),
        (lambda: functools.partial(trios()), "trio"),
        (lambda: quart.Quart("a"), "asyncio"),
        (falcon.asgi.App, "asyncio"),
        (fastapi.FastAPI, "asyncio"),
        (starlette.applications.Starlette, "asyncio"),
        (lambda: litestar.Litestar(logging_config=None), "asyncio"),
        (lambda: bare, "asyncio"),
        (lambda: Middleware(bare), "asyncio"),
        (lambda: Middleware("no app"), "asyncio"),
        (ring, "asyncio"),
    ],
)
def test_by_its_class(make: Any, loop: str) -> None:
    assert detect_loop(make()) == loop


def test_what_is_said_has_to_make_sense() -> None:
    with pytest.raises(ValueError, match='"auto", "trio" or "asyncio", not \'uvloop\''):
        make_handler(bare, loop="uvloop")
    with pytest.raises(ValueError, match="for ASGI apps"):
        make_handler(lambda environ, start_response: [], interface="wsgi", loop="asyncio")
    with pytest.raises(TypeError, match="without an app"):
        restsock.listen("127.0.0.1", 0, loop="asyncio")
    with pytest.raises(ValueError, match="loop"):
        restsock.connect("ws://a/", app=bare, loop="none")


@pytest.mark.parametrize("loop", ["trio", "asyncio"])
def test_all_ways_of_serving_take_it(loop: str) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "http":
            on_asyncio = threading.current_thread().name.startswith("restsock-asyncio")
            await send({"type": "http.response.start", "status": 200 + on_asyncio})
            await send({"type": "http.response.body"})

    status = 201 if loop == "asyncio" else 200
    with (
        restsock.sync.listen("127.0.0.1", 0, app=app, loop=loop) as server,
        restsock.sync.connect(server.url, app=app, name="edge", loop=loop) as client,
    ):
        assert client.request("GET", "/", timeout=20).status == status
        assert server.request("edge", "GET", "/", timeout=20).status == status

    async def ask() -> None:
        async with (
            restsock.listen("127.0.0.1", 0, app=app, loop=loop) as server,
            restsock.connect(server.url, app=app, name="edge", loop=loop) as client,
        ):
            assert (await client.request("GET", "/")).status == status
            assert (await server.request("edge", "GET", "/")).status == status
        async with connected_pair(app, app, loop_a=loop, loop_b=loop) as (dialer, listener):
            assert (await dialer.request("GET", "/")).status == status
            assert (await listener.request("GET", "/")).status == status

    trio.run(ask)


# --- by its startup -------------------------------------------------------------------------------


def starting(steps: list[str], *, asyncio_only: bool = True) -> fastapi.FastAPI:
    @asynccontextmanager
    async def lifespan(app: fastapi.FastAPI) -> AsyncIterator[None]:
        steps.append("try")
        if asyncio_only:
            await asyncio.get_running_loop().run_in_executor(None, steps.append, "startup")
        yield
        steps.append("shutdown")

    app = fastapi.FastAPI(lifespan=lifespan)

    @app.get("/")
    async def root() -> str:
        return await asyncio.get_running_loop().create_task(asyncio.sleep(0, "ok"))

    return app


async def test_asyncio_is_the_default() -> None:
    steps: list[str] = []
    async with connected_pair(app_b=starting(steps)) as (dialer, _):
        assert (await dialer.request("GET", "/")).text == '"ok"'
    assert steps == ["try", "startup", "shutdown"]


async def raising(scope: Any, receive: Any, send: Any) -> None:
    asyncio.get_running_loop()
    if scope["type"] == "http":
        await send({"type": "http.response.start", "status": 200})
        await send({"type": "http.response.body"})


async def awaiting(scope: Any, receive: Any, send: Any) -> None:
    if scope["type"] == "lifespan":
        await asyncio.Future(loop=foreign)
    await raising(scope, receive, send)


async def mumbling(scope: Any, receive: Any, send: Any) -> None:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        await send({"type": "lifespan.startup.failed", "message": "it did not work"})
        for _ in range(10):
            await trio.lowlevel.checkpoint()
        raise
    await raising(scope, receive, send)


foreign: Any = None


@pytest.mark.parametrize("app", [raising, mumbling])
async def test_bare_apps_too(app: Any) -> None:
    async with connected_pair(app_b=app) as (dialer, _):
        assert (await dialer.request("GET", "/")).status == 200
    with pytest.raises(AppStartupError, match='serve it with loop="asyncio"'):
        async with make_handler(app, loop="trio").running():
            pytest.fail("it runs")


async def test_a_startup_that_needs_trio_says_so() -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await trio.lowlevel.checkpoint()

    with pytest.raises(AppStartupError, match='needs trio: serve it with loop="trio"'):
        async with make_handler(app).running():
            pytest.fail("it runs")


async def test_a_future_that_is_awaited_on_trio_counts() -> None:
    global foreign  # noqa: PLW0603  # the loop that a library may keep from somewhere
    foreign = asyncio.new_event_loop()
    try:
        with pytest.raises(AppStartupError, match='serve it with loop="asyncio"'):
            async with make_handler(awaiting, loop="trio").running():
                pytest.fail("it runs")
    finally:
        foreign.close()


async def test_said_trio_is_trio() -> None:
    steps: list[str] = []
    with pytest.raises(AppStartupError, match=r'running event loop.*loop="asyncio"'):
        async with make_handler(starting(steps), loop="trio").running():
            pytest.fail("it runs")
    assert steps == ["try"]


async def test_any_other_failure_is_one(caplog: pytest.LogCaptureFixture) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "lifespan.startup.failed", "message": "no database"})

    with pytest.raises(AppStartupError, match="no database"):
        async with make_handler(app).running():
            pytest.fail("it runs")


async def test_an_endpoint_that_needs_asyncio_says_so(caplog: pytest.LogCaptureFixture) -> None:
    app = starting([], asyncio_only=False)
    async with connected_pair(app_b=app, loop_b="trio") as (dialer, _):
        assert (await dialer.request("GET", "/")).status == 500
    assert 'the app seems to need asyncio: serve it with loop="asyncio"' in caplog.text
