"""A listener that closes: its WebSockets end in good order, within the grace, with 1001."""

from __future__ import annotations

from typing import Any

import pytest
import trio
import trio.testing

import restsock
from restsock import Timeouts, WebSocketClosed
from restsock.protocol import CloseReceived, TextMessage
from restsock.websockets import Endpoint, ServerWebSocket
from tests.websockets.site import PATIENCE, echo, listening, raw_client, request_for

SHORT = restsock.Options(timeouts=Timeouts(close=0.3))


async def open_one(server: Any, client: Any) -> None:
    client.websocket.send_text("hello")
    await client.flush()
    assert await client.next() == TextMessage("hello")


async def test_one_that_waits_for_messages_ends_at_once() -> None:
    async with listening(Endpoint(echo)) as server, raw_client(server) as client:
        await open_one(server, client)
        async with trio.open_nursery() as nursery:
            begun = trio.current_time()
            nursery.start_soon(server.aclose)
            event = await client.next()
            assert event == CloseReceived(1001, "the listener is going away")
            await client.leave()
        assert trio.current_time() - begun < 10  # seconds: far less than the grace


async def test_code_and_reason_are_those_of_the_listener() -> None:
    async with listening(Endpoint(echo)) as server, raw_client(server) as client:
        await open_one(server, client)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(server.aclose, 1012, "a restart")
            assert await client.next() == CloseReceived(1012, "a restart")
            await client.leave()


async def test_what_is_under_way_is_finished() -> None:
    """What was received before is handed out, and answers are still sent."""
    go = trio.Event()

    async def serve(websocket: ServerWebSocket) -> None:
        async with trio.open_nursery() as nursery:

            async def work(message: str | bytes) -> None:
                await go.wait()
                await websocket.send(message)

            async for message in websocket:
                nursery.start_soon(work, message)
            assert websocket.draining

    async with listening(Endpoint(serve)) as server, raw_client(server) as client:
        for number in range(5):
            client.websocket.send_text(f"{number}")
        client.websocket.send_ping(b"all there?")
        await client.flush()
        await client.next()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(server.aclose)
            await trio.sleep(0.05)
            client.websocket.send_text("too late")
            await client.flush()
            go.set()
            answers = [await client.next() for _ in range(5)]
            assert sorted(event.data for event in answers if isinstance(event, TextMessage)) == [
                f"{number}" for number in range(5)
            ]
            assert isinstance(await client.next(), CloseReceived)
            await client.leave()


@pytest.mark.parametrize("grace", ["listener", "endpoint"])
async def test_one_that_does_not_finish_is_closed_after_its_grace(grace: str) -> None:
    outcomes: list[Any] = []

    async def serve(websocket: ServerWebSocket) -> None:
        await websocket.wait_draining()
        try:
            while True:
                await websocket.send("feed")
                await trio.sleep(0.01)
        except WebSocketClosed as exc:
            outcomes.append(exc.code)

    endpoint = Endpoint(serve, grace=None if grace == "listener" else 0.2)
    async with listening(endpoint) as server, raw_client(server) as client:
        async with trio.open_nursery() as nursery:
            begun = trio.current_time()
            seconds = 0.2 if grace == "listener" else 20
            nursery.start_soon(lambda: server.aclose(grace=seconds))
            while not isinstance(event := await client.next(), CloseReceived):
                assert event == TextMessage("feed")
            assert trio.current_time() - begun >= 0.2
            assert event.code == 1001
            await client.leave()
        assert trio.current_time() - begun < 10
    assert outcomes == [1001]


async def test_without_any_grace_there_is_still_a_close_frame() -> None:
    async def serve(websocket: ServerWebSocket) -> None:
        await trio.sleep_forever()

    async with listening(Endpoint(serve), options=SHORT) as server, raw_client(server) as client:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(lambda: server.aclose(grace=0))
            event = await client.next()
            assert isinstance(event, CloseReceived)
            assert event.code == 1001
            await client.leave()


async def test_a_client_that_does_not_answer_is_given_a_time() -> None:
    async with listening(Endpoint(echo), options=SHORT) as server, raw_client(server) as client:
        await open_one(server, client)
        with trio.fail_after(PATIENCE):
            await server.aclose()


async def test_newcomers_are_turned_away() -> None:
    go = trio.Event()

    async def serve(websocket: ServerWebSocket) -> None:
        await go.wait()

    async with listening(Endpoint(serve)) as server, raw_client(server) as client:
        late = await trio.open_tcp_stream("127.0.0.1", server.address[1])
        await late.send_all(b"GET /ws HT")
        await trio.testing.wait_all_tasks_blocked(0.05)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(server.aclose)
            await trio.testing.wait_all_tasks_blocked(0.05)
            await late.send_all(request_for()[len(b"GET /ws HT") :])
            assert (await late.receive_some(100)).startswith(b"HTTP/1.1 503 ")
            await late.aclose()
            go.set()
            assert isinstance(await client.next(), CloseReceived)
            await client.leave()


async def test_a_listener_that_is_cancelled_tries_to_say_so() -> None:
    scope = trio.CancelScope()
    ready: list[Any] = []

    async def run(task_status: trio.TaskStatus[None]) -> None:
        with scope:
            async with listening(Endpoint(echo)) as server:
                ready.append(server)
                task_status.started()
                await trio.sleep_forever()

    async with trio.open_nursery() as nursery:
        await nursery.start(run)
        async with raw_client(ready[0]) as client:
            await open_one(ready[0], client)
            scope.cancel()
            event = await client.next()
            assert event is None or event == CloseReceived(1001, "the listener is going away")


async def test_an_endpoint_that_is_served_to_a_peer_drains_too() -> None:
    async with restsock.listen("127.0.0.1", 0) as server:
        client = restsock.connect(server.url, app=Endpoint(echo), name="edge")
        async with client, server.route("edge").websocket("/") as websocket:
            await websocket.send("hello")
            assert await websocket.receive() == "hello"
            async with trio.open_nursery() as nursery:
                nursery.start_soon(client.aclose)
                with pytest.raises(WebSocketClosed) as caught:
                    await websocket.receive()
                assert caught.value.code in (1000, 1001)
                assert "going away" in caught.value.reason
