"""Every framework through the tunnel, over TCP: each cell of the table in docs/frameworks.md.

The app is served by the peer that dialed, with the API for threads and with that for asyncio, and
called by an ordinary `requests.Session`.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import queue
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import requests

import restsock
import restsock.aio
import restsock.sync
from restsock.connection import AsyncExchange
from restsock.protocol import CloseReceived, RequestHead, TextMessage, WebSocket
from tests.frameworks.matrix import FEATURES, FRAMEWORKS, Framework, table
from tests.frameworks.site import EVENTS, HELLO, PATIENCE, PIECE, PIECES, Site

DOCS = Path(__file__).parents[2] / "docs" / "frameworks.md"

EDGE = "http://edge-1"

# Whose client serves the app.
APIS = ("threads", "asyncio")

BIG = bytes(range(250)) * 80_000  # 20 MB


class Served:
    """A framework's app, and a session that reaches it."""

    def __init__(
        self, framework: Framework, site: Site, session: requests.Session, api: str
    ) -> None:
        self.api = api
        self.framework = framework
        self.site = site
        self.session = session

    def get(self, path: str, **options: Any) -> requests.Response:
        return self.session.get(EDGE + path, timeout=PATIENCE, **options)

    def post(self, path: str, **options: Any) -> requests.Response:
        return self.session.post(EDGE + path, timeout=PATIENCE, **options)


@contextmanager
def serving(framework: Framework, api: str = "threads") -> Iterator[Served]:
    site = Site()
    app = framework.app(site)
    with (
        restsock.sync.listen("127.0.0.1", 0) as server,
        connected(api, server.url, app=app, name="edge-1", loop=framework.loop),
        requests.Session() as session,
    ):
        session.mount(EDGE, server.adapter("edge-1"))
        yield Served(framework, site, session, api)


@contextmanager
def connected(api: str, url: str, **options: Any) -> Iterator[None]:
    """A client that is connected by `restsock.sync`, or by `restsock.aio` in a thread."""
    if api == "threads":
        with restsock.sync.connect(url, **options):
            yield
        return

    async def stay() -> None:
        leave = asyncio.Event()
        async with restsock.aio.connect(url, **options) as client:
            loop = asyncio.get_running_loop()
            entered.put(lambda: loop.call_soon_threadsafe(leave.set))
            await leave.wait()
        assert client.closed

    entered: queue.SimpleQueue[Callable[[], object]] = queue.SimpleQueue()
    with ThreadPoolExecutor(1) as executor:
        staying = executor.submit(asyncio.run, stay())
        leave = entered.get(timeout=PATIENCE)
        try:
            yield
        finally:
            leave()
            staying.result(PATIENCE)


@pytest.fixture(scope="module")
def served(request: pytest.FixtureRequest) -> Iterator[Served]:
    """One for all tests of a framework: they come one behind the other."""
    with serving(*request.param) as served:
        yield served


shown: set[tuple[str, str]] = set()


def each(feature: str, *, indirect: bool = True) -> Callable[[Any], Any]:
    """Runs a test for every framework that has the feature: one cell of the table each."""
    having = [framework for framework in FRAMEWORKS if feature not in framework.lacks]
    shown.update((framework.id, feature) for framework in having)
    if not indirect:
        return pytest.mark.parametrize("framework", having, ids=[each.id for each in having])
    both = [(framework, api) for api in APIS for framework in having]
    ids = [f"{framework.id}-{api}" for framework, api in both]
    return pytest.mark.parametrize("served", both, indirect=True, ids=ids, scope="module")


@each("hello")
def test_hello(served: Served) -> None:
    response = served.get("/hello")
    assert (response.status_code, response.content.decode()) == (200, HELLO)
    assert response.headers["Date"]


@each("hello")
def test_it_runs_where_the_docs_say(served: Served) -> None:
    assert served.get("/hello").ok
    kinds = {t.name.split("-")[1] for t in threading.enumerate() if t.name.startswith("restsock-")}
    where = {"WSGI": "wsgi", "asyncio": "asyncio"}.get(served.framework.runs_on)
    if served.api == "asyncio" and where == "asyncio":
        where = None  # on the loop of the caller
    assert kinds & {"wsgi", "asyncio"} == ({where} if where else set())


@each("json")
def test_a_json_post(served: Served) -> None:
    for number in range(3):
        response = served.post("/json", json={"number": number})
        assert response.json() == {"number": number + 1, "name": "edge-1"}


@each("upload")
def test_an_upload(served: Served) -> None:
    response = served.post("/upload", data=BIG)
    assert response.json() == {"size": len(BIG), "digest": hashlib.sha256(BIG).hexdigest()}


@each("download")
def test_a_streamed_download(served: Served) -> None:
    with served.get("/download", stream=True) as response:
        assert "Content-Length" not in response.headers
        assert b"".join(response.iter_content(10_000)) == PIECE * PIECES


@each("events")
def test_events(served: Served) -> None:
    """Each arrives while the app has not made the next one."""
    served.site.release()
    with served.get("/events", stream=True) as response:
        assert response.headers["Content-Type"].startswith("text/event-stream")
        lines = response.iter_lines(decode_unicode=True)
        for number in range(EVENTS):
            assert next(line for line in lines if line.startswith("data")) == f"data: {number}"
            served.site.release()
        assert not [line for line in lines if line.startswith("data")]


@each("error")
def test_an_error_is_a_500_and_the_tunnel_goes_on(
    served: Served, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.CRITICAL + 1):  # the tracebacks are not what is looked at
        for _ in range(2):
            assert served.get("/error").status_code == 500
    assert served.get("/hello").ok


@each("websocket", indirect=False)
async def test_a_websocket(framework: Framework) -> None:
    site = Site()
    app = framework.app(site)
    async with (
        restsock.listen("127.0.0.1", 0) as server,
        restsock.connect(server.url, app=app, name="edge-1", loop=framework.loop),
    ):
        headers = [
            (b"Host", b"edge-1"),
            (b"Connection", b"upgrade"),
            (b"Upgrade", b"websocket"),
            (b"Sec-WebSocket-Key", b"dGhlIHNhbXBsZSBub25jZQ=="),
            (b"Sec-WebSocket-Version", b"13"),
        ]
        exchange = AsyncExchange.open(server.route("edge-1"), RequestHead(b"GET", b"/ws", headers))
        assert (await exchange.receive_head()).status == 101
        client = WebSocket(client=True, max_message=1_000_000)

        async def receive() -> Any:
            while (event := client.next_event()) is None:
                client.receive_data(await exchange.receive_data())
            return event

        for text in ("hello", "a" * 200_000, ""):
            client.send_text(text)
            await exchange.send_data(client.data_to_send())
            assert await receive() == TextMessage(text.upper())
        client.close(1000)
        await exchange.send_data(client.data_to_send())
        assert await receive() == CloseReceived(1000, "")
        exchange.send_end()
        assert await exchange.receive_data() == b""


@pytest.mark.parametrize("api", APIS)
@each("lifespan", indirect=False)
def test_a_lifespan(framework: Framework, api: str) -> None:
    before = set(threading.enumerate())
    with serving(framework, api) as served:
        assert served.site.log == ["startup"]
        assert served.get("/hello").ok
    assert served.site.log == ["startup", "shutdown"]
    ours = [t for t in set(threading.enumerate()) - before if t.name.startswith("restsock")]
    assert ours == []


def test_the_docs_show_what_is_tested() -> None:
    assert table() in DOCS.read_text(encoding="utf-8")
    cells = {(f.id, feature) for f in FRAMEWORKS for feature in FEATURES if feature not in f.lacks}
    assert shown == cells
