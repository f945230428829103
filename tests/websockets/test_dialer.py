"""A dialer that keeps a WebSocket open: its pauses, what resets them, and how it ends."""

from __future__ import annotations

import itertools
import logging
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

import pytest
import trio
from trio.testing import MockClock

from restsock import Backoff, HandshakeError, WebSocketClosed, WebSocketRefused
from restsock.connection import Response, refused_by
from restsock.websockets import ClientWebSocket, Dialer, Endpoint, Reconnect, ServerWebSocket
from restsock.websockets import _dialer as module
from tests.websockets.site import PATIENCE, echo, listening, url_of

EVEN = Reconnect(jitter=False)


class FakeWebSocket:
    """As much of one as a dialer looks at."""

    close_code: int | None = None
    closed_error: WebSocketClosed | None = None

    def close_soon(self) -> None:
        self.close_code = 1000


Attempt = Callable[[], AbstractAsyncContextManager[Any]]


@pytest.fixture
def attempts(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """When there was an attempt, by the clock of the test."""
    return []


def plan(monkeypatch: pytest.MonkeyPatch, attempts: list[float], *outcomes: object) -> None:
    """What becomes of the attempts; the last one is that of all further ones.

    An exception is raised; a number is how many seconds the WebSocket lasts, after which it is
    closed with 1006, or the code of a pair.
    """
    queue = list(outcomes)

    @asynccontextmanager
    async def opened(target: object, loop: object = None) -> Any:
        attempts.append(trio.current_time())
        outcome = queue.pop(0) if len(queue) > 1 else queue[0]
        if isinstance(outcome, Exception):
            raise outcome
        websocket = FakeWebSocket()
        websocket.lasts, websocket.close_code = (  # type: ignore[attr-defined]
            outcome if isinstance(outcome, tuple) else (outcome, 1006)
        )
        yield websocket

    monkeypatch.setattr(module, "opened", opened)


async def serve(websocket: Any) -> None:
    await trio.sleep(websocket.lasts)


def refusal(status: int) -> WebSocketRefused:
    return refused_by(Response(status))


def pauses(attempts: list[float]) -> list[float]:
    return [round(b - a, 3) for a, b in itertools.pairwise(attempts)]


async def run_for(dialer: Dialer, seconds: float) -> None:
    with trio.move_on_after(seconds):
        await dialer.run()


async def test_pauses_grow_up_to_the_cap(
    monkeypatch: pytest.MonkeyPatch, attempts: list[float], autojump_clock: MockClock
) -> None:
    plan(monkeypatch, attempts, HandshakeError("nobody listens"))
    dialer = Dialer("ws://a/", serve, reconnect=EVEN)
    await run_for(dialer, 400)
    assert pauses(attempts) == [1, 2, 4, 8, 16, 32, 60, 60, 60, 60, 60]
    assert (dialer.attempts, dialer.connections) == (12, 0)
    assert str(dialer.last_failure) == "nobody listens"


async def test_a_server_that_accepts_and_drops_is_not_dialed_in_a_loop(
    monkeypatch: pytest.MonkeyPatch, attempts: list[float], autojump_clock: MockClock
) -> None:
    plan(monkeypatch, attempts, 0)
    await run_for(Dialer("ws://a/", serve, reconnect=EVEN), 130)
    assert pauses(attempts) == [1, 2, 4, 8, 16, 32, 60]


async def test_a_connection_that_lasted_starts_over(
    monkeypatch: pytest.MonkeyPatch, attempts: list[float], autojump_clock: MockClock
) -> None:
    lost = HandshakeError("away")
    plan(monkeypatch, attempts, lost, lost, lost, 100, lost, 0, 1000, lost)
    await run_for(Dialer("ws://a/", serve, reconnect=EVEN), 2000)
    assert pauses(attempts)[:8] == [1, 2, 4, 101, 2, 4, 1001, 2]


async def test_after_a_restart_no_pause_is_long(
    monkeypatch: pytest.MonkeyPatch, attempts: list[float], autojump_clock: MockClock
) -> None:
    lost = HandshakeError("away")
    plan(monkeypatch, attempts, lost, lost, lost, lost, (100, 1012), lost)
    await run_for(Dialer("ws://a/", serve, reconnect=EVEN), 140)
    assert pauses(attempts)[4:10] == [101, 1, 1, 1, 1, 1]


async def test_jitter_is_full(
    monkeypatch: pytest.MonkeyPatch, attempts: list[float], autojump_clock: MockClock
) -> None:
    plan(monkeypatch, attempts, HandshakeError("nobody listens"))
    await run_for(Dialer("ws://a/", serve, reconnect=Reconnect(initial=8, factor=1)), 2000)
    found = pauses(attempts)
    assert all(0 <= pause <= 8 for pause in found)
    assert min(found) < 2 < 6 < max(found)


async def test_so_many_tries_and_no_more(
    monkeypatch: pytest.MonkeyPatch, attempts: list[float], autojump_clock: MockClock
) -> None:
    lost = HandshakeError("away")
    plan(monkeypatch, attempts, lost, lost, 10, lost, lost, lost)
    dialer = Dialer("ws://a/", serve, reconnect=Reconnect(jitter=False, tries=3))
    with pytest.raises(HandshakeError, match="away"):
        await dialer.run()
    assert (dialer.attempts, dialer.connections) == (6, 1)


@pytest.mark.parametrize(
    ("backoff", "failure", "ends"),
    [
        (Reconnect(), refusal(401), False),
        (Reconnect(), refusal(404), False),
        (Reconnect(), HandshakeError("no", retryable=False), False),
        (Reconnect(give_up="refused"), refusal(401), True),
        (Reconnect(give_up="refused"), refusal(404), True),
        (Reconnect(give_up="refused"), refusal(503), False),
        (Backoff(), refusal(301), True),
        (Backoff(), HandshakeError("no", retryable=False), True),
    ],
)
async def test_what_it_gives_up_at(
    backoff: Backoff,
    failure: Exception,
    ends: bool,
    monkeypatch: pytest.MonkeyPatch,
    attempts: list[float],
    autojump_clock: MockClock,
) -> None:
    plan(monkeypatch, attempts, failure)
    dialer = Dialer("ws://a/", serve, reconnect=backoff)
    if ends:
        with pytest.raises(type(failure)):
            await run_for(dialer, 100)
        assert dialer.attempts == 1
    else:
        await run_for(dialer, 100)
        assert dialer.attempts > 1


async def test_a_wait_is_ended_by_stop_and_by_a_cancellation(
    monkeypatch: pytest.MonkeyPatch, attempts: list[float], autojump_clock: MockClock
) -> None:
    plan(monkeypatch, attempts, HandshakeError("away"))
    dialer = Dialer("ws://a/", serve, reconnect=Reconnect(initial=60, jitter=False))
    async with trio.open_nursery() as nursery:
        nursery.start_soon(dialer.run)
        await trio.sleep(10)
        dialer.stop()
    assert trio.current_time() == pytest.approx(attempts[0] + 10)
    await run_for(dialer, 5)
    assert trio.current_time() == pytest.approx(attempts[0] + 15)


async def test_what_the_function_raises_ends_it(
    monkeypatch: pytest.MonkeyPatch, attempts: list[float], autojump_clock: MockClock
) -> None:
    async def fail(websocket: ClientWebSocket) -> None:
        raise KeyError("a bug")

    plan(monkeypatch, attempts, 0)
    with pytest.raises(KeyError):
        await Dialer("ws://a/", fail).run()


async def test_outages_are_logged_and_not_flooded(
    monkeypatch: pytest.MonkeyPatch,
    attempts: list[float],
    autojump_clock: MockClock,
    caplog: pytest.LogCaptureFixture,
) -> None:
    plan(monkeypatch, attempts, HandshakeError("nobody listens"))
    dialer = Dialer("ws://a/path?token=hush", serve, reconnect=Reconnect(initial=0.001, factor=1))
    with caplog.at_level(logging.INFO):
        await run_for(dialer, 1)
    lines = [r.getMessage() for r in caplog.records if r.name == "restsock.websockets"]
    assert len(attempts) > 100
    assert 1 <= len(lines) < 20
    assert lines[0].startswith("no WebSocket to ws://a/path: nobody listens; dialing again in ")
    assert "hush" not in caplog.text
    assert dialer.url == "ws://a/path"


async def test_over_real_sockets() -> None:
    """The listener goes away and comes back; what is sent afterwards arrives."""
    received: list[str | bytes] = []
    back = trio.Event()

    async def feed(websocket: ServerWebSocket) -> None:
        async for message in websocket:
            received.append(message)
            if message == "drop me":
                return
            if message == "hello 2":
                back.set()

    async def talk(websocket: ClientWebSocket) -> None:
        await websocket.send(f"hello {dialer.connections}")
        if dialer.connections == 1:
            await websocket.send("drop me")
        await websocket.receive()

    async with listening(Endpoint(feed)) as server:
        dialer = Dialer(url_of(server), talk, reconnect=Reconnect(initial=0.01), proxy=False)
        async with trio.open_nursery() as nursery:
            with trio.fail_after(PATIENCE):
                await nursery.start(dialer.run)
                await back.wait()
                assert dialer.connections == 2
                assert (dialer.last_failure, dialer.websocket is None) == (None, False)
                dialer.stop()
    assert received == ["hello 1", "drop me", "hello 2"]
    assert dialer.websocket is None


async def test_start_raises_what_the_first_attempts_ended_with() -> None:
    async with listening(Endpoint(echo)) as server, trio.open_nursery() as nursery:
        with pytest.raises(WebSocketRefused) as caught:
            await nursery.start(
                Dialer(url_of(server, "/other"), serve, reconnect=Backoff(), proxy=False).run
            )
        assert caught.value.status == 404


def test_arguments_that_are_wrong() -> None:
    with pytest.raises(TypeError, match="no argument 'compresion'; did you mean 'compression'"):
        Dialer("ws://a/", serve, compresion=True)  # type: ignore[call-arg]
    with pytest.raises(TypeError, match="serve has to be"):
        Dialer("ws://a/", None)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"Reconnect\.initial"):
        Reconnect(initial=0)
    with pytest.raises(ValueError, match="ws"):
        Dialer("http://a/", serve)
