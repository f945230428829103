"""Frameworks, each behind a real connection over TCP, called by an ordinary `requests.Session`.

Served are Flask and Django by WSGI, and FastAPI and Starlette by ASGI on trio. Django's ASGI
handler runs on asyncio alone: made to run on trio, its answer is a 500, and the log says why.
What all frameworks have in common is tested in tests/frameworks.
"""

from __future__ import annotations

import gc
import io
import itertools
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any, NamedTuple

import anyio.lowlevel
import fastapi
import flask
import pytest
import requests
import starlette.websockets
import trio
from django.core.asgi import get_asgi_application
from django.core.wsgi import get_wsgi_application
from django.http import FileResponse, HttpRequest, HttpResponse, JsonResponse, StreamingHttpResponse
from django.urls import path

import restsock
import restsock.sync
from restsock.connection import AsyncExchange
from restsock.protocol import CloseReceived, RequestHead, TextMessage, WebSocket
from tests.frameworks.django_settings import use_urls
from tests.waiting import until_blocking

EDGE = "http://edge-1"

# Seconds after which a test takes the other side for stuck.
PATIENCE = 20

BIG = bytes(range(256)) * 4096  # 1 MiB


@contextmanager
def serving(app: Any, **options: Any) -> Iterator[requests.Session]:
    """A session that calls the app, which is served by the peer that dialed."""
    with (
        restsock.sync.listen("127.0.0.1", 0) as server,
        restsock.sync.connect(server.url, app=app, name="edge-1", metadata={"a": 1}, **options),
        requests.Session() as session,
    ):
        session.mount(EDGE, server.adapter("edge-1"))
        yield session


def pieces() -> Iterator[bytes]:
    for at in range(0, len(BIG), 10_000):
        yield BIG[at : at + 10_000]


class Gate:
    """Lets a streaming view go on, one step at a time."""

    def __init__(self) -> None:
        self.steps = threading.Semaphore(0)

    def __iter__(self) -> Iterator[str]:
        for number in range(3):
            assert self.steps.acquire(timeout=PATIENCE)
            yield f"data: {number}\n\n"


def check_events(session: requests.Session, gate: Gate) -> None:
    """Each event arrives while the app has not made the next one."""
    gate.steps.release()
    with session.get(f"{EDGE}/events", stream=True, timeout=PATIENCE) as response:
        assert response.headers["Content-Type"].startswith("text/event-stream")
        lines = response.iter_lines(decode_unicode=True)
        for number in range(3):
            assert next(lines) == f"data: {number}"
            assert next(lines) == ""
            gate.steps.release()
        assert list(lines) == []


# --- Flask ----------------------------------------------------------------------------------------


def flask_app(gate: Gate) -> flask.Flask:
    app = flask.Flask("app")

    @app.route("/pets/<name>", methods=["GET", "PUT"])
    def pet(name: str) -> Any:
        request = flask.request
        return {
            "name": name,
            "args": request.args.to_dict(flat=False),
            "form": request.form,
            "url": request.url,
            "peer": request.environ["restsock.connection"].name,
        }

    @app.post("/upload")
    def upload() -> Any:
        data = flask.request.files["file"].read()
        return {"same": data == BIG, "name": flask.request.files["file"].filename}

    @app.post("/echo")
    def echo() -> Any:
        stream = flask.request.stream
        return flask.Response(iter(lambda: stream.read(9999), b""))

    @app.get("/events")
    def events() -> Any:
        return flask.Response(iter(gate), mimetype="text/event-stream")

    @app.get("/broken")
    def broken() -> Any:
        raise ZeroDivisionError

    return app


def test_flask() -> None:
    gate = Gate()
    with serving(flask_app(gate)) as session:
        response = session.put(f"{EDGE}/pets/K%C3%A4fer?a=1&a=2", data={"age": "3"})
        assert response.json() == {
            "name": "Käfer",
            "args": {"a": ["1", "2"]},
            "form": {"age": "3"},
            "url": "http://edge-1/pets/Käfer?a=1&a=2",
            "peer": "edge-1",
        }
        assert response.headers["Date"]
        assert int(response.headers["Content-Length"]) == len(response.content)
        response = session.post(f"{EDGE}/upload", files={"file": ("a.bin", BIG)})
        assert response.json() == {"same": True, "name": "a.bin"}
        assert session.post(f"{EDGE}/echo", data=pieces()).content == BIG
        assert session.get(f"{EDGE}/none").status_code == 404
        assert session.head(f"{EDGE}/pets/a").headers["Content-Length"]
        check_events(session, gate)
        assert session.get(f"{EDGE}/broken").status_code == 500
        assert session.get(f"{EDGE}/pets/a").ok


# --- FastAPI --------------------------------------------------------------------------------------


class FastApiLog(NamedTuple):
    """What happened in the app."""

    steps: list[str]
    background: threading.Event


def fastapi_app(gate: Gate, log: FastApiLog) -> fastapi.FastAPI:
    @asynccontextmanager
    async def lifespan(app: fastapi.FastAPI) -> AsyncIterator[dict[str, Any]]:
        log.steps.append("startup")
        yield {"answer": 42}
        log.steps.append("shutdown")

    app = fastapi.FastAPI(lifespan=lifespan)

    async def resource() -> AsyncIterator[str]:
        log.steps.append("open")
        yield "resource"
        log.steps.append("close")

    @app.get("/sync/{number}")
    def sync(number: int, q: str = "") -> Any:
        return {"number": number, "q": q, "thread": threading.current_thread().name}

    @app.get("/async")
    async def on_trio(request: fastapi.Request, x: str = fastapi.Depends(resource)) -> Any:
        await trio.lowlevel.checkpoint()
        await anyio.lowlevel.checkpoint()
        return {"state": request.state.answer, "x": x, "peer": request.scope["restsock"].name}

    @app.post("/upload")
    async def upload(file: fastapi.UploadFile) -> Any:
        return {"same": await file.read() == BIG, "name": file.filename}

    @app.post("/echo")
    async def echo(request: fastapi.Request) -> Any:
        return fastapi.responses.StreamingResponse(request.stream())

    @app.get("/events")
    def events() -> Any:
        return fastapi.responses.StreamingResponse(iter(gate), media_type="text/event-stream")

    @app.post("/background")
    async def background(tasks: fastapi.BackgroundTasks) -> Any:
        tasks.add_task(log.background.set)
        return {"set": log.background.is_set()}

    @app.get("/broken")
    async def broken() -> Any:
        raise ZeroDivisionError

    @app.websocket("/ws/{room}")
    async def room(websocket: fastapi.WebSocket, room: str) -> None:
        await websocket.accept(subprotocol="chat")
        try:
            while True:
                await websocket.send_text(f"{room}: {await websocket.receive_text()}")
        except starlette.websockets.WebSocketDisconnect as exc:
            log.steps.append(f"left {exc.code}")

    return app


def test_fastapi() -> None:
    gate, log = Gate(), FastApiLog([], threading.Event())
    with serving(fastapi_app(gate, log), loop="trio") as session:
        assert log.steps == ["startup"]
        body = session.get(f"{EDGE}/sync/7?q=%C3%A4").json()
        assert (body["number"], body["q"]) == (7, "ä")
        assert session.get(f"{EDGE}/sync/seven").status_code == 422
        assert session.get(f"{EDGE}/async").json() == {
            "state": 42,
            "x": "resource",
            "peer": "edge-1",
        }
        # The answer is whole before the app has put away what it was made with.
        until_blocking(lambda: log.steps[1:] == ["open", "close"])
        response = session.post(f"{EDGE}/upload", files={"file": ("a.bin", BIG)})
        assert response.json() == {"same": True, "name": "a.bin"}
        assert session.post(f"{EDGE}/echo", data=pieces()).content == BIG
        check_events(session, gate)
        assert session.post(f"{EDGE}/background").json() == {"set": False}
        assert log.background.wait(PATIENCE)
        assert session.get(f"{EDGE}/broken").status_code == 500
        assert "/sync/{number}" in session.get(f"{EDGE}/openapi.json").json()["paths"]
    assert log.steps[-1] == "shutdown"


async def test_a_starlette_websocket() -> None:
    log = FastApiLog([], threading.Event())
    async with (
        restsock.listen("127.0.0.1", 0) as server,
        restsock.connect(server.url, app=fastapi_app(Gate(), log), name="edge-1", loop="trio"),
    ):
        headers = [
            (b"Host", b"edge-1"),
            (b"Connection", b"upgrade"),
            (b"Upgrade", b"websocket"),
            (b"Sec-WebSocket-Key", b"dGhlIHNhbXBsZSBub25jZQ=="),
            (b"Sec-WebSocket-Version", b"13"),
            (b"Sec-WebSocket-Protocol", b"chat"),
        ]
        head = RequestHead(b"GET", b"/ws/lobby", headers)
        exchange = AsyncExchange.open(server.route("edge-1"), head)
        response = await exchange.receive_head()
        assert response.status == 101
        assert (b"Sec-WebSocket-Protocol", b"chat") in response.headers
        client = WebSocket(client=True, max_message=1000)

        async def receive() -> Any:
            while (event := client.next_event()) is None:
                client.receive_data(await exchange.receive_data())
            return event

        for number in range(3):
            client.send_text(f"hello {number}")
            await exchange.send_data(client.data_to_send())
            assert await receive() == TextMessage(f"lobby: hello {number}")
        client.close(3001)
        await exchange.send_data(client.data_to_send())
        assert await receive() == CloseReceived(3001, "")
        exchange.send_end()
        assert await exchange.receive_data() == b""
    assert "left 3001" in log.steps


# --- Django ---------------------------------------------------------------------------------------


def django_pet(request: HttpRequest, name: str) -> HttpResponse:
    body = {"name": name, "args": request.GET.getlist("a"), "form": request.POST.dict()}
    return JsonResponse({**body, "url": request.build_absolute_uri()})


def django_upload(request: HttpRequest) -> HttpResponse:
    file: Any = request.FILES["file"]
    return JsonResponse({"same": file.read() == BIG, "name": file.name})


def django_echo(request: HttpRequest) -> Any:
    return StreamingHttpResponse(iter(lambda: request.read(9999), b""))


def django_file(request: HttpRequest) -> Any:
    return FileResponse(io.BytesIO(BIG))


def django_events(request: HttpRequest) -> Any:
    return StreamingHttpResponse(iter(django_gate), content_type="text/event-stream")


def django_broken(request: HttpRequest) -> HttpResponse:
    raise ZeroDivisionError


django_gate = Gate()

urlpatterns = [
    path("pets/<str:name>", django_pet),
    path("upload", django_upload),
    path("echo", django_echo),
    path("file", django_file),
    path("events", django_events),
    path("broken", django_broken),
]


@pytest.fixture(autouse=True)
def _django() -> None:
    use_urls(__name__)


def test_django_by_wsgi() -> None:
    with serving(get_wsgi_application()) as session:
        response = session.post(f"{EDGE}/pets/K%C3%A4fer?a=1&a=2", data={"age": "3"})
        assert response.json() == {
            "name": "Käfer",
            "args": ["1", "2"],
            "form": {"age": "3"},
            "url": "http://edge-1/pets/K%C3%A4fer?a=1&a=2",
        }
        response = session.post(f"{EDGE}/upload", files={"file": ("a.bin", BIG)})
        assert response.json() == {"same": True, "name": "a.bin"}
        # Django takes a body without a length for none, under every server.
        assert session.post(f"{EDGE}/echo", data=BIG).content == BIG
        assert session.get(f"{EDGE}/file").content == BIG
        check_events(session, django_gate)
        assert session.get(f"{EDGE}/none").status_code == 404
        assert session.get(f"{EDGE}/broken").status_code == 500


# What Django leaves open when it fails halfway: a file of the body, coroutines.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.filterwarnings("ignore:coroutine:RuntimeWarning")
def test_django_on_trio_says_that_it_needs_asyncio(caplog: pytest.LogCaptureFixture) -> None:
    with serving(get_asgi_application(), loop="trio") as session:
        for _ in range(2):
            assert session.get(f"{EDGE}/pets/a").status_code == 500
    assert 'serve it with loop="asyncio"' in caplog.text
    # The log holds the tracebacks, and they hold what was left open.
    caplog.clear()
    gc.collect()


# --- a bare app -----------------------------------------------------------------------------------


async def bare(scope: Any, receive: Any, send: Any) -> None:
    assert scope["type"] == "http"
    size = 0
    more = True
    while more:
        message = await receive()
        size += len(message["body"])
        more = message["more_body"]
    await send({"type": "http.response.start", "status": 200, "headers": [(b"x-a", b"1")]})
    await send({"type": "http.response.body", "body": b"%d" % size})


def test_a_bare_asgi_app() -> None:
    with serving(bare) as session:
        response = session.post(f"{EDGE}/", data=pieces())
        assert (response.text, response.headers["x-a"]) == (str(len(BIG)), "1")


def test_many_at_once() -> None:
    with serving(flask_app(Gate()), workers=4) as session:
        adapter = session.get_adapter(EDGE)
        numbers = itertools.count()
        wrong = []

        def ask() -> None:
            with requests.Session() as own:
                own.mount(EDGE, adapter)
                for _ in range(20):
                    name = f"pet{next(numbers)}"
                    if own.get(f"{EDGE}/pets/{name}").json()["name"] != name:
                        wrong.append(name)

        threads = [threading.Thread(target=ask) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(PATIENCE)
        assert not wrong
        assert next(numbers) == 160
