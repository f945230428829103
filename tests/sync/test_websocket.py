"""A WebSocket to an app of the peer, from threads."""

from __future__ import annotations

import gc
import signal
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
from starlette.applications import Starlette
from starlette.routing import WebSocketRoute
from starlette.websockets import WebSocket

import restsock
import restsock.sync
from restsock import ConnectionClosed, RestsockError, WebSocketClosed

PATIENCE = 15


class App(Starlette):
    """Echoes; and notes with which codes its WebSockets were closed."""

    def __init__(self) -> None:
        super().__init__(routes=[WebSocketRoute("/echo", self.echo)])
        self.codes: list[int] = []
        self.closed = threading.Event()

    async def echo(self, websocket: WebSocket) -> None:
        await websocket.accept()
        while (message := await websocket.receive())["type"] == "websocket.receive":
            if message.get("text") == "interrupt":
                signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)
            else:
                await websocket.send_text(message["text"])
        self.codes.append(message["code"])
        self.closed.set()


@pytest.fixture
def app() -> App:
    return App()


@pytest.fixture
def route(app: App) -> Iterator[restsock.sync.Route]:
    with (
        restsock.sync.listen("127.0.0.1", 0) as server,
        restsock.sync.connect(server.url, app=app, name="edge-1"),
    ):
        yield server.route("edge-1")


def test_a_time_that_is_over_loses_nothing(route: restsock.sync.Route) -> None:
    with route.websocket("/echo") as websocket:
        with pytest.raises(TimeoutError, match=r"no message within 0\.01 s"):
            websocket.receive(timeout=0.01)
        websocket.send("here", timeout=5)
        assert websocket.receive(timeout=PATIENCE) == "here"
        with pytest.raises(TimeoutError):
            websocket.receive(0)


def test_one_thread_receives_while_others_send(route: restsock.sync.Route) -> None:
    with route.websocket("/echo") as websocket, ThreadPoolExecutor(5) as executor:
        reading = executor.submit(list, websocket)
        for sending in [executor.submit(websocket.send, str(n)) for n in range(50)]:
            sending.result(PATIENCE)
        with route.websocket("/echo") as other:  # they do not get into each other's way
            other.send("other")
            assert other.receive(PATIENCE) == "other"
        websocket.close()
        assert set(reading.result(PATIENCE)) <= {str(n) for n in range(50)}


def test_one_that_is_dropped_is_closed(route: restsock.sync.Route, app: App) -> None:
    websocket = route.websocket("/echo")
    websocket.send("x")
    assert websocket.receive(PATIENCE) == "x"
    del websocket
    gc.collect()
    assert app.closed.wait(PATIENCE)
    assert app.codes == [1000]


@pytest.mark.skipif(sys.platform == "win32", reason="signals to a thread are POSIX")
def test_ctrl_c_ends_a_wait(route: restsock.sync.Route, app: App) -> None:
    with pytest.raises(KeyboardInterrupt), route.websocket("/echo") as websocket:
        websocket.send("interrupt")
        while True:
            websocket.receive()
    assert app.closed.wait(PATIENCE)
    assert app.codes == [1011]


def test_after_the_end_of_the_client(app: App) -> None:
    with restsock.sync.listen("127.0.0.1", 0, app=app) as server:
        client = restsock.sync.connect(server.url)
        with client.websocket("/echo") as websocket:
            client.close(grace=0)
            with pytest.raises(WebSocketClosed) as caught:
                websocket.receive(PATIENCE)
            assert isinstance(caught.value.__cause__, ConnectionClosed)
            with pytest.raises(WebSocketClosed):
                websocket.send("late")
        websocket.close()
        with pytest.raises(RestsockError):
            client.websocket("/echo")
    with pytest.raises(RestsockError):
        websocket.receive()
