"""permessage-deflate with peers of another make, over real sockets."""

from __future__ import annotations

import zlib
from typing import Any

import pytest
from websockets.extensions.permessage_deflate import (
    ClientPerMessageDeflateFactory,
    ServerPerMessageDeflateFactory,
)
from websockets.sync.server import ServerConnection

from restsock.protocol import CloseReceived
from restsock.websockets import Deflate, Endpoint, connect
from tests.websockets.site import (
    PATIENCE,
    echo,
    foreign_client,
    foreign_server,
    in_thread,
    listening,
    raw_client,
)

MESSAGES: list[str | bytes] = ["", "hi", "x" * 300_000, "ü" * 999, bytes(200_000), b"again"] * 2


@pytest.mark.parametrize(
    "ours",
    [True, Deflate(window_bits=15), Deflate(context_takeover=False, threshold=0, window_bits=9)],
)
@pytest.mark.parametrize(
    "theirs",
    [
        {"client_max_window_bits": True},
        {"server_no_context_takeover": True, "client_no_context_takeover": True},
        {"server_max_window_bits": 9},
    ],
)
async def test_with_a_client_of_another_make(ours: Any, theirs: dict[str, Any]) -> None:
    async with listening(Endpoint(echo, compression=ours)) as server:

        def talk() -> list[str | bytes]:
            extensions = [ClientPerMessageDeflateFactory(**theirs)]
            with foreign_client(server, extensions=extensions) as client:
                assert client.response is not None
                chosen = client.response.headers["Sec-WebSocket-Extensions"]
                assert chosen.startswith("permessage-deflate")
                answers = []
                for message in MESSAGES:
                    client.send(message)
                    answers.append(client.recv(PATIENCE))
                return answers

        assert await in_thread(talk) == MESSAGES


@pytest.mark.parametrize(
    "ours",
    [True, Deflate(window_bits=15), Deflate(context_takeover=False, threshold=0, window_bits=9)],
)
@pytest.mark.parametrize(
    "theirs", [{}, {"server_no_context_takeover": True, "client_no_context_takeover": True}]
)
async def test_with_a_server_of_another_make(ours: Any, theirs: dict[str, Any]) -> None:
    def serve(connection: ServerConnection) -> None:
        for message in connection:
            connection.send(message)

    extensions = [ServerPerMessageDeflateFactory(**theirs)]
    async with (
        foreign_server(serve, extensions=extensions) as url,
        connect(url, compression=ours) as websocket,
    ):
        assert websocket.header("sec-websocket-extensions") is not None
        for message in MESSAGES:
            await websocket.send(message)
            assert await websocket.receive() == message


@pytest.mark.parametrize("ours", [True, False])
async def test_nobody_has_to_compress(ours: bool) -> None:
    async with listening(Endpoint(echo, compression=ours)) as server:

        def talk(offer: str | None) -> Any:
            with foreign_client(server, compression=offer) as client:
                client.send("x" * 1000)
                assert client.recv(PATIENCE) == "x" * 1000
                assert client.response is not None
                return client.response.headers.get("Sec-WebSocket-Extensions")

        assert await in_thread(lambda: talk(None)) is None
        assert (await in_thread(lambda: talk("deflate")) is not None) is ours
        async with connect(f"ws://127.0.0.1:{server.address[1]}/ws", compression=True) as websocket:
            await websocket.send("x" * 1000)
            assert await websocket.receive() == "x" * 1000
            assert (websocket.header("sec-websocket-extensions") is not None) is ours


async def test_a_bomb_closes_with_1009() -> None:
    compressor = zlib.compressobj(9, zlib.DEFLATED, -15)
    bomb = compressor.compress(bytes(50_000_000)) + compressor.flush(zlib.Z_SYNC_FLUSH)[:-4]
    offer = "Sec-WebSocket-Extensions: permessage-deflate"
    async with (
        listening(Endpoint(echo, compression=True)) as server,
        raw_client(server, offer) as client,
    ):
        head = b"\xc2\xfe" + len(bomb).to_bytes(2, "big") + b"\0\0\0\0"
        await client.send(head + bomb)
        event = await client.next()
        assert isinstance(event, CloseReceived)
        assert event.code == 1009
