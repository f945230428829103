"""What the peer provably did not start is sent again for threads, too, whatever carries them."""

from __future__ import annotations

import io
import random
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import AbstractAsyncContextManager, contextmanager, nullcontext
from typing import Any

import httpx
import pytest
import requests
import trio

import restsock
import restsock.sync
from restsock.connection import AsyncExchange, Exchange, _exchange_table, pause_before
from restsock.protocol import ResetCode, ResponseHead
from restsock.server import Server
from restsock.threads import _exchange

OPTIONS = restsock.Options(timeouts=restsock.Timeouts(connect=3, grace=5))


class Choosy:
    """Refuses what its function says; runs, counts and echoes the rest.

    Attributes:
        refuse: is told the target and how often it was asked for already.
        read_first: how much of the body is read before a refusal.
    """

    def __init__(self) -> None:
        self.refuse: Callable[[str, int], bool] = lambda target, times: times < 2
        self.read_first = 0
        self.refused = 0
        self.asked: Counter[str] = Counter()
        self.runs: Counter[str] = Counter()
        self.bodies: dict[str, bytes] = {}
        self.nursery: trio.Nursery | None = None

    def running(self) -> AbstractAsyncContextManager[None]:
        return nullcontext()

    def handle(self, exchange: Exchange) -> None:
        trio.lowlevel.spawn_system_task(self._serve, AsyncExchange.accept(exchange, limit=65536))

    async def _serve(self, exchange: AsyncExchange) -> None:
        target = exchange.exchange.request.target.decode()
        times = self.asked[target]
        self.asked[target] += 1
        body = b""
        try:
            if self.refuse(target, times):
                while len(body) < self.read_first and (data := await exchange.receive_data()):
                    body += data
                exchange.exchange.reset(ResetCode.REFUSED, "not now")
                self.refused += 1
                return
            self.runs[target] += 1
            while data := await exchange.receive_data():
                body += data
            self.bodies[target] = body
            fields = [(b"Content-Length", b"%d" % len(body))]
            exchange.send_head(ResponseHead(200, fields))
            await exchange.send_data(body)
            exchange.send_end()
        except restsock.RestsockError:
            pass


@pytest.fixture
def choosy() -> Choosy:
    return Choosy()


@pytest.fixture
def client(choosy: Choosy) -> Iterator[restsock.sync.Client]:
    with client_of(choosy, OPTIONS) as client:
        yield client


@pytest.fixture
def patient(choosy: Choosy) -> Iterator[restsock.sync.Client]:
    """One whose time is over only when the clock of threads is moved."""
    timeouts = restsock.Timeouts(connect=500, grace=5)
    with client_of(choosy, restsock.Options(timeouts=timeouts)) as client:
        yield client


@contextmanager
def client_of(choosy: Choosy, options: restsock.Options) -> Iterator[restsock.sync.Client]:
    server = restsock.sync.Server(Server("127.0.0.1", 0, handler=choosy, options=options))
    with server, restsock.sync.connect(server.url, options=options) as client:
        yield client


Send = Callable[[Any, str, Any], bytes]


def by_request(client: restsock.sync.Client, target: str, body: Any) -> bytes:
    return client.request("POST", target, body=body, timeout=60).content


def by_requests(client: restsock.sync.Client, target: str, body: Any) -> bytes:
    with requests.Session() as session:
        session.trust_env = False
        session.mount("http://hub/", client.adapter())
        content: bytes = session.post(f"http://hub{target}", data=body, timeout=60).content
        return content


def by_session(client: restsock.sync.Client, target: str, body: Any) -> bytes:
    with restsock.Session() as session:
        session.mount("http://hub/", client.adapter())
        content: bytes = session.post(f"http://hub{target}", data=body, timeout=60).content
        return content


def by_httpx(client: restsock.sync.Client, target: str, body: Any) -> bytes:
    with httpx.Client(transport=client.transport(), timeout=60) as http:
        return http.post(f"http://hub{target}", content=body).content


SENDERS = [by_request, by_requests, by_session, by_httpx]
every_sender = pytest.mark.parametrize("send", SENDERS)


@every_sender
@pytest.mark.parametrize("size", [0, 10, 60_000, 400_000])
def test_bytes(send: Send, size: int, client: restsock.sync.Client, choosy: Choosy) -> None:
    body = random.Random(size).randbytes(size)
    assert send(client, "/a", body) == body
    assert choosy.asked["/a"] == 3
    assert choosy.runs["/a"] == 1


@every_sender
@pytest.mark.parametrize("read_first", [0, 50_000])
def test_bytes_that_were_read_before_they_were_refused(
    send: Send, read_first: int, client: restsock.sync.Client, choosy: Choosy
) -> None:
    choosy.read_first = read_first
    body = random.Random(1).randbytes(300_000)
    assert send(client, "/a", body) == body
    assert (choosy.asked["/a"], choosy.runs["/a"]) == (3, 1)


@every_sender
def test_a_short_generator(send: Send, client: restsock.sync.Client, choosy: Choosy) -> None:
    choosy.read_first = 100
    pieces = [b"x" * 1000, b"y" * 30_000, b"z"]
    assert send(client, "/a", iter(pieces)) == b"".join(pieces)
    assert (choosy.asked["/a"], choosy.runs["/a"]) == (3, 1)


@every_sender
def test_a_long_generator_that_has_begun(
    send: Send, client: restsock.sync.Client, choosy: Choosy
) -> None:
    choosy.read_first = 150_000
    with pytest.raises(Exception, match="not now") as caught:
        send(client, "/a", (bytes(10_000) for _ in range(100)))
    error: Any = caught.value
    if not isinstance(error, restsock.RestsockError):
        error = error.__cause__
    assert isinstance(error, restsock.StreamRefused)
    assert error.may_have_run is False
    assert choosy.runs["/a"] == 0


@pytest.mark.parametrize("send", [by_request, by_requests, by_session])
def test_a_file_is_read_again_from_where_it_was(
    send: Send, client: restsock.sync.Client, choosy: Choosy
) -> None:
    choosy.read_first = 150_000
    content = random.Random(2).randbytes(500_000)
    file = io.BytesIO(b"in front" + content)
    file.seek(8)
    assert send(client, "/a", file) == content
    assert (choosy.asked["/a"], choosy.runs["/a"]) == (3, 1)


def test_a_file_that_cannot_be_read_again(client: restsock.sync.Client, choosy: Choosy) -> None:
    class Pipe(io.BytesIO):
        def tell(self) -> int:
            raise OSError("a pipe")

    choosy.read_first = 150_000
    with pytest.raises(restsock.StreamRefused, match="not now"):
        client.request("POST", "/a", body=Pipe(bytes(500_000)))
    assert choosy.runs["/a"] == 0


class Clock:
    """`time.monotonic`, and as many seconds more as it was moved."""

    def __init__(self) -> None:
        self.moved = 0.0
        self._real = time.monotonic

    def __call__(self) -> float:
        return self._real() + self.moved


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """What threads wait by. They look at it often, since they are not woken when it is moved.

    When their time is over, the loop may take its time to say that a request has not started.
    """
    clock = Clock()
    monkeypatch.setattr(time, "monotonic", clock)
    monkeypatch.setattr(_exchange, "LOOK_AFTER", 0.01)
    monkeypatch.setattr(_exchange, "WITHDRAWAL", 60.0)
    return clock


@every_sender
def test_it_has_an_end(
    send: Send,
    patient: restsock.sync.Client,
    choosy: Choosy,
    clock: Clock,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def pause(attempt: int) -> float:
        if attempt < 3:
            return pause_before(attempt)
        clock.moved += 600  # in the pause after the third refusal the time is over
        return 600

    monkeypatch.setattr(_exchange_table, "pause_before", pause)
    choosy.refuse = lambda target, times: True
    with pytest.raises(Exception, match="not now") as caught:
        if send is by_request:
            patient.request("POST", "/a", body=b"once", timeout=500)
        elif send is by_httpx:
            with httpx.Client(transport=patient.transport(), timeout=500) as http:
                http.post("http://hub/a", content=b"once")
        else:
            with restsock.Session() as session:
                session.mount("http://hub/", patient.adapter())
                session.post("http://hub/a", data=b"once", timeout=(500, 900))
    error: Any = caught.value
    if not isinstance(error, restsock.RestsockError):
        error = error.__cause__
    assert error.may_have_run is False
    assert choosy.runs["/a"] == 0
    assert choosy.asked["/a"] == 3


def test_an_upload_in_the_middle_that_finds_nobody_any_more(choosy: Choosy) -> None:
    choosy.refuse = lambda target, times: True
    choosy.read_first = 30_000
    options = restsock.Options(timeouts=restsock.Timeouts(connect=1))
    server = restsock.sync.Server(Server("127.0.0.1", 0, handler=choosy, options=OPTIONS))
    with server, restsock.sync.connect(server.url, options=options) as client:

        def body() -> Iterator[bytes]:
            yield bytes(40_000)
            while not choosy.refused:
                time.sleep(0.001)
            server.close(grace=0)
            while True:
                yield bytes(20_000)

        begun = time.monotonic()
        with pytest.raises(restsock.RestsockError) as caught:
            client.stream("POST", "/a", body=body())
        assert caught.value.may_have_run is False
        assert time.monotonic() - begun < 10
    assert choosy.runs["/a"] == 0


def test_many_threads_and_a_peer_that_refuses_at_random(
    patient: restsock.sync.Client, choosy: Choosy
) -> None:
    rng = random.Random(7)
    choosy.refuse = lambda target, times: times < 6 and rng.random() < 0.5
    choosy.read_first = 3000
    wrong: list[str] = []

    def work(worker: int) -> None:
        mine = random.Random(worker)
        for number in range(40):
            target = f"/{worker}/{number}"
            body = mine.randbytes(mine.choice([0, 100, 20_000, 100_000]))
            send = mine.choice(SENDERS)
            given = body if mine.random() < 0.7 else iter([body[:90], body[90:50_000]])
            expected = body if given is body else body[:50_000]
            try:
                if send(patient, target, given) != expected:
                    wrong.append(target)
            except Exception as exc:  # noqa: BLE001  # shown below
                wrong.append(f"{target}: {exc!r}")

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []
    assert set(choosy.runs.values()) == {1}
    assert len(choosy.runs) == 320
    assert sum(choosy.asked.values()) > 480
