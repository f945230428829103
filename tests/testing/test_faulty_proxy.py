"""FaultyProxy: real sockets, and the same faults."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
import trio

from restsock.testing import FaultyProxy


async def echo(stream: trio.SocketStream) -> None:
    try:
        async with stream:
            while data := await stream.receive_some():
                await stream.send_all(data)
    except trio.BrokenResourceError:
        pass  # the proxy handed a reset on


@pytest.fixture
async def proxy() -> AsyncIterator[FaultyProxy]:
    async with trio.open_nursery() as nursery:
        listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
        port = listeners[0].socket.getsockname()[1]
        nursery.start_soon(trio.serve_listeners, echo, listeners)
        async with FaultyProxy("127.0.0.1", port) as proxy:
            yield proxy
        nursery.cancel_scope.cancel()


async def dial(proxy: FaultyProxy) -> trio.SocketStream:
    return await trio.open_tcp_stream("127.0.0.1", proxy.port)


async def ask(stream: trio.SocketStream, data: bytes) -> bytes:
    await stream.send_all(data)
    received = b""
    while len(received) < len(data):
        received += bytes(await stream.receive_some())
    return received


async def test_forwards_both_ways_and_the_end(proxy: FaultyProxy) -> None:
    async with await dial(proxy) as stream:
        assert await ask(stream, b"hello" * 50_000) == b"hello" * 50_000
        await stream.send_eof()
        assert await stream.receive_some() == b""
    assert proxy.accepted == 1


async def test_cut_resets_present_links_only(proxy: FaultyProxy) -> None:
    async with await dial(proxy) as stream:
        assert await ask(stream, b"x") == b"x"
        await proxy.cut()
        with pytest.raises(trio.BrokenResourceError):
            await stream.receive_some()
    async with await dial(proxy) as stream:
        assert await ask(stream, b"again") == b"again"
    assert proxy.accepted == 2


async def test_refuse_and_accept_on_the_same_port(proxy: FaultyProxy) -> None:
    port = proxy.port
    async with await dial(proxy) as stream:
        assert await ask(stream, b"x") == b"x"
        await proxy.refuse()
        await proxy.refuse()
        with pytest.raises(OSError, match="connect"):
            await dial(proxy)
        assert await ask(stream, b"the old link lives") == b"the old link lives"
    await proxy.accept()
    await proxy.accept()
    assert proxy.port == port
    async with await dial(proxy) as stream:
        assert await ask(stream, b"back") == b"back"


async def test_stall_holds_old_and_new_links(proxy: FaultyProxy) -> None:
    async with await dial(proxy) as old:
        assert await ask(old, b"x") == b"x"
        proxy.stall()
        async with await dial(proxy) as new:
            await old.send_all(b"old")
            await new.send_all(b"new")
            with trio.move_on_after(0.05) as scope:
                await old.receive_some()
            assert scope.cancelled_caught
            proxy.resume()
            assert await old.receive_some() == b"old"
            assert await new.receive_some() == b"new"


async def test_drop_says_nothing_to_either_end(proxy: FaultyProxy) -> None:
    async with await dial(proxy) as stream:
        assert await ask(stream, b"x") == b"x"
        proxy.drop()
        await stream.send_all(b"lost")
        with trio.move_on_after(0.05) as scope:
            await stream.receive_some()
        assert scope.cancelled_caught
        proxy.resume()
    async with await dial(proxy) as stream:
        assert await ask(stream, b"a new link works") == b"a new link works"


async def test_target_that_is_not_there() -> None:
    listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
    port = listeners[0].socket.getsockname()[1]
    await listeners[0].aclose()
    async with FaultyProxy("127.0.0.1", port) as proxy, await dial(proxy) as stream:
        with pytest.raises(trio.BrokenResourceError):
            await stream.receive_some()


async def test_reset_by_the_client_reaches_the_target(proxy: FaultyProxy) -> None:
    stream = await dial(proxy)
    assert await ask(stream, b"x") == b"x"
    await proxy.links[0].stream.cut()
    with pytest.raises(trio.BrokenResourceError):
        await stream.receive_some()
    await stream.aclose()


async def test_slow_holds_for_present_and_later_links(proxy: FaultyProxy) -> None:
    async with await dial(proxy) as first:
        assert await ask(first, b"x") == b"x"
        proxy.slow(0.5, rate=1000)
        async with await dial(proxy) as second:
            assert await ask(second, b"x") == b"x"
            wires = [(link.stream.sending, link.stream.receiving) for link in proxy.links]
        assert [(out.rate, back.rate, back.delay) for out, back in wires] == [(1000, 1000, 0.5)] * 2
        proxy.slow()
        assert wires[0][1].delay == 0
        assert wires[0][1].rate is None
    with pytest.raises(ValueError, match="rate"):
        proxy.slow(rate=0)
