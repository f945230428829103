"""A flood of tiny frames for an ASGI app: read in steps, with all of it and its end."""

from __future__ import annotations

from typing import Any

import pytest
import trio

from restsock.protocol import CloseReceived, WebSocket
from restsock.testing import connected_pair
from tests.apps.asgi.test_websocket import Receive, Send, echo, only_websocket, websocket


@pytest.mark.parametrize("loop", ["trio", "asyncio"])
@pytest.mark.parametrize("end", ["close", "end", "garbage"])
async def test_a_flood_of_tiny_frames_lets_others_have_their_turn(
    loop: str, end: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing of it is lost, and what ends the WebSocket comes after it."""
    steps: list[int] = []
    receive_data = WebSocket.receive_data

    def counted(self: WebSocket, data: bytes) -> None:
        before = len(self.events)
        try:
            receive_data(self, data)
        finally:
            if self._max_frames:  # else it is that of the connection
                steps.append(len(self.events) - before)

    monkeypatch.setattr(WebSocket, "receive_data", counted)
    received: list[Any] = []
    done = trio.Event()
    token = trio.lowlevel.current_trio_token()

    @only_websocket
    async def app(scope: Any, receive: Receive, send: Send) -> None:
        await receive()
        await send({"type": "websocket.accept"})
        while (message := await receive())["type"] == "websocket.receive":
            received.append(message["text"])
        received.append(message["code"])
        token.run_sync_soon(done.set)

    flood = [str(number % 10) for number in range(5000)]
    async with connected_pair(app_b=app, loop_b=loop) as (dialer, _), websocket(dialer) as client:
        for text in flood:
            client.websocket.send_text(text)
        if end == "close":
            client.websocket.close(4321)
        garbage = b"\xff" * 20 if end == "garbage" else b""
        with trio.fail_after(20):
            await client.exchange.send_data(client.websocket.data_to_send() + garbage)
            if end == "end":
                client.exchange.send_end()
            await done.wait()
    assert received == [*flood, {"close": 4321, "end": 1006, "garbage": 1002}[end]]
    assert max(steps) <= 256
    assert sum(steps) == 5000 + (end == "close")


async def test_while_a_flood_is_read_the_loop_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    turns = 0
    seen: list[int] = []
    receive_data = WebSocket.receive_data

    def counted(self: WebSocket, data: bytes) -> None:
        if self._max_frames:  # else it is that of the connection
            seen.append(turns)
        receive_data(self, data)

    monkeypatch.setattr(WebSocket, "receive_data", counted)

    async def take_turns() -> None:
        nonlocal turns
        while True:
            turns += 1
            await trio.lowlevel.checkpoint()

    async with (
        connected_pair(loop_b="trio", app_b=echo) as (dialer, _),
        websocket(dialer) as client,
    ):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(take_turns)
            for _ in range(2500):
                client.websocket.send_ping(b"")
            client.websocket.close()
            await client.flush()
            while not isinstance(await client.next(), CloseReceived):
                pass
            nursery.cancel_scope.cancel()
    assert len(seen) >= 10
    assert len(set(seen)) > len(seen) // 2
