"""restsock.sync: the blocking API, over real sockets, from one thread and from many."""

from __future__ import annotations

import contextlib
import gc
import io
import os
import signal
import socket
import subprocess
import sys
import threading
import time
import warnings
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest
import requests
import trio

import restsock
import restsock.sync
from restsock.connection import Request, Response
from tests.drivers import DRIVERS, driven_by
from tests.e2e.raw_peer import TEXT, websocket_frame

# So that a script finds the package whether or not it is installed.
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(Path(restsock.__file__).parent.parent)}


def loop_threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "restsock.sync"]


@pytest.fixture(autouse=True)
def no_thread_stays() -> Iterator[None]:
    yield
    assert not loop_threads()


async def app(request: Request) -> Response:
    """/echo, /never, /drip, and the request in words for all else."""
    if request.path == "/never":
        await trio.sleep_forever()
    if request.path == "/drip":

        async def pieces() -> Any:
            for number in range(1000):
                yield b"%d;" % number

        return Response(200, body=pieces())
    if request.path == "/echo":
        return Response(200, request.headers, body=await request.read())
    if request.path == "/answers-first":
        return Response(200, body="enough")
    return Response(
        200, {"X-Peer": str(request.connection.name)}, f"{request.method} {request.target}"
    )


@pytest.fixture(params=DRIVERS)
def pair(
    request: pytest.FixtureRequest,
) -> Iterator[tuple[restsock.sync.Server, restsock.sync.Client]]:
    with (
        driven_by(request.param),
        restsock.sync.listen("127.0.0.1", 0, app=app) as server,
    ):
        with restsock.sync.connect(
            server.url, app=app, name="edge-1", metadata={"site": [1, 2]}
        ) as client:
            assert client.request("GET", "/").status == 200  # both ends are done with the handshake
            connection = client._client.connection
            assert connection is not None
            assert connection.can_run_here is (request.param == "threads" and os.name == "posix")
            yield server, client


Pair = tuple[restsock.sync.Server, restsock.sync.Client]


# ---- requests


def test_both_directions(pair: Pair) -> None:
    server, client = pair
    assert client.request("GET", "/a?b=c").text == "GET /a?b=c"
    response = server.request("edge-1", "GET", "/x", timeout=5)
    assert (response.status, response.text) == (200, "GET /x")
    assert response.header("x-peer") == "edge-1"
    assert server.route("edge-1").request("DELETE", "/y").text == "DELETE /y"


def pieces() -> Iterable[bytes]:
    yield b"first "
    yield b""
    yield b"second "
    yield bytes(200_000)


@pytest.mark.parametrize("size", [0, 1, 65536, 65537, 1_000_000])
def test_bodies_of_bytes(pair: Pair, size: int) -> None:
    _, client = pair
    response = client.request("POST", "/echo", body=b"x" * size, timeout=20)
    assert response.content == b"x" * size
    assert response.header("content-length") == str(size)


def test_bodies_of_other_kinds(pair: Pair) -> None:
    _, client = pair
    whole = b"first second " + bytes(200_000)
    assert client.request("POST", "/echo", body=pieces()).content == whole
    assert client.request("POST", "/echo", body=io.BytesIO(whole)).content == whole
    assert client.request("POST", "/echo", body="grün").text == "grün"


def test_headers_as_mapping_and_as_pairs(pair: Pair) -> None:
    _, client = pair
    response = client.request("POST", "/echo", headers={"X-One": "1"}, body=b"x")
    assert response.header("x-one") == "1"
    assert response.header("host") == client._client.authority
    response = client.request("POST", "/echo", headers=[("X-Two", b"2"), ("Host", "h")], body=b"x")
    assert (response.header("x-two"), response.header("host")) == ("2", "h")


def test_stream_reads_as_it_comes(pair: Pair) -> None:
    _, client = pair
    with client.stream("GET", "/drip") as response:
        assert response.status == 200
        assert response.receive().startswith(b"0;")
        assert response.read().endswith(b"999;")
        assert response.receive() == b""
    with client.stream("GET", "/drip") as response:
        assert b"".join(response) == b"".join(b"%d;" % number for number in range(1000))


def test_a_stream_that_is_left_is_reset(pair: Pair) -> None:
    _, client = pair
    connection = client.connection
    assert connection is not None
    with client.stream("GET", "/drip") as response:
        response.receive()
    dropped = client.stream("GET", "/drip")
    del dropped
    gc.collect()
    assert client.request("GET", "/").status == 200
    assert connection.statistics().open_streams == 0


def test_a_large_upload_that_is_echoed_while_it_comes(pair: Pair) -> None:
    """Both windows fill: only one who reads between the pieces gets to the end."""
    server, _ = pair

    async def echo(request: Request) -> Response:
        return Response(200, body=aiter_of(request))

    async def aiter_of(request: Request) -> Any:
        async for data in request:
            yield data

    def body() -> Iterable[bytes]:
        for _ in range(400):
            yield bytes(20_000)

    with restsock.sync.connect(server.url, app=echo, name="echo"):
        with server.route("echo").stream("POST", "/", body=body(), timeout=20) as response:
            assert sum(map(len, response)) == 8_000_000


def test_an_early_answer_ends_the_upload(pair: Pair) -> None:
    _, client = pair
    sent = 0

    def endless() -> Iterable[bytes]:
        nonlocal sent
        while True:
            sent += 65536
            yield bytes(65536)

    assert client.request("POST", "/answers-first", body=endless(), timeout=20).text == "enough"
    assert sent < 20_000_000


def test_an_error_in_the_body_resets_the_stream(pair: Pair) -> None:
    _, client = pair

    def broken() -> Iterable[bytes]:
        yield b"x"
        raise ValueError("the disk is full")

    with pytest.raises(ValueError, match="disk is full"):
        client.request("POST", "/echo", body=broken())
    assert client.request("GET", "/").status == 200


def test_timeout(pair: Pair) -> None:
    _, client = pair
    with pytest.raises(restsock.RequestTimeout) as caught:
        client.request("GET", "/never", timeout=0.05)
    assert caught.value.may_have_run
    with pytest.raises(restsock.RequestTimeout):
        client.stream("GET", "/never", timeout=0.05)
    with pytest.raises(restsock.RequestTimeout):
        client.request("POST", "/never", body=pieces(), timeout=0.05)
    assert client.request("GET", "/").status == 200


def test_a_peer_that_was_never_there(pair: Pair) -> None:
    server, _ = pair
    with pytest.raises(restsock.PeerNotFound) as caught:
        server.request("nobody", "GET", "/", timeout=0.05)
    assert caught.value.may_have_run is False


def test_requests_sessions(pair: Pair) -> None:
    server, client = pair
    with requests.Session() as session:
        session.mount("http://edge-1/", server.adapter("edge-1"))
        session.mount("http://hub/", client.adapter())
        connection = server.connections.by_name("edge-1")
        assert connection is not None
        session.mount("http://this/", connection.adapter())
        for host in ("edge-1", "hub", "this"):
            assert session.get(f"http://{host}/p?q=1", timeout=5).text == "GET /p?q=1"


def test_each_of_many_threads_gets_its_own_answer(pair: Pair) -> None:
    server, client = pair
    route = server.route("edge-1")
    failures: list[BaseException] = []

    def work(worker: int) -> None:
        try:
            for number in range(25):
                asked = f"/{worker}/{number}"
                caller = client if number % 2 else route
                assert caller.request("GET", asked, timeout=30).text == f"GET {asked}"
        except BaseException as error:  # noqa: BLE001  # reported by the test's own thread
            failures.append(error)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures


async def shout(scope: dict[str, Any], receive: Any, send: Any) -> None:
    """An ASGI app with a WebSocket that answers in capitals, three times."""
    if scope["type"] != "websocket":
        raise NotImplementedError(scope["type"])
    await receive()
    await send({"type": "websocket.accept"})
    for _ in range(3):
        message = await receive()
        if message["type"] == "websocket.disconnect":
            return
        await send({"type": "websocket.send", "text": message["text"].upper()})
    await send({"type": "websocket.close"})


def test_behind_a_101_bytes_go_both_ways(pair: Pair) -> None:
    server, _ = pair
    wish = {
        "Connection": "upgrade",
        "Upgrade": "websocket",
        "Sec-WebSocket-Version": "13",
        "Sec-WebSocket-Key": "AAAAAAAAAAAAAAAAAAAAAA==",
    }
    with restsock.sync.connect(server.url, app=shout, name="shout") as client:
        route = server.route("shout")
        with route.stream("GET", "/", headers=wish, timeout=10) as response:
            assert response.status == 101
            for word in ("one", "two"):
                response.send(websocket_frame(TEXT, word.encode()))
                assert word.upper().encode() in response.receive()
            response.send(websocket_frame(TEXT, b"three"))
            rest = response.read()
            assert b"THREE" in rest
            assert b"\x88" in rest  # its close frame
        # Left in the middle: nothing stays behind.
        with route.stream("GET", "/", headers=wish, timeout=10):
            pass
        assert client.request("GET", "/").status == 200
        assert route.connection is not None
        assert route.connection.statistics().open_streams == 0


# ---- what is connected


def test_connection_and_registry(pair: Pair) -> None:
    server, client = pair
    here = client.connection
    assert here is not None
    assert len(server.connections) == 1
    (there,) = server.connections
    assert there.id == here.id
    assert there.name == "edge-1"
    assert there.metadata == {"site": [1, 2]}
    assert there.peer.host == "127.0.0.1"
    assert server.connections.by_id(there.id) == there
    assert server.connections.by_name("edge-1") == there
    assert server.connections.by_metadata({"site": [1, 2]}) == [there]
    assert server.connections.by_id("x") is server.connections.by_name("x") is None
    assert server.connections.by_metadata(None) == []
    assert there in server.connections
    assert there.request("GET", "/").status == 200
    assert there.statistics().requests_sent == 1
    assert there.wait_closed(0) is None
    assert server.route("edge-1").connection == there
    assert client.statistics().connections == 1
    assert client.wait_connected(1) == here

    there.close(1000, "enough")
    there.close()
    closed = there.wait_closed(5)
    assert closed is not None
    assert closed.clean
    ended = client.wait_closed(5)
    assert ended is not None
    assert (ended.code, ended.reason, ended.by_peer) == (1000, "enough", True)
    assert client.closed
    assert len(server.connections) == 0
    with pytest.raises(restsock.ConnectionClosed):
        there.request("GET", "/")
    with pytest.raises(restsock.ConnectionClosed):
        client.request("GET", "/")


# ---- events


def test_events(pair: Pair) -> None:
    server, _ = pair
    with server.events() as events:
        assert events.receive(timeout=0) is None
        with restsock.sync.connect(server.url, name="second"):
            event = next(events)
            assert (event.type, event.name) == ("ConnectionReceived", "second")
        event = next(iter(events))
        assert (event.type, event.name) == ("ConnectionClosed", "second")
    with pytest.raises(EOFError):
        events.receive()
    assert list(events) == []
    events.close()


def test_events_end_with_the_server() -> None:
    server = restsock.sync.listen("127.0.0.1", 0)
    events = server.events()
    seen: list[str] = []
    thread = threading.Thread(target=lambda: seen.extend(event.type for event in events))
    thread.start()
    with restsock.sync.connect(server.url) as client:
        assert client.connection is not None
        server.close(1000)
        assert client.wait_closed(5)
    thread.join(10)
    assert seen == ["ConnectionReceived", "ConnectionClosed"]
    assert list(events) == []
    with pytest.raises(restsock.ConnectionClosed):
        server.events()


def test_events_for_several_threads(pair: Pair) -> None:
    server, _ = pair
    events = server.events()
    seen: list[str] = []
    threads = [
        threading.Thread(target=lambda: seen.extend(event.connection_id for event in events))
        for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    ids = []
    for _ in range(10):
        with restsock.sync.connect(server.url) as client:
            assert client.connection is not None
            ids.append(client.connection.id)
    server.close()
    for thread in threads:
        thread.join(10)
    # Received and closed, each once, each by one of them.
    assert sorted(id for id in seen if id in ids) == sorted(ids * 2)


def test_a_slow_reader_of_events_is_told_what_it_missed(pair: Pair) -> None:
    server, _ = pair
    seen: list[tuple[str, int]] = []
    with server.events(capacity=3) as events:
        for _ in range(5):
            restsock.sync.connect(server.url).close()
        while len(seen) < 4:
            event = events.receive(timeout=10)
            assert event is not None
            seen.append((event.type, event.lost))
        assert seen[3][0] == "EventsLost"


def test_dropped_events_are_unsubscribed(pair: Pair) -> None:
    server, client = pair
    events = server.events()
    assert len(server._server._hub) == 1
    del events
    assert client.request("GET", "/").status == 200
    assert len(server._server._hub) == 0


# ---- opening and closing


def test_close_twice_and_after() -> None:
    server = restsock.sync.listen("127.0.0.1", 0)
    client = restsock.sync.connect(server.url)
    assert not client.closed
    assert not server.closed
    client.close()
    client.close()
    assert client.closed
    closed = client.wait_closed()
    assert closed is not None
    assert closed.clean
    server.close()
    server.close()
    assert server.closed
    assert server.wait_closed()
    assert not loop_threads()
    for call in (
        lambda: client.request("GET", "/"),
        lambda: client.stream("GET", "/"),
        lambda: server.request("x", "GET", "/"),
        client.wait_connected,
    ):
        with pytest.raises(restsock.ConnectionClosed) as caught:
            call()
        assert caught.value.may_have_run is False
    with requests.Session() as session:
        session.mount("http://hub/", client.adapter())
        with pytest.raises(requests.ConnectionError):
            session.get("http://hub/")
    assert client.connection is None
    assert client.statistics().connections == 1
    assert len(server.connections) == 0


def test_close_from_many_threads(pair: Pair) -> None:
    server, client = pair
    threads = [threading.Thread(target=thing.close) for thing in (client, server) * 4]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert client.closed
    assert server.closed


def test_a_request_in_flight_fails_when_its_client_is_closed(pair: Pair) -> None:
    server, client = pair
    seen: list[BaseException] = []

    def ask() -> None:
        try:
            client.request("GET", "/never")
        except restsock.ConnectionClosed as error:
            seen.append(error)

    with server.events():
        thread = threading.Thread(target=ask)
        thread.start()
        connection = client.connection
        assert connection is not None
        while not connection.statistics().open_streams:
            pass
        client.close(grace=0)
        thread.join(10)
    assert len(seen) == 1


def test_an_error_in_the_block_waits_for_nothing(pair: Pair) -> None:
    server, _ = pair
    seen: list[BaseException] = []
    begun = time.monotonic()
    with pytest.raises(KeyError), restsock.sync.connect(server.url) as client:

        def ask() -> None:
            try:
                client.request("GET", "/never")
            except restsock.ConnectionClosed as error:
                seen.append(error)

        thread = threading.Thread(target=ask)
        thread.start()
        connection = client.connection
        assert connection is not None
        while not connection.statistics().open_streams:
            pass
        raise KeyError
    thread.join(10)
    assert time.monotonic() - begun < 20
    assert len(seen) == 1


def test_one_loop_for_all_and_none_behind_the_last() -> None:
    with contextlib.ExitStack() as stack:
        server = stack.enter_context(restsock.sync.listen("127.0.0.1", 0))
        events = server.events()
        for number in range(5):
            stack.enter_context(restsock.sync.connect(server.url, name=str(number)))
            # The dialer is done with the handshake one step before the listener is.
            assert next(events).type == "ConnectionReceived"
        assert len(loop_threads()) == 1
        assert len(server.connections) == 5
    assert not loop_threads()


def test_wrong_arguments_start_nothing() -> None:
    with pytest.raises(ValueError, match="ws"):
        restsock.sync.connect("http://example.test/")
    with pytest.raises(ValueError, match="port"):
        restsock.sync.listen("127.0.0.1", 70_000)
    assert not loop_threads()


def test_an_address_in_use_is_an_os_error() -> None:
    with restsock.sync.listen("127.0.0.1", 0) as server:
        with pytest.raises(OSError, match="in use"):
            restsock.sync.listen("127.0.0.1", server.address[1])


def test_nobody_listens() -> None:
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        port = bound.getsockname()[1]
        with pytest.raises(restsock.HandshakeError):
            restsock.sync.connect(
                f"ws://127.0.0.1:{port}/", backoff=restsock.Backoff(tries=2, initial=0.01)
            )


def test_an_error_in_the_block_arrives_as_it_is() -> None:
    with pytest.raises(ZeroDivisionError):
        with restsock.sync.listen("127.0.0.1", 0):
            _ = 1 // 0


def test_what_is_dropped_is_closed_with_a_warning() -> None:
    server = restsock.sync.listen("127.0.0.1", 0)
    events = server.events()
    client = restsock.sync.connect(server.url, name="dropped")
    assert next(events).type == "ConnectionReceived"
    with pytest.warns(ResourceWarning, match="never closed"):
        del client
    assert next(events).type == "ConnectionClosed"
    server.close()


# ---- where it may not be called


def test_in_an_async_app_of_its_own_a_blocking_call_raises(pair: Pair) -> None:
    server, client = pair
    seen: list[str] = []

    async def blocking(request: Request) -> Response:
        for call in (
            lambda: client.request("GET", "/"),
            client.close,
            lambda: server.request("edge-1", "GET", "/"),
            server.events,
            client.wait_closed,
            lambda: restsock.sync.connect(server.url),
        ):
            try:
                call()
            except restsock.RestsockError as error:
                seen.append(str(error))
        return Response(204)

    with restsock.sync.connect(server.url, app=blocking, name="blocking"):
        assert server.request("blocking", "GET", "/", timeout=10).status == 204
    assert len(seen) == 6
    assert all("own" in words for words in seen)


def test_a_wsgi_app_may_call_back(pair: Pair) -> None:
    """It runs in a thread of its own, so it may block: on its peer, for example."""
    server, _ = pair

    def wsgi(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        start_response("200 OK", [])
        return [server.request("edge-1", "GET", "/from-wsgi", timeout=10).content]

    with restsock.sync.connect(server.url, app=wsgi, name="wsgi"):
        assert server.request("wsgi", "GET", "/", timeout=10).text == "GET /from-wsgi"


@pytest.mark.skipif(sys.platform == "win32", reason="signals to a thread are POSIX")
def test_keyboard_interrupt_reaches_the_caller_and_the_peer(pair: Pair) -> None:
    server, _ = pair
    told = threading.Event()

    async def interrupting(request: Request) -> Response:
        signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)
        try:
            await trio.sleep_forever()
        finally:
            told.set()
        raise AssertionError

    with restsock.sync.connect(server.url, app=interrupting, name="interrupting"):
        with pytest.raises(KeyboardInterrupt):
            server.request("interrupting", "GET", "/")
        assert told.wait(10), "the app learns that nobody waits any more"


FORKED = """
import os, sys, warnings
import restsock, restsock.sync
warnings.simplefilter("ignore", DeprecationWarning)

async def app(request):
    from restsock.connection import Response
    return Response(200, body="fine")

with restsock.sync.listen("127.0.0.1", 0, app=app) as server:
    client = restsock.sync.connect(server.url, name="parent")
    child = os.fork()
    if not child:
        for call in (
            lambda: client.request("GET", "/"),
            lambda: server.request("parent", "GET", "/"),
            lambda: client.stream("GET", "/"),
            server.events,
            client.wait_closed,
        ):
            try:
                call()
            except restsock.RestsockError as error:
                assert "fork" in str(error), error
            else:
                raise AssertionError("no error")
        client.close()
        with restsock.sync.connect(server.url, name="child") as own:
            assert own.request("GET", "/", timeout=10).text == "fine"
        print("child done", flush=True)
        sys.exit(0)
    _, status = os.waitpid(child, 0)
    assert status == 0, status
    assert client.request("GET", "/", timeout=10).text == "fine"
    client.close()
print("parent done", flush=True)
"""

FORGOTTEN = """
import restsock.sync
server = restsock.sync.listen("127.0.0.1", 0)
client = restsock.sync.connect(server.url)
events = server.events()
print("forgotten", flush=True)
"""


def run_script(script: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-W", "error::ResourceWarning", "-c", script],
        capture_output=True,
        text=True,
        timeout=40,
        check=False,
        env=ENVIRONMENT,
    )


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
def test_fork() -> None:
    done = run_script(FORKED)
    assert (done.returncode, done.stderr) == (0, "")
    assert sorted(done.stdout.split("\n")) == ["", "child done", "parent done"]


def test_a_forgotten_close_does_not_keep_the_process() -> None:
    done = run_script(FORGOTTEN)
    assert (done.returncode, done.stdout, done.stderr) == (0, "forgotten\n", "")


def test_the_names_and_arguments_are_those_of_the_async_api() -> None:
    import inspect

    from restsock import client, server

    for blocking, asynchronous in (
        (restsock.sync.connect, client.connect),
        (restsock.sync.listen, server.listen),
    ):
        assert list(inspect.signature(blocking).parameters) == list(
            inspect.signature(asynchronous).parameters
        )
    for face, behind in (
        (restsock.sync.Client, client.Client),
        (restsock.sync.Server, server.Server),
    ):
        public = {name for name in vars(behind) if not name.startswith("_")}
        # A requester's side towards the loop is not for threads; closing is called close.
        for_the_loop = {"aclose", "submit", "authority", "token", "serve_here"}
        for_the_loop |= {"dial_over", "speak", "accept_from", "keep_apart", "options"}
        for_the_loop |= {"bind", "listen_at", "tell_urls"}
        missing = public - for_the_loop - set(dir(face))
        assert not missing - {"connections"}  # set when it is made


def test_import_is_light() -> None:
    done = run_script("import restsock.sync, sys; assert 'requests' not in sys.modules")
    assert (done.returncode, done.stderr) == (0, "")


def test_nothing_is_left_of_closed_clients(pair: Pair) -> None:
    server, _ = pair
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for _ in range(10):
            restsock.sync.connect(server.url).close()
    gc.collect()
    alive = [thing for thing in gc.get_objects() if type(thing) is restsock.sync.Client]
    assert len(alive) == 1
