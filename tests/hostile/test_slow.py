"""Slowloris: peers that do everything right, and never come to an end."""

from __future__ import annotations

import struct
from dataclasses import replace

import pytest
import trio

import restsock
from tests.e2e.raw_peer import (
    BINARY,
    DATA,
    END,
    HEAD,
    TEXT,
    UPGRADE,
    WINDOW,
    RawPeer,
    frame,
    get,
    hello,
    websocket_frame,
)
from tests.hostile.site import HASTY, HEARTBEAT, IMPATIENT, OPTIONS, site
from tests.waiting import until

HANDSHAKE = HASTY.timeouts.handshake
assert HEARTBEAT.interval is not None
SILENCE = HEARTBEAT.interval + HEARTBEAT.timeout
SLACK = 3.0


async def drip(peer: RawPeer, data: bytes, pause: float = 0.02) -> None:
    """A byte at a time, for as long as somebody takes them."""
    for at in range(len(data)):
        try:
            await peer.stream.send_all(data[at : at + 1])
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            return
        await trio.sleep(pause)


async def take(peer: RawPeer, nbytes: int) -> None:
    """Reads so many bytes of the body on stream 1; there are no more of them."""
    came = 0
    while came < nbytes:
        got = await peer.next_frame()
        assert got.stream_id == 1
        came += len(got.payload.partition(b"\r\n\r\n")[2] if got.type == HEAD else got.payload)
    assert came == nbytes


async def test_an_upgrade_that_drips_ends_at_the_deadline() -> None:
    async with site(options=HASTY) as one:
        begin = trio.current_time()
        async with trio.open_nursery() as nursery:
            for _ in range(30):
                nursery.start_soon(drip, await one.stranger(), UPGRADE)
        took = trio.current_time() - begin
        assert took < HANDSHAKE + SLACK  # all of it would take four seconds and more
        assert len(one.server.connections) == 1


async def test_a_hello_that_drips_ends_at_the_deadline() -> None:
    async with site(options=HASTY) as one:
        peers = []
        for _ in range(20):
            peer = await one.stranger()
            await peer.upgrade()
            peers.append(peer)
        begin = trio.current_time()
        async with trio.open_nursery() as nursery:
            for peer in peers:
                nursery.start_soon(drip, peer, websocket_frame(TEXT, hello(metadata="m" * 500)))
        assert trio.current_time() - begin < HANDSHAKE + SLACK
        assert len(one.server.connections) == 1


async def test_newcomers_that_take_their_time_do_not_keep_others_out() -> None:
    options = restsock.Options(
        limits=restsock.Limits(max_handshakes=4), timeouts=restsock.Timeouts(handshake=30)
    )
    async with site(options=options) as one:
        for _ in range(40):
            await one.stranger()
        with trio.fail_after(5):
            async with restsock.connect(one.server.url, name="late") as late:
                assert (await late.request("GET", "/")).status == 200


async def test_a_head_that_drips_and_stops_is_silence() -> None:
    async with site(options=IMPATIENT) as one:
        peer = await one.ready()
        message = websocket_frame(BINARY, frame(HEAD, END, 1, get("/never", "X: " + "a" * 500)))
        # As long as bytes come it lives, like any slow line; the rest of the listener does too.
        with trio.move_on_after(SILENCE * 2):
            await drip(peer, message)
        assert len(one.server.connections) == 2
        stopped = trio.current_time()
        await until(lambda: len(one.server.connections) == 1)
        assert trio.current_time() - stopped < SILENCE + SLACK
        assert "/never" not in one.app.paths


async def test_bodies_that_drip_cost_a_task_each_and_no_more() -> None:
    async with site() as one:
        peer = await one.ready()
        for number in range(8):
            await peer.frame(HEAD, 0, 2 * number + 1, get("/slow", method="POST"))
        for _ in range(40):
            for number in range(8):
                await peer.frame(DATA, 0, 2 * number + 1, b"x")
            await trio.sleep(0.02)
        assert 8 <= one.app.running <= 8 + 1  # and the honest one's
        await one.answered(20)


async def test_a_request_has_a_time_limit_where_one_is_set() -> None:
    timeouts = replace(OPTIONS.timeouts, request=0.4)
    options = restsock.Options(limits=OPTIONS.limits, timeouts=timeouts)
    async with site(options=options) as one:
        peer = await one.ready()
        await peer.frame(HEAD, 0, 1, get("/slow", method="POST"))

        async def go_on() -> None:
            while True:
                await peer.frame(DATA, 0, 1, b"x")
                await trio.sleep(0.05)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(go_on)
            with trio.fail_after(5):
                assert await peer.response_status(1) == 408
            nursery.cancel_scope.cancel()


async def test_credit_that_never_comes_back_stops_one_stream() -> None:
    async with site() as one:
        peer = await one.ready(initial_window=16384)
        await peer.frame(HEAD, END, 1, get("/download"))
        await take(peer, 16384)
        # Not a byte more than there was credit for; the other streams of the same peer go on.
        await peer.frame(HEAD, END, 3, get("/"))
        got = await peer.next_frame()
        assert (got.stream_id, got.type) == (3, HEAD)


async def test_credit_by_the_byte() -> None:
    async with site() as one:
        peer = await one.ready(initial_window=16384)
        await peer.frame(HEAD, END, 1, get("/download"))
        await take(peer, 16384)
        for _ in range(300):
            await peer.frame(WINDOW, 0, 1, struct.pack("!I", 1))
        await take(peer, 300)


async def test_a_peer_that_reads_nothing_at_all_is_dead() -> None:
    async with site(options=IMPATIENT) as one:
        peer = await one.ready(initial_window=2**31 - 1)
        for number in range(8):
            await peer.frame(HEAD, END, 2 * number + 1, get("/download"))
        begin = trio.current_time()
        await until(lambda: len(one.server.connections) == 1)
        assert trio.current_time() - begin < SILENCE + SLACK


@pytest.mark.parametrize(
    "workers", [5]
)  # one is left for the honest peer, whose time is bounded too
async def test_slow_bodies_and_the_workers_of_a_wsgi_app(workers: int) -> None:
    """Each holds a worker for as long as `Timeouts.request` allows, and no longer."""

    def app(environ: dict[str, object], start_response: object) -> list[bytes]:
        body = environ["wsgi.input"].read()  # type: ignore[attr-defined]
        start_response("200 OK", [])  # type: ignore[operator]
        return [str(len(body)).encode()]

    timeouts = replace(OPTIONS.timeouts, request=0.5)
    options = restsock.Options(limits=OPTIONS.limits, timeouts=timeouts)
    async with site(app, options=options, workers=workers) as one:
        peer = await one.ready()
        for number in range(4):
            await peer.frame(HEAD, 0, 2 * number + 1, get("/slow", method="POST"))
        with trio.move_on_after(1.5):
            while True:
                for number in range(4):
                    await peer.frame(DATA, 0, 2 * number + 1, b"x")
                await trio.sleep(0.05)
        await one.answered(5)
