"""The async transport, with httpx and with httpx2, over a connection in memory and a real one."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing, asynccontextmanager
from typing import Any

import httpx
import httpx2
import pytest
import trio
import trio.testing

import restsock
from restsock import Limits, Options, StreamRefused
from restsock.adapters import AsyncHTTPX2Transport, AsyncHTTPXTransport
from restsock.testing import connected_pair
from tests.adapters.httpx.app import App
from tests.adapters.httpx.test_sync import PACKAGES, check

KINDS: dict[Any, Any] = {httpx: AsyncHTTPXTransport, httpx2: AsyncHTTPX2Transport}

pytestmark = pytest.mark.parametrize("package", PACKAGES, ids=lambda package: package.__name__)


@asynccontextmanager
async def calling(package: Any, **options: Any) -> AsyncIterator[tuple[Any, App]]:
    """A client of the package whose requests go to the app."""
    app = App()
    async with connected_pair(app_b=app, **options) as (dialer, _):
        transport = KINDS[package](dialer)
        async with package.AsyncClient(transport=transport, base_url="http://edge-1") as client:
            yield client, app


async def test_a_call(package: Any) -> None:
    async with calling(package) as (client, _):
        answer = await client.post("/echo?q=a%20b", json={"a": 1}, headers={"X-A": "1"})
        assert (answer.status_code, answer.http_version) == (201, "HTTP/1.1")
        assert answer.headers.get_list("x-many") == ["1", "2"]
        seen = answer.json()
        assert (seen["method"], seen["target"]) == ("POST", "/echo?q=a%20b")
        names = [name.lower() for name, _ in seen["headers"]]
        assert not {"connection", "transfer-encoding", "upgrade"} & set(names)
        assert names.count("content-length") == 1


async def test_over_a_client_and_a_server(package: Any) -> None:
    app = App()
    async with restsock.listen("127.0.0.1", 0, app=app) as server:
        async with restsock.connect(server.url, app=app, name="edge-1") as client:
            for transport in (client.transport(), server.transport("edge-1")):
                async with package.AsyncClient(transport=transport) as http:
                    assert (await http.get("http://x/echo")).status_code == 201
                    assert isinstance(transport, httpx.AsyncBaseTransport)


async def test_trailers(package: Any) -> None:
    async with calling(package) as (client, _):
        answer = await client.get("/trailers")
        assert answer.content == b"body"
        assert answer.extensions["trailers"] == [(b"X-Sum", b"4")]


@pytest.mark.parametrize("status", [200, 204, 304, 503])
@pytest.mark.parametrize("method", ["GET", "HEAD"])
async def test_statuses(package: Any, status: int, method: str) -> None:
    async with calling(package) as (client, _):
        answer = await client.request(method, f"/status?{status}")
        assert answer.status_code == status
        empty = method == "HEAD" or status in (204, 304)
        assert answer.content == (b"" if empty else b"text")


async def test_bodies(package: Any) -> None:
    async def pieces() -> AsyncGenerator[bytes, None]:
        for _ in range(100):
            yield b"x" * 10_000

    async with calling(package) as (client, _):
        assert (await client.post("/size", content=b"x" * 1_000_000)).text == "1000000"
        assert (await client.post("/size", content=pieces())).text == "1000000"
        assert (await client.post("/size", content=b"")).text == "0"
        assert len((await client.get("/long")).content) == 3_000_000


async def test_both_ways_at_once(package: Any) -> None:
    async def pieces() -> AsyncGenerator[bytes, None]:
        for _ in range(400):
            yield b"x" * 10_000

    async with calling(package) as (client, _):
        assert (await client.post("/upper", content=pieces())).content == b"X" * 4_000_000
        body = b"x" * 4_000_000
        assert (await client.post("/upper", content=body)).content == b"X" * 4_000_000


async def test_an_early_response(package: Any) -> None:
    closed = False

    async def pieces() -> AsyncGenerator[bytes, None]:
        nonlocal closed
        try:
            while True:
                yield b"x" * 10_000
        finally:
            closed = True

    async with calling(package) as (client, _):
        generator = pieces()
        answer = await client.post("/early", content=generator)
        assert (answer.status_code, answer.text) == (413, "too much")
        await generator.aclose()
        assert closed


async def test_a_body_that_fails_cuts_the_request_off(package: Any) -> None:
    async def pieces() -> AsyncGenerator[bytes, None]:
        yield b"x"
        await trio.testing.wait_all_tasks_blocked()
        raise ZeroDivisionError

    async with calling(package) as (client, app):
        with pytest.raises(ZeroDivisionError):
            await client.post("/size", content=pieces())
        with trio.fail_after(5):
            await app.left.wait()


# httpx 0.28 wraps every stream in a generator that it does not close itself.
@pytest.mark.filterwarnings("ignore:Async generator 'httpx._client:ResourceWarning")
async def test_what_comes_is_handed_on_at_once_and_leaving_is_told(package: Any) -> None:
    async with calling(package) as (client, app):
        async with client.stream("GET", "/events") as answer:
            pieces = answer.aiter_raw()
            assert await anext(pieces) == b"one"
            app.go_on.set()
            assert await anext(pieces) == b"two"
            assert not app.left.is_set()
            await pieces.aclose()
        with trio.fail_after(5):
            await app.left.wait()


async def test_a_dropped_response_is_cut_off(package: Any) -> None:
    async with calling(package) as (client, app):
        answer = await client.send(client.build_request("GET", "/events"), stream=True)
        assert answer.status_code == 200
        del answer
        gc.collect()
        with trio.fail_after(5):
            await app.left.wait()


async def test_cancellation_reaches_the_app(package: Any) -> None:
    async with calling(package) as (client, app):
        with trio.move_on_after(0.05):
            await client.get("/never", timeout=None)
        with trio.fail_after(5):
            await app.left.wait()


async def test_many_at_once(package: Any) -> None:
    targets = []

    async def call(client: Any, number: int) -> None:
        targets.append((await client.get(f"/echo?{number}")).json()["target"])

    async with calling(package) as (client, _):
        async with trio.open_nursery() as nursery:
            for number in range(100):
                nursery.start_soon(call, client, number)
    assert sorted(targets) == sorted(f"/echo?{number}" for number in range(100))


# --- what goes wrong --------------------------------------------------------------------------


async def test_timeouts(package: Any, autojump_clock: trio.testing.MockClock) -> None:
    async with calling(package) as (client, _):
        with pytest.raises(package.ReadTimeout) as caught:
            await client.get("/never", timeout=package.Timeout(9, read=3))
        check(caught, package, may_have_run=True)
        assert trio.current_time() == pytest.approx(3, abs=0.1)

        async with client.stream("GET", "/events", timeout=package.Timeout(9, read=3)) as answer:
            with pytest.raises(package.ReadTimeout) as caught:
                await answer.aread()
        check(caught, package, may_have_run=True)

        with pytest.raises(package.WriteTimeout) as caught:
            timeout = package.Timeout(9, write=2)
            await client.post("/never", content=b"x" * 1_000_000, timeout=timeout)
        check(caught, package, may_have_run=True)


async def test_no_free_stream(package: Any, autojump_clock: trio.testing.MockClock) -> None:
    options = Options(limits=Limits(max_streams=1))
    async with calling(package, options=options) as (client, app):
        async with client.stream("GET", "/events"):
            with pytest.raises(package.PoolTimeout) as caught:
                await client.get("/echo", timeout=package.Timeout(9, pool=2))
        assert trio.current_time() == pytest.approx(2, abs=0.1)
        check(caught, package, may_have_run=False)
        assert app.reached == 1


async def test_no_peer(package: Any) -> None:
    async with restsock.listen("127.0.0.1", 0) as server:
        transport = server.transport("edge-1")
        async with package.AsyncClient(transport=transport) as client:
            with pytest.raises(package.ConnectTimeout) as caught:
                await client.get("http://edge-1/", timeout=package.Timeout(9, connect=0.05))
    check(caught, package, may_have_run=False)


async def test_a_refused_request_is_an_error_of_connecting(package: Any) -> None:
    async with connected_pair(app_b=App()) as (dialer, _):
        async with package.AsyncClient(transport=KINDS[package](dialer)) as client:
            await dialer.aclose()
            with pytest.raises(package.ConnectError) as caught:
                await client.get("http://edge-1/")
    check(caught, package, may_have_run=False)
    assert not isinstance(caught.value.__cause__, StreamRefused)  # it is a ConnectionClosed


async def test_a_response_that_breaks_off(package: Any) -> None:
    async with calling(package) as (client, app):
        async with client.stream("GET", "/broken") as answer:
            app.go_on.set()
            with pytest.raises(package.RemoteProtocolError) as caught:
                await answer.aread()
        check(caught, package, may_have_run=True)


async def test_what_cannot_be_sent(package: Any) -> None:
    async def pieces() -> AsyncGenerator[bytes, None]:
        yield b"abc"

    async with calling(package) as (client, _):
        with pytest.raises(package.LocalProtocolError) as caught:
            await client.get("/echo", headers={"X-A": "a\nb: c"})
        check(caught, package, may_have_run=False)
        # httpx leaves the closing of a generator to whoever made it.
        async with aclosing(pieces()) as content:
            with pytest.raises(package.LocalProtocolError):
                await client.post("/echo", content=content, headers={"Content-Length": "2"})


@pytest.mark.parametrize("run", [asyncio.run, trio.run], ids=["asyncio", "another trio"])
async def test_on_another_loop_than_the_connections(package: Any, run: Any) -> None:
    async with connected_pair(app_b=App()) as (dialer, _):
        transport = KINDS[package](dialer)

        async def pieces() -> AsyncGenerator[bytes, None]:
            for _ in range(100):
                yield b"x" * 10_000

        async def call() -> None:
            async with package.AsyncClient(transport=transport, base_url="http://edge-1") as client:
                assert (await client.get("/echo")).status_code == 201
                assert len((await client.get("/long")).content) == 3_000_000
                assert (await client.post("/size", content=b"x" * 1_000_000)).text == "1000000"
                assert (await client.post("/size", content=pieces())).text == "1000000"
                assert (await client.post("/upper", content=pieces())).text == "X" * 1_000_000

        def call_there() -> None:
            run(call() if run is asyncio.run else call)

        await trio.to_thread.run_sync(call_there)


# --- WebSocket --------------------------------------------------------------------------------


async def echo_websocket(scope: Any, receive: Any, send: Any) -> None:
    if scope["type"] == "websocket":
        await receive()
        await send({"type": "websocket.accept"})
        while (message := await receive())["type"] == "websocket.receive":
            await send({"type": "websocket.send", "text": message["text"].upper()})


async def test_a_websocket(package: Any) -> None:
    if not hasattr(package, "websocket"):
        pytest.skip(f"{package.__name__} itself has no WebSocket")
    async with connected_pair(app_b=echo_websocket) as (dialer, _):
        async with package.AsyncClient(transport=KINDS[package](dialer)) as client:
            async with client.websocket("ws://edge-1/") as socket:
                await socket.send_text("hello")
                assert await socket.receive_text() == "HELLO"


async def test_raw_bytes_behind_a_101(package: Any) -> None:
    async with connected_pair(app_b=echo_websocket) as (dialer, _):
        async with package.AsyncClient(transport=KINDS[package](dialer)) as client:
            headers = {
                "Connection": "Upgrade",
                "Upgrade": "websocket",
                "Sec-WebSocket-Version": "13",
                "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
            }
            async with client.stream("GET", "http://edge-1/", headers=headers) as answer:
                assert answer.status_code == 101
                stream = answer.extensions["network_stream"]
                await stream.write(b"\x81\x82\0\0\0\0hi")
                assert await stream.read(2) == b"\x81\x02"
                assert await stream.read(10) == b"HI"
                with pytest.raises(Exception, match=r"nothing within 0\.01 s"):
                    await stream.read(10, timeout=0.01)
                assert stream.get_extra_info("socket") is None
                await stream.aclose()


async def test_a_body_that_reads_once_is_sent_once(package: Any) -> None:
    class Plain:
        """An async iterator that is no generator: the client begins it in its middle."""

        def __init__(self) -> None:
            self.left = [b"bo", b"dy"]

        def __aiter__(self) -> Plain:
            return self

        async def __anext__(self) -> bytes:
            if not self.left:
                raise StopAsyncIteration
            return self.left.pop(0)

    for target in ("/challenge", "/moved"):
        async with calling(package) as (client, app):
            auth = package.DigestAuth("user", "secret") if target == "/challenge" else None
            with pytest.raises(package.StreamConsumed):
                await client.put(target, content=Plain(), auth=auth, follow_redirects=True)
            assert app.reached == 1


async def test_a_host_that_cannot_be_sent(package: Any) -> None:
    async with calling(package) as (client, app):
        with pytest.raises(package.LocalProtocolError):
            await client.get("/echo", headers={"Host": "a b"})
        assert app.reached == 0
