"""Peers that do wrong, over sockets: each is bounded, and harms nobody but itself."""

from __future__ import annotations

import pytest
import trio

import restsock
from tests.swaggersocket.go_peer import UPGRADE, Gone, GoPeer, dialed, frame, go_server, upgraded
from tests.swaggersocket.site import PATIENCE, Api, connect, connection_of, listening
from tests.waiting import until

LIMITS = restsock.Limits(max_head=2048, max_metadata=1024)


async def ends(peer: GoPeer, data: bytes) -> None:
    """Sends bytes, after which the other side drops the socket."""
    await peer.send_raw(data)
    await peer.wait_gone()


@pytest.mark.parametrize(
    "data",
    [
        frame(b"{}", masked=False),  # a dialer masks
        b"\xc1\x80\0\0\0\0",  # an extension that was not agreed on
        b"\x83\x80\0\0\0\0",  # an opcode that there is not
        frame(b"x" * 2000, masked=True),
        frame(b'{"Type":"ClientHandshakeMetaData","Meta":' + b"[" * 500, masked=True),
        b"\x81\xff" + b"\xff" * 8 + b"\0\0\0\0" + b"x" * 2000,
        bytes(range(256)),
    ],
)
async def test_a_handshake_that_is_none(data: bytes) -> None:
    async with listening(Api(), options=restsock.Options(limits=LIMITS)) as server:
        await ends(await upgraded(server.address), data)
        async with dialed(server.address) as go:
            assert (await go.call("/json"))[0] == 200
        assert server.statistics().handshakes_failed == 1


@pytest.mark.parametrize(
    "data",
    [
        frame(b"GET / HTTP/1.1\r\n\r\n", masked=False),
        b"\xc1\x80\0\0\0\0",
        b"\x80\x80\0\0\0\0",
        frame(b"HTTP/1.1 999999 No\r\n\r\n", masked=True),
        frame(b"HTTP/1.1 200 OK\r\nA: " + b"x" * 5000, masked=True),
    ],
)
async def test_what_breaks_the_wire_ends_that_connection(data: bytes) -> None:
    async with (
        listening(Api(), options=restsock.Options(limits=LIMITS)) as server,
        dialed(server.address) as other,
        dialed(server.address) as go,
    ):
        await connection_of(server, go.id)
        await ends(go, data)
        await until(lambda: server.connections.by_id(go.id) is None)
        assert (await other.call("/json"))[2] == b"GET /json"


async def test_a_request_that_never_ends_holds_only_its_own_connection() -> None:
    limits = restsock.Limits(initial_window=16 * 1024, max_window=16 * 1024, receive_budget=0)
    api = Api()
    async with listening(api, options=restsock.Options(limits=limits)) as server:
        async with dialed(server.address) as go, dialed(server.address) as other:
            head = b"POST /wait HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
            await go.send_raw(frame(head, fin=False, masked=True))
            chunk = frame(b"1000\r\n" + bytes(4096) + b"\r\n", 0, fin=False, masked=True)
            with trio.move_on_after(0.5):
                while True:  # until the socket takes no more: the app reads nothing
                    await go.stream.send_all(chunk)
            assert (await other.call("/json"))[2] == b"GET /json"
            connection = await connection_of(server, go.id)
            assert connection.statistics().bytes_received < 8 * 1024 * 1024


async def test_an_endless_head_is_cut_off_at_its_bound() -> None:
    async with (
        listening(Api(), options=restsock.Options(limits=LIMITS)) as server,
        dialed(server.address) as go,
    ):
        await go.send_raw(frame(b"GET / HTTP/1.1\r\nHost: x\r\n", fin=False, masked=True))
        for _ in range(200):
            await go.send_raw(frame(b"A: " + b"x" * 97 + b"\r\n", 0, fin=False, masked=True))
        assert (await go.read_response())[0] == 431
        await go.send_raw(frame(b"", 0, masked=True))
        assert (await go.call("/json"))[2] == b"GET /json"


async def test_a_server_that_answers_without_being_asked_or_never_ends() -> None:
    async with go_server() as there, trio.open_nursery() as nursery:

        async def serve() -> None:
            go = await there.accept()
            await go.respond(b"unasked", id="nobody")
            _, _, fields, _ = await go.next_request()
            await go.respond(b"of another", id="another")
            await go.respond(b"right", id=fields["X-Correlation-Id"])
            await go.next_request()
            await go.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
            try:
                while True:
                    await go.send(b"400\r\n" + bytes(1024) + b"\r\n")
            except (trio.BrokenResourceError, trio.ClosedResourceError, Gone):
                pass

        nursery.start_soon(serve)
        options = restsock.Options(
            limits=restsock.Limits(max_response_body=100_000),
            timeouts=restsock.Timeouts(close=0.2),
        )
        async with connect(there.url, options=options, late_response=0.2) as client:
            assert (await client.request("GET", "/")).body == b"right"
            with pytest.raises(restsock.StreamReset, match="TOO_LARGE"):
                await client.request("GET", "/", timeout=PATIENCE)
            nursery.cancel_scope.cancel()


async def test_a_flood_of_what_is_no_request_fills_no_memory() -> None:
    """Each gets an answer, which this peer does not read."""
    async with listening(Api()) as server, dialed(server.address) as go:
        connection = await connection_of(server, go.id)
        block = frame(b"x", masked=True) * 1000
        with trio.move_on_after(1):
            while True:  # until the socket takes no more, or the time is over
                await go.stream.send_all(block)
        layer = connection._websocket
        assert sum(map(len, layer.out)) < 128 * 1024
        async with dialed(server.address) as other:
            assert (await other.call("/json"))[0] == 200


async def test_a_response_that_dribbles_ends_when_nobody_wants_it_any_more() -> None:
    async with go_server() as there, trio.open_nursery() as nursery:

        async def serve() -> None:
            go = await there.accept()
            await go.next_request()
            await go.send_raw(frame(b"HTTP/1.1 200 OK\r\nA: ", fin=False))
            try:
                while True:
                    await go.send_raw(frame(b"x", 0, fin=False))
                    await trio.sleep(0.01)
            except (trio.BrokenResourceError, trio.ClosedResourceError):
                pass
            go = await there.accept()
            _, _, fields, _ = await go.next_request()
            await go.respond(b"at last", id=fields["X-Correlation-Id"])
            await go.wait_gone()

        nursery.start_soon(serve)
        async with connect(there.url, late_response=0.1) as client:
            with pytest.raises(restsock.RequestTimeout) as caught:
                await client.request("GET", "/", timeout=0.1)
            assert caught.value.may_have_run
            assert (await client.request("GET", "/", timeout=PATIENCE)).body == b"at last"
            assert client.statistics().reconnects == 1


async def test_a_flood_of_upgrades_without_handshakes_keeps_nobody_out() -> None:
    limits = restsock.Limits(max_handshakes=4)
    async with listening(Api(), options=restsock.Options(limits=limits)) as server:
        streams = []
        for _ in range(10):
            stream = await trio.open_tcp_stream(*server.address)
            await stream.send_all(UPGRADE.format(path="/").encode())
            streams.append(stream)
        async with dialed(server.address) as go:
            assert (await go.call("/json"))[0] == 200
        for stream in streams:
            await stream.aclose()
