"""connected_pair: two real connections, with and without apps, and a wire to break."""

from __future__ import annotations

import pytest
import trio
from trio.testing import MockClock

from restsock import ConnectionClosed, Heartbeat, Options
from restsock.connection import Request, Response
from restsock.testing import connected_pair


async def hello(request: Request) -> Response:
    return Response(200, body=f"hello {request.path}")


async def test_both_ends_serve_and_ask() -> None:
    async with connected_pair(hello, hello, name="edge", metadata={"a": 1}) as (dialer, listener):
        assert dialer.id == listener.id
        assert listener.name == "edge"
        assert listener.metadata == {"a": 1}
        assert (await dialer.request("GET", "/b")).text == "hello /b"
        assert (await listener.request("GET", "/a")).text == "hello /a"
    assert dialer.closed is not None
    assert listener.closed is not None
    assert dialer.closed.clean
    assert listener.closed.clean
    assert listener.closed.code == 1000


async def test_without_an_app_the_answer_is_503() -> None:
    async with connected_pair(hello) as pair:
        assert (await pair.dialer.request("GET", "/")).status == 503
        assert (await pair.listener.request("GET", "/")).status == 200


async def test_an_error_in_the_block_arrives_as_it_is() -> None:
    with pytest.raises(ZeroDivisionError):
        async with connected_pair():
            _ = 1 // 0


async def test_a_dropped_wire_is_a_failure_at_both_ends_in_time(autojump_clock: MockClock) -> None:
    options = Options(heartbeat=Heartbeat(interval=5, timeout=3))
    async with connected_pair(options=options) as pair:
        start = trio.current_time()
        pair.wire.drop()
        first = await pair.dialer.wait_closed()
        second = await pair.listener.wait_closed()
        assert (first.code, first.clean) == (4003, False)
        assert (second.code, second.clean) == (4003, False)
        assert trio.current_time() - start <= 8.0 + 1.0


async def test_one_byte_at_a_time() -> None:
    async with connected_pair(app_b=hello) as pair:
        pair.wire.receiving.chunk = pair.wire.sending.chunk = 1
        for number in range(3):
            assert (await pair.dialer.request("GET", f"/{number}")).text == f"hello /{number}"


async def test_a_cut_fails_what_is_in_flight(autojump_clock: MockClock) -> None:
    async def never(request: Request) -> Response:
        await trio.sleep_forever()
        raise AssertionError

    async with connected_pair(app_b=never) as pair:
        async with trio.open_nursery() as nursery:

            async def ask() -> None:
                with pytest.raises(ConnectionClosed) as caught:
                    await pair.dialer.request("POST", "/")
                assert caught.value.may_have_run

            nursery.start_soon(ask)
            await trio.testing.wait_all_tasks_blocked()
            await pair.wire.cut()
        assert not (await pair.dialer.wait_closed()).clean
        assert not (await pair.listener.wait_closed()).clean


async def test_a_delay_is_seen_as_round_trip(autojump_clock: MockClock) -> None:
    async with connected_pair(app_b=hello) as pair:
        pair.wire.receiving.delay = 2.0
        start = trio.current_time()
        assert (await pair.dialer.request("GET", "/")).status == 200
        assert trio.current_time() - start == pytest.approx(2.0)
