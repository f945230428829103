"""An app that blocks its loop delays its own answers, and ends no connection."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import trio

import restsock
import restsock.sync
from restsock.connection import Request, Response

INTERVAL, TIMEOUT = 0.5, 1.0
OPTIONS = restsock.Options(heartbeat=restsock.Heartbeat(interval=INTERVAL, timeout=TIMEOUT))
BLOCKED = 4 * (INTERVAL + TIMEOUT)


async def asgi(scope: Any, receive: Any, send: Any) -> None:
    if scope["type"] != "http":
        return
    if scope["path"] == "/block":
        time.sleep(BLOCKED)  # noqa: ASYNC251  # that is what it is about
    await send({"type": "http.response.start", "status": 200})
    await send({"type": "http.response.body", "body": b"done"})


async def function(request: Request) -> Response:
    if request.path == "/block":
        time.sleep(BLOCKED)  # noqa: ASYNC251  # that is what it is about
    return Response(body="done")


def wsgi(environ: dict[str, Any], start_response: Any) -> list[bytes]:
    if environ["REQUEST_METHOD"] == "POST":
        time.sleep(BLOCKED / 2)
    start_response("200 OK", [])
    return [environ["wsgi.input"].read()]


@contextlib.contextmanager
def dialing(api: str, url: str, app: Any, loop: str) -> Iterator[None]:
    """Dials as "edge" with an app that blocks, and as "wsgi" beside it, on one loop."""
    if api == "sync":
        with (
            restsock.sync.connect(url, app=app, loop=loop, name="edge", options=OPTIONS),
            restsock.sync.connect(url, app=wsgi, name="wsgi", options=OPTIONS),
        ):
            yield
        return
    end: list[Any] = []
    running = threading.Event()

    async def main() -> None:
        async with (
            restsock.connect(url, app=app, loop=loop, name="edge", options=OPTIONS),
            restsock.connect(url, app=wsgi, name="wsgi", options=OPTIONS),
        ):
            done = trio.Event()
            token = trio.lowlevel.current_trio_token()
            end.append(lambda: token.run_sync_soon(done.set))
            running.set()
            await done.wait()

    thread = threading.Thread(target=trio.run, args=(main,), daemon=True)
    thread.start()
    assert running.wait(10)
    yield
    end[0]()
    thread.join(10)
    assert not thread.is_alive()


def survives(api: str, app: Any, loop: str) -> None:
    """Calls what blocks, and a WSGI app whose worker is at work meanwhile."""

    async def main() -> None:
        async with restsock.listen("127.0.0.1", 0, options=OPTIONS) as server:
            manager = dialing(api, server.url, app, loop)
            await trio.to_thread.run_sync(manager.__enter__)
            ends: dict[str, float] = {}

            async def call(name: str, method: str, path: str, body: bytes) -> None:
                response = await server.route(name).request(
                    method, path, body=body, timeout=BLOCKED * 3
                )
                assert response.status == 200
                ends[name] = trio.current_time()

            try:
                for name in ("edge", "wsgi"):
                    await server.route(name).request("GET", "/", timeout=BLOCKED * 3)
                before = {connection.id for connection in server.connections}
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(call, "wsgi", "POST", "/", b"x" * 100)
                    await trio.sleep(BLOCKED / 10)  # it is in its worker by then
                    nursery.start_soon(call, "edge", "GET", "/block", b"")
                assert {connection.id for connection in server.connections} == before
                assert ends["wsgi"] < ends["edge"]
                assert (await server.route("edge").request("GET", "/")).text == "done"
            finally:
                with trio.CancelScope(shield=True):
                    await trio.to_thread.run_sync(manager.__exit__, None, None, None)

    trio.run(main)


def test_no_app_stalls_a_connection() -> None:
    # All at once: they do nothing but wait. Those of the blocking API share one loop, so that only
    # one of them blocks it.
    cases = [
        ("sync", asgi, "asyncio"),
        ("sync", asgi, "trio"),
        ("async", asgi, "asyncio"),
        ("async", asgi, "trio"),
        ("async", function, "auto"),
    ]
    with ThreadPoolExecutor(len(cases)) as pool:
        for done in [pool.submit(survives, *case) for case in cases]:
            done.result(50)
