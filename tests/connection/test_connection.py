from __future__ import annotations

import logging
import random
from collections.abc import AsyncGenerator

import pytest
import trio
import trio.testing

from restsock._exceptions import (
    ConnectionClosed,
    LocalProtocolError,
    RequestTimeout,
    StreamRefused,
    StreamReset,
)
from restsock._options import Heartbeat, Limits, Options, Timeouts
from restsock.connection import AsyncExchange, Closed, Connection, Exchange, Response
from restsock.protocol import CloseReceived, RequestHead, ResetCode, ResponseHead

from .peers import TaskHandler, handshake, pair, read_all

HOST = (b"Host", b"edge-1")
QUIET = Options(heartbeat=Heartbeat(interval=None))


def get(target: bytes = b"/", *headers: tuple[bytes, bytes], method: bytes = b"GET") -> RequestHead:
    return RequestHead(method, target, [HOST, *headers])


async def echo(exchange: AsyncExchange) -> None:
    body = await read_all(exchange)
    exchange.send_head(ResponseHead(200, [(b"X-Target", exchange.exchange.request.target)]))
    await exchange.send_data(body)
    exchange.send_end(exchange.trailers)


async def test_both_ends_agree_on_id_name_and_metadata() -> None:
    metadata = {"site": "Brno", "tags": [1, 2.5, None, {"ü": True}]}
    async with pair(metadata=metadata) as (dialer, listener):
        assert dialer.id == listener.id
        assert dialer.name == listener.name == "edge-1"
        assert dialer.metadata == listener.metadata == metadata
        assert len(dialer.id) == 36


async def test_requests_go_both_ways_at_once() -> None:
    async with pair(echo) as (dialer, listener):
        responses: dict[str, bytes] = {}

        async def call(connection: Connection, key: str) -> None:
            response = await connection.request("POST", f"/{key}", body=key.encode() * 1000)
            assert response.header("x-target") == f"/{key}"
            responses[key] = response.content

        async with trio.open_nursery() as nursery:
            for number in range(100):
                nursery.start_soon(call, dialer, f"up{number}")
                nursery.start_soon(call, listener, f"down{number}")
        assert len(responses) == 200
        assert all(content == key.encode() * 1000 for key, content in responses.items())


async def test_a_body_in_pieces_with_trailers_comes_back() -> None:
    async def serve(exchange: AsyncExchange) -> None:
        body = await read_all(exchange)
        exchange.send_head(ResponseHead(200, []))
        await exchange.send_data(body)
        exchange.send_end([(b"X-Length", b"%d" % len(body))])

    pieces = [random.Random(n).randbytes(50_000) for n in range(20)]

    async def body() -> AsyncGenerator[bytes, None]:
        for piece in pieces:
            yield piece

    async with pair(serve) as (_, listener):
        response = await listener.request("PUT", "/file", body=body())
        assert response.content == b"".join(pieces)
        assert response.trailers == [(b"X-Length", b"1000000")]


async def test_without_an_app_the_answer_is_503() -> None:
    async with pair() as (_, listener):
        assert (await listener.request("GET", "/")).status == 503
        head = await listener.request("HEAD", "/")
        assert head.status == 503
        assert head.content == b""


async def test_a_failing_handler_costs_one_stream(caplog: pytest.LogCaptureFixture) -> None:
    class Failing(TaskHandler):
        def handle(self, exchange: Exchange) -> None:
            if exchange.request.target == b"/bad":
                raise RuntimeError("a bug of the handler")
            super().handle(exchange)

    dialed, accepted = trio.testing.memory_stream_pair()
    dialer, listener = await handshake(dialed, accepted)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(dialer.run, Failing(nursery, echo))
        nursery.start_soon(listener.run)
        with pytest.raises(StreamReset) as caught:
            await listener.request("GET", "/bad")
        assert caught.value.code == ResetCode.INTERNAL
        assert caught.value.by_peer
        assert (await listener.request("GET", "/good")).status == 200
        await listener.aclose()
    assert "a bug of the handler" in caplog.text


async def test_informational_heads_come_before_the_final_one() -> None:
    async def serve(exchange: AsyncExchange) -> None:
        exchange.send_head(ResponseHead(103, [(b"Link", b"</a.css>")]))
        exchange.send_head(ResponseHead(200, [(b"Content-Length", b"2")]))
        await exchange.send_data(b"ok")
        exchange.send_end()

    async with pair(serve) as (_, listener):
        exchange = AsyncExchange.open(listener, get())
        assert (await exchange.receive_head(interim=True)).status == 103
        assert (await exchange.receive_head(interim=True)).status == 200
        assert await read_all(exchange) == b"ok"


@pytest.mark.parametrize(
    ("method", "status"), [(b"HEAD", 200), (b"GET", 204), (b"GET", 304), (b"HEAD", 404)]
)
async def test_a_content_length_without_a_body(method: bytes, status: int) -> None:
    async def serve(exchange: AsyncExchange) -> None:
        exchange.send_head(ResponseHead(status, [(b"Content-Length", b"1234")]))
        with pytest.raises(LocalProtocolError):
            exchange.exchange.send_data(b"a body")
        exchange.send_end()

    async with pair(serve) as (_, listener):
        exchange = AsyncExchange.open(listener, get(method=method))
        head = await exchange.receive_head()
        assert head.status == status
        assert (b"Content-Length", b"1234") in head.headers
        assert await read_all(exchange) == b""


async def test_an_upgrade_carries_raw_bytes_both_ways() -> None:
    async def serve(exchange: AsyncExchange) -> None:
        assert exchange.exchange.request.upgrade == b"shout"
        upgrade = [(b"Connection", b"upgrade"), (b"Upgrade", b"shout")]
        exchange.send_head(ResponseHead(101, upgrade))
        while data := await exchange.receive_data():
            await exchange.send_data(data.upper())
        exchange.send_end()

    async with pair(serve) as (_, listener):
        upgrade = {"Connection": "upgrade", "Upgrade": "shout"}
        async with listener.stream("GET", "/", headers=upgrade) as response:
            assert response.status == 101
            await response.send(b"hello")
            assert await response.receive() == b"HELLO"
            await response.send(b"bye")
            assert await response.receive() == b"BYE"
            response.send_end()
            assert await response.receive() == b""
        await trio.testing.wait_all_tasks_blocked()
        assert listener.multiplexer.open_streams == 0


async def test_a_declined_upgrade_is_an_ordinary_response() -> None:
    async def serve(exchange: AsyncExchange) -> None:
        exchange.send_head(ResponseHead(200, [(b"Content-Length", b"4")]))
        await exchange.send_data(b"no!\n")
        exchange.send_end()

    async with pair(serve) as (dialer, listener):
        upgrade = {"Connection": "upgrade", "Upgrade": "shout"}
        response = await listener.request("GET", "/", headers=upgrade)
        assert response.content == b"no!\n"
        await trio.testing.wait_all_tasks_blocked()
        assert dialer.multiplexer.open_streams == listener.multiplexer.open_streams == 0


async def test_cancelling_a_request_tells_the_app_at_once() -> None:
    failures: list[Exception] = []
    begun = trio.Event()
    ended = trio.Event()

    async def serve(exchange: AsyncExchange) -> None:
        begun.set()
        try:
            await exchange.receive_data()
        except StreamReset as exc:
            failures.append(exc)
            ended.set()

    async with pair(serve) as (_, listener):
        async with trio.open_nursery() as nursery:

            async def call() -> None:
                async with listener.stream("POST", "/", body=never()):
                    raise AssertionError("no answer was to come")

            nursery.start_soon(call)
            await begun.wait()
            nursery.cancel_scope.cancel()
        await ended.wait()
        (failure,) = failures
        assert isinstance(failure, StreamReset)
        assert failure.code == ResetCode.CANCEL


async def never() -> AsyncGenerator[bytes, None]:
    await trio.sleep_forever()
    yield b""


async def test_an_answer_before_the_upload_is_over_stops_the_upload() -> None:
    async def serve(exchange: AsyncExchange) -> None:
        exchange.send_head(ResponseHead(413, [(b"Content-Length", b"0")]))
        exchange.send_end()

    sent = 0

    async def body() -> AsyncGenerator[bytes, None]:
        nonlocal sent
        while True:
            sent += 1
            yield b"x" * 10_000

    async with pair(serve) as (dialer, listener):
        response = await listener.request("POST", "/", body=body())
        assert response.status == 413
        await trio.testing.wait_all_tasks_blocked()
        assert dialer.multiplexer.open_streams == listener.multiplexer.open_streams == 0
    assert sent < 100


async def test_a_slow_reader_holds_up_the_sender_and_nobody_else() -> None:
    sent = 0

    async def serve(exchange: AsyncExchange) -> None:
        nonlocal sent
        exchange.send_head(ResponseHead(200, []))
        if exchange.exchange.request.target == b"/big":
            for _ in range(1000):
                sent += 10_000
                await exchange.send_data(b"x" * 10_000)
        exchange.send_end()

    async with pair(serve) as (_, listener):
        async with listener.stream("GET", "/big") as response:
            await trio.testing.wait_all_tasks_blocked()
            limits = listener.limits
            assert sent <= limits.initial_window + limits.send_buffer + 20_000
            assert (await listener.request("GET", "/small")).status == 200
            assert len(await response.read()) == 10_000_000


async def test_requests_above_the_peers_limit_wait_for_a_free_stream() -> None:
    release = trio.Event()
    running = most = 0

    async def serve(exchange: AsyncExchange) -> None:
        nonlocal running, most
        running += 1
        most = max(most, running)
        await release.wait()
        running -= 1
        await echo(exchange)

    few = Options(limits=Limits(max_streams=3))
    async with pair(serve, options=few) as (_, listener):
        statuses: list[int] = []

        async def call() -> None:
            statuses.append((await listener.request("GET", "/")).status)

        async with trio.open_nursery() as nursery:
            for _ in range(10):
                nursery.start_soon(call)
            await trio.testing.wait_all_tasks_blocked()
            assert listener.statistics().waiting_requests == 7
            release.set()
        assert statuses == [200] * 10
        assert most == 3


async def test_no_free_stream_within_the_connect_timeout(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async def serve(exchange: AsyncExchange) -> None:
        await trio.sleep_forever()

    one = Options(limits=Limits(max_streams=1), timeouts=Timeouts(connect=3))
    async with pair(serve, options=one) as (_, listener):
        first = AsyncExchange.open(listener, get())
        started = trio.current_time()
        with pytest.raises(RequestTimeout) as caught:
            await listener.request("GET", "/")
        assert caught.value.phase == "connect"
        assert caught.value.may_have_run is False
        assert trio.current_time() - started == pytest.approx(3)
        assert listener.statistics().waiting_requests == 0
        first.close()


async def test_a_request_that_takes_too_long(autojump_clock: trio.testing.MockClock) -> None:
    async def serve(exchange: AsyncExchange) -> None:
        await trio.sleep(10)

    async with pair(serve) as (_, listener):
        with pytest.raises(RequestTimeout) as caught:
            await listener.request("GET", "/", timeout=5)
        assert caught.value.may_have_run is True


async def test_a_clean_close_is_clean_at_both_ends() -> None:
    async with pair() as (dialer, listener):
        await dialer.aclose(1001, "moving house")
        closed = await listener.wait_closed()
        assert closed.clean
        assert (closed.code, closed.reason, closed.by_peer) == (1001, "moving house", True)
        assert dialer.closed is not None
        assert dialer.closed.clean
        assert not dialer.closed.by_peer
        await dialer.aclose()  # twice is harmless
        with pytest.raises(ConnectionClosed) as caught:
            await listener.request("GET", "/")
        assert caught.value.may_have_run is False


async def test_what_is_in_flight_when_the_wire_breaks_may_have_run() -> None:
    begun = trio.Event()

    async def serve(exchange: AsyncExchange) -> None:
        begun.set()

    dialed, accepted = trio.testing.memory_stream_pair()
    dialer, listener = await handshake(dialed, accepted)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(dialer.run, TaskHandler(nursery, serve))
        nursery.start_soon(listener.run)
        exchange = AsyncExchange.open(listener, get())
        await begun.wait()
        await trio.aclose_forcefully(dialed)
        with pytest.raises(ConnectionClosed) as caught:
            await exchange.receive_head()
        assert caught.value.may_have_run is True
        assert caught.value.code == 1006
        closed = await listener.wait_closed()
        assert not closed.clean


async def test_a_refused_request_did_not_run() -> None:
    async with pair(echo) as (dialer, listener):
        dialer.multiplexer.send_goaway(1001)
        with pytest.raises(StreamRefused) as caught:
            await listener.request("POST", "/", body=b"once")
        assert caught.value.may_have_run is False


async def test_a_silent_peer_is_noticed_in_time(autojump_clock: trio.testing.MockClock) -> None:
    options = Options(heartbeat=Heartbeat(interval=15, timeout=10))
    dialed, accepted = trio.testing.memory_stream_pair()
    _, listener = await handshake(dialed, accepted, options=options)
    started = trio.current_time()
    closed = await listener.run()  # and nobody runs the dialer
    assert trio.current_time() - started == pytest.approx(25)
    assert (closed.clean, closed.code) == (False, 4003)


async def test_heartbeats_keep_an_idle_connection(autojump_clock: trio.testing.MockClock) -> None:
    async with pair() as (dialer, listener):
        await trio.sleep(10_000)
        assert dialer.closed is None
        assert listener.closed is None
        assert listener.round_trip is not None


async def test_any_byte_counts_as_life(autojump_clock: trio.testing.MockClock) -> None:
    """The peer's reader hangs, so no pong comes; its own frames still tell that it lives."""
    options = Options(heartbeat=Heartbeat(interval=2, timeout=2))
    dialed, accepted = trio.testing.memory_stream_pair()
    dialer, listener = await handshake(dialed, accepted, options=options)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(listener.run)
        for _ in range(10):
            await trio.sleep(3)
            dialer._websocket.send_binary(b"\xff" + bytes(7))  # an unknown frame
            await dialed.send_all(dialer._websocket.data_to_send())
            assert listener.closed is None
        await trio.sleep(5)
        assert listener.closed is not None


async def test_a_peer_that_does_not_answer_a_close(autojump_clock: trio.testing.MockClock) -> None:
    dialed, accepted = trio.testing.memory_stream_pair()
    _, listener = await handshake(dialed, accepted, options=QUIET)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(listener.run)
        await trio.testing.wait_all_tasks_blocked()
        started = trio.current_time()
        await listener.aclose()
        assert trio.current_time() - started == pytest.approx(Timeouts().close)


@pytest.mark.parametrize(
    ("message", "code"),
    [
        (b"short", 4002),
        (b"\x02\x00\x00\x00\x00\x00\x00\x09data on a stream that never was", 4002),
        ("not an envelope", 4002),
        (bytes(200_000), 1009),
    ],
)
async def test_a_peer_that_breaks_the_protocol(
    message: str | bytes, code: int, caplog: pytest.LogCaptureFixture
) -> None:
    dialed, accepted = trio.testing.memory_stream_pair()
    dialer, listener = await handshake(dialed, accepted, options=QUIET)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(listener.run)
        if isinstance(message, str):
            dialer._websocket.send_text(message)
        else:
            dialer._websocket.send_binary(message)
        await dialed.send_all(dialer._websocket.data_to_send())
        nursery.start_soon(dialer.run)
        closed = await listener.wait_closed()
        assert (closed.clean, closed.code, closed.by_peer) == (False, code, False)
        theirs = await dialer.wait_closed()
        assert (theirs.clean, theirs.code, theirs.by_peer) == (False, code, True)
    assert any(r.levelno == logging.WARNING for r in caplog.records)


async def test_cancelling_run_ends_what_is_in_flight() -> None:
    dialed, accepted = trio.testing.memory_stream_pair()
    _, listener = await handshake(dialed, accepted)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(listener.run)
        exchange = AsyncExchange.open(listener, get())
        await trio.testing.wait_all_tasks_blocked()
        nursery.cancel_scope.cancel()
    with pytest.raises(ConnectionClosed):
        await exchange.receive_head()


async def test_statistics_count() -> None:
    async with pair(echo) as (dialer, listener):
        for _ in range(3):
            assert isinstance(await listener.request("GET", "/"), Response)
        assert listener.statistics().requests_sent == 3
        assert dialer.statistics().requests_received == 3
        assert dialer.statistics().bytes_sent > 0
        assert dialer.statistics().open_streams == 0


async def test_a_malformed_request_fails_before_anything_is_sent() -> None:
    async with pair(echo) as (_, listener):
        with pytest.raises(LocalProtocolError) as caught:
            await listener.request("GET", "no slash")
        assert caught.value.may_have_run is False
        with pytest.raises(LocalProtocolError):
            await listener.request("GET", "/", headers={"X-Bad": "a\r\nb"})
        assert listener.statistics().requests_sent == 0


async def test_a_busy_loop_is_not_a_silent_peer(autojump_clock: trio.testing.MockClock) -> None:
    """The bytes are there, the loop only had no time to read them."""
    options = Options(heartbeat=Heartbeat(interval=2, timeout=1))
    dialed, accepted = trio.testing.memory_stream_pair()
    dialer, listener = await handshake(dialed, accepted, options=options)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(listener.run)
        for _ in range(20):
            await trio.testing.wait_all_tasks_blocked()
            dialer._websocket.send_ping(b"alive")
            accepted.receive_stream.put_data(dialer._websocket.data_to_send())
            autojump_clock.jump(3.5)
            await trio.testing.wait_all_tasks_blocked()
            assert listener.closed is None
        nursery.cancel_scope.cancel()


async def test_a_silent_peer_is_told_why(autojump_clock: trio.testing.MockClock) -> None:
    options = Options(heartbeat=Heartbeat(interval=15, timeout=10))
    dialed, accepted = trio.testing.memory_stream_pair()
    dialer, listener = await handshake(dialed, accepted, options=options)
    await listener.run()
    dialer._websocket.receive_data(bytes(await dialed.receive_some(65536)))
    events = []
    while (event := dialer._websocket.next_event()) is not None:
        events.append(event)
    assert isinstance(events[-1], CloseReceived)
    assert events[-1].code == 4003


async def test_a_close_that_nobody_answers_is_not_clean(
    autojump_clock: trio.testing.MockClock,
) -> None:
    dialed, accepted = trio.testing.memory_stream_pair()
    _, listener = await handshake(dialed, accepted, options=QUIET)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(listener.run)
        await trio.testing.wait_all_tasks_blocked()
        await listener.aclose()
    assert listener.closed is not None
    assert (listener.closed.clean, listener.closed.code) == (False, 1000)


@pytest.mark.parametrize("code", [0, 999, 1005, 1006, 1015, 5000, 70000])
async def test_a_close_code_that_cannot_be_sent(code: int) -> None:
    async with pair(echo) as (_, listener):
        with pytest.raises(ValueError, match="close code"):
            await listener.aclose(code)
        assert (await listener.request("GET", "/")).status == 200


async def test_a_connection_without_stream_numbers_ends_in_good_order() -> None:
    async with pair(echo) as (dialer, listener):
        listener.multiplexer.next_id = 2**32 - 2
        assert (await listener.request("GET", "/")).status == 200
        closed = await dialer.wait_closed()
        assert (closed.clean, closed.code) == (True, 1001)


async def test_an_upload_that_goes_wrong_half_way_may_have_run() -> None:
    ran = trio.Event()

    async def serve(exchange: AsyncExchange) -> None:
        ran.set()

    async def body() -> AsyncGenerator[bytes, None]:
        yield b"12345"
        await ran.wait()
        yield b"6789"

    async with pair(serve) as (_, listener):
        with pytest.raises(LocalProtocolError) as caught:
            await listener.request("POST", "/", headers={"Content-Length": "7"}, body=body())
        assert caught.value.may_have_run is True


async def test_a_timeout_before_the_start_says_that_nothing_has_run(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async def serve(exchange: AsyncExchange) -> None:
        await trio.sleep_forever()

    one = Options(limits=Limits(max_streams=1), timeouts=Timeouts(connect=30))
    async with pair(serve, options=one) as (_, listener):
        first = AsyncExchange.open(listener, get())
        with pytest.raises(RequestTimeout) as caught:
            await listener.request("GET", "/", timeout=2)
        assert (caught.value.phase, caught.value.may_have_run) == ("connect", False)
        first.close()


async def test_complete_responses_without_an_end_are_bounded() -> None:
    """Their requesters may have turned away from them: nobody waits for that END."""

    async def serve(exchange: AsyncExchange) -> None:
        exchange.send_head(ResponseHead(200, [(b"Content-Length", b"2")]))
        await exchange.send_data(b"ok")

    many = Options(limits=Limits(max_streams=10_000))
    async with pair(serve, options=many) as (dialer, listener):
        for _ in range(600):
            exchange = AsyncExchange.open(listener, get())
            assert await exchange.receive_data() == b"ok"
        await trio.testing.wait_all_tasks_blocked()
        assert listener.multiplexer.open_streams <= 256
        assert dialer.multiplexer.open_streams <= 256


async def test_a_peers_words_make_one_line() -> None:
    async with pair() as (dialer, listener):
        await dialer.aclose(1001, "bye\nWARNING forged")
        closed = await listener.wait_closed()
        assert closed.reason == "bye?WARNING forged"


@pytest.mark.parametrize("how", ["closed", "cancelled"])
async def test_what_is_sent_in_its_last_moment_does_no_harm(
    monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    """Its tasks have ended, it has not: whatever comes in between must not start another.

    It would come from a thread that has left its bytes to the loop, or from an app.
    """
    finish = Connection._finish
    late: list[Connection] = []

    def send_and_finish(self: Connection) -> None:
        late.append(self)
        self.writer.writing = False
        self.writer._start()
        self.lifecycle.abort(Closed(False, 1006, "late", by_peer=True))
        finish(self)

    monkeypatch.setattr(Connection, "_finish", send_and_finish)
    async with pair(options=QUIET) as (dialer, _listener):
        if how == "closed":
            await dialer.aclose()
    assert len(late) == 2


class MuteStream(trio.abc.Stream):
    """Takes no more bytes once it is mute; what was sent by the other side still comes."""

    def __init__(self, inner: trio.abc.Stream) -> None:
        self.inner = inner
        self.mute = False

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        if self.mute:
            await trio.lowlevel.checkpoint()
            raise trio.BrokenResourceError("reset")
        await self.inner.send_all(data)

    async def wait_send_all_might_not_block(self) -> None:
        await self.inner.wait_send_all_might_not_block()

    async def receive_some(self, max_bytes: int | None = None) -> bytes | bytearray:
        return await self.inner.receive_some(max_bytes)

    async def aclose(self) -> None:
        await self.inner.aclose()


async def test_a_close_that_cannot_be_answered_is_not_waited_for(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """A peer that gave up long ago has closed the socket; its close frame is read behind that."""
    dialed, accepted = trio.testing.memory_stream_pair()
    stream = MuteStream(accepted)
    dialer, listener = await handshake(dialed, stream, options=QUIET)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(dialer.run, None)
        nursery.start_soon(listener.run, None)
        await trio.testing.wait_all_tasks_blocked()
        stream.mute = True
        begin = trio.current_time()

        async def ask() -> None:
            with pytest.raises((ConnectionClosed, StreamRefused)):
                await listener.request("GET", "/")

        nursery.start_soon(ask)
        await trio.testing.wait_all_tasks_blocked()
        dialer.close_soon(1001)
        closed = await listener.wait_closed()
        assert (closed.code, trio.current_time()) == (1001, begin)
