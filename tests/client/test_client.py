"""A client keeps one connection alive: when it dials, how long it waits, what it gives up on."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
import trio
import trio.testing
from trio.testing import MockClock

from restsock import (
    Backoff,
    ConnectionClosed,
    HandshakeError,
    Heartbeat,
    Limits,
    Options,
    RequestTimeout,
    Timeouts,
)
from restsock.client import Address, Client, connect, parse_url
from restsock.protocol import CloseCode, ServerUpgrade
from tests.client.scripted import STEADY, client_of
from tests.memory_network import Answer, Echo, Script, chances, refuse_with, say_nothing

REFUSED = ConnectionRefusedError("refused")


@asynccontextmanager
async def entered(script: Script, **options: Any) -> AsyncIterator[Client]:
    """A client whose connection is known at both ends."""
    async with client_of(script, **options) as client:
        await trio.testing.wait_all_tasks_blocked()
        yield client


async def lose(client: Client, script: Script, *steps: Exception | Answer) -> None:
    """Breaks the wire; the next attempts to dial go as the steps say. Waits till it is noticed."""
    await trio.testing.wait_all_tasks_blocked()  # both ends know the connection
    script.steps = list(steps)
    connection = client.connection
    assert connection is not None
    await trio.aclose_forcefully(script.connection._stream)
    await connection.wait_closed()
    await trio.testing.wait_all_tasks_blocked()


# --- dialing ------------------------------------------------------------------------------


async def test_entering_waits_for_the_first_connection(
    nursery: trio.Nursery, autojump_clock: MockClock
) -> None:
    script = Script(nursery, REFUSED, REFUSED, REFUSED, handler=Echo("hub"))
    async with Echo("hub").running(), client_of(script) as client:
        assert script.times == [0, 1, 3, 7]
        assert client.connection is not None
        assert await client.wait_connected() is client.connection
        assert client.statistics().failures == 3
        assert client.statistics().connections == 1
        assert "connected" in repr(client)
    assert client.closed


async def test_full_jitter(nursery: trio.Nursery, autojump_clock: MockClock) -> None:
    script = Script(nursery, *[REFUSED] * 4)
    backoff = Backoff(initial=8, factor=2, cap=20)
    async with client_of(script, backoff=backoff, chance=chances(0.5, 0.25, 0, 1)):
        pass
    # 8 * 0.5, 16 * 0.25, 20 * 0, 20 * 1
    assert script.times == [0, 4, 8, 8, 28]


async def test_the_tries_have_an_end(nursery: trio.Nursery, autojump_clock: MockClock) -> None:
    script = Script(nursery, *[REFUSED] * 9)
    client = client_of(script, backoff=Backoff(tries=3, jitter=False))
    with pytest.raises(HandshakeError, match=r"cannot reach hub: refused") as caught:
        async with client:
            pytest.fail("entered")
    assert caught.value.may_have_run is False
    assert caught.value.__cause__ is REFUSED
    assert script.times == [0, 1, 3]
    assert (await client.wait_closed()).code == CloseCode.ABNORMAL
    with pytest.raises(ConnectionClosed) as closed:
        await client.request("GET", "/")
    assert closed.value.may_have_run is False


@pytest.mark.parametrize("status", [400, 401, 403, 404, 426])
async def test_a_refusal_that_will_not_pass_is_raised_at_once(
    status: int, nursery: trio.Nursery, autojump_clock: MockClock
) -> None:
    script = Script(nursery, refuse_with(status))
    with pytest.raises(HandshakeError) as caught:
        async with client_of(script):
            pytest.fail("entered")
    assert caught.value.status == status
    assert len(script.times) == 1


@pytest.mark.parametrize("status", [408, 429, 500, 502, 503])
async def test_one_that_may_pass_is_not(
    status: int, nursery: trio.Nursery, autojump_clock: MockClock
) -> None:
    script = Script(nursery, refuse_with(status))
    async with client_of(script):
        assert len(script.times) == 2


async def test_a_listener_that_says_nothing(
    nursery: trio.Nursery, autojump_clock: MockClock
) -> None:
    script = Script(nursery, say_nothing)
    async with client_of(script, options=Options(timeouts=Timeouts(handshake=10))):
        assert script.times == [0, 11]


async def test_a_host_that_does_not_answer(
    nursery: trio.Nursery, autojump_clock: MockClock
) -> None:
    script = Script(nursery)

    async def open_stream(address: object) -> trio.abc.Stream:
        return await trio.sleep_forever()

    client = Client(
        parse_url("ws://hub/"),
        open_stream=open_stream,
        backoff=Backoff(tries=1),
        options=Options(timeouts=Timeouts(handshake=10)),
    )
    with pytest.raises(HandshakeError, match="cannot reach hub within 10 s"):
        async with client:
            pass
    assert trio.current_time() == 10
    assert script.times == []


async def finish_the_upgrade(stream: trio.abc.Stream) -> None:
    """Answers the upgrade, and not the hello behind it."""
    upgrade = ServerUpgrade()
    while upgrade.receive_data(bytes(await stream.receive_some())) is None:
        pass
    await stream.send_all(upgrade.accept())
    await say_nothing(stream)


@pytest.mark.parametrize("step", [say_nothing, finish_the_upgrade])
async def test_one_deadline_for_the_socket_and_the_handshake(
    step: Answer, nursery: trio.Nursery, autojump_clock: MockClock
) -> None:
    script = Script(nursery, step)

    async def open_stream(address: Address) -> trio.abc.Stream:
        await trio.sleep(9)
        return await script.open_stream(address)

    client = Client(
        parse_url("ws://hub/"),
        open_stream=open_stream,
        backoff=Backoff(tries=1),
        options=Options(timeouts=Timeouts(handshake=10)),
    )
    with pytest.raises(HandshakeError, match="handshake with hub took more than 10 s") as caught:
        async with client:
            pytest.fail("entered")
    assert caught.value.retryable
    # The close that tells a listener why (4001) has a moment of its own.
    assert 10 <= trio.current_time() <= 10.2


async def test_a_listener_that_closes_right_away(
    nursery: trio.Nursery, autojump_clock: MockClock
) -> None:
    async def close(stream: trio.abc.Stream) -> None:
        await stream.aclose()

    script = Script(nursery, close)
    async with entered(script):
        assert len(script.times) == 2


# --- reconnecting -------------------------------------------------------------------------


async def test_after_a_failure_it_is_all_there_again(
    nursery: trio.Nursery, autojump_clock: MockClock
) -> None:
    app, hub = Echo("edge"), Echo("hub")
    script = Script(nursery, handler=hub)
    metadata = {"site": ["Ulm", 7], "more": None}
    async with (
        hub.running(),
        entered(script, handler=app, name="edge-1", metadata=metadata) as client,
    ):
        first = client.connection
        assert first is not None
        assert first.id == script.connection.id
        assert (await script.connection.request("GET", "/a")).text == "edge: GET /a"
        await lose(client, script, REFUSED, REFUSED)
        # Asked while there is no connection; answered once there is.
        response = await client.request("PUT", "/b")
        assert response.text == "hub: PUT /b"
        # The first attempt has a pause in front, too.
        assert script.times == [0, 1, 3, 7]
        second = client.connection
        assert second is not None
        assert second is not first
        assert second.id == script.connection.id != first.id
        assert script.connection.name == "edge-1"
        assert script.connection.metadata == metadata
        assert (await script.connection.request("GET", "/c")).text == "edge: GET /c"
        assert app.runs == 1
        assert app.running_now
        await lose(client, script)
        await client.wait_connected()
        assert client.statistics().connections == 3
    assert not app.running_now


async def test_a_listener_that_accepts_and_then_fails_is_dialed_less_and_less(
    nursery: trio.Nursery, autojump_clock: MockClock
) -> None:
    script = Script(nursery)
    async with entered(script) as client:
        for _ in range(8):
            await lose(client, script)
            await client.wait_connected()
        assert script.times == [0, 1, 3, 7, 15, 31, 63, 123, 183]
        assert client.statistics().failures == 0


@pytest.mark.parametrize(
    ("brief", "lived", "pause"),
    [
        (0, 0, 1),
        (2, 4.75, 4),  # the pauses are short still, so 5 s are a life
        (2, 5, 1),
        (4, 15.75, 16),
        (4, 16, 1),
    ],
)
async def test_a_connection_that_lived_starts_the_pauses_from_the_beginning(
    brief: int, lived: float, pause: float, nursery: trio.Nursery, autojump_clock: MockClock
) -> None:
    script = Script(nursery)
    async with entered(script) as client:
        for _ in range(brief):
            await lose(client, script)
            await client.wait_connected()
        await trio.sleep(lived)
        start = trio.current_time()
        await lose(client, script)
        await client.wait_connected()
        assert trio.current_time() - start == pause


async def test_requests_that_waited_keep_their_order(
    nursery: trio.Nursery, autojump_clock: MockClock
) -> None:
    hub = Echo()
    script = Script(nursery, handler=hub)
    async with hub.running(), entered(script) as client:
        await lose(client, script)

        async def ask(number: int) -> None:
            await client.request("GET", f"/{number}")

        async with trio.open_nursery() as asking:
            for number in range(20):
                asking.start_soon(ask, number)
                await trio.testing.wait_all_tasks_blocked()
            assert client.statistics().waiting == 20
        assert hub.seen == [f"/{number}" for number in range(20)]
        assert client.statistics().waiting == 0


async def test_a_request_waits_no_longer_than_its_connect_timeout(
    nursery: trio.Nursery, autojump_clock: MockClock
) -> None:
    script = Script(nursery)
    options = Options(timeouts=Timeouts(connect=5))
    async with entered(script, options=options) as client:
        await lose(client, script, *[REFUSED] * 100)
        start = trio.current_time()
        with pytest.raises(RequestTimeout, match="no connection to ws://hub/") as caught:
            await client.request("POST", "/")
        assert trio.current_time() - start == pytest.approx(5)
        assert caught.value.phase == "connect"
        assert caught.value.may_have_run is False
        assert isinstance(caught.value.__cause__, HandshakeError)


async def test_a_request_given_up_while_it_waited_is_never_sent(
    nursery: trio.Nursery, autojump_clock: MockClock
) -> None:
    hub = Echo()
    script = Script(nursery, handler=hub)
    async with hub.running(), entered(script) as client:
        await lose(client, script)
        with trio.move_on_after(0.5):
            await client.request("GET", "/given-up")
        await client.request("GET", "/kept")
    assert hub.seen == ["/kept"]


async def test_many_given_up_requests_take_no_room(
    nursery: trio.Nursery, autojump_clock: MockClock
) -> None:
    script = Script(nursery)
    options = Options(timeouts=Timeouts(connect=0.001))
    async with entered(script, options=options) as client:
        await lose(client, script, *[REFUSED] * 100)
        for _ in range(1000):
            with pytest.raises(RequestTimeout):
                await client.request("GET", "/")
        assert client._endpoint.pending._count < 100
        assert client.statistics().waiting == 0


async def test_what_was_in_flight_says_that_it_may_have_run(
    nursery: trio.Nursery, autojump_clock: MockClock
) -> None:
    hub = Echo()
    script = Script(nursery, handler=hub)
    async with hub.running(), entered(script) as client:
        caught: list[ConnectionClosed] = []

        async def ask() -> None:
            with pytest.raises(ConnectionClosed) as info:
                await client.request("POST", "/hang")
            caught.append(info.value)

        async with trio.open_nursery() as asking:
            asking.start_soon(ask)
            await trio.testing.wait_all_tasks_blocked()
            assert hub.seen == ["/hang"]
            await lose(client, script)
        assert caught[0].may_have_run is True


async def test_what_had_no_stream_yet_goes_out_on_the_next_connection(
    nursery: trio.Nursery, autojump_clock: MockClock
) -> None:
    hub = Echo()
    script = Script(nursery, handler=hub, options=Options(limits=Limits(max_streams=1)))
    async with hub.running(), entered(script) as client:

        async def hang() -> None:
            with pytest.raises(ConnectionClosed) as info:
                await client.request("POST", "/hang")
            assert info.value.may_have_run is True

        async def ask(number: int) -> None:
            response = await client.request("POST", f"/{number}", body=b"once")
            assert response.status == 200

        async with trio.open_nursery() as asking:
            asking.start_soon(hang)
            await trio.testing.wait_all_tasks_blocked()
            for number in range(5):
                asking.start_soon(ask, number)
            await trio.testing.wait_all_tasks_blocked()
            assert client.connection is not None
            assert client.connection.statistics().waiting_requests == 5
            assert hub.seen == ["/hang"]
            await lose(client, script)
        assert sorted(hub.seen[1:]) == [f"/{number}" for number in range(5)]


async def test_what_had_no_stream_yet_fails_when_there_is_no_next_connection(
    nursery: trio.Nursery, autojump_clock: MockClock
) -> None:
    hub = Echo()
    script = Script(nursery, handler=hub, options=Options(limits=Limits(max_streams=0)))
    async with hub.running(), entered(script) as client:

        async def ask() -> None:
            with pytest.raises(ConnectionClosed) as info:
                await client.request("POST", "/")
            assert info.value.may_have_run is False

        async with trio.open_nursery() as asking:
            asking.start_soon(ask)
            await trio.testing.wait_all_tasks_blocked()
            await script.connection.aclose(1000)
    assert hub.seen == []


async def test_a_silent_peer_is_left(nursery: trio.Nursery, autojump_clock: MockClock) -> None:
    script = Script(nursery)
    options = Options(heartbeat=Heartbeat(interval=4, timeout=3))

    async def swallow(stream: trio.abc.Stream) -> None:
        from restsock.connection import Peer, open_accepted

        script.connections.append(
            await open_accepted(stream, peer=Peer("memory", 0), options=Options())
        )
        while await stream.receive_some():
            pass

    script.steps = [swallow]
    async with entered(script, options=options) as client:
        connection = client.connection
        assert connection is not None
        start = trio.current_time()
        with pytest.raises(ConnectionClosed) as caught:
            await client.request("GET", "/")
        assert trio.current_time() - start == pytest.approx(7)
        assert caught.value.code == CloseCode.HEARTBEAT_TIMEOUT
        assert caught.value.may_have_run is True
        assert await client.wait_connected() is not connection


@pytest.mark.parametrize("code", [1001, 1002, 1009, 1011, 4002, 4003, 4999])
async def test_closes_after_which_it_dials_again(
    code: int, nursery: trio.Nursery, autojump_clock: MockClock
) -> None:
    script = Script(nursery)
    async with entered(script) as client:
        # Not by `aclose`: some of these say that the listener has found a fault.
        script.connection._websocket.close(code)
        script.connection.writer.wake()
        await trio.testing.wait_all_tasks_blocked()
        await client.wait_connected()
        await trio.testing.wait_all_tasks_blocked()
        assert len(script.connections) == 2


@pytest.mark.parametrize("code", [1000, 4004])
async def test_closes_after_which_it_does_not(
    code: int, nursery: trio.Nursery, autojump_clock: MockClock
) -> None:
    script = Script(nursery)
    async with entered(script) as client:
        await script.connection.aclose(code, "enough")
        closed = await client.wait_closed()
        assert (closed.code, closed.reason, closed.by_peer) == (code, "enough", True)
        assert client.closed
        assert client.connection is None
        start = trio.current_time()
        with pytest.raises(ConnectionClosed, match="has ended") as caught:
            await client.request("POST", "/")
        assert caught.value.may_have_run is False
        assert caught.value.code == code
        assert trio.current_time() == start
        with pytest.raises(ConnectionClosed):
            await client.wait_connected()
    assert len(script.times) == 1


async def test_the_listener_s_own_refusal_later_on_ends_it(
    nursery: trio.Nursery, autojump_clock: MockClock
) -> None:
    script = Script(nursery)
    async with entered(script) as client:
        await lose(client, script, REFUSED, refuse_with(401, listener=True))
        with pytest.raises(ConnectionClosed, match="401") as caught:
            await client.request("GET", "/")
        assert caught.value.may_have_run is False
        assert isinstance(caught.value.__cause__, HandshakeError)
        assert caught.value.__cause__.status == 401
        assert "401" in (await client.wait_closed()).reason


async def test_the_tries_count_from_each_loss(
    nursery: trio.Nursery, autojump_clock: MockClock
) -> None:
    script = Script(nursery, REFUSED)
    async with entered(script, backoff=Backoff(tries=2, jitter=False)) as client:
        await lose(client, script, REFUSED)
        await client.wait_connected()
        await lose(client, script, REFUSED, REFUSED)
        assert "refused" in (await client.wait_closed()).reason


async def test_a_request_behind_goaway_waits_for_the_next_connection(
    nursery: trio.Nursery, autojump_clock: MockClock
) -> None:
    hub = Echo()
    script = Script(nursery, handler=hub)
    async with hub.running(), entered(script) as client:
        # The listener announces its end; its close is still to come.
        script.connection.multiplexer.send_goaway(CloseCode.GOING_AWAY, "restart")
        script.connection.writer.wake()
        await trio.testing.wait_all_tasks_blocked()
        async with trio.open_nursery() as asking:
            asking.start_soon(client.request, "GET", "/late")
            await trio.testing.wait_all_tasks_blocked()
            assert client.statistics().waiting == 1
            await script.connection.aclose(CloseCode.GOING_AWAY)
        assert hub.seen == ["/late"]
        assert len(script.connections) == 2


# --- ending -------------------------------------------------------------------------------


async def test_leaving_closes_with_1000(nursery: trio.Nursery, autojump_clock: MockClock) -> None:
    script = Script(nursery)
    async with entered(script) as client:
        pass
    await trio.testing.wait_all_tasks_blocked()
    assert [(c.clean, c.code, c.by_peer) for c in script.closed] == [(True, 1000, True)]
    assert (await client.wait_closed()).clean
    await client.aclose()


async def test_closing_twice_and_at_the_same_time(
    nursery: trio.Nursery, autojump_clock: MockClock
) -> None:
    script = Script(nursery)
    async with entered(script) as client:
        async with trio.open_nursery() as closing:
            for _ in range(3):
                closing.start_soon(client.aclose)
        await client.aclose()
        with pytest.raises(ConnectionClosed):
            await client.request("GET", "/")
    await client.aclose()
    assert len(script.closed) == 1


async def test_closing_does_not_wait_for_the_backoff(
    nursery: trio.Nursery, autojump_clock: MockClock
) -> None:
    script = Script(nursery)
    async with entered(script, backoff=Backoff(initial=60, jitter=False)) as client:
        await lose(client, script, *[REFUSED] * 9)
        start = trio.current_time()
        async with trio.open_nursery() as asking:

            async def ask() -> None:
                with pytest.raises(ConnectionClosed):
                    await client.request("GET", "/")

            asking.start_soon(ask)
            await trio.testing.wait_all_tasks_blocked()
            await client.aclose()
        assert trio.current_time() == start


async def test_closing_while_it_dials(nursery: trio.Nursery, autojump_clock: MockClock) -> None:
    script = Script(nursery)
    async with entered(script) as client:
        await lose(client, script, say_nothing)
        with trio.move_on_after(3):
            await client.wait_connected()
        assert len(script.times) == 2
        start = trio.current_time()
        await client.aclose()
        assert trio.current_time() - start < 1


async def test_closing_before_the_first_connection(
    nursery: trio.Nursery, autojump_clock: MockClock
) -> None:
    client = client_of(Script(nursery, *[REFUSED] * 100))

    async def enter() -> None:
        with pytest.raises(ConnectionClosed, match="closed before it was connected"):
            async with client:
                pytest.fail("entered")

    async with trio.open_nursery() as entering:
        entering.start_soon(enter)
        await trio.testing.wait_all_tasks_blocked()
        await client.aclose()


async def test_closing_one_that_was_never_entered() -> None:
    client = connect("ws://hub/")
    await client.aclose()
    await client.aclose()
    assert client.closed
    with pytest.raises(RuntimeError):
        async with client:
            pass


@pytest.mark.parametrize("code", [1000, 1001, 1011, 1012, 1013, 3000, 4999])
async def test_close_codes_that_the_peer_learns(
    code: int, nursery: trio.Nursery, autojump_clock: MockClock
) -> None:
    script = Script(nursery)
    async with entered(script) as client:
        await client.aclose(code)
        assert (await script.connection.wait_closed()).code == code


@pytest.mark.parametrize("code", [-1, 0, 999, 1002, 1005, 1006, 1015, 2999, 5000, 70000])
async def test_a_close_code_that_cannot_be_sent_changes_nothing(
    code: int, nursery: trio.Nursery, autojump_clock: MockClock
) -> None:
    hub = Echo()
    script = Script(nursery, handler=hub)
    client = client_of(script)
    with pytest.raises(ValueError, match="close code"):
        await client.aclose(code)
    assert not client.closed
    async with hub.running(), client:
        await trio.testing.wait_all_tasks_blocked()
        with pytest.raises(ValueError, match="close code"):
            await client.aclose(code)
        assert not client.closed
        assert (await client.request("GET", "/")).status == 200
        await lose(client, script)
        assert (await client.request("GET", "/")).status == 200


async def test_closing_with_a_peer_that_is_gone_takes_a_bounded_time(
    nursery: trio.Nursery, autojump_clock: MockClock
) -> None:
    async def swallow(stream: trio.abc.Stream) -> None:
        from restsock.connection import Peer, open_accepted

        await open_accepted(stream, peer=Peer("memory", 0), options=Options())
        await trio.sleep_forever()

    options = Options(timeouts=Timeouts(close=2), heartbeat=Heartbeat(interval=None))
    async with client_of(Script(nursery, swallow), options=options):
        start = trio.current_time()
    assert trio.current_time() - start <= 2
    nursery.cancel_scope.cancel()


@pytest.mark.parametrize("kind", [ValueError, KeyboardInterrupt, SystemExit])
async def test_what_the_block_raises_arrives_as_it_is(
    kind: type[BaseException], nursery: trio.Nursery, autojump_clock: MockClock
) -> None:
    script = Script(nursery)
    error = kind("mine")
    with pytest.raises(kind) as caught:
        async with client_of(script):
            raise error
    assert caught.value is error
    await trio.testing.wait_all_tasks_blocked()
    assert script.closed[0].code == 1000


async def test_a_cancellation_does_not_wait(
    nursery: trio.Nursery, autojump_clock: MockClock
) -> None:
    script = Script(nursery)
    with trio.CancelScope() as scope:
        async with client_of(script) as client:
            start = trio.current_time()
            scope.cancel()
            await trio.sleep_forever()
    assert scope.cancelled_caught
    assert trio.current_time() == start
    assert client.closed
    await trio.testing.wait_all_tasks_blocked()
    assert len(script.closed) == 1


async def test_the_app_starts_before_the_first_dial_and_ends_last(
    nursery: trio.Nursery, autojump_clock: MockClock
) -> None:
    app = Echo()
    states: list[bool] = []

    async def look(stream: trio.abc.Stream) -> None:
        states.append(app.running_now)
        await stream.aclose()

    script = Script(nursery, look)
    async with entered(script, handler=app):
        assert app.running_now
    assert states == [True]
    assert not app.running_now
    assert app.runs == 1


async def test_an_app_that_does_not_start_is_an_error(
    nursery: trio.Nursery, autojump_clock: MockClock
) -> None:
    class Broken(Echo):
        def running(self) -> Any:
            raise LookupError("no database")

    script = Script(nursery)
    with pytest.raises(LookupError):
        async with client_of(script, handler=Broken()):
            pytest.fail("entered")
    assert script.times == []


# --- logs and arguments -------------------------------------------------------------------


async def test_no_secret_in_the_log(
    nursery: trio.Nursery, autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    script = Script(nursery, REFUSED)
    client = Client(
        parse_url("ws://hub/path?token=sesame"),
        open_stream=script.open_stream,
        headers=[(b"Authorization", b"Bearer sesame")],
        metadata={"key": "sesame"},
        name="edge-1",
        backoff=STEADY,
    )
    async with client:
        await lose(client, script)
        await client.wait_connected()
    ours = [record for record in caplog.records if record.name == "restsock.client"]
    assert any(
        client_id in record.getMessage() and "edge-1" in record.getMessage()
        for record in ours
        for client_id in [script.connection.id]
    )
    assert "sesame" not in caplog.text
    assert "sesame" not in repr(client)


@pytest.mark.parametrize(
    ("make", "error", "what"),
    [
        (lambda: connect("http://hub/"), ValueError, "ws://"),
        (lambda: connect("ws://u:sesame@hub/"), ValueError, "credentials"),
        (lambda: connect("ws://hub/", name=""), ValueError, "name"),
        (lambda: connect("ws://hub/", name="ulm 7"), ValueError, r"cannot be a host .* has a ' '"),
        (lambda: connect("ws://hub/", name="ulm/7"), ValueError, r"cannot be a host .* has a '/'"),
        (lambda: connect("ws://hub/", name="ulm:7"), ValueError, r"cannot be a host .* has a ':'"),
        (lambda: connect("ws://hub/", name="ulm%2F"), ValueError, r"cannot be a host .* has a '%'"),
        (lambda: connect("ws://hub/", name=7), TypeError, "name"),  # type: ignore[arg-type]
        (lambda: connect("ws://hub/", metadata={"a": {1, 2}}), ValueError, "not JSON"),
        (lambda: connect("ws://hub/", metadata=float("nan")), ValueError, "not JSON"),
        (lambda: connect("ws://hub/", metadata="x" * 70000), ValueError, "70002 bytes"),
        (lambda: connect("ws://hub/", headers={"A B": "x"}), ValueError, "field name"),
        (lambda: connect("ws://hub/", headers={"A": "sesame\r\nB: x"}), ValueError, "cannot"),
        (lambda: connect("ws://hub/", headers={"A": " sesame"}), ValueError, "cannot be sent"),
        (lambda: connect("ws://hub/", headers={"A": "sesame \u20ac"}), ValueError, "latin-1"),
        (lambda: connect("ws://hub/", headers={"Host": "x"}), ValueError, "upgrade itself"),
        (lambda: connect("ws://hub/", headers={"Sec-WebSocket-Key": "x"}), ValueError, "itself"),
        (lambda: connect("ws://hub/", workers=3), TypeError, "without an app"),
    ],
)
def test_arguments_are_checked_at_once(
    make: Callable[[], Client], error: type[Exception], what: str
) -> None:
    with pytest.raises(error, match=what) as caught:
        make()
    assert "sesame" not in str(caught.value)


async def test_metadata_is_what_the_peer_sees(
    nursery: trio.Nursery, autojump_clock: MockClock
) -> None:
    mine: dict[Any, Any] = {"a": (1, 2), 3: None}
    client = connect("ws://hub/", metadata=mine)
    mine["later"] = 1
    assert client.metadata == {"a": [1, 2], "3": None}
    limited = Options(limits=Limits(max_metadata=256))
    with pytest.raises(ValueError, match="more than 256"):
        connect("ws://hub/", metadata="x" * 255, options=limited)


async def test_can_be_entered_once(nursery: trio.Nursery, autojump_clock: MockClock) -> None:
    client = client_of(Script(nursery))
    async with client:
        with pytest.raises(RuntimeError):
            async with client:
                pass
    with pytest.raises(RuntimeError):
        async with client:
            pass


async def test_host_of_requests(nursery: trio.Nursery, autojump_clock: MockClock) -> None:
    client = Client(parse_url("ws://hub:81/"), open_stream=Script(nursery).open_stream)
    assert client.authority == "hub:81"
