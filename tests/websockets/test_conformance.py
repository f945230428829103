"""The table of `conformance` against an echo, at both roles: in any pieces, and on sockets."""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from typing import Any

import pytest
import trio
import trio.testing
from hypothesis import given
from hypothesis import strategies as st

from restsock.connection import OpenWebSocket
from restsock.protocol import CloseReceived, Ping, Pong, WebSocket, WebSocketEvent
from restsock.websockets import Endpoint
from restsock.websockets._stream import StreamBytes
from tests.websockets.conformance import CASES, Case
from tests.websockets.site import echo, listening, raw_client

NAMES = [case.name for case in CASES]


def matches(events: Iterable[WebSocketEvent | None], case: Case) -> None:
    """Holds what came back to what has to; pongs may come before the messages next to them."""
    found = [event for event in events if event is not None]
    end = found[-1]
    assert isinstance(end, CloseReceived), (case.name, found)
    assert end.code == case.code, (case.name, end)
    pongs = [event for event in found if isinstance(event, Pong)]
    assert pongs == [event for event in case.events if isinstance(event, Pong)]
    others = [event for event in found[:-1] if not isinstance(event, (Pong, Ping))]
    # An error may come before an echo has left.
    expected = [event for event in case.events if not isinstance(event, Pong)]
    maybe = case.maybe or case.code != 1000
    assert others == expected or (maybe and others == expected[: len(others)])


@pytest.mark.parametrize("client", [True, False], ids=["client", "server"])
@given(data=st.data())
def test_cases_in_any_pieces(client: bool, data: st.DataObject) -> None:
    case = data.draw(st.sampled_from(CASES), label="case")
    wire, end = case.wires(masked=not client)
    cuts = data.draw(st.lists(st.integers(0, len(wire)), max_size=6), label="cuts")
    if len(wire) < 200 and data.draw(st.booleans(), label="octets"):
        cuts = list(range(len(wire)))
    places = sorted({0, *cuts, len(wire)})
    pieces = [wire[a:b] for a, b in itertools.pairwise(places)]
    matches(trio.run(talk, client, pieces, end, len(case.events)), case)


@pytest.mark.parametrize("client", [True, False], ids=["client", "server"])
@pytest.mark.parametrize("case", CASES, ids=NAMES)
def test_cases_whole(case: Case, client: bool) -> None:
    wire, end = case.wires(masked=not client)
    matches(trio.run(talk, client, [wire], end, len(case.events)), case)


async def talk(
    client: bool, pieces: list[bytes], end: bytes, expected: int
) -> list[WebSocketEvent]:
    """What comes back of an echo of ours, in memory.

    Args:
        client: which end ours is.
        pieces: what is sent to it.
        end: what is sent when so many events have come.
        expected: how many.
    """
    near, far = trio.testing.memory_stream_pair()
    raw = StreamBytes(near, b"", 65536)
    websocket = OpenWebSocket(
        raw,
        client=client,
        headers=[],
        subprotocol=None,
        max_message=1 << 20,
        buffer=65536,
        close_timeout=5,
    )
    peer = WebSocket(client=not client, max_message=1 << 21, mask_key=lambda: b"abcd")
    events: list[WebSocketEvent] = []

    async def serve() -> None:
        async with raw.running(), trio.open_nursery() as nursery:
            nursery.start_soon(websocket.run)
            try:
                async for message in websocket:
                    await websocket.send(message)
            except Exception:  # noqa: BLE001  # what it is shows at the other end
                pass
            await websocket.aclose()
            nursery.cancel_scope.cancel()

    with trio.fail_after(60):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(serve)
            for piece in pieces:
                await far.send_all(piece)
                if len(pieces) < 10:
                    await trio.testing.wait_all_tasks_blocked()
            while not peer.close_received:
                received = await far.receive_some(65536)
                assert received
                peer.receive_data(bytes(received))
                while (event := peer.next_event()) is not None:
                    events.append(event)
                if len(events) == expected:
                    await far.send_all(end)
            await far.send_eof()
    return events


async def _ask(server: Any, case: Case) -> list[WebSocketEvent]:
    events: list[WebSocketEvent] = []
    async with raw_client(server) as client:
        wire, end = case.wires(masked=True)
        await client.send(wire)
        while (event := await client.next()) is not None:
            events.append(event)
            if len(events) == len(case.events):
                await client.send(end)
            if isinstance(event, CloseReceived):
                break
    return events


@pytest.mark.parametrize("tls", [False, True], ids=["ws", "wss"])
async def test_cases_on_sockets(tls: bool) -> None:
    async with listening(Endpoint(echo), tls=tls) as server:
        for case in CASES[:: 3 if tls else 1]:
            matches(await _ask(server, case), case)
