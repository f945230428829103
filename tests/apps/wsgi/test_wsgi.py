"""A bare WSGI app behind a real connection in memory."""

from __future__ import annotations

import contextlib
import contextvars
import io
import logging
import queue
import sys
import threading
import wsgiref.validate
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from typing import Any

import pytest
import trio
import trio.testing

from restsock import Limits, Options, StreamRefused, StreamReset, Timeouts
from restsock.apps import ConnectionInfo, Disconnected, make_handler
from restsock.connection import AsyncExchange
from restsock.protocol import RequestHead, ResetCode
from restsock.testing import connected_pair
from tests.connection.peers import handshake

Start = Callable[..., Callable[[bytes], None]]
Environ = dict[str, Any]

# Seconds that a thread waits for the loop in these tests before it takes it for stuck.
PATIENCE = 10


async def in_thread(event: threading.Event) -> None:
    """Waits for a worker to get somewhere."""
    assert await trio.to_thread.run_sync(event.wait, PATIENCE)


def strict(app: Any) -> Any:
    """The app under the eyes of wsgiref.validate."""
    validated = wsgiref.validate.validator(app)

    def wrapper(environ: Environ, start_response: Start) -> Iterable[bytes]:
        return validated(environ, start_response)

    return wrapper


async def test_the_environ() -> None:
    seen: list[Environ] = []

    def app(environ: Environ, start_response: Start) -> Iterable[bytes]:
        seen.append(environ)
        start_response("200 OK", [])
        return []

    async with connected_pair(app_b=app, name="edge-1", metadata={"a": 1}) as (dialer, _):
        headers = [
            ("Host", "api.test:8080"),
            ("X-A", "1"),
            ("X_A", "forged"),
            ("x-a", "2"),
            ("Cookie", "a=1"),
            ("Cookie", "b=2"),
            ("Proxy", "http://evil.test"),
            ("Content-Type", "text/x"),
            ("X-Latin", "\xe4"),
        ]
        await dialer.request("POST", "/a%20b/%C3%A4?q=%20&r", headers=headers, body=b"abc")
        (environ,) = seen
        info = environ.pop("restsock.connection")
        assert info == ConnectionInfo(id=dialer.id, name="edge-1", metadata={"a": 1})
    assert callable(environ.pop("wsgi.file_wrapper"))
    assert environ.pop("wsgi.input").read() == b"abc"
    assert environ == {
        "REQUEST_METHOD": "POST",
        "SCRIPT_NAME": "",
        "PATH_INFO": "/a b/\xc3\xa4",
        "QUERY_STRING": "q=%20&r",
        "REQUEST_URI": "/a%20b/%C3%A4?q=%20&r",
        "RAW_URI": "/a%20b/%C3%A4?q=%20&r",
        "SERVER_NAME": "api.test",
        "SERVER_PORT": "8080",
        "SERVER_PROTOCOL": "HTTP/1.1",
        "SERVER_SOFTWARE": "restsock",
        "REMOTE_ADDR": "memory",
        "REMOTE_PORT": "0",
        "CONTENT_TYPE": "text/x",
        "CONTENT_LENGTH": "3",
        "HTTP_HOST": "api.test:8080",
        "HTTP_X_A": "1,2",
        "HTTP_COOKIE": "a=1; b=2",
        "HTTP_X_LATIN": "\xe4",
        "wsgi.version": (1, 0),
        "wsgi.url_scheme": "http",
        "wsgi.input_terminated": True,
        "wsgi.errors": sys.stderr,
        "wsgi.multithread": True,
        "wsgi.multiprocess": False,
        "wsgi.run_once": False,
    }


def echo(environ: Environ, start_response: Start) -> Iterable[bytes]:
    body = environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", str(len(body)))])
    return [body]


def generator(environ: Environ, start_response: Start) -> Iterator[bytes]:
    start_response("201 Made", [("Content-Type", "text/plain")])
    yield b"a"
    yield b""
    yield b"b"


def writer(environ: Environ, start_response: Start) -> Iterable[bytes]:
    write = start_response("200 OK", [("Content-Type", "text/plain")])
    write(b"a")
    write(b"b")
    return [b"c"]


def recovers(environ: Environ, start_response: Start) -> Iterable[bytes]:
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", "100")])
    try:
        raise ZeroDivisionError
    except ZeroDivisionError:
        start_response("502 Bad", [("Content-Type", "text/plain")], sys.exc_info())
        return [b"sorry"]


def lines(environ: Environ, start_response: Start) -> Iterable[bytes]:
    body = environ["wsgi.input"]
    start_response("200 OK", [("Content-Type", "text/plain")])
    parts = [body.readline(), body.read(2), *list(body)]
    return [b"|".join(parts)]


@pytest.mark.parametrize(
    ("app", "body", "status", "answer", "length"),
    [
        (echo, b"x" * 100_000, 200, b"x" * 100_000, "100000"),
        (echo, b"", 200, b"", "0"),
        (generator, b"", 201, b"ab", None),
        (writer, b"", 200, b"abc", None),
        (recovers, b"", 502, b"sorry", None),
        (lines, b"one\ntwo\nthree\nfour", 200, b"one\n|tw|o\n|three\n|four", None),
    ],
)
async def test_apps_that_the_validator_watches(
    app: Any, body: bytes, status: int, answer: bytes, length: str | None
) -> None:
    async with connected_pair(app_b=strict(app)) as (dialer, _):
        for _ in range(2):
            response = await dialer.request("POST", "/p?q", body=body)
            assert (response.status, response.content) == (status, answer)
            assert response.header("content-length") == length
            assert response.header("date")


async def test_the_reason_phrase_is_the_apps() -> None:
    async with connected_pair(app_b=generator) as (dialer, _):
        async with dialer.stream("GET", "/") as response:
            assert (response.status, response.reason) == (201, "Made")


async def test_input_without_a_length_ends_by_itself() -> None:
    def app(environ: Environ, start_response: Start) -> Iterable[bytes]:
        assert "CONTENT_LENGTH" not in environ
        body = environ["wsgi.input"]
        first = body.readlines(1)
        start_response("200 OK", [])
        return [b"+".join(first), b"=", body.read(), body.read(), body.readline()]

    async def body() -> AsyncIterator[bytes]:
        for piece in (b"a", b"b\nc", b"d\ne"):
            yield piece

    async with connected_pair(app_b=app) as (dialer, _):
        assert (await dialer.request("PUT", "/", body=body())).content == b"ab\n=cd\ne"


class Sized:
    def __len__(self) -> int:
        return 1

    def __iter__(self) -> Iterator[bytes]:
        return iter((b"abc",))


@pytest.mark.parametrize("result", [[b"abc"], (b"a", b"bc"), Sized()])
async def test_a_known_length_is_told(result: Any) -> None:
    async with connected_pair(app_b=app_of(result=result)) as (dialer, _):
        response = await dialer.request("GET", "/")
        assert (response.content, response.header("content-length")) == (b"abc", "3")
        response = await dialer.request("HEAD", "/")
        assert (response.content, response.header("content-length")) == (b"", "3")


class Chunks:
    """An iterable that tells what becomes of it."""

    def __init__(self, chunks: Iterable[Any], error: Exception | None = None) -> None:
        self.chunks = iter(chunks)
        self.error = error
        self.closed = threading.Event()
        self.count = 0

    def __iter__(self) -> Chunks:
        return self

    def __next__(self) -> Any:
        self.count += 1
        for chunk in self.chunks:
            return chunk
        if self.error is not None:
            raise self.error
        raise StopIteration

    def close(self) -> None:
        self.closed.set()

    def app(self, environ: Environ, start_response: Start) -> Chunks:
        start_response("200 OK", [])
        return self


def endless() -> Iterator[bytes]:
    while True:
        yield b"x" * 1000


async def test_each_chunk_leaves_at_once() -> None:
    go_on: queue.SimpleQueue[bytes] = queue.SimpleQueue()
    chunks = Chunks(iter(lambda: go_on.get(timeout=PATIENCE), b"end"))
    async with connected_pair(app_b=chunks.app) as (dialer, _):
        go_on.put(b"one")
        async with dialer.stream("GET", "/") as response:
            assert await response.receive() == b"one"
            go_on.put(b"two")
            assert await response.receive() == b"two"
            go_on.put(b"end")
            assert await response.receive() == b""
    assert chunks.closed.is_set()


@pytest.mark.parametrize("method", ["GET", "HEAD"])
@pytest.mark.parametrize("status", ["200 OK", "204 No Content", "304 Not Modified"])
async def test_no_body_where_there_is_none(method: str, status: str) -> None:
    chunks = Chunks(endless() if (method, status) != ("GET", "200 OK") else [b"x"])

    def app(environ: Environ, start_response: Start) -> Chunks:
        start_response(status, [("ETag", "1")])
        return chunks

    async with connected_pair(app_b=app) as (dialer, _):
        response = await dialer.request(method, "/")
        assert response.status == int(status[:3])
        assert response.content == (b"x" if (method, status) == ("GET", "200 OK") else b"")
        await in_thread(chunks.closed)


async def test_a_slow_reader_stops_the_app() -> None:
    limits = Limits(initial_window=16384, max_window=16384, send_buffer=4096)
    chunks = Chunks([b"x" * 1000] * 100)
    async with connected_pair(app_b=chunks.app, options=Options(limits=limits)) as (dialer, _):
        async with dialer.stream("GET", "/") as response:
            count = -1
            while chunks.count < 20 or count != chunks.count:  # until it stands still
                count = chunks.count
                await trio.sleep(0.05)
            assert count <= 27
            assert len(await response.read()) == 100_000


async def test_an_app_that_does_not_read_stops_its_peer() -> None:
    go_on = threading.Event()
    sent = 0

    def app(environ: Environ, start_response: Start) -> Iterable[bytes]:
        assert go_on.wait(PATIENCE)
        size = 0
        while data := environ["wsgi.input"].read1(1000):
            size += len(data)
        start_response("200 OK", [])
        return [b"%d" % size]

    async def body() -> AsyncIterator[bytes]:
        nonlocal sent
        for _ in range(200):
            sent += 1000
            yield b"x" * 1000

    limits = Limits(initial_window=16384, max_window=16384, send_buffer=1024)
    async with connected_pair(app_b=app, options=Options(limits=limits)) as (dialer, _):
        async with trio.open_nursery() as nursery:

            async def ask() -> None:
                assert (await dialer.request("POST", "/", body=body())).content == b"200000"

            nursery.start_soon(ask)
            await trio.testing.wait_all_tasks_blocked()
            assert 16384 <= sent <= 16384 + 3000
            go_on.set()


async def test_a_continue_is_sent_when_the_app_reads() -> None:
    async with connected_pair(app_b=echo) as (dialer, _):
        headers = [(b"Host", b"x"), (b"Expect", b"100-continue"), (b"Content-Length", b"3")]
        exchange = AsyncExchange.open(dialer, RequestHead(b"PUT", b"/", headers), end=False)
        assert (await exchange.receive_head(interim=True)).status == 100
        await exchange.send_data(b"abc")
        exchange.send_end()
        assert (await exchange.receive_head()).status == 200
        assert await exchange.receive_data() == b"abc"


# --- the peer leaves ------------------------------------------------------------------------------


async def test_writing_to_a_peer_that_has_left(caplog: pytest.LogCaptureFixture) -> None:
    chunks = Chunks(endless())
    async with connected_pair(app_b=chunks.app) as (dialer, _):
        async with dialer.stream("GET", "/") as response:
            await response.receive()
        await in_thread(chunks.closed)
    assert not [r for r in caplog.records if r.levelno > logging.DEBUG]


async def test_reading_from_a_peer_that_has_left() -> None:
    errors: queue.SimpleQueue[OSError] = queue.SimpleQueue()
    reading = threading.Event()

    def app(environ: Environ, start_response: Start) -> Iterable[bytes]:
        assert environ["wsgi.input"].read(1) == b"a"
        reading.set()
        try:
            environ["wsgi.input"].read()
        except OSError as exc:
            errors.put(exc)
            raise
        raise AssertionError

    async with connected_pair(app_b=app) as (dialer, _):
        headers = [(b"Host", b"x")]
        exchange = AsyncExchange.open(dialer, RequestHead(b"PUT", b"/", headers), end=False)
        await exchange.send_data(b"a")
        await in_thread(reading)
        exchange.close()
        error = await trio.to_thread.run_sync(lambda: errors.get(timeout=PATIENCE))
        assert isinstance(error, Disconnected)
        assert isinstance(error.__cause__, StreamReset)


# --- the app fails --------------------------------------------------------------------------------


def app_of(
    status: Any = "200 OK", headers: Any = (), result: Any = (b"abc",), *, times: int = 1
) -> Any:
    def app(environ: Environ, start_response: Start) -> Any:
        for _ in range(times):
            start_response(status, list(headers))
        if isinstance(result, BaseException):
            raise result
        return result

    return app


@pytest.mark.parametrize(
    "app",
    [
        app_of(result=ZeroDivisionError()),
        app_of(result=SystemExit(1)),
        app_of(times=0),
        app_of(times=2),
        app_of(result=None),
        app_of(result="text"),
        app_of(result=["text"]),
        app_of(result=[b"a", None]),
        app_of("200"[:2]),
        app_of("2x0 OK"),
        app_of(200),
        app_of(b"200 OK"),
        app_of("100 Continue"),
        app_of("200 O\nK"),
        app_of(headers=[("a b", "c")]),
        app_of(headers=[("a", "b\r\nc: d")]),
        app_of(headers=[("a", "\u20ac")]),
        app_of(headers=[(b"a", b"b")]),
        app_of(headers=[("Content-Length", "4")]),
        app_of(headers=[("Content-Length", "x")]),
    ],
)
async def test_an_apps_failure_is_a_500(app: Any, caplog: pytest.LogCaptureFixture) -> None:
    async with connected_pair(app_b=app) as (dialer, _):
        for _ in range(2):
            response = await dialer.request("GET", "/x?y")
            assert (response.status, response.text) == (500, "Internal Server Error\n")
    failed = [r for r in caplog.records if r.message == "the app failed at GET /x"]
    assert len(failed) == 2
    assert all(r.name == "restsock.apps" and r.exc_info for r in failed)


@pytest.mark.parametrize("what", ["raises", "text", "written", "too short", "exc_info"])
async def test_a_failure_behind_the_head_is_a_reset(
    what: str, caplog: pytest.LogCaptureFixture
) -> None:
    closed = []
    write: list[Any] = []

    def chunks(start_response: Start) -> Iterator[Any]:
        try:
            yield b"abc"
            if what == "raises":
                raise ZeroDivisionError
            if what == "exc_info":
                try:
                    raise ZeroDivisionError
                except ZeroDivisionError:
                    start_response("500 Oh", [], sys.exc_info())
            if what == "written":
                write[0](b"defg")
            yield {"text": "x", "too short": b"d"}[what]
        finally:
            closed.append(True)

    def app(environ: Environ, start_response: Start) -> Iterable[bytes]:
        write[:] = [start_response("200 OK", [("Content-Length", "5")])]
        return chunks(start_response)

    async with connected_pair(app_b=app) as (dialer, _):
        for _ in range(2):
            with pytest.raises(StreamReset) as caught:
                await dialer.request("GET", "/")
            assert caught.value.code == ResetCode.INTERNAL
    assert closed == [True, True]
    assert len([r for r in caplog.records if r.exc_info]) == 2


async def test_a_failure_behind_the_end_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    failed = threading.Event()

    class Closes(list[bytes]):
        def close(self) -> None:
            failed.set()
            raise ZeroDivisionError

    async with connected_pair(app_b=app_of(result=Closes([b"abc"]))) as (dialer, _):
        assert (await dialer.request("GET", "/")).content == b"abc"
        await in_thread(failed)
    assert [r.levelname for r in caplog.records] == ["ERROR"]


async def test_close_is_called_when_the_iterable_fails() -> None:
    chunks = Chunks([], error=ZeroDivisionError())
    async with connected_pair(app_b=chunks.app) as (dialer, _):
        assert (await dialer.request("GET", "/")).status == 500
    assert chunks.closed.is_set()


async def test_what_one_request_sets_the_next_does_not_see() -> None:
    variable = contextvars.ContextVar("variable", default="fresh")

    def app(environ: Environ, start_response: Start) -> Iterable[bytes]:
        start_response("200 OK", [])
        found = variable.get()
        variable.set("used")
        return [found.encode()]

    async with connected_pair(app_b=app, workers=1) as (dialer, _):
        for _ in range(3):
            assert (await dialer.request("GET", "/")).content == b"fresh"


async def test_a_file_wrapper_reads_large_blocks() -> None:
    file = io.BytesIO(b"x" * 200_000)

    def app(environ: Environ, start_response: Start) -> Iterable[bytes]:
        start_response("200 OK", [])
        wrapped: Iterable[bytes] = environ["wsgi.file_wrapper"](file, 100)
        return wrapped

    async with connected_pair(app_b=app) as (dialer, _):
        assert (await dialer.request("GET", "/")).content == b"x" * 200_000
    assert file.closed


# --- workers --------------------------------------------------------------------------------------


class Gate:
    """An app whose requests wait until they are let go."""

    def __init__(self) -> None:
        self.entered = threading.Semaphore(0)
        self.go_on = threading.Event()
        self.threads: set[str] = set()

    def __call__(self, environ: Environ, start_response: Start) -> Iterable[bytes]:
        self.threads.add(threading.current_thread().name)
        self.entered.release()
        assert self.go_on.wait(PATIENCE)
        start_response("200 OK", [])
        return [b"done"]

    async def wait_entered(self) -> None:
        assert await trio.to_thread.run_sync(lambda: self.entered.acquire(timeout=PATIENCE))


async def test_workers_grow_as_needed_and_a_full_queue_is_a_503() -> None:
    gate = Gate()
    statuses = []
    async with connected_pair(app_b=gate, workers=2, queue_size=3) as (dialer, _):
        async with trio.open_nursery() as nursery:

            async def ask() -> None:
                statuses.append((await dialer.request("GET", "/")).status)

            for _ in range(5):
                nursery.start_soon(ask)
            await gate.wait_entered()
            await gate.wait_entered()
            await trio.testing.wait_all_tasks_blocked()
            response = await dialer.request("GET", "/")
            assert response.status == 503
            assert response.header("retry-after") == "1"
            gate.go_on.set()
        assert statuses == [200] * 5
        assert len(gate.threads) == 2


async def test_one_at_a_time_needs_one_worker() -> None:
    gate = Gate()
    gate.go_on.set()
    async with connected_pair(app_b=gate) as (dialer, _):
        for _ in range(50):
            await dialer.request("GET", "/")
        # A worker may still be on its way back when the next request comes.
        assert len(gate.threads) <= 8
    workers = [t for t in threading.enumerate() if t.name in gate.threads]
    for worker in workers:  # they have said that they end, and may be about to
        worker.join(PATIENCE)
        assert not worker.is_alive()


async def test_a_request_whose_peer_left_in_the_queue_never_runs() -> None:
    gate = Gate()
    async with connected_pair(app_b=gate, workers=1) as (dialer, listener):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(dialer.request, "GET", "/")
            await gate.wait_entered()
            with trio.move_on_after(0.05):
                await dialer.request("GET", "/")
            await trio.testing.wait_all_tasks_blocked()
            assert listener.multiplexer.open_streams == 1
            gate.go_on.set()
        await dialer.request("GET", "/")
        assert gate.entered.acquire(timeout=PATIENCE)
        assert not gate.entered.acquire(blocking=False)


async def test_a_stuck_app_is_named_and_left_alone(caplog: pytest.LogCaptureFixture) -> None:
    gate = Gate()
    options = Options(timeouts=Timeouts(close=0.05))
    handler = make_handler(gate, workers=1, options=options)
    near, far = trio.testing.memory_stream_pair()
    dialer, listener = await handshake(near, far, options=Options(timeouts=Timeouts(connect=0.2)))
    errors = []
    async with trio.open_nursery() as nursery:
        nursery.start_soon(dialer.run)
        nursery.start_soon(listener.run, handler)

        async def ask(path: str) -> None:
            try:
                await dialer.request("GET", path)
            except StreamRefused as exc:
                errors.append(exc)

        async with trio.open_nursery() as requests:
            async with handler.running():
                requests.start_soon(ask, "/stuck?token=SECRET")
                await gate.wait_entered()
                requests.start_soon(ask, "/waiting")
                await trio.testing.wait_all_tasks_blocked()
            with pytest.raises(StreamRefused):
                await dialer.request("GET", "/late")
            gate.go_on.set()  # late, but its answer still arrives
        await dialer.aclose()
    assert len(errors) == 1
    (record,) = caplog.records
    assert record.levelname == "WARNING"
    assert "restsock-wsgi-" in record.message
    assert "/stuck" in record.message
    assert "SECRET" not in record.message


async def test_a_handler_runs_again() -> None:
    handler = make_handler(echo)
    for _ in range(2):
        async with handler.running():
            with pytest.raises(RuntimeError, match="running already"):
                async with handler.running():
                    pass
        near, far = trio.testing.memory_stream_pair()
        dialer, listener = await handshake(near, far)
        async with trio.open_nursery() as nursery, handler.running():
            nursery.start_soon(dialer.run)
            nursery.start_soon(listener.run, handler)
            assert (await dialer.request("POST", "/", body=b"x")).content == b"x"
            await dialer.aclose()


async def test_an_end_that_content_length_tells_does_not_wait_for_the_app() -> None:
    gate = Gate()
    ended = threading.Event()

    def app(environ: Environ, start_response: Start) -> Iterator[bytes]:
        start_response("200 OK", [("Content-Length", "5")])
        yield b"hel"
        yield b"lo"
        assert gate.go_on.wait(PATIENCE)
        ended.set()

    async with connected_pair(app_b=app) as (dialer, _):
        response = await dialer.request("GET", "/")
        assert response.content == b"hello"
        assert not ended.is_set()
        gate.go_on.set()
        await in_thread(ended)  # what stands behind its last chunk runs all the same


class SaysOne:
    """An iterable of one chunk that says so."""

    def __len__(self) -> int:
        return 1

    def __iter__(self) -> Iterator[bytes]:
        return iter([b"hello and more"])


def without_end() -> Iterator[bytes]:
    yield b"he"
    while True:
        yield b"llo and more"


@pytest.mark.parametrize(
    "make",
    [
        lambda environ: [b"hello", b" and more"],
        lambda environ: iter([b"hello", b" and more"]),
        lambda environ: without_end(),
        lambda environ: SaysOne(),
        lambda environ: environ["wsgi.file_wrapper"](io.BytesIO(b"hello and more")),
    ],
)
async def test_no_more_than_content_length_is_sent_or_asked_for(
    make: Any, caplog: pytest.LogCaptureFixture
) -> None:
    closed = []

    class Closing:
        def __init__(self, inner: Any) -> None:
            self._inner = inner

        def __iter__(self) -> Iterator[bytes]:
            return iter(self._inner)

        def close(self) -> None:
            closed.append(True)

    def app(environ: Environ, start_response: Start) -> Iterable[bytes]:
        length = environ["QUERY_STRING"]
        start_response("206 Partial Content", [("Content-Length", length)])
        result: Iterable[bytes] = make(environ)
        return result if isinstance(result, (list, SaysOne)) else Closing(result)

    async with connected_pair(app_b=app) as (dialer, _):
        for length in (5, 0, 3, 5):
            response = await dialer.request("GET", f"/?{length}")
            assert (response.status, response.content) == (206, b"hello"[:length])
        response = await dialer.request("HEAD", "/?5")
        assert (response.status, response.header("content-length")) == (206, "5")
    assert closed in ([], [True] * 5)
    assert not caplog.records


@pytest.mark.parametrize("status", ["200 ", "200"])
async def test_a_status_without_a_reason(status: str) -> None:
    async with connected_pair(app_b=app_of(status)) as (dialer, _):
        head = RequestHead(b"GET", b"/", [(b"Host", b"edge")])
        exchange = AsyncExchange.open(dialer, head)
        with contextlib.closing(exchange):
            assert (await exchange.receive_head())[::2] == (200, b"")
