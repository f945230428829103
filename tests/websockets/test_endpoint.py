"""An endpoint and clients of another make, over real sockets, with TLS and without."""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import trio
from websockets.exceptions import ConnectionClosed, InvalidStatus

import restsock
from restsock.protocol import CloseReceived, Pong, TextMessage
from restsock.websockets import Endpoint, ServerWebSocket
from tests.websockets.site import (
    PATIENCE,
    echo,
    foreign_answers,
    foreign_client,
    in_thread,
    listening,
    raw_client,
    request_for,
)

TLS = pytest.mark.parametrize("tls", [False, True], ids=["ws", "wss"])


@TLS
async def test_text_and_binary_messages_come_back(tls: bool) -> None:
    messages: list[str | bytes] = ["", "hi", "ü\U0001f600", b"", b"\x00\xff", "x" * 200_000]
    messages.append(bytes(range(256)) * 2000)

    async with listening(Endpoint(echo), tls=tls) as server:
        assert await in_thread(partial(foreign_answers, server, messages)) == messages


@TLS
async def test_fragments_are_joined(tls: bool) -> None:
    async with listening(Endpoint(echo), tls=tls) as server:
        fragments = [["a", "", "ü", "b" * 70_000], [b"1", b"2"]]
        answers = await in_thread(partial(foreign_answers, server, fragments))
        assert answers == ["aü" + "b" * 70_000, b"12"]


async def test_what_the_function_knows_of_its_client() -> None:
    seen: list[ServerWebSocket] = []

    async def serve(websocket: ServerWebSocket) -> None:
        seen.append(websocket)
        await websocket.receive()

    endpoint = Endpoint(serve, headers={"X-Server": "restsock"}, subprotocols=["b", "a"])
    async with listening(endpoint) as server:

        def talk() -> Any:
            fields = {"X-Client": "1", "Cookie": "secret=1"}
            with foreign_client(
                server,
                "/ws/r%C3%B6om?token=secret",
                additional_headers=fields,
                subprotocols=["a", "b", "c"],
            ) as client:
                address = client.local_address  # while it is open: "done" ends it
                client.send("done")
                assert client.response is not None
                return client.response.headers["X-Server"], client.subprotocol, address

        server_field, subprotocol, (host, port) = await in_thread(talk)
    (websocket,) = seen
    assert (server_field, subprotocol, websocket.subprotocol) == ("restsock", "b", "b")
    assert (websocket.peer.host, websocket.peer.port) == (host, port)
    request = websocket.request
    assert (request.path, request.query) == ("/ws/röom", "token=secret")
    assert (request.header("x-client"), request.scheme) == ("1", "http")
    assert (websocket.principal, websocket.round_trip) == (None, None)
    assert abs(websocket.connected_at - trio.current_time()) >= 0
    assert "secret" not in repr(websocket) + repr(request)
    assert len(websocket.id) == 36


@pytest.mark.parametrize(("how", "code"), [("returns", 1000), ("raises", 1011), ("closes", 4321)])
async def test_how_the_function_ends_is_what_the_client_hears(
    how: str, code: int, caplog: pytest.LogCaptureFixture
) -> None:
    async def serve(websocket: ServerWebSocket) -> None:
        if how == "raises":
            raise RuntimeError("what the function said")
        if how == "closes":
            await websocket.aclose(4321, "that is all")

    async with listening(Endpoint(serve)) as server:

        def talk() -> tuple[int | None, str | None]:
            with foreign_client(server, "/ws?token=hush") as client:
                with pytest.raises(ConnectionClosed):
                    client.recv(PATIENCE)
                return client.close_code, client.close_reason

        assert await in_thread(talk) == (code, "that is all" if how == "closes" else "")
    lines = [record for record in caplog.records if record.levelno >= logging.WARNING]
    assert [record.getMessage() for record in lines] == (
        ["the app failed at GET /ws"] if how == "raises" else []
    )
    assert "hush" not in caplog.text


@pytest.mark.parametrize("group", [False, True])
async def test_that_a_client_leaves_is_no_failure(
    group: bool, caplog: pytest.LogCaptureFixture
) -> None:
    ended = trio.Event()

    async def serve(websocket: ServerWebSocket) -> None:
        try:
            if group:
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(websocket.receive)
                    nursery.start_soon(websocket.receive)
            else:
                await websocket.receive()
        finally:
            ended.set()

    async with listening(Endpoint(serve)) as server:
        async with raw_client(server):
            pass  # and closes the socket
        with trio.fail_after(PATIENCE):
            await ended.wait()
    assert [r for r in caplog.records if r.levelno >= logging.WARNING] == []


@pytest.mark.parametrize(
    ("frame", "code", "reason", "clean"),
    [
        (b"\x88\x80mask", 1005, "", True),
        (b"\x88\x82\0\0\0\0\x03\xe8", 1000, "", True),
        (b"\x88\x85\0\0\0\0\x03\xe9bye", 1001, "bye", True),
        (b"\x88\x85\0\0\0\0\x0f\xa0bye", 4000, "bye", False),
        (b"\x88\x84\0\0\0\0\x03\xf0no", 1008, "no", False),
    ],
)
async def test_the_code_and_reason_of_a_client(
    frame: bytes, code: int, reason: str, clean: bool
) -> None:
    found: list[Any] = []

    async def serve(websocket: ServerWebSocket) -> None:
        with pytest.raises(restsock.WebSocketClosed) as caught:
            await websocket.receive()
        error = caught.value
        found.append((error.code, error.reason, error.clean, websocket.close_code))

    async with listening(Endpoint(serve)) as server, raw_client(server) as client:
        await client.send(frame)
        event = await client.next()
        assert event == CloseReceived(1000 if code == 1005 else code, "")  # the echo
        assert await client.next() is None
    assert found == [(code, reason, clean, code)]


@pytest.mark.parametrize("code", [0, 999, 1004, 1005, 1006, 1015, 1016, 2999, 5000, 65536])
async def test_an_illegal_code_is_never_sent(code: int) -> None:
    raised = trio.Event()

    async def serve(websocket: ServerWebSocket) -> None:
        with pytest.raises(ValueError, match="not a close code to send"):
            await websocket.aclose(code)
        with pytest.raises(ValueError, match="not a close code to send"):
            websocket.close_soon(code)
        raised.set()

    async with listening(Endpoint(serve)) as server, raw_client(server) as client:
        assert await client.next() == CloseReceived(1000, "")
    assert raised.is_set()


async def test_a_long_reason_is_cut_between_characters() -> None:
    async def serve(websocket: ServerWebSocket) -> None:
        await websocket.aclose(3000, "ü" * 100)

    async with listening(Endpoint(serve)) as server, raw_client(server) as client:
        assert await client.next() == CloseReceived(3000, "ü" * 61)


async def test_pings_are_answered_and_pongs_that_nobody_asked_for_ignored() -> None:
    async with listening(Endpoint(echo)) as server, raw_client(server) as client:
        client.websocket.send_ping(b"there?")
        await client.flush()
        assert await client.next() == Pong(b"there?")
        await client.send(b"\x8a\x82\0\0\0\0no")
        client.websocket.send_text("still here")
        await client.flush()
        assert await client.next() == TextMessage("still here")


async def test_a_message_that_is_too_large_closes_with_1009() -> None:
    async with listening(Endpoint(echo, max_message=1000)) as server:

        def talk(size: int) -> int | None:
            with foreign_client(server) as client:
                client.send("x" * size)
                try:
                    client.recv(PATIENCE)
                except ConnectionClosed:
                    return client.close_code
                return None

        assert await in_thread(lambda: talk(1000)) is None
        assert await in_thread(lambda: talk(1001)) == 1009


async def test_no_more_clients_than_there_is_room_for() -> None:
    async with listening(Endpoint(echo, max_connections=2)) as server:
        async with raw_client(server) as first, raw_client(server):
            with pytest.raises(InvalidStatus) as caught:
                await in_thread(lambda: foreign_client(server).__enter__())
            response = caught.value.response
            assert (response.status_code, response.headers["Retry-After"]) == (503, "5")
            assert server.limit_log.counts["max_websockets"] == 1
            first.websocket.close(1000)
            await first.flush()
            while await first.next() is not None:
                pass

            def again() -> Any:
                with foreign_client(server) as client:
                    client.send("there is room")
                    return client.recv(PATIENCE)

            assert await in_thread(again) == "there is room"


async def test_clients_at_the_same_time_do_not_get_in_each_others_way() -> None:
    async with listening(Endpoint(echo)) as server:

        def talk(number: int) -> None:
            with foreign_client(server) as client:
                for at in range(20):
                    client.send(f"{number}:{at}")
                    assert client.recv(PATIENCE) == f"{number}:{at}"

        async with trio.open_nursery() as nursery:
            for number in range(10):
                nursery.start_soon(in_thread, lambda number=number: talk(number))


async def test_messages_may_come_with_the_request() -> None:
    async with listening(Endpoint(echo)) as server:
        stream = await trio.open_tcp_stream("127.0.0.1", server.address[1])
        await stream.send_all(request_for() + b"\x81\x82\0\0\0\0hi")
        data = b""
        with trio.fail_after(PATIENCE):
            while not data.endswith(b"\x81\x02hi"):
                data += await stream.receive_some(65536)
        await stream.aclose()


async def test_plain_http_and_websockets_share_a_port() -> None:
    async def plain(request: restsock.Request) -> restsock.Response:
        return restsock.Response(200, body="plain")

    async with restsock.listen(
        "127.0.0.1", 0, endpoints={"/": plain, "/ws": Endpoint(echo)}
    ) as server:
        async with raw_client(server) as client:
            client.websocket.send_text("a message")
            await client.flush()
            assert await client.next() == TextMessage("a message")
            stream = await trio.open_tcp_stream("127.0.0.1", server.address[1])
            await stream.send_all(b"GET /x HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
            answer = b""
            while data := await stream.receive_some(65536):
                answer += data
            assert answer.endswith(b"plain")
            await stream.aclose()


async def test_an_endpoint_is_an_app_for_peers_too() -> None:
    async with (
        restsock.listen("127.0.0.1", 0) as server,
        restsock.connect(server.url, app=Endpoint(echo), name="edge"),
        server.route("edge").websocket("/anything") as websocket,
    ):
        await websocket.send("through the tunnel")
        assert await websocket.receive() == "through the tunnel"


async def test_an_endpoint_can_serve_again_after_its_listener() -> None:
    endpoint = Endpoint(echo)
    for _ in range(2):
        async with listening(endpoint) as server:
            async with raw_client(server) as client:
                client.websocket.send_text("x")
                await client.flush()
                assert await client.next() == TextMessage("x")
            with trio.fail_after(PATIENCE):
                await endpoint.wait_drained()
            assert endpoint.websockets == []


def test_arguments_that_are_wrong() -> None:
    wrong: list[tuple[type[Exception], Callable[[], object]]] = [
        (TypeError, lambda: Endpoint(None)),  # type: ignore[arg-type]
        (TypeError, lambda: Endpoint(echo, subprotocols="one")),
        (ValueError, lambda: Endpoint(echo, subprotocols=["a b"])),
        (ValueError, lambda: Endpoint(echo, subprotocols=["a", "a"])),
        (ValueError, lambda: Endpoint(echo, browser_token="a,b")),
        (ValueError, lambda: Endpoint(echo, max_connections=0)),
        (ValueError, lambda: Endpoint(echo, max_message=0)),
        (ValueError, lambda: Endpoint(echo, max_queue=True)),
        (ValueError, lambda: Endpoint(echo, idle=-1)),
        (ValueError, lambda: Endpoint(echo, grace=float("nan"))),
        (ValueError, lambda: Endpoint(echo, headers={"Upgrade": "x"})),
        (ValueError, lambda: Endpoint(echo, headers={"X": "a\r\nb"})),
        (ValueError, lambda: Endpoint(echo, origins=["no origin"])),
        (ValueError, lambda: Endpoint(echo, trusted_proxies=["x"])),
        (TypeError, lambda: Endpoint(echo, compression=1)),  # type: ignore[arg-type]
        (TypeError, lambda: Endpoint(echo, auth=3)),  # type: ignore[arg-type]
    ]
    for error, make in wrong:
        with pytest.raises(error):
            make()
