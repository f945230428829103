"""A listener inside the web servers that people run: peers dial it, and its endpoints call them."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from flask import Flask, request
from starlette.applications import Starlette
from starlette.routing import WebSocketRoute
from starlette.websockets import WebSocket

import restsock
import restsock.sync
from restsock.auth import Bearer
from tests.waiting import until_blocking

from .hosts import ALONE, FRAMEWORKS, HOSTS, Host, hosted

edge = Flask("edge")
QUICK = restsock.Backoff(initial=0.02, factor=2, cap=0.1)


@edge.get("/hello")
def hello() -> dict[str, str]:
    return {"hello": request.host}


@edge.get("/big")
def big() -> bytes:
    return bytes(range(256)) * 20_000


@pytest.fixture(scope="module", params=HOSTS)
def running(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Host]:
    with hosted(request.param, tmp_path_factory.mktemp("host") / "log") as host:
        yield host


@pytest.fixture
def host(running: Host) -> Host:
    """One that knows of no peer: it hears of the end of those of the last test a little later."""
    until_blocking(lambda: running.get("/peers").json() == [])
    return running


@pytest.mark.parametrize("path", ["/tunnel", "/mounted/", "/mounted/deep?region=eu"])
def test_a_peer_dials_in_and_is_called(host: Host, path: str) -> None:
    with restsock.sync.connect(host.url(path, "ws"), app=edge, name="edge-1"):
        assert host.get("/call/edge-1/hello").json() == {"hello": "peer"}
        assert host.get("/call/edge-1/big").content == bytes(range(256)) * 20_000
        assert host.get("/call/edge-1/missing").status_code == 404
        ((name, where, port, tls, _),) = host.get("/peers").json()
        assert (name, where, tls) == ("edge-1", "127.0.0.1", False)
        assert port > 0
    until_blocking(lambda: host.get("/peers").json() == [])


def test_an_async_endpoint_calls_a_peer(host: Host, request: pytest.FixtureRequest) -> None:
    on_trio = "trio" in request.node.callspec.id
    with restsock.sync.connect(host.url("/tunnel", "ws"), app=edge, name="edge-1") as client:
        assert host.get("/fetch/edge-1/hello").json() == {"hello": "peer"}
        answer = host.get("/ask/edge-1/hello")
        if on_trio:
            assert "is for asyncio, and this is trio: use `sync` in a thread" in answer.text
        else:
            assert answer.json() == {"hello": "edge-1"}
            assert host.get("/ask/edge-1/big").content == bytes(range(256)) * 20_000
        # The app of the listener runs on the loop of the server, unless that is trio, or a thread
        # has started the listener: daphne has no lifespan.
        here = client.request("GET", "/loop", timeout=10).json()
        apart = on_trio or "daphne" in request.node.callspec.id
        assert (here == host.get("/loop").json()) is not apart


def test_the_host_of_a_url_names_the_peer(host: Host) -> None:
    with (
        restsock.sync.connect(host.url("/tunnel", "ws"), app=edge, name="edge-1"),
        restsock.sync.connect(host.url("/tunnel", "ws"), app=edge, name="shop.7"),
    ):
        for name in ("edge-1", "shop.7"):
            assert host.get(f"/find/{name}.peers/hello").json() == {"hello": f"{name}.peers"}


def test_endpoints_talk_to_a_websocket_of_a_peer(
    host: Host, request: pytest.FixtureRequest
) -> None:
    app = Starlette(routes=[WebSocketRoute("/echo", _echo)])
    with restsock.sync.connect(host.url("/tunnel", "ws"), app=app, name="edge-1"):
        assert host.get("/talk-in-a-thread/edge-1/hello").text == "hello"
        answer = host.get("/talk/edge-1/hello")
        if "trio" in request.node.callspec.id:
            assert "is for asyncio" in answer.text
        else:
            assert answer.text == "hello"


async def _echo(websocket: WebSocket) -> None:
    await websocket.accept()
    async for text in websocket.iter_text():
        await websocket.send_text(text)


def test_an_async_endpoint_waits_for_events(host: Host, request: pytest.FixtureRequest) -> None:
    if "trio" in request.node.callspec.id:
        pytest.skip("events are for asyncio")
    with ThreadPoolExecutor(1) as executor:
        waiting = executor.submit(host.get, "/next-event")
        while not waiting.done():
            with restsock.sync.connect(host.url("/tunnel", "ws"), name="edge-7"):
                time.sleep(0.02)
        assert waiting.result().json()[1] == "edge-7"


def test_who_shows_no_token_is_refused(host: Host) -> None:
    with pytest.raises(restsock.HandshakeError) as caught:
        restsock.sync.connect(host.url("/guarded", "ws"), name="edge-1").close()
    assert caught.value.status in (401, 403)  # not every host has a way for our own answer
    auth = Bearer("secret-of-edge-1")
    with restsock.sync.connect(host.url("/guarded", "ws"), auth=auth, name="edge-1") as client:
        assert client.connection is not None


def test_plain_http_is_told_what_this_is(host: Host) -> None:
    answer = host.get("/mounted/")
    assert answer.status_code == 426
    assert "restsock" in answer.text


def test_a_peer_that_stops_without_a_word_is_noticed(host: Host) -> None:
    program = (
        "import sys, restsock.sync; c = restsock.sync.connect(sys.argv[1], name='edge-2');"
        "print('there', flush=True); c.wait_closed()"
    )
    child = subprocess.Popen(
        [sys.executable, "-c", program, host.url("/tunnel", "ws")], stdout=subprocess.PIPE
    )
    try:
        assert child.stdout is not None
        assert child.stdout.readline() == b"there\n"
        until_blocking(lambda: all(peer[4] is not None for peer in host.get("/peers").json()))
        os.kill(child.pid, signal.SIGSTOP)
        # After 0.6 s, and what a busy machine adds.
        until_blocking(lambda: host.get("/peers").json() == [])
    finally:
        child.kill()
        child.communicate(timeout=10)


def test_a_host_that_is_killed_is_dialed_again(tmp_path: Path) -> None:
    with hosted("uvicorn", tmp_path / "log") as first:
        url, port = first.url("/tunnel", "ws"), first.port
        with restsock.sync.connect(url, app=edge, name="edge-1", backoff=QUICK):
            assert first.get("/call/edge-1/hello").ok
            first.process.kill()
            first.process.wait(10)
            with hosted("uvicorn", tmp_path / "log", port=port) as second:
                assert second.get("/call/edge-1/hello").ok


@pytest.mark.parametrize("name", FRAMEWORKS)
def test_other_frameworks(name: str, tmp_path: Path) -> None:
    with hosted(name, tmp_path / "log") as host:
        with restsock.sync.connect(host.url("/tunnel", "ws"), app=edge, name="edge-1"):
            assert host.get("/call/edge-1/hello").json() == {"hello": "peer"}
            assert host.get("/peers").json() == ["edge-1"]
            assert host.get("/ask/edge-1/hello").json() == {"hello": "edge-1"}
            assert host.get("/ask/edge-1/big").content == bytes(range(256)) * 20_000
        until_blocking(lambda: host.get("/peers").json() == [])
        host.process.terminate()
        host.process.wait(15)
    assert "Traceback" not in (tmp_path / "log").read_text()


@pytest.mark.parametrize("name", ALONE)
def test_what_is_in_flight_at_a_signal_comes_to_its_end(name: str, tmp_path: Path) -> None:
    begun, go_on = threading.Event(), threading.Event()
    slow = Flask("edge")

    @slow.get("/slow")
    def wait() -> str:
        begun.set()
        assert go_on.wait(30)
        return "done"

    def body() -> Iterator[bytes]:
        yield b"a piece, "
        assert go_on.wait(30)
        yield b"and another one"

    with hosted(name, tmp_path / "log") as host, ThreadPoolExecutor(2) as executor:
        where = host.url("/tunnel", "ws")
        with restsock.sync.connect(where, app=slow, name="edge-1", backoff=QUICK) as client:
            called = executor.submit(host.get, "/call/edge-1/slow")
            asked = executor.submit(client.request, "POST", "/size", body=body(), timeout=30)
            until_blocking(lambda: begun.is_set() and client.statistics().traffic.requests_sent > 0)
            host.process.terminate()
            until_blocking(lambda: not client.health().ok)  # it was told, and finds no other
            go_on.set()
            assert called.result().text == "done"
            assert asked.result().text == "24"
            host.process.wait(15)
