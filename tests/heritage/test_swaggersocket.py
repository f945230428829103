"""What Go's swaggersocket promises, and what it got wrong, with the original at the other end.

The other end is `GoPeer`: what was recorded of the original, over a real socket. The table of
docs/swaggersocket.md names each of these tests.
"""

from __future__ import annotations

import errno
import json
import logging
import threading
from collections.abc import Callable
from functools import partial
from typing import Any

import httpx
import pytest
import requests
import trio
from trio.testing import MockClock

import restsock
from restsock import swaggersocket
from restsock.adapters import TunnelAdapter
from restsock.swaggersocket import sync
from restsock.testing import Network
from tests.ports import free_port
from tests.swaggersocket.go_peer import (
    Gone,
    GoPeer,
    GoServer,
    dialed,
    frame,
    go_server,
    line,
    request_of,
    serving,
    upgraded,
)
from tests.swaggersocket.site import (
    EVERY_BYTE,
    PATIENCE,
    QUICK,
    Api,
    connect,
    connection_of,
    listening,
)
from tests.waiting import until

BEATS = restsock.Heartbeat(interval=0.05, timeout=0.2)
NEVER = restsock.Heartbeat(interval=None)


async def in_thread(function: Callable[[], Any]) -> Any:
    with trio.fail_after(PATIENCE):
        return await trio.to_thread.run_sync(function, abandon_on_cancel=True)


async def serve_at(peer: GoPeer, answer: Callable[[str, bytes], bytes]) -> None:
    """The API of the original at this end, one request after the other."""
    try:
        while True:
            _, target, fields, body = await peer.next_request()
            await peer.respond(answer(target, body), id=fields["X-Correlation-Id"])
    except Gone:
        pass


def upper(target: str, body: bytes) -> bytes:
    return target.encode().upper() + body


# --- what it promises ------------------------------------------------------------------------


async def test_either_side_sends_pings_and_answers_them_with_their_payload() -> None:
    options = restsock.Options(heartbeat=restsock.Heartbeat(interval=0.05, timeout=PATIENCE))
    async with (
        listening(options=options) as server,
        dialed(server.address) as go,
        go_server() as there,
        trio.open_nursery() as nursery,
    ):
        nursery.start_soon(go.wait_gone)
        await go.send_ping(b"app data")
        await until(lambda: b"app data" in go.pongs and len(go.pings) >= 3)
        async with trio.open_nursery() as inner:
            inner.start_soon(partial(_dial_for_a_while, there.url, options))
            peer = await there.accept()
            inner.start_soon(peer.wait_gone)
            await peer.send_ping(b"of the listener")
            await until(lambda: b"of the listener" in peer.pongs and len(peer.pings) >= 3)
            inner.cancel_scope.cancel()
        nursery.cancel_scope.cancel()


async def _dial_for_a_while(
    url: str, options: restsock.Options, logger: logging.Logger | None = None
) -> None:
    async with connect(url, options=options, logger=logger):
        await trio.sleep_forever()


async def test_pings_carry_application_data_and_handlers_are_called_for_pings_and_pongs() -> None:
    told: list[tuple[str, bytes]] = []
    beats = restsock.Heartbeat(
        interval=0.05,
        timeout=5,
        data=b"of the program",
        on_ping=lambda info, data: told.append((info.id, data)),
        on_pong=lambda info, data, seconds: told.append(
            (info.id, data + b", in time" * (seconds < 5))
        ),
    )
    options = restsock.Options(heartbeat=beats)
    async with (
        listening(options=options) as server,
        dialed(server.address) as go,
        go_server() as there,
        trio.open_nursery() as nursery,
    ):
        nursery.start_soon(go.wait_gone)
        nursery.start_soon(partial(_dial_for_a_while, there.url, options))
        peer = await there.accept()
        nursery.start_soon(peer.wait_gone)
        for there_is, id in ((go, go.id), (peer, peer.id)):
            await there_is.send_ping(b"of the original")
            await until(lambda id=id: (id, b"of the original") in told)  # type: ignore[misc]
            await until(lambda id=id: (id, b"of the program, in time") in told)  # type: ignore[misc]
            assert any(payload.endswith(b"of the program") for payload in there_is.pings)
        nursery.cancel_scope.cancel()


async def test_a_custom_logger_gets_the_records_with_their_connection() -> None:
    told: list[logging.LogRecord] = []
    logger = logging.getLogger("of.the.program")
    logger.setLevel(logging.DEBUG)
    logger.addHandler(_Told(told))
    async with listening(logger=logger) as server, dialed(server.address) as go:
        await go.stream.aclose()
        await until(lambda: any(record.connection_id == go.id for record in told))  # type: ignore[attr-defined]
    async with go_server() as there, trio.open_nursery() as nursery:
        told.clear()
        nursery.start_soon(partial(_dial_for_a_while, there.url, restsock.Options(), logger))
        peer = await there.accept()
        await peer.stream.aclose()
        await until(lambda: any(record.connection_id == peer.id for record in told))  # type: ignore[attr-defined]
        nursery.cancel_scope.cancel()
    logger.handlers.clear()
    assert {record.name for record in told} == {"of.the.program"}


class _Told(logging.Handler):
    def __init__(self, told: list[logging.LogRecord]) -> None:
        super().__init__()
        self._told = told

    def emit(self, record: logging.LogRecord) -> None:
        self._told.append(record)


@pytest.mark.parametrize("metadata", [None, "text", 7, ["a", {"b": None}], {"name": "go-client"}])
async def test_the_handshake_sends_metadata_and_gives_both_sides_the_same_id(metadata: Any) -> None:
    async with listening() as server, dialed(server.address, metadata) as go:
        connection = await connection_of(server, go.id)
        assert connection.metadata == metadata
        assert len(go.id) == 36
    async with go_server() as there, trio.open_nursery() as nursery:
        nursery.start_soon(partial(_stay_until_gone, there))
        async with connect(there.url, metadata=metadata) as client:
            assert client.connection is not None
            assert client.connection.id == "5e203c2c-b61d-4f6b-84c6-13a0c663ad1a"
            assert client.connection.metadata == metadata


async def _stay_until_gone(there: GoServer) -> None:
    await (await there.accept()).wait_gone()


@pytest.mark.parametrize(
    "step",
    [
        b"no JSON\n",
        b"\xff\xfe",
        b"[]",
        b'{"Type":"ClientHandshakeAckFrame"}\n',
        b'{"type":"ClientHandshakeMetaData","Meta":null}',
        b'{"Type":"ServerHandshakeConnectionID","ConnectionID":"x"}\n',
        b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
        b"",
    ],
)
async def test_a_wrong_handshake_step_closes_the_socket_and_the_next_peer_is_served(
    step: bytes,
) -> None:
    async with listening(Api()) as server:
        wrong = await upgraded(server.address)
        await wrong.send(step)
        await wrong.wait_gone()
        assert wrong.close_code == 4000
        async with dialed(server.address) as go:
            assert (await go.call("/json"))[0] == 200
        assert server.statistics().handshakes_failed == 1


async def test_events_report_received_closed_and_failed_connections_with_their_ids() -> None:
    async with listening() as server, server.events() as events:
        async with dialed(server.address) as go:
            first = await events.receive()
            assert (first.type, first.connection_id) == ("ConnectionReceived", go.id)
            await go.send_raw(frame(b"", 8, masked=True))  # a close of the original has no code
            closed = await events.receive()
            assert (closed.type, closed.connection_id) == ("ConnectionClosed", go.id)
        async with dialed(server.address) as go:
            await events.receive()
        failed = await events.receive()
        assert (failed.type, failed.connection_id) == ("ConnectionFailure", go.id)
        assert failed.code == 1006


async def test_connections_are_found_by_id_metadata_and_address_until_they_end() -> None:
    async with listening() as server:
        async with dialed(server.address, {"b": 1, "a": [2]}) as go:
            connection = await connection_of(server, go.id)
            assert list(server.connections) == [connection]
            assert server.connections.by_metadata({"a": [2], "b": 1}) == [connection]
            assert server.connections.by_metadata({"a": [2]}) == []
            assert server.connections.by_id("nobody") is None
            local = go.stream.socket.getsockname()  # type: ignore[attr-defined]
            assert (connection.peer.host, connection.peer.port) == local
        await until(lambda: not len(server.connections))
        assert server.connections.by_id(go.id) is None
        assert server.connections.by_metadata({"a": [2], "b": 1}) == []


async def test_a_client_retries_and_reconnects_with_its_metadata_and_its_app() -> None:
    port = free_port()
    api = Api()
    async with trio.open_nursery() as nursery:
        client = connect(f"ws://127.0.0.1:{port}/", api, metadata={"name": "pump-7"})
        nursery.start_soon(_enter, client)
        await until(lambda: client.statistics().failures >= 2)
        (listener,) = await trio.open_tcp_listeners(port, host="127.0.0.1")
        async with serving(listener) as there:
            for number in (1, 2, 3):
                go = await there.accept(f"id-{number}")
                assert go.meta == {"name": "pump-7"}
                assert (await go.call("/json"))[2] == b"GET /json"
                await go.stream.aclose()  # a failure
            go = await there.accept("id-4")
            await until(lambda: client.connection is not None and client.connection.id == "id-4")
            nursery.cancel_scope.cancel()
    assert api.calls == ["GET /json"] * 3


async def _enter(client: restsock.Client) -> None:
    async with client:
        await trio.sleep_forever()


async def test_a_clean_close_by_the_peer_ends_the_client() -> None:
    async with go_server() as there, trio.open_nursery() as nursery:
        client = connect(there.url)
        nursery.start_soon(_enter, client)
        go = await there.accept()
        await go.send_raw(frame(b"", 8))
        with trio.fail_after(PATIENCE):
            closed = await client.wait_closed()
        assert closed.clean
        assert closed.by_peer
        with pytest.raises(restsock.ConnectionClosed) as caught:
            await client.request("GET", "/")
        assert caught.value.may_have_run is False
        nursery.cancel_scope.cancel()


async def test_either_end_serves_and_calls_on_one_connection() -> None:
    api = Api()
    async with (
        listening(api) as server,
        dialed(server.address, {"name": "go"}) as go,
        trio.open_nursery() as nursery,
    ):
        connection = await connection_of(server, go.id)
        assert (await go.call("/json"))[2] == b"GET /json"
        nursery.start_soon(serve_at, go, upper)
        response = await connection.request("POST", "/pets", body=b"!")
        assert response.body == b"/PETS!"
        nursery.cancel_scope.cancel()
    # Both at once, with restsock at the other end: a handler calls its caller back.
    here: list[restsock.Client] = []

    async def relay(request: restsock.Request) -> restsock.Response:
        answer = await here[0].request("GET", "/json")
        return restsock.Response(200, body="relayed " + answer.text)

    async with listening(Api(), swaggersocket.Endpoint(name_of=str)) as server:
        async with connect(server.url, relay, metadata="edge") as client:
            here.append(client)
            response = await server.request("edge", "GET", "/relay")
            assert response.body == b"relayed GET /json"


async def test_ordinary_http_clients_call_from_many_threads_at_once() -> None:
    async with go_server() as there, trio.open_nursery() as nursery:

        async def serve() -> None:
            await serve_at(await there.accept(), upper)

        def call() -> list[bytes]:
            with sync.connect(there.url, proxy=False) as client:
                session = requests.Session()
                session.mount("http://go/", client.adapter())
                found: list[bytes] = []

                def one(number: int) -> None:
                    body = b"%d" % number
                    answer = session.post(f"http://go/t{number}/", data=body, timeout=PATIENCE)
                    assert answer.headers["X-Correlation-Id"]
                    found.append(answer.content)

                threads = [threading.Thread(target=one, args=(n,)) for n in range(16)]
                for thread in threads:
                    thread.start()
                for thread in threads:
                    thread.join()
                with httpx.Client(transport=client.transport()) as other:
                    found.append(other.get("http://go/httpx").content)
                assert isinstance(client.adapter(), TunnelAdapter)
                return found

        nursery.start_soon(serve)
        *found, last = await in_thread(call)
        assert last == b"/HTTPX"
        assert sorted(found) == sorted(b"/T%d/%d" % (n, n) for n in range(16))


async def test_responses_are_those_of_a_real_server() -> None:
    async with listening(Api()) as server, dialed(server.address) as go:
        status, fields, body = await go.call("/json")
        assert (status, body) == (200, b"GET /json")
        assert fields["Content-Length"] == "9"
        assert fields["Date"].endswith(" GMT")
        assert fields["X-Correlation-Id"] == "c-1"
        assert "Connection" not in fields
        for path, expected in (("/204", 204), ("/304", 304)):
            status, fields, body = await go.call(path, id="c-2")
            assert (status, body, fields["X-Correlation-Id"]) == (expected, b"", "c-2")
        await go.send(request_of("/trailers"))
        messages = b""
        while not messages.endswith(b"x-sum: 7\r\n\r\n"):
            messages += await go.next_message()
        assert b"\r\nTransfer-Encoding: chunked\r\n" in messages
        assert b"\r\n0\r\nx-sum: 7\r\n\r\n" in messages


async def test_a_flush_reaches_the_caller_at_once() -> None:
    api = Api()
    async with listening(api) as server, dialed(server.address) as go:
        await go.send(request_of("/flush"))
        for number in (1, 2, 3):
            api.flushes.release()
            message = await go.next_message()
            assert message.endswith(b"9\r\nChunk #%d\n\r\n" % number)
        assert await go.next_message() == b"0\r\n\r\n"
    async with go_server() as there, trio.open_nursery() as nursery:
        nursery.start_soon(_flush_by_turns, there, api)
        async with (
            connect(there.url) as client,
            client.stream("GET", "/flush") as response,
        ):
            found = []
            async for piece in response:
                found.append(piece)
                api.flushes.release()
            assert found == [b"one", b"two", b"three"]
        nursery.cancel_scope.cancel()


async def _flush_by_turns(there: GoServer, api: Api) -> None:
    go = await there.accept()
    _, _, fields, _ = await go.next_request()
    head = (
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n"
        f"X-Correlation-Id: {fields['X-Correlation-Id']}\r\n\r\n"
    )
    await go.send(head.encode() + b"3\r\none\r\n")
    await api.flushes.acquire()
    await go.send(b"3\r\ntwo\r\n")
    await api.flushes.acquire()
    await go.send(b"5\r\nthree\r\n")
    await api.flushes.acquire()
    await go.send(b"0\r\n\r\n")
    await go.wait_gone()


async def test_the_handler_learns_that_the_peer_has_disconnected() -> None:
    api = Api()
    async with listening(api) as server:
        async with dialed(server.address) as go:
            await go.send(request_of("/hang"))
            await until(lambda: api.calls)
        with trio.fail_after(PATIENCE):
            await api.disconnected.wait()


# --- what it got wrong -----------------------------------------------------------------------


async def test_concurrent_calls_never_get_the_answers_of_each_other() -> None:
    async with go_server() as there, trio.open_nursery() as nursery:

        async def serve() -> None:
            await serve_at(await there.accept(), upper)

        nursery.start_soon(serve)
        async with connect(there.url) as client, trio.open_nursery() as calls:

            async def call(number: int) -> None:
                response = await client.request("GET", f"/n{number}")
                assert response.body == b"/N%d" % number

            for number in range(30):
                calls.start_soon(call, number)
    # And as one who is asked by several at once, which the original is not safe against.
    async with listening(Api()) as server, dialed(server.address) as go:
        for number in range(10):
            await go.send(request_of(f"/n{number}", id=f"c-{number}"))
        for number in range(10):
            _, fields, body = await go.read_response()
            assert (fields["X-Correlation-Id"], body) == (f"c-{number}", b"GET /n%d" % number)


def test_a_response_has_no_fixed_time_limit() -> None:
    """Two minutes pass in no time: on a clock of the test, and over memory."""

    async def slow(request: restsock.Request) -> restsock.Response:
        await trio.sleep(120)
        return restsock.Response(200, body=b"done")

    async def main() -> None:
        network = Network()
        endpoint = swaggersocket.Endpoint(name_of=str)
        server = restsock.listen(None, 0, endpoints={"/": endpoint})
        server.accept_from(network.open)
        client = swaggersocket.connect("ws://memory/", app=slow, metadata="edge", proxy=False)
        client.dial_over(network.open_stream)
        async with server, client:
            assert (await server.request("edge", "GET", "/")).body == b"done"
            with pytest.raises(restsock.RequestTimeout):
                await server.request("edge", "GET", "/", timeout=1)

    trio.run(main, clock=MockClock(autojump_threshold=0))


async def test_a_late_response_is_dropped_and_the_next_call_gets_its_own() -> None:
    async with go_server() as there, trio.open_nursery() as nursery:
        client = connect(there.url)
        nursery.start_soon(_enter, client)
        go = await there.accept()
        await client.wait_connected()
        with pytest.raises(restsock.RequestTimeout) as caught:
            await client.request("GET", "/late", timeout=0.05)
        assert caught.value.may_have_run
        _, _, late, _ = await go.next_request()
        answers: list[str] = []

        async def call() -> None:
            answers.append((await client.request("GET", "/next")).text)

        nursery.start_soon(call)
        await trio.sleep(0.05)
        await go.respond(b"too late", id=late["X-Correlation-Id"])
        _, target, fields, _ = await go.next_request()
        assert target == "/next"  # which did not leave before
        await go.respond(b"of nobody", id=late["X-Correlation-Id"])
        await go.respond(b"right", id=fields["X-Correlation-Id"])
        await until(lambda: answers)
        assert answers == ["right"]
        assert client.statistics().reconnects == 0
        nursery.cancel_scope.cancel()


async def test_an_unread_body_does_not_swallow_the_next_message() -> None:
    async with listening(Api()) as server, dialed(server.address) as go:
        for size in (10, 5000, 300_000):
            body = b"x" * size
            status, _, answer = await go.call("/unread", method="POST", body=body, fragment=1024)
            assert (status, answer) == (200, b"POST /unread")
        assert (await go.call("/echo", method="POST", body=b"y" * 3000))[2] == b"y" * 3000


async def test_a_malformed_request_is_answered_and_the_next_one_is_served() -> None:
    async with listening(Api()) as server, dialed(server.address) as go:
        for wrong in (
            b"nothing like HTTP",
            b"GET / HTTP/1.1\r\nHost: x\r\nX-Correlation-Id: c-1\r\n\r\nand more",
            b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\nless",
            b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
            b"GET / HTTP/1.1\r\nHost: x\r\nHost: y\r\n\r\n",
        ):
            await go.send(wrong)
            assert (await go.read_response())[0] == 400
            assert (await go.call("/json"))[2] == b"GET /json"
        assert server.connections.by_id(go.id) is not None


async def test_a_failing_handler_is_a_500_and_nothing_else_ends() -> None:
    async with listening(Api()) as server, dialed(server.address) as go:
        status, fields, _ = await go.call("/boom", id="c-9")
        assert (status, fields["X-Correlation-Id"]) == (500, "c-9")
        assert (await go.call("/json"))[0] == 200
        # One in the middle of its answer can only be told by the end of the socket.
        await go.send(request_of("/cut"))
        with pytest.raises(Gone):
            await go.read_response()
        async with dialed(server.address) as other:
            assert (await other.call("/json"))[0] == 200


async def test_closing_twice_unknown_ids_and_metadata_of_objects_are_no_errors() -> None:
    async with listening() as server, dialed(server.address, {"a": {"b": [1]}}) as go:
        connection = await connection_of(server, go.id)
        assert server.connections.by_metadata({"a": {"b": [1]}}) == [connection]
        assert server.connections.by_metadata(object()) == []
        assert server.connections.by_id("unknown") is None
        async with trio.open_nursery() as nursery:
            nursery.start_soon(go.wait_gone)
            await connection.aclose()
            await connection.aclose()
        assert connection.closed is not None


async def test_a_clean_close_is_reported_as_one() -> None:
    async with listening() as server, server.events() as events, trio.open_nursery() as nursery:
        # This side closes: the original answers by dropping the socket.
        async with dialed(server.address) as go:
            await events.receive()
            connection = await connection_of(server, go.id)
            nursery.start_soon(go.wait_gone)
            await connection.aclose()
            event = await events.receive()
            assert (event.type, event.code) == ("ConnectionClosed", 1000)
            assert go.close_code == 1000
    async with go_server() as there, trio.open_nursery() as nursery:
        nursery.start_soon(_stay_until_gone, there)
        client = connect(there.url)
        async with client:
            pass
        assert (await client.wait_closed()).clean


async def test_a_half_open_peer_is_detected() -> None:
    options = restsock.Options(heartbeat=BEATS)
    async with (
        listening(options=options) as server,
        server.events() as events,
        dialed(server.address) as go,
    ):
        go.answers_pings = False
        await events.receive()
        with trio.fail_after(PATIENCE):
            event = await events.receive()
        assert (event.type, event.code) == ("ConnectionFailure", 4003)
    # A caller that reads nothing while it is idle can be excepted, with others on the same port.
    endpoint = swaggersocket.Endpoint(heartbeat=NEVER)
    async with listening(endpoint=endpoint, options=options) as server:
        async with dialed(server.address) as go:
            await connection_of(server, go.id)
            await trio.sleep(0.4)
            assert server.connections.by_id(go.id) is not None


async def test_a_slow_subscriber_does_not_block_accepting() -> None:
    async with listening(Api()) as server, server.events(capacity=1) as events:
        for _ in range(5):
            async with dialed(server.address) as go:
                assert (await go.call("/json"))[0] == 200
        await until(lambda: not len(server.connections))
        assert (await events.receive()).type == "ConnectionReceived"
        assert (await events.receive()).type == "EventsLost"


async def test_an_address_that_is_in_use_is_an_error() -> None:
    async with listening() as server:
        with pytest.raises(OSError, match="cannot listen on") as error:
            async with restsock.listen(*server.address, endpoints={"/": swaggersocket.Endpoint()}):
                pass
        assert error.value.errno == errno.EADDRINUSE


async def test_a_silent_handshake_times_out() -> None:
    options = restsock.Options(timeouts=restsock.Timeouts(handshake=0.2))
    async with listening(options=options) as server:
        silent = await upgraded(server.address)
        with trio.fail_after(PATIENCE):
            await silent.wait_gone()
        half = await upgraded(server.address)
        await half.send(line({"Type": "ClientHandshakeMetaData", "Meta": None}))
        assert json.loads(await half.next_message())["ConnectionID"]
        await half.wait_gone()  # it has not confirmed
        assert not len(server.connections)
    async with go_server() as there, trio.open_nursery() as nursery:
        nursery.start_soon(_say_nothing, there)
        backoff = restsock.Backoff(tries=1)
        with pytest.raises(restsock.HandshakeError, match=r"took more than|within"):
            async with connect(there.url, options=options, backoff=backoff):
                pass
        nursery.cancel_scope.cancel()


async def _say_nothing(there: GoServer) -> None:
    await there.upgraded()
    await trio.sleep_forever()


async def test_an_adapter_works_after_a_reconnect() -> None:
    async with go_server() as there, trio.open_nursery() as nursery:
        ends: list[GoPeer] = []

        async def serve() -> None:
            for _ in range(2):
                go = await there.accept(f"id-{len(ends)}")
                ends.append(go)
                nursery.start_soon(serve_at, go, upper)

        nursery.start_soon(serve)

        def call(cut: Callable[[], object]) -> list[bytes]:
            with sync.connect(there.url, backoff=QUICK, proxy=False) as client:
                session = requests.Session()
                session.mount("http://go/", client.adapter())
                found = [session.get("http://go/one", timeout=PATIENCE).content]
                cut()
                found.append(session.get("http://go/two", timeout=PATIENCE).content)
                return found

        async def cut() -> None:
            await ends[0].stream.aclose()
            await until(lambda: len(ends) == 2)  # it has noticed: nothing leaves on the first

        found = await in_thread(lambda: call(lambda: trio.from_thread.run(cut)))
        assert found == [b"/ONE", b"/TWO"]
        assert len(ends) == 2


async def test_bodies_of_arbitrary_bytes_are_sent_in_text_frames() -> None:
    async with listening(Api()) as server, dialed(server.address) as go:
        assert (await go.call("/bytes"))[2] == EVERY_BYTE
        echoed = await go.call("/echo", method="POST", body=EVERY_BYTE, fragment=333)
        assert echoed[2] == EVERY_BYTE
        connection = await connection_of(server, go.id)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(serve_at, go, lambda target, body: body[::-1])
            response = await connection.request("POST", "/", body=EVERY_BYTE)
            assert response.body == EVERY_BYTE[::-1]
            nursery.cancel_scope.cancel()


async def test_a_response_to_head_with_a_content_length_does_not_hang() -> None:
    async with listening(Api()) as server, dialed(server.address) as go:
        status, fields, body = await go.call("/json", method="HEAD")
        assert (status, fields["Content-Length"], body) == (200, "10", b"")
        connection = await connection_of(server, go.id)
        async with trio.open_nursery() as nursery:

            async def serve() -> None:
                for _ in range(2):
                    method, _, fields, _ = await go.next_request()
                    head = f"Content-Length: 214\r\nX-Correlation-Id: {fields['X-Correlation-Id']}"
                    body = "x" * 214 if method == "GET" else ""
                    await go.send(f"HTTP/1.1 200 OK\r\n{head}\r\n\r\n{body}".encode())

            nursery.start_soon(serve)
            response = await connection.request("HEAD", "/", timeout=PATIENCE)
            assert response.header("content-length") == "214"
            assert response.body == b""
            assert len((await connection.request("GET", "/", timeout=PATIENCE)).text) == 214


# --- its faults, survived --------------------------------------------------------------------


async def test_an_empty_message_fails_only_its_own_request() -> None:
    async with go_server() as there, trio.open_nursery() as nursery:

        async def serve() -> None:
            go = await there.accept()
            for number in range(4):
                _, target, fields, _ = await go.next_request()
                if number % 2:
                    await go.send(b"")
                else:
                    await go.respond_flushed(target.encode(), id=fields["X-Correlation-Id"])
            await go.wait_gone()

        nursery.start_soon(serve)
        async with connect(there.url) as client:
            for _ in range(2):
                assert (await client.request("GET", "/right")).body == b"/right"
                with pytest.raises(restsock.StreamReset, match="lost") as caught:
                    await client.request("GET", "/lost", timeout=PATIENCE)
                assert caught.value.may_have_run
            assert client.statistics().reconnects == 0
