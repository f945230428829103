"""Forwarding to a server, byte for byte: what it gets, what comes back, what goes wrong."""

from __future__ import annotations

import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
import trio
import trio.testing

from restsock import Options, StreamReset, Timeouts, forward
from restsock.connection import AsyncExchange, Connection
from restsock.protocol import Headers, RequestHead, ResetCode
from restsock.testing import connected_pair
from tests.apps.forward.upstreams import Peer, Script, Upstream, scripted

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


@asynccontextmanager
async def forwarded(
    script: Script, *, path: str = "", **options: Any
) -> AsyncIterator[tuple[Connection, Upstream]]:
    """The caller's connection to a peer that forwards to the scripted server."""
    async with scripted(script) as upstream:
        app = forward(upstream.url + path, **{"forwarded": None, **options})
        async with connected_pair(app_b=app) as (dialer, _):
            yield dialer, upstream


def request(method: bytes, target: bytes = b"/", *fields: tuple[bytes, bytes]) -> RequestHead:
    return RequestHead(method, target, [(b"Host", b"edge-1"), *fields])


class Sees:
    """Answers every request alike, and keeps the heads."""

    def __init__(self, answer: bytes = OK) -> None:
        self.answer = answer
        self.heads: list[bytes] = []

    async def __call__(self, peer: Peer) -> None:
        while head := await peer.head():
            self.heads.append(head)
            await peer.send(self.answer)


# --- plain ------------------------------------------------------------------------------------


async def test_a_request_and_its_response() -> None:
    sees = Sees(
        b"HTTP/1.1 201 Made it\r\nX-A: 1\r\nSet-Cookie: a=1\r\nSet-Cookie: b=2\r\n"
        b"Content-Length: 2\r\n\r\nhi"
    )
    async with forwarded(sees) as (dialer, _):
        async with dialer.stream("GET", "/a%20b?q=1", headers={"Host": "edge-1"}) as response:
            assert (response.status, response.reason) == (201, "Made it")
            assert await response.read() == b"hi"
    assert sees.heads == [b"GET /a%20b?q=1 HTTP/1.1\r\nHost: edge-1\r\n\r\n"]
    names = [name.lower() for name, _ in response.headers]
    assert names.count(b"set-cookie") == 2
    assert b"date" in names  # the server gave none


async def test_a_connection_is_used_again_and_dropped_when_it_may_not_be() -> None:
    async def script(peer: Peer) -> None:
        await peer.head()
        await peer.send(OK)
        await peer.head()
        await peer.send(OK.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"))
        await peer.wait_closed()

    async with forwarded(script) as (dialer, upstream):
        for _ in range(4):
            response = await dialer.request("GET", "/")
            assert response.content == b"ok"
            assert response.header("connection") is None
        assert len(upstream.peers) == 2


async def test_no_connection_is_kept_when_none_shall_be() -> None:
    async with forwarded(Sees(), keep_alive=0) as (dialer, upstream):
        await dialer.request("GET", "/")
        await dialer.request("GET", "/")
        assert len(upstream.peers) == 2
        await upstream.peers[1].closed.wait()


async def test_an_idle_connection_is_closed_in_time() -> None:
    async with forwarded(Sees(), keep_alive=0.05) as (dialer, upstream):
        await dialer.request("GET", "/")
        with trio.fail_after(5):
            await upstream.peers[0].closed.wait()


async def test_nothing_is_open_behind_the_end() -> None:
    async with scripted(Sees()) as upstream:
        async with connected_pair(app_b=forward(upstream.url, keep_alive=1000.0)) as (dialer, _):
            await dialer.request("GET", "/")
            assert not upstream.peers[0].closed.is_set()
        with trio.fail_after(5):
            await upstream.peers[0].closed.wait()


# --- bodies -----------------------------------------------------------------------------------


async def test_a_body_that_is_here_is_sent_with_its_length() -> None:
    async def script(peer: Peer) -> None:
        head = await peer.head()
        assert head.lower().count(b"content-length") == 1
        assert b"Content-Length: 5\r\n" in head
        assert b"hunked" not in head
        body = await peer.exactly(5)
        await peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n" + body)

    async with forwarded(script) as (dialer, _):
        assert (await dialer.request("POST", "/", body=b"hello")).content == b"hello"
        exchange = AsyncExchange.open(dialer, request(b"POST"), body=b"hello")  # says no length
        assert (await exchange.receive_head()).status == 200
        assert await exchange.receive_data() == b"hello"


@pytest.mark.parametrize(("method", "says"), [("POST", True), ("GET", False), ("DELETE", False)])
async def test_no_body(method: str, says: bool) -> None:
    sees = Sees()
    async with forwarded(sees) as (dialer, _):
        await dialer.request(method, "/")
    assert (b"\r\nContent-Length: 0\r\n" in sees.heads[0]) is says
    assert b"Transfer-Encoding" not in sees.heads[0]


async def test_a_body_of_unknown_length_goes_in_chunks_with_its_trailers() -> None:
    seen = []

    async def script(peer: Peer) -> None:
        seen.append(await peer.head())
        seen.append(await peer.until(b"\r\n0\r\n"))
        seen.append(await peer.head())
        await peer.send(OK)

    async with forwarded(script) as (dialer, _):
        exchange = AsyncExchange.open(dialer, request(b"PUT"), end=False)
        await exchange.send_data(b"abc")
        await trio.testing.wait_all_tasks_blocked()
        await exchange.send_data(b"defg")
        late = (b"X_Sum", b"X-Forwarded-For", b"Authorization")  # the server would believe them
        exchange.send_end([(b"X-Sum", b"7"), *((name, b"6") for name in late)])
        assert (await exchange.receive_head()).status == 200
    assert b"\r\nTransfer-Encoding: chunked\r\n" in seen[0]
    assert b"Content-Length" not in seen[0]
    assert seen[1:] == [b"3\r\nabc\r\n4\r\ndefg\r\n0\r\n", b"X-Sum: 7\r\n\r\n"]


async def test_a_long_body_of_known_length_is_streamed() -> None:
    size = 3_000_000

    async def script(peer: Peer) -> None:
        assert b"\r\nContent-Length: %d\r\n" % size in await peer.head()
        body = await peer.exactly(size)
        await peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % size + body)

    data = bytes(range(250)) * (size // 250)
    async with forwarded(script) as (dialer, _):
        response = await dialer.request("POST", "/", body=data)
        assert response.content == data


async def test_a_response_in_chunks_with_trailers() -> None:
    sees = Sees(
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X-Sum\r\n\r\n"
        b"2\r\nhi\r\n1;ext=1\r\n!\r\n0\r\nX-Sum: 3\r\nContent-Length: 9\r\n\r\n"
    )
    async with forwarded(sees) as (dialer, upstream):
        for _ in range(2):
            response = await dialer.request("GET", "/")
            assert response.content == b"hi!"
            assert list(response.trailers) == [(b"X-Sum", b"3")]
            assert response.header("transfer-encoding") is None
        assert len(upstream.peers) == 1


async def test_chunks_override_a_length() -> None:
    sees = Sees(
        b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n"
        b"2\r\nhi\r\n0\r\n\r\n"
    )
    async with forwarded(sees) as (dialer, _):
        response = await dialer.request("GET", "/")
        assert response.content == b"hi"
        assert response.header("content-length") in (None, "2")


@pytest.mark.parametrize("version", [b"1.0", b"1.1"])
async def test_a_response_that_ends_with_its_connection(version: bytes) -> None:
    async def script(peer: Peer) -> None:
        await peer.head()
        await peer.send(b"HTTP/%s 200 OK\r\n\r\nhello" % version)

    async with forwarded(script) as (dialer, upstream):
        for _ in range(2):
            assert (await dialer.request("GET", "/")).content == b"hello"
        assert len(upstream.peers) == 2


@pytest.mark.parametrize(
    ("method", "head"),
    [
        ("HEAD", b"HTTP/1.1 200 OK\r\nContent-Length: 1234\r\n\r\n"),
        ("GET", b"HTTP/1.1 304 Not Modified\r\nContent-Length: 1234\r\nETag: x\r\n\r\n"),
        ("DELETE", b"HTTP/1.1 204 No Content\r\n\r\n"),
        ("HEAD", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"),
    ],
)
async def test_responses_without_a_body(method: str, head: bytes) -> None:
    async with forwarded(Sees(head)) as (dialer, upstream):
        for _ in range(2):
            response = await dialer.request(method, "/")
            assert response.content == b""
            length = "1234" if b"1234" in head else None
            assert response.header("content-length") == length
        assert len(upstream.peers) == (2 if method == "HEAD" else 1)


async def test_what_the_server_flushes_arrives_at_once() -> None:
    go_on = trio.Event()

    async def script(peer: Peer) -> None:
        await peer.head()
        await peer.send(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n")
        await go_on.wait()
        await peer.send(b"data: 1\n\n")
        await peer.wait_closed()

    async with forwarded(script) as (dialer, upstream):
        async with dialer.stream("GET", "/") as response:
            assert response.header("content-type") == "text/event-stream"
            go_on.set()
            assert await response.receive() == b"data: 1\n\n"
        with trio.fail_after(5):  # the caller has left, and the server learns of it
            await upstream.peers[0].closed.wait()


async def test_informational_responses_pass() -> None:
    sees = Sees(
        b"HTTP/1.1 102 Processing\r\n\r\n"
        b"HTTP/1.1 103 Early Hints\r\nLink: </a.css>; rel=preload\r\n\r\n" + OK
    )
    async with forwarded(sees) as (dialer, _):
        exchange = AsyncExchange.open(dialer, request(b"GET"))
        heads = [await exchange.receive_head(interim=True) for _ in range(3)]
        assert [head.status for head in heads] == [102, 103, 200]
        assert (b"Link", b"</a.css>; rel=preload") in list(heads[1].headers)


async def test_expect_continue_is_the_servers_to_answer() -> None:
    async def script(peer: Peer) -> None:
        assert b"\r\nExpect: 100-continue\r\n" in await peer.head()
        assert peer.buffer == b""
        await peer.send(b"HTTP/1.1 100 Continue\r\n\r\n")
        assert await peer.exactly(3) == b"abc"
        await peer.send(OK)

    fields = ((b"Expect", b"100-continue"), (b"Content-Length", b"3"))
    async with forwarded(script) as (dialer, _):
        exchange = AsyncExchange.open(dialer, request(b"PUT", b"/", *fields), end=False)
        assert (await exchange.receive_head(interim=True)).status == 100
        await exchange.send_data(b"abc")
        exchange.send_end()
        assert (await exchange.receive_head()).status == 200


async def test_an_early_answer_ends_the_request() -> None:
    async def script(peer: Peer) -> None:
        await peer.head()
        await peer.send(b"HTTP/1.1 413 Too Large\r\nContent-Length: 3\r\n\r\nno!")
        await peer.wait_closed()

    async with forwarded(script) as (dialer, upstream):
        exchange = AsyncExchange.open(dialer, request(b"POST"), end=False)
        await exchange.send_data(b"x" * 10_000)
        assert (await exchange.receive_head()).status == 413
        assert await exchange.receive_data() == b"no!"
        assert await exchange.receive_data() == b""
        while await exchange.send_data(b"x" * 10_000):
            pass
        assert exchange.stopped
        with trio.fail_after(5):
            await upstream.peers[0].closed.wait()  # it cannot be used for another request


async def test_an_answer_begins_while_the_request_goes_on() -> None:
    async def script(peer: Peer) -> None:
        await peer.head()
        await peer.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        while (line := await peer.until(b"\r\n")) != b"0\r\n":
            data = await peer.until(b"\r\n")
            await peer.send(line + data)
        await peer.until(b"\r\n")
        await peer.send(b"0\r\n\r\n")

    async with forwarded(script) as (dialer, _):
        exchange = AsyncExchange.open(dialer, request(b"POST"), end=False)
        assert (await exchange.receive_head()).status == 200
        for piece in (b"ping", b"pong"):
            await exchange.send_data(piece)
            assert await exchange.receive_data() == piece
        exchange.send_end()
        assert await exchange.receive_data() == b""


# --- backpressure -----------------------------------------------------------------------------


async def test_a_server_that_does_not_read_holds_the_caller_back() -> None:
    go_on = trio.Event()

    async def script(peer: Peer) -> None:
        await peer.head()
        await go_on.wait()
        await peer.until(b"\r\n0\r\n\r\n")
        await peer.send(OK)

    async with forwarded(script) as (dialer, _):
        exchange = AsyncExchange.open(dialer, request(b"POST"), end=False)
        sent = 0
        with trio.move_on_after(0.5):
            while True:
                await exchange.send_data(b"x" * 50_000)
                sent += 50_000
        # Buffers of two sockets (up to 6 MB on loopback), windows and send buffers.
        assert 0 < sent < 20_000_000
        go_on.set()
        exchange.send_end()
        assert (await exchange.receive_head()).status == 200


async def test_a_caller_that_does_not_read_holds_the_server_back() -> None:
    sent = 0

    async def script(peer: Peer) -> None:
        nonlocal sent
        await peer.head()
        await peer.send(b"HTTP/1.1 200 OK\r\n\r\n")
        with trio.move_on_after(0.5):
            while True:
                await peer.send(b"x" * 50_000)
                sent += 50_000

    async with forwarded(script) as (dialer, _):
        async with dialer.stream("GET", "/") as response:
            await trio.sleep(0.6)
            assert 0 < sent < 20_000_000
            assert len(await response.read()) >= sent


# --- what a server must never see ---------------------------------------------------------------


async def test_hop_by_hop_fields_stay_on_their_hop() -> None:
    sees = Sees(
        b"HTTP/1.1 200 OK\r\nConnection: keep-alive, X-Hop\r\nX-Hop: 1\r\nX-End: 2\r\n"
        b"Keep-Alive: timeout=5\r\nProxy-Connection: x\r\nUpgrade: h2c\r\n"
        b"Content-Length: 2\r\n\r\nok"
    )
    fields: Headers = [
        (b"Host", b"edge-1"),
        (b"Connection", b"X-Mine, Keep-Alive, Content-Length, Host"),
        (b"X-Mine", b"1"),
        (b"Keep-Alive", b"5"),
        (b"TE", b"trailers"),
        (b"X-Other", b"2"),
    ]
    async with forwarded(sees) as (dialer, _):
        exchange = AsyncExchange.open(dialer, RequestHead(b"GET", b"/", fields))
        head = await exchange.receive_head()
    names = {name.lower() for name, _ in head.headers}
    assert b"x-end" in names
    assert not names & {b"x-hop", b"connection", b"keep-alive", b"proxy-connection", b"upgrade"}
    assert sees.heads == [b"GET / HTTP/1.1\r\nHost: edge-1\r\nX-Other: 2\r\n\r\n"]


# What smuggles a second request into a server that reads it differently from whoever was in front.
INNER = b"GET /inner HTTP/1.1\r\nHost: x\r\n\r\n"
BODIES = [
    b"0\r\n\r\n" + INNER,
    b"5\r\nhello\r\n0\r\n\r\n" + INNER,
    INNER,
    b"\r\n" + INNER,
]


@pytest.mark.parametrize("body", BODIES)
@pytest.mark.parametrize("streamed", [False, True])
@pytest.mark.parametrize("length", [False, True])
async def test_a_body_stays_a_body(body: bytes, streamed: bool, length: bool) -> None:
    """Read by the rules alone, each connection holds exactly the requests that were made."""
    seen: list[tuple[bytes, bytes]] = []

    async def script(peer: Peer) -> None:
        while head := await peer.head():
            lowered = head.lower()
            sized = b"\r\ncontent-length:" in lowered
            chunked = b"\r\ntransfer-encoding: chunked\r\n" in lowered
            assert sized != chunked
            assert lowered.count(b"content-length") + lowered.count(b"transfer-encoding") == 1
            if sized:
                at = lowered.index(b"content-length:") + 15
                data = await peer.exactly(int(lowered[at : lowered.index(b"\r\n", at)]))
            else:
                data = b""
                while size := int(await peer.until(b"\r\n"), 16):
                    data += await peer.exactly(size)
                    assert await peer.exactly(2) == b"\r\n"
                assert await peer.exactly(2) == b"\r\n"
            seen.append((head.split(b" ")[1], data))
            await peer.send(OK)

    fields = ((b"Content-Length", b"%d" % len(body)),) if length else ()
    async with forwarded(script) as (dialer, _):
        for target in (b"/outer", b"/next"):
            head = request(b"POST", target, *fields)
            exchange = AsyncExchange.open(dialer, head, end=False)
            if streamed:
                await trio.testing.wait_all_tasks_blocked()
            await exchange.send_data(body)
            exchange.send_end()
            assert (await exchange.receive_head()).status == 200
    assert seen == [(b"/outer", body), (b"/next", body)]


async def test_a_second_response_is_nobodys() -> None:
    """What a server sends behind its response is not the answer to the next request."""
    sees = Sees(OK + b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nwrong")
    async with forwarded(sees) as (dialer, upstream):
        for _ in range(2):
            assert (await dialer.request("GET", "/")).content == b"ok"
        assert len(upstream.peers) == 2


async def test_a_body_behind_a_head_is_nobodys() -> None:
    """Some servers send one, and it may come when the response has long been passed on."""

    async def script(peer: Peer) -> None:
        await peer.head()
        await peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: 39\r\n\r\n")
        if await peer.head():
            await peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n!")
            await peer.send(OK)

    async with forwarded(script) as (dialer, _):
        assert (await dialer.request("HEAD", "/")).status == 200
        # A second connection, on which the server takes the first request for the HEAD.
        assert (await dialer.request("HEAD", "/")).header("content-length") == "39"


# --- what goes wrong --------------------------------------------------------------------------


async def refused_url() -> str:
    """Of a port that nobody listens on, for as long as nobody else binds it."""
    listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
    port = listeners[0].socket.getsockname()[1]
    for listener in listeners:
        await listener.aclose()
    return f"http://127.0.0.1:{port}"


async def test_no_server_is_a_502(caplog: pytest.LogCaptureFixture) -> None:
    async with connected_pair(app_b=forward(await refused_url())) as (dialer, _):
        response = await dialer.request("GET", "/?secret=1")
    assert response.status == 502
    assert response.header("content-type") == "application/problem+json"
    problem = response.json()
    assert (problem["status"], problem["title"]) == (502, "Bad Gateway")
    (record,) = [r for r in caplog.records if r.name == "restsock.apps"]
    assert "forwarding GET / to http://127.0.0.1:" in record.getMessage()
    assert "secret" not in record.getMessage()


async def test_a_server_that_does_not_answer_is_a_504() -> None:
    async def script(peer: Peer) -> None:
        await peer.wait_closed()

    async with forwarded(script, response_timeout=0.1) as (dialer, upstream):
        response = await dialer.request("POST", "/", body=b"x" * 100_000)
        assert response.status == 504
        with trio.fail_after(5):
            await upstream.peers[0].closed.wait()


async def test_a_slow_upload_is_no_slow_server() -> None:
    async def script(peer: Peer) -> None:
        await peer.head()
        await peer.exactly(2)
        await peer.send(OK)

    async with forwarded(script, response_timeout=0.1) as (dialer, _):
        head = request(b"POST", b"/", (b"Content-Length", b"2"))
        exchange = AsyncExchange.open(dialer, head, end=False)
        await trio.sleep(0.3)
        await exchange.send_data(b"ab")
        exchange.send_end()
        assert (await exchange.receive_head()).status == 200


async def test_a_sign_of_life_gives_time_for_the_answer() -> None:
    async def script(peer: Peer) -> None:
        await peer.head()
        for _ in range(2):
            await trio.sleep(0.8)
            await peer.send(b"HTTP/1.1 102 Processing\r\n\r\n")
        await peer.send(OK)

    async with forwarded(script, response_timeout=1.5) as (dialer, _):
        assert (await dialer.request("GET", "/")).status == 200


async def test_a_silent_body_is_cut_off_where_that_is_wanted() -> None:
    async def script(peer: Peer) -> None:
        await peer.head()
        await peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc")
        await peer.wait_closed()

    async with forwarded(script, idle_timeout=0.1) as (dialer, _):
        with pytest.raises(StreamReset) as caught:
            await dialer.request("GET", "/")
        assert caught.value.code == ResetCode.TIMEOUT


@pytest.mark.parametrize(
    "start",
    [
        b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n",
    ],
)
async def test_a_response_that_breaks_off_is_never_a_short_one(
    start: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    go_on = trio.Event()

    async def script(peer: Peer) -> None:
        await peer.head()
        await peer.send(start)
        await go_on.wait()

    async with forwarded(script) as (dialer, _):
        exchange = AsyncExchange.open(dialer, request(b"GET"))
        assert (await exchange.receive_head()).status == 200
        assert await exchange.receive_data() == b"abc"
        go_on.set()
        with pytest.raises(StreamReset) as caught:
            await exchange.receive_data()
        assert caught.value.code == ResetCode.INTERNAL
    assert "in the middle of its response" in caplog.text


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"HTTP/1.1 20",
        b"SSH-2.0-OpenSSH_9.6\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab",
        b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n",
        b"HTTP/1.1 200 OK\r\nBad Name: 1\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nX: \x01\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nX-Long: " + b"x" * 200_000 + b"\r\n\r\n",
    ],
    ids=range(11),
)
async def test_what_is_no_response_is_a_502(answer: bytes) -> None:
    async def script(peer: Peer) -> None:
        await peer.head()
        await peer.send(answer)

    async with forwarded(script) as (dialer, _):
        assert (await dialer.request("GET", "/")).status == 502
        assert (await dialer.request("GET", "/")).status == 502


async def test_too_many_requests_wait_and_are_answered() -> None:
    started = trio.Event()

    async def script(peer: Peer) -> None:
        await peer.head()
        started.set()
        await peer.wait_closed()

    async with forwarded(script, max_connections=1, connect_timeout=0.1) as (dialer, upstream):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(dialer.request, "GET", "/")
            await started.wait()
            assert (await dialer.request("GET", "/")).status == 503
            nursery.cancel_scope.cancel()
        with trio.fail_after(5):
            await upstream.peers[0].closed.wait()
        assert len(upstream.peers) == 1


async def test_a_caller_who_leaves_frees_the_server() -> None:
    async def script(peer: Peer) -> None:
        await peer.head()
        await peer.wait_closed()

    async with forwarded(script) as (dialer, upstream):
        with trio.move_on_after(0.1):
            await dialer.request("GET", "/")
        with trio.fail_after(5):
            await upstream.peers[0].closed.wait()
        exchange = AsyncExchange.open(dialer, request(b"POST"), end=False)
        while len(upstream.peers) < 2:
            await exchange.send_data(b"x")
            await trio.sleep(0.01)
        exchange.close()
        with trio.fail_after(5):
            await upstream.peers[1].closed.wait()


# --- a second try -----------------------------------------------------------------------------


def stale_on(*numbers: int) -> Script:
    """Closes those connections at their second request, without a byte of an answer."""

    async def script(peer: Peer) -> None:
        await peer.head()
        await peer.send(OK)
        if await peer.head() and peer.number not in numbers:
            await peer.send(OK)

    return script


@pytest.mark.parametrize(
    ("method", "body", "status", "connections"),
    [
        ("GET", b"", 200, 2),
        ("PUT", b"abc", 200, 2),
        ("POST", b"", 502, 1),  # may have run
        ("POST", b"abc", 502, 1),
    ],
)
async def test_a_stale_connection(method: str, body: bytes, status: int, connections: int) -> None:
    async with forwarded(stale_on(1)) as (dialer, upstream):
        assert (await dialer.request("GET", "/")).status == 200
        assert (await dialer.request(method, "/", body=body)).status == status
        assert len(upstream.peers) == connections


async def test_the_second_try_is_the_last() -> None:
    """It takes a new connection: the other idle ones are likely to be stale, too."""
    heads = 0
    both = trio.Event()

    async def script(peer: Peer) -> None:
        nonlocal heads
        await peer.head()
        heads += 1
        if heads == 2:
            both.set()
        await both.wait()
        await peer.send(OK)
        if await peer.head():
            heads += 1

    async with forwarded(script, keep_alive=1000.0) as (dialer, upstream):
        async with trio.open_nursery() as nursery:
            for _ in range(2):
                nursery.start_soon(dialer.request, "GET", "/")
        assert len(upstream.peers) == 2
        assert (await dialer.request("GET", "/")).status == 200
        assert len(upstream.peers) == 3
        assert heads == 4  # the first two, the one that was lost, the second try


async def test_a_streamed_body_is_not_sent_twice() -> None:
    async with forwarded(stale_on(1)) as (dialer, upstream):
        assert (await dialer.request("GET", "/")).status == 200
        exchange = AsyncExchange.open(dialer, request(b"PUT"), end=False)
        assert (await exchange.receive_head()).status == 502
        assert len(upstream.peers) == 1


async def test_a_fresh_connection_is_not_tried_again() -> None:
    async def script(peer: Peer) -> None:
        await peer.head()

    async with forwarded(script) as (dialer, upstream):
        assert (await dialer.request("GET", "/")).status == 502
        assert len(upstream.peers) == 1


async def test_a_connection_that_was_closed_while_idle_is_not_used() -> None:
    async def script(peer: Peer) -> None:
        await peer.head()
        await peer.send(OK)

    async with forwarded(script, keep_alive=1000.0) as (dialer, upstream):
        assert (await dialer.request("GET", "/")).status == 200
        await trio.sleep(0.05)  # for the end of the connection to arrive
        assert (await dialer.request("POST", "/", body=b"x")).status == 200
        assert len(upstream.peers) == 2


# --- upgrades ---------------------------------------------------------------------------------

WISH = ((b"Connection", b"upgrade"), (b"Upgrade", b"chat"))


async def test_an_upgrade_is_raw_bytes_both_ways() -> None:
    async def script(peer: Peer) -> None:
        head = await peer.head()
        assert b"\r\nConnection: upgrade\r\nUpgrade: chat\r\n" in head
        await peer.send(
            b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: chat\r\n\r\nfirst"
        )
        assert await peer.exactly(4) == b"ping"
        await peer.send(b"pong")
        assert await peer.exactly(1) == b""  # the caller's end has come through
        await peer.send(b"bye")

    async with forwarded(script) as (dialer, _):
        async with dialer.stream("GET", "/", headers=WISH) as response:
            assert response.status == 101
            assert response.header("upgrade") == "chat"
            assert await response.receive() == b"first"
            await response.send(b"ping")
            assert await response.receive() == b"pong"
            response.send_end()
            assert await response.receive() == b"bye"
            assert await response.receive() == b""
        await trio.testing.wait_all_tasks_blocked()
        assert not dialer.multiplexer.open_streams


async def test_an_upgrade_that_is_refused_is_an_ordinary_response() -> None:
    async with forwarded(Sees()) as (dialer, upstream):
        for _ in range(2):
            response = await dialer.request("GET", "/", headers=WISH)
            assert (response.status, response.content) == (200, b"ok")
        assert len(upstream.peers) == 1


async def test_an_upgraded_caller_who_leaves_frees_the_server() -> None:
    async def script(peer: Peer) -> None:
        await peer.head()
        await peer.send(b"HTTP/1.1 101 S\r\nConnection: upgrade\r\nUpgrade: chat\r\n\r\n")
        await peer.wait_closed()

    async with forwarded(script) as (dialer, upstream):
        async with dialer.stream("GET", "/", headers=WISH):
            pass
        with trio.fail_after(5):
            await upstream.peers[0].closed.wait()


async def test_an_upgraded_server_that_leaves_ends_a_silent_caller() -> None:
    async def script(peer: Peer) -> None:
        await peer.head()
        await peer.send(b"HTTP/1.1 101 S\r\nConnection: upgrade\r\nUpgrade: chat\r\n\r\n")

    options = Options(timeouts=Timeouts(close=0.1))
    async with scripted(script) as upstream:
        async with connected_pair(app_b=forward(upstream.url), options=options) as (dialer, _):
            exchange = AsyncExchange.open(dialer, request(b"GET", b"/", *WISH))
            assert (await exchange.receive_head()).status == 101
            assert await exchange.receive_data() == b""
            with trio.fail_after(5), pytest.raises(StreamReset):
                while True:
                    exchange.check()
                    await trio.sleep(0.01)


async def test_an_upgraded_server_that_breaks_off_is_no_end() -> None:
    async def script(peer: Peer) -> None:
        await peer.head()
        await peer.send(b"HTTP/1.1 101 S\r\nConnection: upgrade\r\nUpgrade: chat\r\n\r\n")
        await peer.exactly(1)
        assert isinstance(peer.stream, trio.SocketStream)
        option = struct.pack("ii", 1, 0)  # close with a reset
        peer.stream.setsockopt(trio.socket.SOL_SOCKET, trio.socket.SO_LINGER, option)

    async with forwarded(script) as (dialer, _):
        async with dialer.stream("GET", "/", headers=WISH) as response:
            await response.send(b"x")
            with pytest.raises(StreamReset) as caught:
                await response.receive()
            assert caught.value.code == ResetCode.INTERNAL


async def test_http2_is_not_let_in_by_an_upgrade() -> None:
    sees = Sees()
    fields = ((b"Connection", b"upgrade"), (b"Upgrade", b"h2c"), (b"HTTP2-Settings", b"AAMAAABk"))
    async with forwarded(sees) as (dialer, _):
        assert (await dialer.request("GET", "/", headers=fields)).status == 200
    assert sees.heads[0].count(b"\r\n") == 3  # the request line, Host, the blank line
