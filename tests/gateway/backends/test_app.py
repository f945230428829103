"""`App`: apps of each kind, in this process."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
import trio
from fastapi import FastAPI
from fastapi import Request as FastAPIRequest

from restsock.apps import AppStartupError
from restsock.connection import Request, Response
from restsock.gateway import App, CallFailed, HTTPMapping
from tests.gateway.backends.servers import make_app
from tests.gateway.stand_in import message

PET = HTTPMapping(method="GET", path="/pets/{body[id]}")


def make_fastapi() -> tuple[FastAPI, list[str]]:
    seen: list[str] = []

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        seen.append("begin")
        yield
        seen.append("end")

    app = FastAPI(lifespan=lifespan)

    @app.get("/pets/{number}")
    async def pet(number: int, request: FastAPIRequest) -> Any:
        return {"id": number, "for": request.headers["x-forwarded-for"], "url": str(request.url)}

    @app.get("/slow")
    async def slow() -> None:
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            seen.append("cancelled")
            raise

    return app, seen


async def pets(request: Request) -> Response:
    assert request.header("x-forwarded-for") == "192.0.2.7"
    return Response(200, {"Content-Type": "application/json"}, b'{"id": 7, "for": "192.0.2.7"}')


@pytest.mark.parametrize("kind", ["wsgi", "asgi", "function"])
async def test_an_app_of_each_kind_answers(kind: str) -> None:
    apps = {"wsgi": make_app(), "asgi": make_fastapi()[0], "function": pets}
    backend = App(apps[kind], PET)
    async with backend.running():
        reply = await backend.call(message({"id": 7}))
    assert reply.status == 200
    assert reply.body["id"] == 7
    assert reply.body["for"] == "192.0.2.7"
    if kind == "asgi":
        assert reply.body["url"].startswith("https://")  # as the client has come


async def test_many_calls_at_once_and_a_second_run() -> None:
    backend = App(make_app(), PET, workers=4)
    done: list[int] = []

    async def call(number: int) -> None:
        done.append((await backend.call(message({"id": number}))).body["id"])

    for _ in range(2):
        done.clear()
        async with backend.running(), trio.open_nursery() as nursery:
            for number in range(1000, 1300):
                nursery.start_soon(call, number)
        assert sorted(done) == [*range(1000, 1300)]
    with pytest.raises(CallFailed) as caught:
        await backend.call(message({"id": 7}))
    assert caught.value.may_have_run is False


async def test_the_lifespan_of_an_app_is_that_of_the_backend() -> None:
    app, seen = make_fastapi()
    async with App(app).running():
        assert seen == ["begin"]
    assert seen == ["begin", "end"]

    async def failing(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await send({"type": "lifespan.startup.failed", "message": "no"})

    with pytest.raises(AppStartupError):
        async with App(failing).running():
            raise AssertionError


async def test_a_cancelled_call_cancels_the_app() -> None:
    app, seen = make_fastapi()
    backend = App(app, HTTPMapping(method="GET", path="/slow"))
    async with backend.running():
        with trio.move_on_after(0.2):
            await backend.call(message())
        with pytest.raises(CallFailed) as caught:
            await backend.call(message(within=0.2))
        assert (caught.value.status, caught.value.may_have_run) == (504, True)
    assert seen.count("cancelled") == 2


async def test_an_app_that_fails_is_a_500_and_a_large_answer_a_502(caplog: Any) -> None:
    async def app(request: Request) -> Response:
        if request.path == "/large":
            return Response(200, {}, b"x" * 2_000_000)
        raise RuntimeError("secret")

    backend = App(app)
    async with backend.running():
        reply = await backend.call(message())
        assert reply.status == 500
        assert "secret" not in str(reply.body)
        with pytest.raises(CallFailed, match="more than"):
            await backend.call(message(method="GET", path="/large"))
        assert (await backend.call(message())).status == 500  # it goes on


def test_what_is_no_app_is_said_at_once() -> None:
    with pytest.raises(TypeError):
        App("petstore")
    with pytest.raises(ValueError, match="max_body"):
        App(pets, max_body=-1)
    assert repr(App(pets)) == "App(pets)"
