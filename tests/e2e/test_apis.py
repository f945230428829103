"""What the APIs for trio, threads and asyncio have in common, and listeners in web servers."""

from __future__ import annotations

import http.client
import ssl
import threading
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager
from typing import Any

import anyio
import anyio.to_thread
import pytest

from restsock import (
    Backoff,
    ConnectionClosed,
    LocalProtocolError,
    Options,
    PeerNotFound,
    PeerUnavailable,
    Request,
    RequestTimeout,
    Response,
    RestsockError,
    Timeouts,
)
from restsock.apps import make_handler
from restsock.connection import Exchange
from restsock.protocol import ResetCode
from tests.apis import API, each_api, each_native_api
from tests.tls_pair import contexts
from tests.waiting import until

PIECE = bytes(range(256)) * 256  # 64 KiB
QUICK = Backoff(initial=0.02, factor=2, cap=0.1)
SHORT = Options(timeouts=Timeouts(connect=0.2))


class Mark:
    """Something that happens in an app, for which a test waits on whatever loop it has."""

    def __init__(self) -> None:
        self._event = threading.Event()
        self.set = self._event.set
        self.is_set = self._event.is_set

    async def wait(self) -> None:
        assert await anyio.to_thread.run_sync(self._event.wait, 15)


class App:
    """A function, which runs on either loop."""

    def __init__(self) -> None:
        self.begun, self.left, self.go_on = Mark(), Mark(), Mark()
        self.sent = 0

    async def __call__(self, request: Request) -> Response:
        if request.path == "/size":
            size = 0
            async for data in request:
                size += len(data)
            return Response(200, body=str(size), trailers={"X-Seen": "yes"})
        if request.path == "/upper":
            return Response(200, body=self._upper(request))
        if request.path == "/endless":
            return Response(200, body=self._endless())
        if request.path == "/slow":
            try:
                self.begun.set()
                await self.go_on.wait()
            finally:
                self.left.set()
        if request.path == "/fails":
            raise ZeroDivisionError
        return Response(200, {"X-Target": request.target}, body=await request.read())

    async def _upper(self, request: Request) -> AsyncIterator[bytes]:
        async for data in request:
            yield data.upper()

    async def _endless(self) -> AsyncIterator[bytes]:
        try:
            while True:
                yield PIECE
                self.sent += 1
        finally:
            self.left.set()


def linked(api: API, app: Any, **options: Any) -> AbstractAsyncContextManager[Any]:
    return _Linked(api, app, options)


class _Linked:
    """A server, with a client of it that serves the app."""

    def __init__(self, api: API, app: Any, options: dict[str, Any]) -> None:
        self._api, self._app, self._options = api, app, options

    async def __aenter__(self) -> Any:
        self.server = await self._api.listen("127.0.0.1", 0).__aenter__()
        self.client = self._api.connect(
            self.server.url, app=self._app, name="edge-1", backoff=QUICK, **self._options
        )
        await self.client.__aenter__()
        return self.server

    async def __aexit__(self, *exc: object) -> None:
        await self.client.__aexit__(*exc)
        await self.server.__aexit__(*exc)


@each_api
async def test_a_request(api: API) -> None:
    async with linked(api, App()) as server:
        response = await server.request("edge-1", "POST", "/a?b=c", body="text")
        assert (response.status, response.text) == (200, "text")
        assert response.header("X-Target") == "/a?b=c"
        assert (await server.request("edge-1", "GET", "/fails")).status == 500
        with pytest.raises(LocalProtocolError):
            await server.request("edge-1", "GET", "no slash")


@each_api
async def test_both_directions(api: API) -> None:
    async with api.listen("127.0.0.1", 0, app=App()) as server:
        async with api.connect(server.url, app=App(), name="edge-1") as client:
            assert (await client.request("POST", "/", body=b"up")).text == "up"
            assert (await server.route("edge-1").request("POST", "/", body=b"down")).text == "down"
            (connection,) = server.connections
            assert connection.name == "edge-1"
            assert client.statistics().traffic.requests_sent == 1
            assert server.statistics().connections == 1
            assert server.health().ok
            assert client.health().ok
        assert client.closed


@each_api
async def test_bodies_in_pieces_and_trailers(api: API) -> None:
    async def pieces() -> AsyncIterator[bytes]:
        for _ in range(64):
            yield PIECE

    async with linked(api, App()) as server:
        response = await server.request("edge-1", "POST", "/size", body=pieces())
        assert response.text == str(64 * len(PIECE))
        assert response.trailers == [(b"X-Seen", b"yes")]
        body = b"x" * 5_000_000
        assert (await server.request("edge-1", "POST", "/upper", body=body)).content == body.upper()
        route = server.route("edge-1")
        async with route.stream("POST", "/upper", body=pieces()) as response:
            size = 0
            async for data in response:
                size += len(data)
            assert size == 64 * len(PIECE)


@each_api
async def test_a_reader_that_waits_holds_the_app_up_and_leaving_tells_it(api: API) -> None:
    app = App()
    async with linked(api, app) as server:
        async with server.route("edge-1").stream("GET", "/endless") as response:
            assert await response.receive()
            before = -1
            while app.sent != before:  # until the app waits for room
                before = app.sent
                await anyio.sleep(0.1)
            assert before * len(PIECE) < 8 * 1024 * 1024
            for _ in range(before + 1):
                assert await response.receive()
        await app.left.wait()


@each_api
async def test_a_time_out_reaches_the_app(api: API) -> None:
    app = App()
    async with linked(api, app) as server:
        with pytest.raises(RequestTimeout) as caught:
            await server.request("edge-1", "GET", "/slow", timeout=0.2)
        assert (caught.value.phase, caught.value.may_have_run) == ("head", True)
        app.go_on.set()  # it waits in a thread, which cannot be cancelled
        await app.left.wait()
        assert (await server.request("edge-1", "GET", "/")).status == 200


@each_api
async def test_who_is_not_there(api: API) -> None:
    async with api.listen("127.0.0.1", 0, options=SHORT) as server:
        with pytest.raises(PeerNotFound):
            await server.request("edge-2", "GET", "/")
        async with api.connect(server.url, name="edge-2"):
            pass
        with pytest.raises(PeerUnavailable):
            await server.request("edge-2", "GET", "/")


@each_api
async def test_a_request_waits_for_its_peer(api: API) -> None:
    async with api.listen("127.0.0.1", 0) as server:
        answers = []

        async def ask() -> None:
            answers.append(await server.request("edge-1", "POST", "/", body=b"x"))

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(ask)
            await until(lambda: server.statistics().waiting)
            async with api.connect(server.url, app=App(), name="edge-1"):
                await until(lambda: answers)
        assert answers[0].text == "x"


class Choosy:
    """Refuses the first requests."""

    def __init__(self, refusals: int) -> None:
        self.left = refusals
        self.asked = 0
        self._inner = make_handler(App())

    def running(self) -> AbstractAsyncContextManager[None]:
        return self._inner.running()

    def handle(self, exchange: Exchange) -> None:
        self.asked += 1
        if self.left:
            self.left -= 1
            exchange.reset(ResetCode.REFUSED, "not now")
        else:
            self._inner.handle(exchange)


@each_api
async def test_what_the_peer_refuses_is_sent_again(api: API) -> None:
    for body in (b"", b"once", bytes(300_000)):
        choosy = Choosy(3)
        async with linked(api, choosy) as server:
            response = await server.request("edge-1", "POST", "/", body=body)
            assert response.content == body
            assert choosy.asked == 4


@each_api
async def test_a_drain_waits_for_what_is_in_flight(api: API) -> None:
    app = App()
    answers = []
    async with api.listen("127.0.0.1", 0) as server:
        async with api.connect(server.url, app=app, name="edge-1") as client:

            async def ask() -> None:
                answers.append(await server.request("edge-1", "POST", "/slow", body=b"x"))

            async with anyio.create_task_group() as tasks:
                tasks.start_soon(ask)
                await app.begun.wait()
                tasks.start_soon(client.aclose)
                await until(lambda: not client.health().ok)
                with pytest.raises(ConnectionClosed):
                    await client.request("GET", "/")
                app.go_on.set()
            assert answers[0].text == "x"
            await client.wait_closed()


@each_api
async def test_a_drain_of_the_listener_waits_as_well(api: API) -> None:
    app = App()
    answers = []
    async with api.listen("127.0.0.1", 0, app=app) as server:
        async with api.connect(server.url, app=App(), name="edge-1", backoff=QUICK) as client:

            async def ask() -> None:
                answers.append(await client.request("POST", "/slow", body=b"x"))

            async with anyio.create_task_group() as tasks:
                tasks.start_soon(ask)
                await app.begun.wait()
                tasks.start_soon(server.aclose)
                await until(lambda: not server.health().ok)
                with pytest.raises(RestsockError) as caught:
                    await server.request("edge-1", "GET", "/")
                assert caught.value.may_have_run is False
                app.go_on.set()
            assert answers[0].text == "x"


@each_api
async def test_a_cancelled_request_reaches_the_app(api: API) -> None:
    if api.in_threads:
        pytest.skip("a call in a thread cannot be cancelled")
    app = App()
    async with linked(api, app) as server:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(server.request, "edge-1", "GET", "/slow")
            await app.begun.wait()
            tasks.cancel_scope.cancel()
        app.go_on.set()  # it waits in a thread, which cannot be cancelled
        await app.left.wait()
        assert (await server.request("edge-1", "GET", "/")).status == 200


@each_api
async def test_events(api: API) -> None:
    async with api.listen("127.0.0.1", 0) as server:
        events = server.events()
        async with api.connect(server.url, name="edge-1", metadata={"a": 1}):
            event = await events.receive()
            assert (event.type, event.name, event.metadata) == (
                "ConnectionReceived",
                "edge-1",
                {"a": 1},
            )
    end = "ConnectionClosed" if api.tells_close_codes else "ConnectionFailure"
    assert [event.type async for event in events] == [end]


@each_api
async def test_many_at_once(api: API) -> None:
    async with linked(api, App()) as server:
        route = server.route("edge-1")
        seen = []

        async def ask(number: int) -> None:
            for _ in range(10):
                response = await route.request("POST", "/", body=str(number))
                assert response.text == str(number)
            seen.append(number)

        async with anyio.create_task_group() as tasks:
            for number in range(32):
                tasks.start_soon(ask, number)
        assert sorted(seen) == list(range(32))


@each_api
async def test_a_restart_of_the_listener(api: API) -> None:
    async with api.listen("127.0.0.1", 0, app=App()) as first:
        port = first.address[1]
        client = api.connect(first.url, name="edge-1", backoff=QUICK)
        async with client as client:
            assert (await client.request("GET", "/")).status == 200
            await first.aclose()
            async with api.listen("127.0.0.1", port, app=App()):
                assert (await client.request("GET", "/")).status == 200
                assert client.statistics().reconnects == 1


@each_native_api
async def test_an_idle_client_of_plain_http_does_not_keep_a_listener(api: API) -> None:
    """It has asked once, and keeps its connection in a pool."""
    patient = Options(timeouts=Timeouts(close=300, grace=300))
    for dialing, listening in ((None, None), contexts()):
        server = api.listen("127.0.0.1", 0, health_path="/h", tls=listening, options=patient)
        async with server as server:
            client = await anyio.to_thread.run_sync(ask_once, server.address, dialing)
            try:
                await server.aclose()
                assert client.sock.recv(100) == b""
            finally:
                client.close()


def ask_once(address: tuple[str, int], tls: ssl.SSLContext | None) -> Any:
    """Asks for /h, and returns the connection that this was done on."""
    client = http.client.HTTPConnection(*address, timeout=10)
    client.connect()
    if tls is not None:
        client.sock = tls.wrap_socket(client.sock, server_hostname="hub")
    client.request("GET", "/h")
    assert client.getresponse().read() == b"ok\n"
    return client
