"""WebSockets to apps of the peer: all APIs, both directions, `ws` and `wss`, real frameworks."""

from __future__ import annotations

import functools
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import anyio
import fastapi
import flask
import pytest
import quart
import trustme
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Route, WebSocketRoute
from starlette.websockets import WebSocket, WebSocketDisconnect

from restsock import (
    ConnectionClosed,
    Limits,
    LocalProtocolError,
    Options,
    PeerNotFound,
    RemoteProtocolError,
    Request,
    RequestTimeout,
    Response,
    Timeouts,
    WebSocketClosed,
    WebSocketRefused,
)
from tests.apis import API, NATIVE, each_api
from tests.e2e.test_apis import Mark
from tests.waiting import until

OPTIONS = Options(timeouts=Timeouts(connect=5.0, close=5.0))


@functools.cache
def tls_options() -> tuple[dict[str, Any], dict[str, Any]]:
    authority = trustme.CA()
    there = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("127.0.0.1").configure_cert(there)
    here = ssl.create_default_context()
    authority.configure_trust(here)
    return {"tls": there}, {"tls": here}


@asynccontextmanager
async def peers(
    api: API, app: Any = None, *, home: Any = None, tls: bool = False, options: Options = OPTIONS
) -> AsyncIterator[tuple[Any, Any]]:
    """The route to the peer that serves the app, and that peer, to which the listener serves."""
    there, here = tls_options() if tls else ({}, {})
    async with (
        api.listen("127.0.0.1", 0, app=home, options=options, **there) as server,
        api.connect(server.url, app=app, name="edge-1", options=options, **here) as client,
    ):
        yield server.route("edge-1"), client


def chat(seen: list[Any] | None = None) -> Any:
    """FastAPI: an echo that greets, and notes how it ended."""
    app = fastapi.FastAPI()

    @app.websocket("/chat/{room}")
    async def room(websocket: WebSocket, room: str, who: str = "you") -> None:
        wanted = websocket.scope["subprotocols"]
        await websocket.accept(wanted[-1] if wanted else None, [(b"x-room", room.encode())])
        await websocket.send_text(f"{who} at {websocket.headers['host']} {websocket.url.scheme}")
        try:
            while (message := await websocket.receive())["type"] == "websocket.receive":
                if message.get("text") == "bye":
                    await websocket.close(4001, "so long")
                    return
                if message.get("text") is not None:
                    await websocket.send_text(message["text"])
                else:
                    await websocket.send_bytes(message["bytes"])
        finally:
            if seen is not None:
                seen.append((message["code"], message.get("reason")))

    @app.websocket("/refuses")
    async def refuses(websocket: WebSocket) -> None:
        await websocket.send_denial_response(PlainTextResponse("too tired\nof this", 429))

    @app.websocket("/closes")
    async def closes(websocket: WebSocket) -> None:
        await websocket.close()

    @app.websocket("/fails")
    async def fails(websocket: WebSocket) -> None:
        await websocket.accept()
        raise ZeroDivisionError

    @app.get("/plain")
    async def plain() -> str:
        return "plain"

    return app


@pytest.mark.parametrize("tls", [False, True], ids=["ws", "wss"])
@each_api
async def test_messages_both_ways(api: API, tls: bool) -> None:
    if tls and api not in NATIVE:
        return  # TLS is the web server's
    seen: list[Any] = []
    async with peers(api, chat(seen), tls=tls) as (route, _):
        async with route.websocket(
            "/chat/blue?who=me", subprotocols=["a", "b"], headers={"Host": "edge", "X-A": "1"}
        ) as websocket:
            assert websocket.subprotocol == "b"
            assert websocket.header("X-Room") == "blue"
            assert await websocket.receive() == f"me at edge {'wss' if tls else 'ws'}"
            for message in ("text ä", b"\x00\xff", "", b"", b"x" * 300_000, "ä" * 300_000):
                await websocket.send(message)
                assert await websocket.receive() == message
            assert websocket.close_code is None
        assert [websocket.close_code, websocket.close_reason] == [1000, ""]
        with pytest.raises(WebSocketClosed):
            await websocket.send("late")
        with pytest.raises(WebSocketClosed, match="1000, closed by this side"):
            await websocket.receive()
    assert seen == [(1000, "")]


@each_api
async def test_the_listener_serves_websockets_too(api: API) -> None:
    async with peers(api, home=chat()) as (_, client):
        async with client.websocket("/chat/red") as websocket:
            assert websocket.subprotocol is None
            assert (await websocket.receive()).startswith("you at 127.0.0.1:")
            await websocket.send("bye")
            assert [message async for message in _until_4001(websocket)] == []
            assert (websocket.close_code, websocket.close_reason) == (4001, "so long")


async def _until_4001(websocket: Any) -> AsyncIterator[Any]:
    with pytest.raises(
        WebSocketClosed, match="closed with 4001, closed by the app: so long"
    ) as info:
        async for message in websocket:
            yield message
    assert (info.value.code, info.value.reason, info.value.clean) == (4001, "so long", False)
    assert info.value.may_have_run is True


@each_api
async def test_iterating_ends_with_a_close_in_order(api: API) -> None:
    async def three(websocket: WebSocket) -> None:
        await websocket.accept()
        for number in range(3):
            await websocket.send_text(str(number))
        await websocket.close()

    app = Starlette(routes=[WebSocketRoute("/three", three)])
    async with peers(api, app) as (route, _), route.websocket("/three") as websocket:
        assert [message async for message in websocket] == ["0", "1", "2"]
        assert websocket.close_code == 1000


@each_api
async def test_quart(api: API) -> None:
    app = quart.Quart("app")

    @app.websocket("/upper")
    async def upper() -> None:
        while True:
            await quart.websocket.send((await quart.websocket.receive()).upper())

    async with peers(api, app) as (route, _):
        async with route.websocket("/upper") as websocket:
            await websocket.send("abc")
            assert await websocket.receive() == "ABC"
        with pytest.raises(WebSocketRefused) as caught:
            async with route.websocket("/missing"):
                pass
        assert caught.value.status == 404


@each_api
async def test_other_answers_are_errors(api: API) -> None:
    async with peers(api, chat()) as (route, _):
        for path, status, words in (
            ("/missing", 403, ""),
            ("/closes", 403, ""),
            ("/refuses", 429, ": too tired"),
        ):
            with pytest.raises(WebSocketRefused, match=f"answered with {status}{words}") as caught:
                async with route.websocket(path):
                    pass
            assert caught.value.status == caught.value.response.status == status
            assert caught.value.may_have_run is True
        assert caught.value.response.content == b"too tired\nof this"
        with pytest.raises(WebSocketClosed, match="1011"):
            async with route.websocket("/fails") as websocket:
                await websocket.receive()
        assert (await route.request("GET", "/plain")).status == 200  # the connection goes on


@each_api
async def test_apps_without_websockets(api: API) -> None:
    async def function(request: Request) -> Response:
        return Response(200, body="a function")

    flasks = flask.Flask("app")
    for app, status in ((flasks, 404), (function, 200), (None, 503)):
        async with peers(api, app) as (route, _):
            with pytest.raises(WebSocketRefused) as caught:
                async with route.websocket("/"):
                    pass
            assert caught.value.status == status


@each_api
async def test_what_cannot_be_sent(api: API) -> None:
    async with peers(api, chat()) as (route, _):
        wrong: list[tuple[str, dict[str, Any]]] = [
            ("chat", {}),
            ("/ä", {}),
            ("/", {"subprotocols": ["a b"]}),
            ("/", {"subprotocols": ["a", "a"]}),
            ("/", {"subprotocols": "chat"}),
            ("/", {"headers": {"Sec-WebSocket-Key": "x"}}),
            ("/", {"headers": {"Upgrade": "h2c"}}),
            ("/", {"headers": {"X-A": "ÿĀ"}}),
        ]
        for target, options in wrong:
            with pytest.raises(LocalProtocolError):
                async with route.websocket(target, **options):
                    pass
        async with route.websocket("/chat/blue") as websocket:
            with pytest.raises(TypeError, match="str or bytes, not int"):
                await websocket.send(1)
            with pytest.raises(ValueError, match="not a close code"):
                await websocket.aclose(1006)
            await websocket.aclose(3333, "enough")
            assert (websocket.close_code, websocket.close_reason) == (3333, "enough")
            await websocket.aclose()


@each_api
async def test_a_block_that_fails_is_a_1011(api: API) -> None:
    seen: list[Any] = []
    async with peers(api, chat(seen)) as (route, _):
        with pytest.raises(ZeroDivisionError):
            async with route.websocket("/chat/blue"):
                raise ZeroDivisionError
    assert seen == [(1011, "")]


@each_api
async def test_a_cancelled_block_is_no_close(api: API) -> None:
    if api.name == "threads":
        return  # nothing cancels them
    seen: list[Any] = []
    async with peers(api, chat(seen)) as (route, _):
        with anyio.CancelScope() as scope:
            async with route.websocket("/chat/blue") as websocket:
                await websocket.receive()
                scope.cancel()
                await websocket.receive()
        assert scope.cancelled_caught
        with pytest.raises(TimeoutError):
            async with route.websocket("/chat/blue") as websocket:
                await websocket.receive()
                with anyio.fail_after(0.05):
                    await websocket.receive()
        await until(lambda: len(seen) == 2)
    assert seen == [(1011 if api.in_threads else 1006, ""), (1011, "")]


@each_api
async def test_a_message_that_is_too_large(api: API) -> None:
    options = Options(limits=Limits(max_websocket_message=1000), timeouts=OPTIONS.timeouts)

    async def large(websocket: WebSocket) -> None:
        await websocket.accept()
        await websocket.send_bytes(bytes(1000))
        await websocket.send_bytes(bytes(1001))
        ended.append((await websocket.receive())["code"])

    async def takes(websocket: WebSocket) -> None:
        await websocket.accept()
        ended.append((await websocket.receive())["code"])

    ended: list[int] = []
    app = Starlette(routes=[WebSocketRoute("/large", large), WebSocketRoute("/takes", takes)])
    async with peers(api, app, options=options) as (route, _):
        async with route.websocket("/large") as websocket:
            assert await websocket.receive() == bytes(1000)
            with pytest.raises(WebSocketClosed, match="more than 1000 bytes") as caught:
                await websocket.receive()
        assert caught.value.code == websocket.close_code == 1009
        assert isinstance(caught.value.__cause__, RemoteProtocolError)
        # The limit is that of the app that is served, too.
        async with route.websocket("/takes") as websocket:
            await websocket.send(bytes(1001))
            with pytest.raises(WebSocketClosed):
                await websocket.receive()
        assert websocket.close_code == 1009
    assert ended == [1009, 1009]


@each_api
async def test_times(api: API) -> None:
    go_on = Mark()

    async def slow(websocket: WebSocket) -> None:
        await go_on.wait()

    app = Starlette(routes=[WebSocketRoute("/slow", slow)])
    options = Options(timeouts=Timeouts(connect=0.1))
    async with api.listen("127.0.0.1", 0, options=options) as server:
        with pytest.raises(PeerNotFound) as absent:
            async with server.route("edge-1").websocket("/slow"):
                pass
        assert absent.value.may_have_run is False
        async with api.connect(server.url, app=app, name="edge-1"):
            with pytest.raises(RequestTimeout, match=r"within 0\.05 s") as caught:
                async with server.route("edge-1").websocket("/slow", timeout=0.05):
                    pass
            assert (caught.value.phase, caught.value.may_have_run) == ("head", True)
            go_on.set()


@each_api
async def test_the_end_of_the_connection_is_that_of_the_websocket(api: API) -> None:
    async with peers(api, chat()) as (route, client):
        async with route.websocket("/chat/blue") as websocket:
            await websocket.receive()
            await client.aclose(1001, "moving", grace=0)
            with pytest.raises(WebSocketClosed) as caught:
                await websocket.receive()
            assert isinstance(caught.value.__cause__, ConnectionClosed)
            told = (1001, True) if api.tells_close_codes else (1006, False)
            assert (caught.value.code, caught.value.clean) == told
            if caught.value.clean:
                assert [message async for message in websocket] == []


@each_api
async def test_a_drain_waits_for_a_websocket(api: API) -> None:
    async with peers(api, chat()) as (route, client):
        async with route.websocket("/chat/blue") as websocket, anyio.create_task_group() as tasks:
            await websocket.receive()
            tasks.start_soon(client.aclose)
            while True:  # until it drains
                try:
                    await client.request("GET", "/")
                except ConnectionClosed:
                    break
            await websocket.send("still here")
            assert await websocket.receive() == "still here"
            await websocket.aclose()


async def stopped(route: Any, count: Callable[[], int], least: int) -> int:
    """Waits until something that has come to `least` goes no further; returns where that is.

    The app answers a few requests meanwhile, on the loop of its WebSocket: what could go on there
    has had its turns.
    """
    with anyio.fail_after(30):
        while True:
            before = count()
            for _ in range(10):
                assert (await route.request("GET", "/turn")).status == 200
            if before > least and count() == before:
                return before


async def turn(_: Any) -> PlainTextResponse:
    return PlainTextResponse("")


@each_api
async def test_a_reader_that_is_slow_stops_the_app(api: API) -> None:
    sent = 0
    options = Options(limits=Limits(initial_window=16384, max_window=16384, send_buffer=4096))

    async def floods(websocket: WebSocket) -> None:
        nonlocal sent
        await websocket.accept()
        try:
            while True:
                await websocket.send_bytes(bytes(1000))
                sent += 1
        except WebSocketDisconnect:
            pass

    app = Starlette(routes=[WebSocketRoute("/floods", floods), Route("/turn", turn)])
    async with peers(api, app, options=options) as (route, _):
        async with route.websocket("/floods") as websocket:
            assert await stopped(route, lambda: sent, 30) < 100
            for _ in range(200):
                assert await websocket.receive() == bytes(1000)


@each_api
async def test_an_app_that_is_slow_stops_the_sender(api: API) -> None:
    go_on = Mark()
    options = Options(limits=Limits(initial_window=16384, max_window=16384, send_buffer=4096))

    async def counts(websocket: WebSocket) -> None:
        await websocket.accept()
        await go_on.wait()
        for _ in range(200):
            await websocket.receive_bytes()
        await websocket.send_text("all")

    app = Starlette(routes=[WebSocketRoute("/counts", counts), Route("/turn", turn)])
    async with peers(api, app, options=options) as (route, _):
        async with route.websocket("/counts") as websocket, anyio.create_task_group() as tasks:
            sent = 0

            async def send() -> None:
                nonlocal sent
                for _ in range(200):
                    await websocket.send(bytes(1000))
                    sent += 1

            tasks.start_soon(send)
            assert await stopped(route, lambda: sent, 15) < 40
            go_on.set()
            assert await websocket.receive() == "all"


@each_api
async def test_many_at_once_beside_requests(api: API) -> None:
    async with peers(api, chat()) as (route, _), anyio.create_task_group() as tasks:

        async def talk(number: int) -> None:
            async with route.websocket(f"/chat/{number}") as websocket:
                await websocket.receive()
                for message in range(20):
                    await websocket.send(f"{number}: {message}")
                    assert await websocket.receive() == f"{number}: {message}"

        for number in range(20):
            tasks.start_soon(talk, number)
        assert (await route.request("GET", "/plain")).status == 200
