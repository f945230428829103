"""Plain WebSockets for threads and for asyncio, at both roles."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import pytest
import trio

import restsock
import restsock.aio
import restsock.sync
import restsock.websockets.aio
import restsock.websockets.sync
from restsock import HandshakeError, RestsockError, WebSocketClosed, WebSocketRefused
from restsock.auth import Principal, Upgrade
from restsock.websockets import (
    AsyncioServerWebSocket,
    BlockingServerWebSocket,
    Endpoint,
    Reconnect,
    ServerWebSocket,
)
from tests.websockets.site import PATIENCE, listening, raw_client, url_of


def blocking_echo(websocket: BlockingServerWebSocket) -> None:
    assert threading.current_thread() is not threading.main_thread()
    for message in websocket:
        websocket.send(message)


async def asyncio_echo(websocket: AsyncioServerWebSocket) -> None:
    asyncio.get_running_loop()
    async for message in websocket:
        await websocket.send(message)


# --- threads --------------------------------------------------------------------------------------


def test_both_ends_in_threads() -> None:
    with restsock.sync.listen("127.0.0.1", 0, endpoints={"/ws": Endpoint(blocking_echo)}) as server:
        with restsock.websockets.sync.connect(
            url_of(server), proxy=False, headers={"X": "1"}
        ) as websocket:
            for message in ("", "text", b"bytes", "x" * 200_000):
                websocket.send(message, timeout=PATIENCE)
                assert websocket.receive(PATIENCE) == message
            assert websocket.send_nowait("at once") is True
            assert websocket.receive(PATIENCE) == "at once"
            with pytest.raises(TimeoutError, match=r"no message within 0\.01 s"):
                websocket.receive(0.01)
            assert (websocket.close_code, websocket.subprotocol) == (None, None)
        assert websocket.close_code == 1000
        with pytest.raises(WebSocketClosed):
            websocket.receive()
        with pytest.raises(RestsockError):
            websocket.send("late")
        with pytest.raises(WebSocketRefused):
            restsock.websockets.sync.connect(url_of(server, "/other"), proxy=False)


def test_a_function_in_a_thread_and_its_client() -> None:
    seen: list[Any] = []
    done = threading.Event()

    def serve(websocket: BlockingServerWebSocket) -> None:
        seen.extend((websocket.request.path, websocket.principal, websocket.peer.host))
        seen.extend((len(websocket.id), websocket.draining, websocket.wait_draining(0.01)))
        seen.append(websocket.connected_at > 0)
        with pytest.raises(TimeoutError):
            websocket.receive(0.01)
        assert websocket.send_nowait("hello")
        try:
            websocket.receive()
        except WebSocketClosed as exc:
            seen.append(exc.code)
        done.set()

    def auth(upgrade: Upgrade) -> Principal:
        return Principal("ann")

    endpoint = Endpoint(serve, auth=auth)
    with restsock.sync.listen("127.0.0.1", 0, endpoints={"/ws": endpoint}) as server:
        with restsock.websockets.sync.connect(url_of(server, "/ws/a"), proxy=False) as websocket:
            assert websocket.receive(PATIENCE) == "hello"
            websocket.close(4000, "bye")
        assert done.wait(PATIENCE)
    assert seen == ["/ws/a", Principal("ann"), "127.0.0.1", 36, False, False, True, 4000]


def test_a_listener_of_threads_drains_functions_in_threads() -> None:
    drained = threading.Event()
    opened = threading.Event()

    def serve(websocket: BlockingServerWebSocket) -> None:
        opened.set()
        if websocket.wait_draining(PATIENCE):
            websocket.send("last words")
            drained.set()

    server = restsock.sync.listen("127.0.0.1", 0, endpoints={"/ws": Endpoint(serve)})
    websocket = restsock.websockets.sync.connect(url_of(server), proxy=False)
    assert opened.wait(PATIENCE)
    server.close()
    assert drained.is_set()
    assert websocket.receive(PATIENCE) == "last words"
    with pytest.raises(WebSocketClosed) as caught:
        websocket.receive(PATIENCE)
    assert caught.value.code == 1001
    websocket.close()


async def test_a_plain_function_under_a_listener_of_trio() -> None:
    threads = threading.active_count()
    async with listening(Endpoint(blocking_echo)) as server, raw_client(server) as client:
        client.websocket.send_text("x")
        await client.flush()
        await client.next()
    del threads  # the threads of trio linger for a while, and are reused


def test_a_dialer_in_a_thread() -> None:
    seen: list[str | bytes] = []
    stopped = threading.Event()

    def serve(websocket: Any) -> None:
        websocket.send(f"{len(seen)}")
        seen.append(websocket.receive(PATIENCE))
        if len(seen) == 3:
            dialer.stop()
            stopped.set()

    with restsock.sync.listen("127.0.0.1", 0, endpoints={"/ws": Endpoint(blocking_echo)}) as server:
        dialer = restsock.websockets.sync.Dialer(
            url_of(server), serve, reconnect=Reconnect(initial=0.01), proxy=False
        )
        assert not dialer.connected
        dialer.run()
        assert stopped.is_set()
    assert seen == ["0", "1", "2"]


def test_what_the_function_of_a_dialer_raises_ends_it() -> None:
    def serve(websocket: Any) -> None:
        raise KeyError("a bug")

    with restsock.sync.listen("127.0.0.1", 0, endpoints={"/ws": Endpoint(blocking_echo)}) as server:
        with pytest.raises(KeyError):
            restsock.websockets.sync.Dialer(url_of(server), serve, proxy=False).run()
        with pytest.raises(HandshakeError):
            restsock.websockets.sync.Dialer(
                "ws://127.0.0.1:1/", serve, reconnect=Reconnect(tries=1), proxy=False
            ).run()


# --- asyncio --------------------------------------------------------------------------------------


def test_both_ends_on_asyncio() -> None:
    async def main() -> None:
        async with restsock.aio.listen(
            "127.0.0.1", 0, endpoints={"/ws": Endpoint(asyncio_echo)}
        ) as server:
            async with restsock.websockets.aio.connect(url_of(server), proxy=False) as websocket:
                for message in ("", "text", b"bytes", "x" * 200_000):
                    await websocket.send(message)
                    assert await websocket.receive() == message
                assert await websocket.send_nowait("at once")
                assert await anext(websocket) == "at once"
                for _ in range(20):  # a wait that is given up loses nothing
                    try:
                        await asyncio.wait_for(websocket.receive(), 0.001)
                    except asyncio.TimeoutError:
                        pass
                for number in range(50):
                    await websocket.send(f"{number}")
                received: list[str | bytes] = []
                while len(received) < 50:
                    try:
                        received.append(await asyncio.wait_for(websocket.receive(), 0.0005))
                    except asyncio.TimeoutError:
                        pass
                assert received == [f"{number}" for number in range(50)]
                assert websocket.close_code is None
            assert websocket.close_code == 1000
            with pytest.raises(WebSocketRefused):
                async with restsock.websockets.aio.connect(url_of(server, "/other"), proxy=False):
                    pass

    asyncio.run(main())


def test_a_function_of_asyncio_and_its_client() -> None:
    seen: list[Any] = []

    async def main() -> None:
        ended = asyncio.Event()
        loop = asyncio.get_running_loop()

        async def serve(websocket: AsyncioServerWebSocket) -> None:
            assert asyncio.get_running_loop() is loop
            seen.extend((websocket.request.path, websocket.principal, websocket.draining))
            seen.extend((websocket.header("x-client"), websocket.subprotocol))
            try:
                await websocket.receive()
            except WebSocketClosed as exc:
                seen.append((exc.code, exc.reason))
            ended.set()

        async def auth(upgrade: Upgrade) -> Principal:
            assert asyncio.get_running_loop() is loop
            return Principal("ann")

        endpoint = Endpoint(serve, auth=auth, subprotocols=["v1"])
        async with restsock.aio.listen("127.0.0.1", 0, endpoints={"/ws": endpoint}) as server:
            with pytest.raises(KeyError):
                async with restsock.websockets.aio.connect(
                    url_of(server), subprotocols=["v1"], headers={"X-Client": "1"}, proxy=False
                ):
                    raise KeyError
            await asyncio.wait_for(ended.wait(), PATIENCE)

    asyncio.run(main())
    assert seen == ["/ws", Principal("ann"), False, "1", "v1", (1011, "")]


def test_a_listener_of_asyncio_drains_functions_of_asyncio() -> None:
    async def main() -> None:
        opened = asyncio.Event()

        async def serve(websocket: AsyncioServerWebSocket) -> None:
            opened.set()
            await websocket.wait_draining()
            await websocket.send("last words")

        async with restsock.aio.listen(
            "127.0.0.1", 0, endpoints={"/ws": Endpoint(serve)}
        ) as server:
            context = restsock.websockets.aio.connect(url_of(server), proxy=False)
            websocket = await context.__aenter__()
            await opened.wait()
            await server.aclose()
        assert await websocket.receive() == "last words"
        with pytest.raises(WebSocketClosed) as caught:
            await websocket.receive()
        assert caught.value.code == 1001
        await context.__aexit__(None, None, None)

    asyncio.run(main())


def test_a_task_of_asyncio_that_is_cancelled_breaks_it_off() -> None:
    codes: list[int] = []
    ended = threading.Event()

    async def serve(websocket: ServerWebSocket) -> None:
        try:
            await websocket.receive()
        except WebSocketClosed as exc:
            codes.append(exc.code)
        ended.set()

    async def main(url: str) -> None:
        async def hold(opened: asyncio.Event) -> None:
            async with restsock.websockets.aio.connect(url, proxy=False):
                opened.set()
                await asyncio.sleep(PATIENCE)

        opened = asyncio.Event()
        task = asyncio.create_task(hold(opened))
        await opened.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    with restsock.sync.listen("127.0.0.1", 0, endpoints={"/ws": Endpoint(serve)}) as server:
        asyncio.run(main(url_of(server)))
        assert ended.wait(PATIENCE)
    assert codes == [1006]


def test_a_dialer_on_asyncio() -> None:
    seen: list[str | bytes] = []

    async def main() -> None:
        async def serve(websocket: Any) -> None:
            await websocket.send(f"{len(seen)}")
            seen.append(await websocket.receive())
            if len(seen) == 3:
                dialer.stop()

        async with restsock.aio.listen(
            "127.0.0.1", 0, endpoints={"/ws": Endpoint(asyncio_echo)}
        ) as server:
            dialer = restsock.websockets.aio.Dialer(
                url_of(server), serve, reconnect=Reconnect(initial=0.01), proxy=False
            )
            await asyncio.wait_for(dialer.run(), PATIENCE)
            # One that waits for its next attempt can be cancelled.
            waiting = restsock.websockets.aio.Dialer(
                "ws://127.0.0.1:1/", serve, reconnect=Reconnect(initial=60), proxy=False
            )
            with pytest.raises(asyncio.TimeoutError):
                await asyncio.wait_for(waiting.run(), 0.05)
            assert not waiting.connected

    asyncio.run(main())
    assert seen == ["0", "1", "2"]


# --- the wrong loop -------------------------------------------------------------------------------


def test_the_wrong_loop_is_an_error_that_says_which() -> None:
    async def on_asyncio() -> None:
        with pytest.raises(RestsockError, match=r"use restsock\.websockets\.aio"):
            async with restsock.websockets.connect("ws://a/", proxy=False):
                pass

    async def on_trio() -> None:
        with pytest.raises(RestsockError, match=r"use restsock\.websockets\.connect"):
            async with restsock.websockets.aio.connect("ws://a/", proxy=False):
                pass

    asyncio.run(on_asyncio())
    trio.run(on_trio)
