"""Messages leave at the end of a pass of the loop: together, and what fails there is its own."""

from __future__ import annotations

import logging
from typing import Any

import pytest
import trio

from restsock import WebSocketClosed
from restsock.connection._direct_socket import DirectSocket  # the one place where bytes leave
from restsock.websockets import Endpoint, connect
from tests.websockets.site import listening, url_of


async def both(websocket: Any) -> None:
    """Answers each message with two."""
    async for message in websocket:
        await websocket.send(message)
        await websocket.send(message)


async def test_what_is_sent_in_one_pass_is_one_write(monkeypatch: pytest.MonkeyPatch) -> None:
    written: list[bytes] = []
    write = DirectSocket.write

    def noted(self: DirectSocket, data: bytes) -> int:
        written.append(data)
        return write(self, data)

    async with listening(Endpoint(both)) as server, connect(url_of(server)) as client:
        monkeypatch.setattr(DirectSocket, "write", noted)
        await client.send("hello")
        assert [await client.receive() for _ in range(2)] == ["hello", "hello"]
        monkeypatch.undo()
    assert [data for data in written if data.count(b"hello") == 2]


async def test_one_that_cannot_be_written_ends_alone(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.CRITICAL)
    write = DirectSocket.write

    def fails(self: DirectSocket, data: bytes) -> int:
        if b"wrong" in data:
            raise RuntimeError("a bug")
        return write(self, data)

    async with listening(Endpoint(both)) as server:
        async with connect(url_of(server)) as client, connect(url_of(server)) as other:
            monkeypatch.setattr(DirectSocket, "write", fails)
            await client.send("wrong")
            with trio.fail_after(5), pytest.raises(WebSocketClosed):
                await client.receive()
            await other.send("right")
            assert await other.receive() == "right"
