"""`HTTP`: against real servers, and against one that is scripted byte by byte."""

from __future__ import annotations

import ssl
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pytest
import trio
import trustme

import restsock
from restsock.gateway import HTTP, CallFailed, HTTPMapping, Reply, Timeout
from restsock.tls import ClientTLS
from tests.apps.forward.upstreams import Peer, scripted
from tests.gateway.backends.servers import uvicorn, waitress
from tests.gateway.stand_in import message, running
from tests.waiting import until

BUY = HTTPMapping(method="POST", path="/pets")
PET = HTTPMapping(method="GET", path="/pets/{body[id]}")
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


@pytest.fixture(scope="module", params=[waitress, uvicorn])
def server(request: pytest.FixtureRequest) -> Iterator[str]:
    start: Callable[[], AbstractContextManager[str]] = request.param
    with start() as url:
        yield url


async def ask(url: str, mapping: HTTPMapping | None = None, body: Any = None, **rest: Any) -> Reply:
    options = {name: rest.pop(name) for name in ("max_body", "tls", "host") if name in rest}
    backend = HTTP(url, mapping, **options)
    async with backend.running():
        return await backend.call(message(body, **rest))


async def test_a_server_answers(server: str) -> None:
    reply = await ask(server, PET, {"id": 7})
    assert (reply.status, reply.body) == (200, {"id": 7, "for": "192.0.2.7"})
    reply = await ask(server, BUY, {"name": "Rex"})
    assert reply.body == {"bought": {"name": "Rex"}}


async def test_the_dialect_http_needs_no_mapping(server: str) -> None:
    reply = await ask(server, None, method="GET", path="/pets/3")
    assert reply.body["id"] == 3


async def test_a_failure_of_the_server_is_a_failed_reply() -> None:
    with waitress() as url:
        for number, status in ((404, 404), (500, 500)):
            reply = await ask(url, PET, {"id": number})
            assert (reply.status, reply.failed) == (status, True)


async def test_many_calls_share_the_connections() -> None:
    heads: list[bytes] = []

    async def script(peer: Peer) -> None:
        while head := await peer.head():
            heads.append(head)
            await peer.send(OK)

    async with scripted(script) as upstream:
        backend = HTTP(upstream.url + "/base", HTTPMapping(), max_connections=2)
        async with backend.running(), trio.open_nursery() as nursery:
            for _ in range(10):
                nursery.start_soon(backend.call, message())
        assert len(heads) == 10
        assert len(upstream.peers) <= 2
        assert heads[0].startswith(b"POST /base HTTP/1.1\r\nHost: 127.0.0.1:")
        await upstream.peers[0].closed.wait()  # nothing is left open


async def test_a_body_that_is_too_large_ends_the_call() -> None:
    with waitress() as url:
        with pytest.raises(CallFailed, match="more than 1048576 bytes") as caught:
            await ask(url, HTTPMapping(method="GET", path="/large"))
        assert (caught.value.status, caught.value.may_have_run) == (502, True)
        large = await ask(url, HTTPMapping(method="GET", path="/large"), max_body=3_000_000)
        assert len(large.body) == 2_000_000


async def test_no_connection_means_that_nothing_has_run() -> None:
    async with scripted(lambda peer: peer.send(OK)) as upstream:
        url = upstream.url
    with pytest.raises(CallFailed) as caught:
        await ask(url)
    assert (caught.value.status, caught.value.may_have_run) == (502, False)


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nab",
        b"SSH-2.0-x\r\n\r\n",
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab",
    ],
)
async def test_an_answer_that_is_none_may_have_run(answer: bytes) -> None:
    async def script(peer: Peer) -> None:
        await peer.head()
        await peer.send(answer)

    async with scripted(script) as upstream:
        with pytest.raises(CallFailed) as caught:
            await ask(upstream.url)
    assert (caught.value.status, caught.value.may_have_run) == (502, True)


async def test_a_stale_connection_is_made_again_only_where_that_is_safe() -> None:
    async def script(peer: Peer) -> None:
        await peer.head()
        await peer.send(OK)
        await peer.head()  # and closed without an answer

    async with scripted(script) as upstream:
        backend = HTTP(upstream.url)
        async with backend.running():
            get = message(method="GET", path="/")
            assert (await backend.call(get)).status == 200
            assert (await backend.call(get)).status == 200  # over another connection
            assert len(upstream.peers) == 2
            with pytest.raises(CallFailed) as caught:
                await backend.call(message())
            assert caught.value.may_have_run
            assert len(upstream.peers) == 2


async def test_the_deadline_ends_a_call_and_its_connection(autojump_clock: Any) -> None:
    async def script(peer: Peer) -> None:
        head = await peer.head()
        assert b"X-Request-Timeout-Ms: 250\r\n" in head
        await peer.wait_closed()

    async with scripted(script) as upstream:
        with pytest.raises(CallFailed) as caught:
            await ask(upstream.url, within=0.25)
        assert (caught.value.status, caught.value.may_have_run) == (504, True)
        await upstream.peers[0].closed.wait()


async def test_a_call_after_its_deadline_is_not_sent() -> None:
    async with scripted(lambda peer: peer.send(OK)) as upstream:
        with pytest.raises(CallFailed) as caught:
            await ask(upstream.url, within=-1)
        assert (caught.value.status, caught.value.may_have_run) == (504, False)
        assert upstream.peers == []


async def test_a_cancelled_call_closes_its_connection_alone() -> None:
    async def script(peer: Peer) -> None:
        while b" /slow" not in (head := await peer.head()):
            if not head:
                return
            await peer.send(OK)
        await peer.wait_closed()

    async with scripted(script) as upstream:
        backend = HTTP(upstream.url)
        async with backend.running():
            with trio.move_on_after(0.1):
                await backend.call(message(method="GET", path="/slow"))
            assert (await backend.call(message(method="GET", path="/"))).status == 200
            await upstream.peers[0].closed.wait()


async def test_a_large_body_is_sent_while_an_early_answer_comes() -> None:
    async def script(peer: Peer) -> None:
        await peer.head()
        await peer.send(b"HTTP/1.1 413 Content Too Large\r\nContent-Length: 0\r\n\r\n")
        await peer.wait_closed()

    async with scripted(script) as upstream:
        reply = await ask(upstream.url, None, "x" * 20_000_000)
    assert reply.status == 413


async def test_tls_is_checked_and_the_host_is_what_it_should_be() -> None:
    authority = trustme.CA()
    secure = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("127.0.0.1").configure_cert(secure)
    hosts: list[bytes] = []

    async def script(peer: Peer) -> None:
        hosts.append(await peer.head())
        await peer.send(OK)

    trusting = ssl.create_default_context()
    authority.configure_trust(trusting)
    async with scripted(script, ssl_context=secure) as upstream:
        with pytest.raises(CallFailed) as caught:
            await ask(upstream.url)
        assert (caught.value.status, caught.value.may_have_run) == (502, False)
        reply = await ask(upstream.url, tls=trusting, host="api.example")
        assert reply.status == 200
    assert b"\r\nHost: api.example\r\n" in hosts[-1]


async def test_the_certificate_may_be_for_another_name_and_be_renewed(tmp_path: Path) -> None:
    authority = trustme.CA()
    secure = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("api.example").configure_cert(secure)

    async def script(peer: Peer) -> None:
        await peer.head()
        await peer.send(OK)
        await peer.wait_closed()

    ca = tmp_path / "ca.pem"
    trustme.CA().cert_pem.write_to_path(str(ca))
    tls = ClientTLS(ca=ca, server_hostname="api.example")
    async with scripted(script, ssl_context=secure) as upstream:
        backend = HTTP(upstream.url, tls=tls)
        async with running(backend):
            with pytest.raises(CallFailed) as caught:
                await backend.call(message({}))
            assert (caught.value.status, caught.value.may_have_run) == (502, False)
            authority.cert_pem.write_to_path(str(ca))
            await trio.sleep(1.1)  # files are looked at once a second
            assert (await backend.call(message({}))).status == 200
        with pytest.raises(CallFailed):
            await ask(upstream.url, tls=ClientTLS(ca=ca, server_hostname="other.example"))


def test_what_is_wrong_is_said_at_once() -> None:
    with pytest.raises(ValueError, match="user or password"):
        HTTP("http://a:secret@127.0.0.1")
    with pytest.raises(ValueError, match="no Host to keep"):
        HTTP("http://127.0.0.1", host="keep")
    with pytest.raises(ValueError, match="max_body"):
        HTTP("http://127.0.0.1", max_body=0)
    with pytest.raises(TypeError, match="mapping"):
        HTTP("http://127.0.0.1", "/pets")  # type: ignore[arg-type]
    assert repr(HTTP("http://127.0.0.1:5/x")) == "HTTP('http://127.0.0.1:5/x')"


async def test_a_backend_that_does_not_run_has_sent_nothing() -> None:
    with pytest.raises(CallFailed) as caught:
        await HTTP("http://127.0.0.1:9").call(message())
    assert (caught.value.status, caught.value.may_have_run) == (503, False)
    assert restsock.RestsockError in type(caught.value).__mro__


@pytest.mark.parametrize("body", [None, "x" * 100_000])  # the latter is sent by a task of its own
async def test_a_time_out_tells_whether_anything_was_sent(body: Any) -> None:
    async def script(peer: Peer) -> None:
        await peer.head()
        await trio.sleep_forever()

    failures: list[bool | None] = []

    async def call(backend: HTTP, seconds: float) -> None:
        with pytest.raises(CallFailed) as caught:
            await Timeout(seconds)(message(body), backend.call)
        assert caught.value.status == 504
        failures.append(caught.value.may_have_run)

    async with scripted(script) as upstream:
        backend = HTTP(upstream.url, max_connections=1)
        async with backend.running(), trio.open_nursery() as nursery:
            nursery.start_soon(call, backend, 0.4)
            await until(lambda: upstream.peers)
            await call(backend, 0.1)
        assert failures == [False, True]
