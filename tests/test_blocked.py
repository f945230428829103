"""A loop that something blocks is named in the log, while it is blocked."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Iterator
from typing import Any

import pytest
import trio

from restsock import _blocked
from restsock.connection import Request, Response
from restsock.testing import connected_pair

PATIENCE = 20


class Lines(logging.Handler):
    """Waits for lines of the log, on any thread."""

    def __init__(self) -> None:
        super().__init__()
        self.blocked = threading.Event()
        self.again = threading.Event()
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(record.getMessage())
        (self.again if "runs again" in self.lines[-1] else self.blocked).set()


@pytest.fixture
def lines(monkeypatch: pytest.MonkeyPatch) -> Iterator[Lines]:
    monkeypatch.setattr(_blocked, "_PAUSE", 0.05)
    monkeypatch.setattr(_blocked, "_SLACK", PATIENCE)
    handler = Lines()
    logger = logging.getLogger("restsock.connection")
    logger.addHandler(handler)
    yield handler
    logger.removeHandler(handler)


@pytest.mark.parametrize("kind", ["function", "trio", "asyncio"])
async def test_what_blocks_a_loop_is_in_the_log(kind: str, lines: Lines) -> None:
    def block() -> None:
        assert lines.blocked.wait(PATIENCE)

    async def function(request: Request) -> Response:
        block()
        return Response(200)

    async def asgi(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "http":
            block()
            await send({"type": "http.response.start", "status": 200})
            await send({"type": "http.response.body"})

    app, loop = (function, "auto") if kind == "function" else (asgi, kind)
    async with connected_pair(app_b=app, loop_b=loop) as (dialer, _):
        assert (await dialer.request("GET", "/")).status == 200
        assert await trio.to_thread.run_sync(lines.again.wait, PATIENCE)
    blocked, again = lines.lines
    name = (
        "the asyncio loop of the app (thread restsock-asyncio-"
        if kind == "asyncio"
        else "the trio loop of the connections"
    )
    assert blocked.startswith(name)
    assert "is blocked: it has not run for" in blocked
    assert "test_blocked.py" in blocked
    assert " in block, called from " in blocked
    assert again.startswith(name)
    assert "runs again; it was blocked for" in again


async def test_a_busy_loop_is_not_a_blocked_one(lines: Lines) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "http":
            for _ in range(4):
                await asyncio.sleep(0.05)
            await send({"type": "http.response.start", "status": 200})
            await send({"type": "http.response.body"})

    async with connected_pair(app_b=app) as (dialer, _):
        assert (await dialer.request("GET", "/")).status == 200


def test_the_thread_ends_with_the_last_loop() -> None:
    def watching() -> list[threading.Thread]:
        return [t for t in threading.enumerate() if t.name == "restsock-watch"]

    async def main() -> None:
        for _ in range(2):
            watch = _blocked.loop_watch()
            watch.stand_in(print, 15)
            with _blocked.watched("another", 0, lambda function: function()):
                watch.stand_in(list, None)
                assert len(watching()) == 1
                watch.stop_standing_in(list)
                assert len(watching()) == 1
            watch.stop_standing_in(print)
            assert watching() == []

    trio.run(main)
    assert watching() == []
