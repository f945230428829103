"""Endpoints on a listener: beside others, by name, under its limits, and in each API."""

from __future__ import annotations

import logging
import socket
from collections.abc import Iterator
from typing import Any

import pytest
import trio
import trio.lowlevel
from trio.testing import MockClock

import restsock
import restsock.aio
import restsock.sync
from restsock import swaggersocket
from restsock.auth import BearerTokens
from restsock.ingress import Ingress
from restsock.swaggersocket import sync
from restsock.testing import Network
from restsock.websockets import Endpoint, ServerWebSocket
from restsock.websockets import connect as plain_connect
from tests.swaggersocket.go_peer import (
    UPGRADE,
    Gone,
    GoPeer,
    dialed,
    frame,
    line,
    request_of,
    serving,
    upgraded,
)
from tests.swaggersocket.site import PATIENCE, QUICK, Api, connect, connection_of, listening
from tests.tls_pair import contexts
from tests.waiting import until


def wsgi(environ: Any, start_response: Any) -> Iterator[bytes]:
    body = environ["wsgi.input"].read()
    start_response("200 OK", [("Content-Type", "text/plain")])
    yield environ["REQUEST_METHOD"].encode() + b" " + body[:10]
    yield b" and %d" % len(body)


async def serve(peer: GoPeer) -> None:
    try:
        while True:
            _, target, fields, body = await peer.next_request()
            await peer.respond(target.encode() + body, id=fields["X-Correlation-Id"])
    except Gone:
        pass


async def test_one_port_takes_peers_of_both_kinds_and_plain_http() -> None:
    async def pages(request: restsock.Request) -> restsock.Response:
        return restsock.Response(200, body=b"a page")

    async with restsock.listen(
        "127.0.0.1",
        0,
        app=Api(),
        loop="trio",
        endpoints={"/": swaggersocket.Endpoint(), "/pages": pages},
    ) as server:
        async with dialed(server.address) as go, restsock.connect(server.url, name="v1") as client:
            assert (await go.call("/json"))[2] == b"GET /json"
            assert (await client.request("GET", "/json")).body == b"GET /json"
            assert {c.name for c in server.connections} == {None, "v1"}
        assert (await plain(server, "GET /pages HTTP/1.1\r\nHost: a\r\n\r\n")).endswith(b"a page")
        answer = await plain(server, "GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        assert answer.startswith(b"HTTP/1.1 426 ")


async def test_a_port_may_be_for_these_peers_alone() -> None:
    async with listening(Api(), peers=False) as server:
        async with dialed(server.address) as go:
            assert (await go.call("/json"))[2] == b"GET /json"
        url = server.url.replace("http", "ws")
        with pytest.raises(restsock.HandshakeError, match="no restsock listener"):
            async with restsock.connect(url, backoff=restsock.Backoff(tries=1), proxy=False):
                pass


async def plain(server: Any, *requests: str) -> bytes:
    """What a client of plain HTTP gets for the last of these, on one connection."""
    stream = await trio.open_tcp_stream(*server.address)
    async with stream:
        data = b""
        for request in requests:
            await stream.send_all(request.encode())
            data = b""
            with trio.fail_after(PATIENCE):
                while b"\r\n\r\n" not in data or not data.partition(b"\r\n\r\n")[2]:
                    got = bytes(await stream.receive_some(65536))
                    if not got:
                        break
                    data += got
        return data


async def test_a_longer_path_has_its_own_websockets() -> None:
    async def echo(websocket: ServerWebSocket) -> None:
        async for message in websocket:
            await websocket.send(message)

    endpoints = {"/": swaggersocket.Endpoint(), "/ws": Endpoint(echo)}
    async with restsock.listen("127.0.0.1", 0, endpoints=endpoints) as server:
        async with plain_connect(server.url + "ws") as websocket:
            await websocket.send("hello")
            assert await websocket.receive() == "hello"
        async with dialed(server.address, path="/other?x=1"):
            await until(lambda: len(server.connections) == 1)
        with pytest.raises(ValueError, match="two endpoints"):
            restsock.listen(
                "127.0.0.1",
                0,
                endpoints={"/a": swaggersocket.Endpoint(), "/a/": swaggersocket.Endpoint()},
            )


async def test_plain_http_at_the_path_goes_to_the_ingress() -> None:
    endpoint = swaggersocket.Endpoint(name_of=lambda metadata: metadata)
    async with restsock.listen(
        "127.0.0.1", 0, endpoints={"/": endpoint}, ingress=Ingress(public=True)
    ) as server:
        async with dialed(server.address, "edge-1") as go, trio.open_nursery() as nursery:
            await connection_of(server, go.id)
            nursery.start_soon(serve, go)
            request = "GET /pets HTTP/1.1\r\nHost: 127.0.0.1\r\nRestsock-Peer: edge-1\r\n\r\n"
            assert (await plain(server, request)).endswith(b"\r\n\r\n/pets")
            nursery.cancel_scope.cancel()


async def test_a_connection_that_was_used_before_is_not_upgraded() -> None:
    async with listening() as server:
        first = "GET / HTTP/1.1\r\nHost: a\r\n\r\n"
        answer = await plain(server, first, UPGRADE.format(path="/"))
        assert answer.startswith(b"HTTP/1.1 503 ")
        assert b"\r\nConnection: close\r\n" in answer


async def test_names_come_from_metadata_and_survive_reconnects(
    caplog: pytest.LogCaptureFixture,
) -> None:
    def name_of(metadata: Any) -> Any:
        return metadata["name"]

    async with listening(endpoint=swaggersocket.Endpoint(name_of=name_of)) as server:
        route = server.route("pump")
        for body in (b"one", b"two"):
            async with (
                dialed(server.address, {"name": "pump"}) as go,
                trio.open_nursery() as nursery,
            ):
                nursery.start_soon(serve, go)
                response = await route.request("POST", "/", body=body, timeout=PATIENCE)
                assert response.body == b"/" + body
                nursery.cancel_scope.cancel()
            await until(lambda: not len(server.connections))
        caplog.clear()
        with caplog.at_level(logging.INFO, "restsock.server"):
            for metadata in (None, {"name": 7}, {"name": "a\nb"}):
                peer = await upgraded(server.address)
                await peer.send(line({"Type": "ClientHandshakeMetaData", "Meta": metadata}))
                await peer.wait_gone()
                assert peer.close_code == 4000
        assert "name_of failed with TypeError" in caplog.text
        # A newer peer of the same name takes its place.
        async with dialed(server.address, {"name": "pump"}) as old:
            async with dialed(server.address, {"name": "pump"}) as new:
                await old.wait_gone()
                await until(lambda: getattr(server.connections.by_name("pump"), "id", 0) == new.id)


async def test_authentication_limits_and_origins_are_those_of_the_listener() -> None:
    async with listening(auth=BearerTokens({"s3cret": "go"})) as server:
        refused = await plain(server, UPGRADE.format(path="/"))
        assert refused.startswith(b"HTTP/1.1 401 ")
        token = UPGRADE.format(path="/").replace(
            "\r\n\r\n", "\r\nAuthorization: Bearer s3cret\r\n\r\n"
        )
        stream = await trio.open_tcp_stream(*server.address)
        await stream.send_all(token.encode())
        head = bytes(await stream.receive_some(65536))
        assert head.startswith(b"HTTP/1.1 101 ")
        peer = GoPeer(stream, head.partition(b"\r\n\r\n")[2], dialer=True)
        async with stream:
            await peer.shake_as_dialer(None)
            connection = await connection_of(server, peer.id)
            assert connection.principal is not None
            assert connection.principal.name == "go"
    limits = restsock.Options(limits=restsock.Limits(max_connections=1))
    async with listening(options=limits) as server, dialed(server.address):
        assert (await plain(server, UPGRADE.format(path="/"))).startswith(b"HTTP/1.1 503 ")
    async with listening() as server:
        page = UPGRADE.format(path="/").replace(
            "\r\n\r\n", "\r\nOrigin: https://evil.example\r\n\r\n"
        )
        assert (await plain(server, page)).startswith(b"HTTP/1.1 403 ")


async def _dial_here(address: Any) -> trio.abc.Stream:
    return await trio.open_tcp_stream("127.0.0.1", address.port)


async def test_over_tls_with_a_wsgi_app_and_large_bodies() -> None:
    here, there = contexts()
    async with listening(wsgi, tls=there) as server:
        client = connect(f"wss://hub:{server.address[1]}/", tls=here)
        client.dial_over(_dial_here)
        async with client:
            body = b"0123456789" * 100_000
            response = await client.request("POST", "/", body=body)
            assert response.body == b"POST 0123456789 and 1000000"
            assert (await client.request("GET", "/")).body == b"GET  and 0"


async def test_a_large_response_is_read_as_it_is_wanted() -> None:
    async with listening(Api()) as server, connect(server.url) as client:
        async with client.stream("GET", "/large") as response:
            size = 0
            async for piece in response:
                size += len(piece)
                await trio.lowlevel.checkpoint()
            assert size == 64 * 16 * 1024
        assert (await client.request("GET", "/json")).body == b"GET /json"


def test_a_peer_that_is_not_read_is_not_taken_for_silent() -> None:
    """An hour passes in no time: on a clock of the test, and over memory."""
    beats = restsock.Heartbeat(interval=15, timeout=30)
    limits = restsock.Limits(initial_window=16 * 1024, max_window=16 * 1024)
    options = restsock.Options(heartbeat=beats, limits=limits)

    async def main() -> None:
        network = Network()
        server = restsock.listen(None, 0, app=Api(), endpoints={"/": swaggersocket.Endpoint()})
        server.accept_from(network.open)
        client = connect("ws://memory/", options=options)
        client.dial_over(network.open_stream)
        async with server, client:
            async with client.stream("GET", "/large") as response:
                await trio.sleep(3600)
                size = 0
                async for piece in response:
                    size += len(piece)
                assert size == 64 * 16 * 1024
            assert client.statistics().reconnects == 0

    trio.run(main, clock=MockClock(autojump_threshold=0))


async def test_an_answer_that_is_not_wanted_any_more_ends_the_connection_at_last() -> None:
    api = Api()
    endpoint = swaggersocket.Endpoint(late_response=0.1)
    async with listening(endpoint=endpoint) as server:
        async with dialed(server.address) as go:
            connection = await connection_of(server, go.id)
            with pytest.raises(restsock.RequestTimeout):
                await connection.request("GET", "/", timeout=0.05)
            await go.wait_gone()
            assert go.close_code is None  # it is to dial again
    async with listening(api) as server, connect(server.url, late_response=0.1) as client:
        with pytest.raises(restsock.RequestTimeout):
            await client.request("GET", "/wait", timeout=0.05)
        response = await client.request("GET", "/json", timeout=PATIENCE)  # on the next one
        assert response.body == b"GET /json"
        assert client.statistics().reconnects == 1


def test_a_response_that_may_be_lost_is_noticed_in_time_whatever_else_is_waited_for() -> None:
    """The wait for a response that nobody wants is the longer one, and has begun before."""

    async def lose(network: Network) -> None:
        async with serving(network) as there:
            go = await there.accept()
            for _ in range(2):
                _, _, fields, _ = await go.next_request()
                await trio.sleep(2)
                await go.respond(b"late", id=fields["X-Correlation-Id"])
            await go.next_request()
            await go.send(b"")  # may be the end of the response before
            await go.wait_gone()

    async def main() -> None:
        network = Network()
        client = connect("ws://memory/", late_response=60)
        client.dial_over(network.open_stream)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(lose, network)
            async with client:
                with pytest.raises(restsock.RequestTimeout):
                    await client.request("GET", "/", timeout=1)
                assert (await client.request("GET", "/")).body == b"late"
                begun = trio.current_time()
                with pytest.raises(restsock.StreamReset, match="lost"):
                    await client.request("GET", "/")
                assert trio.current_time() - begun == pytest.approx(1, abs=0.1)

    trio.run(main, clock=MockClock(autojump_threshold=0))


async def test_requests_wait_for_their_turn_for_so_long() -> None:
    api = Api()
    async with (
        listening(api) as server,
        connect(server.url) as client,
        trio.open_nursery() as nursery,
    ):
        nursery.start_soon(client.request, "GET", "/wait")
        await until(lambda: api.calls)
        with pytest.raises(restsock.RequestTimeout) as caught:
            await client.request("GET", "/json", timeout=0.1)
        assert caught.value.may_have_run is False
        assert api.calls == ["GET /wait"]
        api.release.set()
    # In the end it was asked once.
    assert api.calls == ["GET /wait"]


async def test_an_upgrade_or_too_long_a_body_is_an_error_of_the_request_alone() -> None:
    async with listening(Api()) as server, connect(server.url, max_request=1000) as client:
        with pytest.raises(restsock.LocalProtocolError, match="swaggersocket carries") as caught:
            async with client.websocket("/ws"):
                pass
        assert caught.value.may_have_run is False
        with pytest.raises(restsock.LocalProtocolError, match="max_request") as caught:
            await client.request("POST", "/echo", body=bytes(1001))
        assert caught.value.may_have_run is False
        assert (await client.request("POST", "/echo", body=bytes(1000))).body == bytes(1000)


async def test_a_listener_that_closes_lets_its_peers_come_back() -> None:
    api = Api()
    async with trio.open_nursery() as nursery:
        async with listening(api) as server:
            go = await upgraded(server.address)
            await go.shake_as_dialer(None)
            await connection_of(server, go.id)
            await go.send(request_of("/wait"))
            await until(lambda: api.calls)
            nursery.start_soon(server.aclose)
            await until(lambda: server.closed)
            api.release.set()
            assert (await go.read_response())[2] == b"at last"
            await go.wait_gone()
            assert go.close_code is None


async def test_drains_and_statistics_are_those_of_any_peer() -> None:
    async with listening(Api()) as server, connect(server.url, metadata=1) as client:
        await client.request("GET", "/json")
        (connection,) = server.connections
        counted = connection.statistics()
        assert counted.requests_received == 1
        assert server.health().ok
        closed = await connection.drain()
        assert closed.clean
        assert (await client.request("GET", "/json", timeout=PATIENCE)).body == b"GET /json"


def test_for_threads() -> None:
    async def edge(request: restsock.Request) -> restsock.Response:
        return restsock.Response(200, body=b"edge " + request.target.encode())

    endpoint = swaggersocket.Endpoint(name_of=str)
    with (
        restsock.sync.listen("127.0.0.1", 0, app=wsgi, endpoints={"/": endpoint}) as server,
        sync.connect(server.url, app=edge, metadata="edge", proxy=False) as client,
    ):
        assert client.request("POST", "/", body=b"x").body == b"POST x and 1"
        assert server.request("edge", "GET", "/y", timeout=PATIENCE).body == b"edge /y"
        assert server.connections.by_metadata("edge")[0].name == "edge"


async def test_a_broken_handshake_of_the_socket_is_a_line_in_the_log() -> None:
    async with listening() as server:
        with socket.create_connection(server.address) as sock:
            sock.sendall(UPGRADE.format(path="/").encode() + frame(b"\x00" * 10, masked=True))
            await until(lambda: server.statistics().handshakes_failed == 1)


async def test_a_listener_may_take_them_and_none_of_restsock_v1() -> None:
    async with listening(Api(), peers=False) as server, dialed(server.address) as go:
        assert (await go.call("/json"))[2] == b"GET /json"
        with pytest.raises(restsock.HandshakeError, match="refused with 404"):
            url = server.url.replace("http:", "ws:")
            async with restsock.connect(url, name="x", proxy=False):
                pass


async def _name(metadata: Any) -> str:
    return "x"


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        ({"name_of": 7}, TypeError),
        ({"name_of": _name}, TypeError),
        ({"heartbeat": 15}, TypeError),
        ({"max_request": "1"}, TypeError),
        ({"max_request": True}, TypeError),
        ({"max_request": -1}, ValueError),
        ({"late_response": "1"}, TypeError),
        ({"late_response": 0}, ValueError),
        ({"late_response": float("inf")}, ValueError),
    ],
)
def test_wrong_arguments(arguments: dict[str, Any], error: type[Exception]) -> None:
    with pytest.raises(error, match=next(iter(arguments))):
        swaggersocket.Endpoint(**arguments)
    if "request" in str(arguments) or "late" in str(arguments):
        with pytest.raises(error):
            swaggersocket.connect("ws://a/", **arguments)


def test_wrong_arguments_of_connect() -> None:
    with pytest.raises(ValueError, match="not JSON"):
        swaggersocket.connect("ws://a/", metadata={1, 2})
    with pytest.raises(TypeError, match="metdata"):
        swaggersocket.connect("ws://a/", metdata=1)
    with pytest.raises(TypeError, match="name"):
        swaggersocket.connect("ws://a/", name="x")
    with pytest.raises(ValueError, match="URL"):
        swaggersocket.connect("http://a/")


async def test_what_is_no_server_of_it_is_told() -> None:
    async with restsock.listen("127.0.0.1", 0) as server:
        with pytest.raises(restsock.HandshakeError, match=r"400|426"):
            async with connect(server.url):
                pass

    async def echo(websocket: ServerWebSocket) -> None:
        async for message in websocket:
            await websocket.send(message)

    async with restsock.listen("127.0.0.1", 0, endpoints={"/": Endpoint(echo)}) as server:
        with pytest.raises(restsock.HandshakeError, match="ServerHandshakeConnectionID"):
            async with connect(server.url, backoff=restsock.Backoff(tries=1)):
                pass
    assert QUICK.tries == 0


async def test_an_exchange_has_the_time_outs_of_any() -> None:
    options = restsock.Options(timeouts=restsock.Timeouts(request=0.1))
    async with listening(Api(), options=options) as server, dialed(server.address) as go:
        status, fields, _ = await go.call("/wait", id="c-5")
        assert (status, fields["X-Correlation-Id"]) == (504, "c-5")
        assert (await go.call("/json"))[0] == 200
