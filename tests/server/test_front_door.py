"""Plain HTTP to the port of a listener, over real sockets: endpoints, health, ends, limits."""

from __future__ import annotations

import asyncio
import logging
import os
import tempfile
import threading
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from typing import Any

import pytest
import trio

import restsock
import restsock.aio
import restsock.sync
from restsock import Limits, Options, Request, Response, SocketOptions, Timeouts
from tests.e2e.raw_peer import CLOSE, TEXT, UPGRADE, websocket_frame
from tests.plain_client import GET, PlainClient, dial, statuses
from tests.tls_pair import contexts
from tests.waiting import until

POST = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\n"
OLD = b"GET / HTTP/1.0\r\n\r\n"


async def echo(request: Request) -> Response:
    body = await request.read()
    return Response(200, {}, f"{request.method} {request.path} {len(body)}")


def wsgi(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
    start_response("200 OK", [("Content-Type", "text/plain")])
    size = len(environ["wsgi.input"].read())
    yield f"{environ['SCRIPT_NAME']}|{environ['PATH_INFO']}|{environ['wsgi.url_scheme']}".encode()
    yield f"|{threading.current_thread().name.rsplit('-', 1)[0]}|{size}".encode()


async def asgi(scope: dict[str, Any], receive: Any, send: Any) -> None:
    if scope["type"] != "http":
        raise NotImplementedError(scope["type"])
    await send({"type": "http.response.start", "status": 200, "headers": []})
    text = f"{scope['root_path']}|{scope['path']}|{scope['scheme']}"
    await send({"type": "http.response.body", "body": text.encode()})


async def asgi_reading(scope: dict[str, Any], receive: Any, send: Any) -> None:
    """Tells how long the body is that it has read."""
    size, more = 0, True
    while more:
        message = await receive()
        size, more = size + len(message["body"]), message["more_body"]
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"%d" % size})


class Held:
    """An ASGI app that answers when it is let; what comes before the answer is its own affair.

    Attributes:
        begun: is set when it has a request.
        cancelled: is set when it was cut off.
    """

    def __init__(self, *, head_first: bool = False) -> None:
        self.begun, self.go, self.cancelled = trio.Event(), trio.Event(), trio.Event()
        self.fails = False
        self._head_first = head_first

    async def __call__(self, scope: dict[str, Any], receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            raise NotImplementedError(scope["type"])
        start = {"type": "http.response.start", "status": 200, "headers": []}
        if self._head_first:
            await send(start)
            await send({"type": "http.response.body", "body": b"begun", "more_body": True})
        self.begun.set()
        try:
            await self.go.wait()
        except trio.Cancelled:
            self.cancelled.set()
            raise
        if self.fails:
            raise RuntimeError("on purpose")
        if not self._head_first:
            await send(start)
        await send({"type": "http.response.body", "body": b" done"})


@asynccontextmanager
async def listening(
    app: Any = echo, *, limits: Limits | None = None, times: Timeouts | None = None, **options: Any
) -> AsyncIterator[restsock.Server]:
    options.setdefault("endpoints", {"/": app})
    own = Options(
        limits=limits or Limits(), timeouts=times or Timeouts(close=0.5, disconnect=0.05, grace=5)
    )
    with trio.fail_after(30):
        async with restsock.listen("127.0.0.1", 0, options=own, **options) as server:
            yield server


def trio_app(app: Any) -> Any:
    """On the loop of the listener, whose events it uses."""
    return restsock.apps.make_handler(app, loop="trio")


# --- endpoints --------------------------------------------------------------------------------


@pytest.mark.parametrize("tls", [False, True])
async def test_endpoints_by_prefix(*, tls: bool) -> None:
    here, there = contexts()
    scheme = "https" if tls else "http"
    endpoints = {"/w": wsgi, "/a": asgi, "/a/deep/er": echo, "/a/deep": wsgi}
    async with (
        listening(endpoints=endpoints, tls=there if tls else None) as server,
        dial(server, here if tls else None) as client,
    ):
        for target, text in {
            "/w/x/y?q": f"/w|/x/y|{scheme}|restsock-wsgi|0",
            "/w": f"/w||{scheme}|restsock-wsgi|0",
            "/a/b%20c": f"/a|/a/b c|{scheme}",
            "/a/deep/er/": "GET /a/deep/er/ 0",
            "/a/deep/erx": f"/a/deep|/erx|{scheme}|restsock-wsgi|0",
        }.items():
            status, fields, body = await client.get(target)
            assert (status, body.decode()) == (200, text)
            assert b"date" in fields
        for target in ("/", "/ab", "/%61", "//a", "/A", "/w%2Fx"):
            assert (await client.get(target))[0] == 404
        await client.send(b"OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n")
        assert (await client.response())[0] == 404
    # A request for an upgrade has no body: nobody waits for one (RFC 9110, section 7.8).
    async with listening(endpoints={"/w": wsgi, "/a": asgi_reading, "/f": echo}) as server:
        upgrade = b"Connection: upgrade\r\nUpgrade: nothing\r\n\r\n"
        for path, body in (
            (b"/w", b"/w||http|restsock-wsgi|0"),
            (b"/a", b"0"),
            (b"/f", b"GET /f 0"),
        ):
            async with dial(server) as client:
                await client.send(b"GET %s HTTP/1.1\r\nHost: a\r\n%s" % (path, upgrade))
                assert (await client.response())[2] == body
    async with listening(endpoints={"/": echo, "/a": wsgi}) as server, dial(server) as client:
        await client.send(b"OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n")
        assert (await client.response())[2] == b"OPTIONS * 0"


@pytest.mark.parametrize("tls", [False, True])
async def test_the_url_is_for_those_who_are_taken(
    caplog: pytest.LogCaptureFixture, *, tls: bool
) -> None:
    caplog.set_level(logging.INFO, "restsock.server")
    secure = "s" if tls else ""
    options: dict[str, Any] = {"tls": contexts()[1] if tls else None}
    for peers, scheme in ((True, f"ws{secure}"), (False, f"http{secure}")):
        async with listening(peers=peers, **options) as server:
            assert server.url == f"{scheme}://127.0.0.1:{server.address[1]}/"
            assert caplog.messages[-1] == f"listening on {server.url}"
            assert server.url in repr(server)


@pytest.mark.parametrize("path", ["", "a", "/a//b", "/a/../b", "/a?b", "/a b", "/ä", "/%61", "/."])
def test_paths_that_are_none(path: str) -> None:
    for options in ({"endpoints": {path: echo}}, {"health_path": path}):
        with pytest.raises(ValueError, match="not a path"):
            restsock.listen("127.0.0.1", 0, **options)


def test_two_endpoints_of_one_path() -> None:
    with pytest.raises(ValueError, match="same path"):
        restsock.listen("127.0.0.1", 0, endpoints={"/a": echo, "/a/": echo})


async def test_health() -> None:
    async with listening(health_path="/healthz") as server, dial(server) as client:
        assert (await client.get("/healthz"))[::2] == (200, b"ok\n")
        assert (await client.get("/healthz?x"))[0] == 200
        assert (await client.get("/healthz/"))[2] == b"GET /healthz/ 0"
        await client.send(b"HEAD /healthz HTTP/1.1\r\nHost: a\r\n\r\n")
        status, fields, body = await client.response("HEAD")
        assert (status, fields[b"cache-control"], body) == (200, b"no-store", b"")


async def test_a_listener_that_has_none_of_it_answers_426() -> None:
    async with (
        restsock.listen("127.0.0.1", 0, app=echo) as server,
        dial(server) as client,
    ):
        assert (await client.get())[0] == 426
        assert await client.rest() == b""


async def test_a_listener_that_is_for_no_peers() -> None:
    async def found(request: Request) -> Response:
        return Response(200)

    async with restsock.listen("127.0.0.1", 0, endpoints={"/": found}, peers=False) as server:
        assert server.url.startswith("http://127.0.0.1:")
        async with dial(server) as client:
            await client.send(UPGRADE)
            assert statuses(await client.receive()) == [200]
    with pytest.raises(ValueError, match="something else to serve"):
        restsock.listen("127.0.0.1", 0, peers=False)


async def test_peers_come_in_at_the_same_port() -> None:
    async with listening(app=echo, endpoints={"/": wsgi}) as server:
        async with restsock.connect(server.url, app=echo, name="edge-1") as peer:
            assert (await server.request("edge-1", "GET", "/x")).text == "GET /x 0"
            assert (await peer.request("GET", "/x")).status in (200, 503)
            async with dial(server) as client:
                assert (await client.get())[0] == 200
            assert len(server.connections) == 1


# --- other ways to listen ---------------------------------------------------------------------


async def test_without_epoll(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("restsock.connection._leader._CAN_LEAD", False)
    monkeypatch.setattr("restsock.connection._ready_poll._HAS_EPOLL", False)
    limits = Limits(initial_window=16 * 1024, max_window=16 * 1024)
    async with listening(wsgi, limits=limits) as server, dial(server) as client:
        await client.send(GET * 3)
        for _ in range(3):
            assert (await client.response())[0] == 200
        async with trio.open_nursery() as nursery:
            head = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000\r\n\r\n"
            nursery.start_soon(client.send, head + bytes(1_000_000) + GET)
            assert (await client.response())[2].endswith(b"|1000000")
            assert (await client.response())[2].endswith(b"|0")


@pytest.mark.skipif(os.name == "nt", reason="no Unix sockets")
async def test_over_a_unix_socket() -> None:
    with tempfile.TemporaryDirectory(prefix="restsock-") as folder:
        path = f"{folder}/door"
        async with restsock.listen(f"unix:{path}", endpoints={"/": wsgi}):
            client = PlainClient(await trio.open_unix_socket(path))
            assert (await client.get("/x"))[2] == b"|/x|http|restsock-wsgi|0"
            await client.aclose()


async def test_the_api_for_threads_takes_the_same_arguments() -> None:
    def run() -> None:
        with restsock.sync.listen(
            "127.0.0.1", 0, endpoints={"/w": wsgi, "/f": echo}, health_path="/h"
        ) as server:
            trio.run(ask, server)

    async def ask(server: Any) -> None:
        async with dial(server) as client:
            assert (await client.get("/w/"))[2] == b"/w|/|http|restsock-wsgi|0"
            assert (await client.get("/f"))[2] == b"GET /f 0"
            assert (await client.get("/h"))[0] == 200

    await trio.to_thread.run_sync(run)


def test_the_api_for_asyncio_takes_the_same_arguments() -> None:
    async def app(scope: dict[str, Any], receive: Any, send: Any) -> None:
        if scope["type"] == "http":
            loops.append(asyncio.get_running_loop())
            await asgi(scope, receive, send)

    async def ask(server: Any) -> None:
        async with dial(server) as client:
            assert (await client.get("/a/x"))[2] == b"/a|/a/x|http"
            assert (await client.get("/h"))[0] == 200

    async def run() -> None:
        async with restsock.aio.listen(
            "127.0.0.1", 0, endpoints={"/a": app}, health_path="/h"
        ) as server:
            await asyncio.to_thread(trio.run, ask, server)
        assert loops == [asyncio.get_running_loop()]

    loops: list[Any] = []
    asyncio.run(asyncio.wait_for(run(), 20))


@pytest.mark.parametrize("data", [b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", b"\0" * 10])
async def test_what_is_not_http(data: bytes) -> None:
    async with listening() as server, dial(server) as client:
        await client.send(data)
        assert statuses(await client.rest()) == [400]


async def test_plain_http_to_a_port_with_tls(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", "restsock")
    _, there = contexts()
    async with listening(tls=there) as server:
        async with dial(server) as client:
            await client.send(GET)
            try:
                assert statuses(await client.rest()) == []
            except trio.BrokenResourceError:
                pass
        async with dial(server, contexts()[0]) as client:
            assert (await client.get())[0] == 200
    assert "it speaks plain HTTP, and this listener has TLS" in caplog.text


async def websocket_echo(scope: dict[str, Any], receive: Any, send: Any) -> None:
    if scope["type"] != "websocket":
        raise NotImplementedError(scope["type"])
    await receive()
    await send({"type": "websocket.accept"})
    while (message := await receive())["type"] == "websocket.receive":
        text = f"{scope['root_path']}|{scope['path']}|{scope['scheme']}|{message['text']}"
        await send({"type": "websocket.send", "text": text})


@pytest.mark.parametrize("tls", [False, True])
async def test_a_websocket_to_an_endpoint(*, tls: bool) -> None:
    here, there = contexts()
    async with (
        listening(endpoints={"/w": websocket_echo}, tls=there if tls else None) as server,
        dial(server, here if tls else None) as client,
    ):
        upgrade = UPGRADE.replace(b"GET / ", b"GET /w/x ").replace(
            b"Sec-WebSocket-Protocol: restsock.v1\r\n", b""
        )
        await client.send(upgrade + websocket_frame(TEXT, b"early"))
        for text in ("early", "late"):
            data = await client.receive()
            while text.encode() not in data:
                data += await client.receive()
            scheme = "wss" if tls else "ws"
            assert data.endswith(f"/w|/w/x|{scheme}|{text}".encode())
            await client.send(websocket_frame(TEXT, b"late"))
        await client.send(websocket_frame(CLOSE, b"\x03\xe8"))
        assert b"\x88\x02\x03\xe8" in await client.rest()
        await client.aclose()
        await emptied(server)


# --- bodies -----------------------------------------------------------------------------------


def pieces_of(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
    start_response("200 OK", [])
    for number in range(64):
        yield bytes([number]) * 16_384


@pytest.mark.parametrize("tls", [False, True])
async def test_a_worker_thread_sends_a_long_response(*, tls: bool) -> None:
    here, there = contexts()
    async with (
        listening(pieces_of, tls=there if tls else None) as server,
        dial(server, here if tls else None) as client,
    ):
        for _ in range(2):
            body = (await client.get())[2]
            assert body == b"".join(bytes([number]) * 16_384 for number in range(64))


async def test_a_client_that_expects_a_100() -> None:
    async with listening() as server, dial(server) as client:
        await client.send(POST.replace(b"Host", b"Expect: 100-continue\r\nHost"))
        assert await client.receive() == b"HTTP/1.1 100 Continue\r\n\r\n"
        await client.send(b"hello")
        assert (await client.response())[2] == b"POST / 5"
        assert (await client.get())[0] == 200


# --- how connections end ----------------------------------------------------------------------


async def test_an_early_answer_is_not_lost() -> None:
    """The client is still sending; closed at once, the system would break the connection off."""

    async def refusing(request: Request) -> Response:
        return Response(403, {}, "no")

    async with (
        listening(refusing, times=Timeouts(close=5)) as server,
        dial(server) as client,
    ):
        await client.send(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 10000000\r\n\r\n")
        for _ in range(100):
            await client.send(bytes(50_000))
        data = await client.rest()
        assert statuses(data) == [403]
        assert data.endswith(b"\r\n\r\nno")


async def test_a_malformed_request_behind_a_good_one() -> None:
    async with listening() as server, dial(server) as client:
        await client.send(GET + b"nonsense\r\n\r\n" + GET)
        assert statuses(await client.rest()) == [200, 400]


@pytest.mark.parametrize("request_", [GET, OLD])
async def test_an_app_that_fails_half_way(request_: bytes) -> None:
    app = Held(head_first=True)
    async with listening(trio_app(app)) as server, dial(server) as client:
        await client.send(request_)
        await app.begun.wait()
        assert b"begun" in await client.receive()
        app.fails = True
        app.go.set()
        if request_ is OLD:  # else it would look whole
            with pytest.raises(trio.BrokenResourceError):
                await client.rest()
        else:
            assert b"0\r\n\r\n" not in await client.rest()


async def test_a_grace_that_is_over_half_way() -> None:
    app = Held(head_first=True)
    async with listening(trio_app(app)) as server:
        async with dial(server) as client, trio.open_nursery() as nursery:
            await client.send(OLD)
            await app.begun.wait()
            assert b"begun" in await client.receive()
            nursery.start_soon(lambda: server.aclose(grace=0))
            with pytest.raises(trio.BrokenResourceError):
                await client.rest()


async def test_a_server_that_is_cancelled_half_way() -> None:
    app = Held(head_first=True)
    opened: list[PlainClient] = []
    with trio.CancelScope() as scope:
        async with listening(trio_app(app)) as server:
            client = PlainClient(await trio.open_tcp_stream(*server.address))
            opened.append(client)
            await client.send(OLD)
            await app.begun.wait()
            assert b"begun" in await client.receive()
            scope.cancel()
            await trio.sleep_forever()
    with pytest.raises(trio.BrokenResourceError):
        await opened[0].rest()
    await opened[0].aclose()


async def test_a_client_that_goes_ends_the_app() -> None:
    app = Held()
    async with listening(trio_app(app)) as server:
        async with dial(server) as client:
            await client.send(GET)
            await app.begun.wait()
        await app.cancelled.wait()
        await emptied(server)


async def test_one_that_breaks_off_while_it_is_not_read() -> None:
    """Its requests wait for the app; the loop must not be woken for it again and again."""
    app = Held()
    async with listening(trio_app(app)) as server:
        async with dial(server) as client:
            await client.send(GET)
            await app.begun.wait()
            await client.send(GET * 4_000)  # more than is read, less than sockets hold
            (connection,) = server._http_clients
            await until(lambda: connection._pipeline.websocket.paused)
            break_off(client)
        await app.cancelled.wait()
        await emptied(server)


async def test_one_that_says_no_more_still_gets_what_is_complete() -> None:
    async with listening(health_path="/h", times=Timeouts(close=5)) as server:
        async with dial(server) as client:
            await client.send(GET.replace(b"/ ", b"/h "))
            await client.stream.send_eof()
            assert statuses(await client.rest()) == [200]
        await emptied(server)


# --- draining ---------------------------------------------------------------------------------


async def test_a_drain() -> None:
    app = Held()
    async with listening(trio_app(app), health_path="/h", times=Timeouts(close=5)) as server:
        async with dial(server) as idle, dial(server) as busy, trio.open_nursery() as nursery:
            assert (await idle.get("/h"))[0] == 200
            await busy.send(GET)
            await app.begun.wait()
            nursery.start_soon(server.aclose)
            # At once, although the other one is busy.
            assert await idle.rest() == b""
            await idle.aclose()
            async with dial(server) as late:
                await late.send(GET.replace(b"/ ", b"/h "))
                data = await late.rest()
                assert statuses(data) == [503]
                assert b"\r\nRetry-After: 1\r\n" in data
            app.go.set()
            _, fields, body = await busy.response()
            assert (body, fields[b"connection"]) == (b" done", b"close")
            assert await busy.rest() == b""
            await busy.aclose()


async def test_a_grace_that_is_over_is_answered() -> None:
    app = Held()
    async with listening(trio_app(app)) as server:
        async with dial(server) as client, trio.open_nursery() as nursery:
            await client.send(GET)
            await app.begun.wait()
            nursery.start_soon(lambda: server.aclose(grace=0))
            assert statuses(await client.rest()) == [503]
            await client.aclose()


# --- how many ---------------------------------------------------------------------------------


async def test_the_one_that_is_idle_for_longest_makes_room() -> None:
    async with (
        listening(limits=Limits(max_http_clients=2)) as server,
        dial(server) as first,
        dial(server) as second,
        dial(server) as third,
        dial(server) as fourth,
    ):
        assert (await first.get())[0] == 200
        assert (await second.get())[0] == 200
        note_active(server)
        assert (await third.get())[0] == 200
        await gone(second)
        note_active(server)
        assert len(server._http_clients) == 2
        assert (await fourth.get())[0] == 200
        await gone(third)
        assert (await first.get())[0] == 200
        assert server.statistics().limits["max_http_clients"] == 2


def note_active(server: restsock.Server) -> None:
    """What happens every few seconds to one that is in use: here to the one that comes first."""
    connection: Any = next(iter(server._http_clients))
    connection._on_active(connection)


async def test_each_that_makes_room_does_so_once() -> None:
    """However slowly those take notice that it closes."""
    async with listening(limits=Limits(max_http_clients=2), times=Timeouts(close=60)) as server:
        clients = []
        for _ in range(8):
            client = PlainClient(await trio.open_tcp_stream(*server.address))
            clients.append(client)
            assert (await client.get())[0] == 200
            assert len(server._http_clients) <= 2
        for client in clients[:6]:
            await gone(client)
        for client in clients:
            await client.aclose()


async def test_one_whose_response_is_still_leaving_does_not_make_room() -> None:
    size = 60_000  # less than leaves at once, and more than the sockets hold

    async def long(request: Request) -> Response:
        return Response(200, {}, bytes(size))

    options = Options(limits=Limits(max_http_clients=1), sockets=SocketOptions(send_buffer=4096))
    async with (
        restsock.listen("127.0.0.1", 0, endpoints={"/": long}, options=options) as server,
        dial(server, buffer=4096) as slow,
        dial(server) as newcomer,
        dial(server) as later,
    ):
        await slow.send(GET)
        await until(lambda: server.statistics().http_traffic.received["answered"] == 1)
        (connection,) = server._http_clients
        assert connection.multiplexer.open_streams == 0
        assert (await newcomer.get())[0] == 503
        assert len((await slow.response())[2]) == size
        await until(lambda: not connection.writer.has_unsent)
        assert (await later.get())[0] == 200


@pytest.mark.parametrize("tls", [False, True])
async def test_where_none_is_idle_the_newcomer_is_turned_away(*, tls: bool) -> None:
    here, there = contexts() if tls else (None, None)
    app = Held()
    async with (
        listening(trio_app(app), limits=Limits(max_http_clients=1), tls=there) as server,
        dial(server, here) as busy,
        dial(server, here) as late,
        dial(server, here) as later,
    ):
        await busy.send(GET)
        await app.begun.wait()
        await late.send(GET)
        status, fields, body = await late.response()
        assert (status, fields[b"connection"], fields[b"retry-after"]) == (503, b"close", b"5")
        assert body == b"There are too many clients, and none of them is idle.\n"
        assert await late.rest() == b""
        await later.send(GET.replace(b"GET", b"HEAD"))
        status, fields, body = await later.response("HEAD")
        assert (status, fields[b"connection"], body) == (503, b"close", b"")
        assert await later.rest() == b""
        app.go.set()
        assert (await busy.response())[2] == b" done"
        # No handshake has failed: they wanted none.
        assert server.statistics().handshakes_failed == 0
        assert server.statistics().limits["max_http_clients"] == 2


async def test_one_that_is_turned_away_may_have_gone(caplog: pytest.LogCaptureFixture) -> None:
    app = Held()
    async with (
        listening(trio_app(app), limits=Limits(max_http_clients=1)) as server,
        dial(server) as busy,
    ):
        await busy.send(GET)
        await app.begun.wait()
        async with dial(server) as late:
            break_off(late)
            await late.send(GET)
            await until(lambda: server.statistics().limits.get("max_http_clients") == 1)
        await until(lambda: not server.statistics().handshaking)
        app.go.set()
        assert (await busy.response())[2] == b" done"
    assert [record.message for record in caplog.records] == ["too many clients of plain HTTP: 1"]


def break_off(client: PlainClient) -> None:
    """Has its socket end with a reset, once that is closed."""
    client.stream.socket.setsockopt(
        trio.socket.SOL_SOCKET, trio.socket.SO_LINGER, b"\1\0\0\0\0\0\0\0"
    )


async def gone(client: PlainClient) -> None:
    """Its connection has been ended, in whatever way."""
    try:
        assert await client.rest() == b""
    except trio.BrokenResourceError:
        pass


async def emptied(server: restsock.Server) -> None:
    await until(lambda: not len(server._http_clients))
