"""The connections to a server: how many, how long, and which may be used again."""

from __future__ import annotations

import trio

from restsock import forward
from restsock.apps.forward._arrivals import Arrivals
from restsock.apps.forward._pool import Pool, UpstreamConnection
from restsock.protocol import RequestHead
from restsock.testing import connected_pair
from tests.apps.forward.test_forward import OK, Sees, refused_url
from tests.apps.forward.upstreams import scripted


async def test_a_connection_that_failed_does_not_count() -> None:
    app = forward(await refused_url(), max_connections=1, connect_timeout=0.5)
    async with connected_pair(app_b=app) as (dialer, _):
        for _ in range(3):
            assert (await dialer.request("GET", "/")).status == 502


async def exchange(link: UpstreamConnection) -> None:
    """One request and its response."""
    head = RequestHead(b"GET", b"/", [(b"Host", b"x")])
    await link.send(link.http.send_request(head, body=False) + link.http.send_end())
    while not link.http.reusable:
        link.http.receive_data(bytes(await link.stream.receive_some(1000)))
        while link.http.next_event() is not None:
            pass


async def test_idle_connections_count() -> None:
    """A server that bears two gets two, whatever is kept."""
    async with scripted(Sees()) as upstream:
        pool = Pool(forward(upstream.url, max_connections=2, keep_alive=1000.0))
        async with pool.running():
            links = [await pool.acquire(max_idle=1) for _ in range(2)]
            for link in links:
                await exchange(link)
            for link in links:
                await pool.release(link)
            fresh = await pool.acquire(max_idle=-1)
            assert fresh not in links
            with trio.fail_after(5):
                await upstream.peers[0].closed.wait()
            assert await pool.acquire(max_idle=1) is links[1]  # the other one is still there
            for link in (fresh, links[1]):
                await pool.release(link)


async def test_nothing_is_kept_after_the_end() -> None:
    async with scripted(Sees()) as upstream:
        pool = Pool(forward(upstream.url, keep_alive=1000.0))
        async with pool.running():
            pass
        link = await pool.acquire(max_idle=1)
        await exchange(link)
        await pool.release(link)
        with trio.fail_after(5):
            await upstream.peers[0].closed.wait()


async def test_a_request_that_is_cut_leaves_nothing_to_use() -> None:
    """Also when it was complete for h11, and its answer is."""
    near, far = trio.socket.socketpair()
    near.setsockopt(trio.socket.SOL_SOCKET, trio.socket.SO_SNDBUF, 4096)
    stream = trio.SocketStream(near)
    link = UpstreamConnection(stream, stream, 4096, Arrivals())
    async with stream, trio.SocketStream(far) as server:
        fields = [(b"Host", b"x"), (b"Content-Length", b"1000000")]
        data = link.http.send_request(RequestHead(b"PUT", b"/", fields), body=True)
        data += link.http.send_data(b"x" * 1_000_000) + link.http.send_end()
        with trio.move_on_after(0.05):
            await link.send(data)
        await server.send_all(OK)
        link.http.receive_data(bytes(await stream.receive_some(1000)))
        while link.http.next_event() is not None:
            pass
        assert link.http.reusable
        assert not link.reusable
