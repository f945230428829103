"""The life of a listener as a host sees it, without a host: scopes come in, messages go out."""

from __future__ import annotations

import functools
import inspect
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from types import SimpleNamespace
from typing import Any

import anyio
import anyio.lowlevel
import pytest

import restsock
import restsock.asgi
from restsock.asgi import _listener
from restsock.protocol import SUBPROTOCOL
from tests.waiting import until

DENIAL = "websocket.http.response"


def each_loop(function: Callable[..., Awaitable[None]]) -> Callable[..., None]:
    """Runs a test on asyncio and on trio."""

    def test(loop: str, **fixtures: Any) -> None:
        async def bounded() -> None:
            with anyio.fail_after(20):
                await function(**fixtures)

        anyio.run(bounded, backend=loop)

    functools.update_wrapper(test, function)
    del test.__wrapped__  # type: ignore[attr-defined]  # pytest would see that it is async
    wanted = inspect.signature(function)
    extra = inspect.Parameter("loop", inspect.Parameter.POSITIONAL_OR_KEYWORD)
    test.__signature__ = wanted.replace(  # type: ignore[attr-defined]
        parameters=[extra, *wanted.parameters.values()]
    )
    decorated: Callable[..., None] = pytest.mark.parametrize("loop", ["asyncio", "trio"])(test)
    return decorated


@pytest.fixture
def sockets(monkeypatch: pytest.MonkeyPatch) -> list[socket.socket]:
    """All sockets that listeners make."""
    made: list[socket.socket] = []
    pair = socket.socketpair

    def socketpair() -> tuple[socket.socket, socket.socket]:
        two = pair()
        made.extend(two)
        return two

    monkeypatch.setattr(_listener, "socket", SimpleNamespace(socketpair=socketpair))
    return made


class Dialer:
    """A WebSocket that a host hands to an application."""

    def __init__(self, *extensions: str) -> None:
        self.scope: dict[str, Any] = {
            "type": "websocket",
            "path": "/tunnel",
            "headers": [(b"host", b"hq.example")],
            "client": ("203.0.113.9", 4711),
            "scheme": "wss",
            "subprotocols": [SUBPROTOCOL],
            "extensions": {name: {} for name in extensions},
        }
        self.sent: list[Any] = []
        self._connected = False

    async def receive(self) -> dict[str, Any]:
        if self._connected:
            await anyio.sleep_forever()
        self._connected = True
        await anyio.lowlevel.checkpoint()
        return {"type": "websocket.connect"}

    async def send(self, message: Any) -> None:
        await anyio.lowlevel.checkpoint()
        self.sent.append(message)

    async def dial(self, listener: restsock.asgi.Listener) -> None:
        await listener(self.scope, self.receive, self.send)

    async def answered(self) -> None:
        """Waits for the first message of the application."""
        await until(lambda: self.sent)

    @property
    def accepted(self) -> bool:
        return [message["type"] for message in self.sent] == ["websocket.accept"]


async def all_closed(sockets: list[socket.socket]) -> None:
    assert sockets
    await until(lambda: all(sock.fileno() == -1 for sock in sockets))


@asynccontextmanager
async def connected(listener: restsock.asgi.Listener) -> AsyncIterator[Dialer]:
    """A dialer that was accepted, and says nothing further; the host cancels it after the block."""
    dialer = Dialer()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(dialer.dial, listener)
        await until(lambda: dialer.accepted)
        yield dialer
        tasks.cancel_scope.cancel()


@each_loop
async def test_a_peer_that_dials_after_the_end_is_refused(sockets: list[socket.socket]) -> None:
    listener = restsock.asgi.Listener()
    async with listener.lifespan():
        pass
    dialer = Dialer(DENIAL)
    await dialer.dial(listener)
    start, body = dialer.sent
    assert (start["type"], start["status"]) == (f"{DENIAL}.start", 503)
    assert (b"retry-after", b"1") in start["headers"]
    assert body["body"].endswith(b"\n")
    poor = Dialer()  # of a host that has no way for a status
    await poor.dial(listener)
    assert [message["type"] for message in poor.sent] == ["websocket.close"]
    await all_closed(sockets)


@each_loop
async def test_a_peer_is_refused_while_another_listener_goes_on(
    sockets: list[socket.socket],
) -> None:
    """The background loop goes on, since both have a share of it."""
    listener = restsock.asgi.Listener()
    other = restsock.asgi.Listener()
    async with other.lifespan():
        async with listener.lifespan():
            pass
        dialer = Dialer(DENIAL)
        await dialer.dial(listener)
        assert dialer.sent[0]["status"] == 503
        await all_closed(sockets)


@each_loop
async def test_peers_that_dial_while_the_listener_closes_leave_nothing(
    sockets: list[socket.socket], caplog: pytest.LogCaptureFixture
) -> None:
    for _ in range(5):
        listener = restsock.asgi.Listener()
        dialers = [Dialer(DENIAL) for _ in range(20)]
        async with anyio.create_task_group() as tasks:
            async with listener.lifespan():
                for dialer in dialers:
                    tasks.start_soon(dialer.dial, listener)
                await anyio.lowlevel.checkpoint()
            for dialer in dialers:
                await dialer.answered()
            tasks.cancel_scope.cancel()
        for dialer in dialers:
            # One whose handshake had begun was accepted, and is closed; others are refused.
            first = dialer.sent[0]
            assert first["type"] == "websocket.accept" or first["status"] == 503
    await all_closed(sockets)
    assert not [record for record in caplog.records if record.levelname == "ERROR"]


@each_loop
async def test_a_host_that_cancels_the_call_leaves_nothing(sockets: list[socket.socket]) -> None:
    listener = restsock.asgi.Listener()
    async with listener.lifespan():
        async with connected(listener):
            pass
        await all_closed(sockets)
        await until(lambda: listener.sync.statistics().handshaking == 0)


@each_loop
async def test_a_host_that_cancels_the_call_at_once_leaves_nothing(
    sockets: list[socket.socket],
) -> None:
    listener = restsock.asgi.Listener()
    async with listener.lifespan():
        for steps in range(12):
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(Dialer().dial, listener)
                for _ in range(steps):
                    await anyio.lowlevel.checkpoint()
                tasks.cancel_scope.cancel()
        await all_closed(sockets)


@each_loop
async def test_another_lifespan_starts_it_again() -> None:
    listener = restsock.asgi.Listener()
    for _ in range(3):
        async with listener.lifespan():
            assert "accepting" in repr(listener)
            async with connected(listener):
                assert not listener.sync.closed
        assert listener.sync.closed
        assert "closed" in repr(listener)


class Fickle:
    """An application whose lifespan fails the first time."""

    def __init__(self) -> None:
        self.starts = 0

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        assert scope["type"] == "lifespan"
        await receive()
        self.starts += 1
        if self.starts == 1:
            await send({"type": "lifespan.startup.failed", "message": "no database"})
            return
        await send({"type": "lifespan.startup.complete"})
        await receive()
        await send({"type": "lifespan.shutdown.complete"})


@each_loop
async def test_one_that_did_not_start_can_start_later(sockets: list[socket.socket]) -> None:
    listener = restsock.asgi.Listener(app=Fickle(), interface="asgi", loop="asyncio")
    with pytest.raises(Exception, match="no database"):
        await Dialer(DENIAL).dial(listener)
    assert not sockets
    async with listener.lifespan(), connected(listener):
        pass


@each_loop
async def test_a_failed_start_is_told_to_the_host() -> None:
    listener = restsock.asgi.Listener(app=Fickle(), interface="asgi", loop="asyncio")
    sent: list[Any] = []

    async def receive() -> dict[str, Any]:
        await anyio.lowlevel.checkpoint()
        return {"type": "lifespan.startup"}

    async def send(message: Any) -> None:
        await anyio.lowlevel.checkpoint()
        sent.append(message)

    with pytest.raises(Exception, match="no database"):
        await listener({"type": "lifespan"}, receive, send)
    assert [message["type"] for message in sent] == ["lifespan.startup.failed"]


@each_loop
async def test_a_lifespan_that_is_cancelled_closes_the_listener() -> None:
    listener = restsock.asgi.Listener()
    started = anyio.Event()

    async def receive() -> dict[str, Any]:
        if started.is_set():
            await anyio.sleep_forever()
        return {"type": "lifespan.startup"}

    async def send(message: Any) -> None:
        await anyio.lowlevel.checkpoint()
        assert message["type"] == "lifespan.startup.complete"
        started.set()

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(listener, {"type": "lifespan"}, receive, send)
        await started.wait()
        tasks.cancel_scope.cancel()
    assert listener.sync.closed


def test_a_test_client_may_start_it_for_each_test() -> None:
    """As tests of applications do, on a thread that is not the main one."""
    testclient = pytest.importorskip("starlette.testclient")
    listener = restsock.asgi.Listener(drain_on_signal=True)
    for _ in range(2):
        with testclient.TestClient(listener) as client:
            assert client.get("/").status_code == 426
