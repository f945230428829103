"""Idle clients of an ingress: what one that keeps its connection costs the ingress in memory.

    python -m tests.bench.idle_clients listen       internal: the listener with the ingress
    python -m tests.bench.idle_clients ask PORT     internal: the clients, and the peer they ask

Each has got one answer of a peer, as any client has that keeps its connection.
"""

from __future__ import annotations

import contextlib
import json
import logging
import subprocess
import sys
import time
from collections.abc import Sequence
from typing import Any

import trio

from tests.bench import weights
from tests.bench.idle import AT_ONCE, BEFORE, SPARE_FILES, kib, raise_file_limit
from tests.bench.processes import hear, hide_c_masking, python, rss_bytes, running, tell

_NAME = "edge"
_HOST = "127.0.0.1"
_REQUEST = b"GET /pets/7 HTTP/1.1\r\nHost: %s\r\nAccept: */*\r\n\r\n" % _HOST.encode()
_BODY = b'{"id": 7}'


# --- the two processes ------------------------------------------------------------------------


async def _listen() -> None:
    import restsock
    from restsock.ingress import Ingress, Route

    scales = weights.Scales()
    options = restsock.Options(
        limits=restsock.Limits(max_http_clients=1_000_000),
        timeouts=restsock.Timeouts(keep_alive=3600),  # none is closed meanwhile
        heartbeat=restsock.Heartbeat(interval=None),
        sockets=restsock.SocketOptions(backlog=1024),
    )
    ingress = Ingress(routes=[Route(_HOST, _NAME)])
    async with restsock.listen(_HOST, 0, ingress=ingress, options=options) as server:
        print(json.dumps({"port": server.address[1]}), flush=True)
        while line := await trio.to_thread.run_sync(sys.stdin.readline):
            print(json.dumps(scales.answer(json.loads(line))), flush=True)


async def _ask(port: int) -> None:
    import restsock

    async def app(_: restsock.Request) -> restsock.Response:
        return restsock.Response(200, [("Content-Type", "application/json")], _BODY)

    free = trio.CapacityLimiter(AT_ONCE)
    open_now: list[trio.SocketStream] = []

    async def one() -> None:
        async with free:
            stream = await trio.open_tcp_stream(_HOST, port)
            await stream.send_all(_REQUEST)
            answer = b""
            while not answer.endswith(_BODY):
                data = await stream.receive_some()
                if not data:
                    raise RuntimeError(f"no whole answer: {answer!r}")
                answer += bytes(data)
        open_now.append(stream)

    async with restsock.connect(f"ws://{_HOST}:{port}/", app=app, name=_NAME) as client:
        await client.wait_connected()
        while line := await trio.to_thread.run_sync(sys.stdin.readline):
            async with trio.open_nursery() as nursery:
                for _ in range(json.loads(line)["open"] - len(open_now)):
                    nursery.start_soon(one)
            print(json.dumps({"open": len(open_now)}), flush=True)


# --- the measurement --------------------------------------------------------------------------


def measure(counts: Sequence[int]) -> list[dict[str, Any]]:
    """Memory of one client, at each of these numbers of them."""
    most = raise_file_limit() - SPARE_FILES
    with contextlib.ExitStack() as stack:
        listener, clients = _start(stack)
        _grow(clients, BEFORE)
        empty = rss_bytes(listener.pid)
        rows = []
        for count in counts:
            if count > most:  # the section says so already
                continue
            took = _grow(clients, count)
            each = kib(empty, rss_bytes(listener.pid), count - BEFORE)
            rows.append({"connections": count, "ingress_kib": each, "connect_seconds": took})
    return rows


def weigh(count: int) -> dict[str, Any]:
    """What a client consists of at the ingress, on the average of so many: see `weights`."""
    with contextlib.ExitStack() as stack:
        listener, clients = _start(stack)
        _grow(clients, BEFORE)
        tell(listener, {"weigh": "before"})
        hear(listener)
        _grow(clients, BEFORE + count)
        tell(listener, {"weigh": "after"})
        return weights.of_one(hear(listener), count)


def _start(
    stack: contextlib.ExitStack,
) -> tuple[subprocess.Popen[str], subprocess.Popen[str]]:
    listener = stack.enter_context(running(python("idle_clients", "listen")))
    port = hear(listener)["port"]
    return listener, stack.enter_context(running(python("idle_clients", "ask", str(port))))


def _grow(clients: subprocess.Popen[str], count: int) -> float:
    """Connects until there are so many, and each has its answer."""
    begin = time.perf_counter()
    tell(clients, {"open": count})
    hear(clients)
    took = time.perf_counter() - begin
    time.sleep(1)  # what the requests have left behind is freed
    return took


def main() -> None:
    hide_c_masking()
    raise_file_limit()
    logging.disable()  # thousands of lines when the other process ends
    kind, *port = sys.argv[1:]
    if kind == "listen":
        trio.run(_listen)
    else:
        trio.run(_ask, int(port[0]))


if __name__ == "__main__":
    main()
