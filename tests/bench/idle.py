"""Idle connections: what one costs in memory, and their heartbeats in CPU time.

    python -m tests.bench.idle listen INTERVAL      internal: the listener
    python -m tests.bench.idle dial PORT            internal: the dialer; one number a line

One process listens, another dials, so that each is weighed alone.
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
from tests.bench.processes import (
    cpu_seconds,
    hear,
    hide_c_masking,
    python,
    rss_bytes,
    running,
    tell,
)

# Open before the first weighing: what is loaded with the first connection is not the price of one.
BEFORE = 50
AT_ONCE = 64  # handshakes
SPARE_FILES = 200


def raise_file_limit() -> int:
    """As many open files as the system lets this process have."""
    try:
        import resource
    except ImportError:
        return 1024
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return 1_000_000 if hard == resource.RLIM_INFINITY else hard


# --- the two processes ------------------------------------------------------------------------


async def _listen(interval: float) -> None:
    import restsock

    scales = weights.Scales()
    # Of the two only the listener sends pings: each is a frame out and a frame in, on either side.
    options = restsock.Options(
        heartbeat=restsock.Heartbeat(interval=interval, timeout=60),
        sockets=restsock.SocketOptions(backlog=1024),
    )
    async with restsock.listen("127.0.0.1", 0, options=options) as server:
        print(json.dumps({"port": server.address[1]}), flush=True)
        while line := await trio.to_thread.run_sync(sys.stdin.readline):
            command = json.loads(line)
            answer = {"connections": len(server.connections)}
            print(json.dumps({**answer, **scales.answer(command)}), flush=True)


async def _dial(port: int) -> None:
    import restsock
    from restsock.connection import Connection, Peer
    from restsock.connection._handshake import open_dialed

    options = restsock.Options(
        heartbeat=restsock.Heartbeat(interval=None), timeouts=restsock.Timeouts(handshake=60)
    )
    free = trio.CapacityLimiter(AT_ONCE)
    scales = weights.Scales()

    async def one() -> None:
        async with free:
            stream = await trio.open_tcp_stream("127.0.0.1", port)
            connection = await open_dialed(
                stream, host="bench", peer=Peer("127.0.0.1", port), options=options
            )
        open_now.append(connection)
        nursery.start_soon(keep, connection)

    async def keep(connection: Connection) -> None:
        await connection.run()
        raise RuntimeError(f"an idle connection has ended: {connection.closed}")

    open_now: list[Any] = []
    async with trio.open_nursery() as nursery:
        while line := await trio.to_thread.run_sync(sys.stdin.readline):
            command = json.loads(line)
            async with trio.open_nursery() as dialing:
                for _ in range(command.get("open", 0) - len(open_now)):
                    dialing.start_soon(one)
            print(json.dumps({"open": len(open_now), **scales.answer(command)}), flush=True)
        nursery.cancel_scope.cancel()


# --- the measurement --------------------------------------------------------------------------


def measure(counts: Sequence[int], *, interval: float, seconds: float) -> dict[str, Any]:
    """Memory at each of these numbers of connections, and CPU time over so many seconds."""
    most = raise_file_limit() - SPARE_FILES
    skipped = [
        f"SKIP {count} idle connections: at most {most + SPARE_FILES} open files; ulimit -n"
        for count in counts
        if count > most
    ]
    with contextlib.ExitStack() as stack:
        sides = _start(stack, interval)
        _grow(sides, BEFORE)
        empty = {side: rss_bytes(process.pid) for side, process in sides.items()}
        rows = []
        for count in counts:
            if count > most:
                continue
            took = _grow(sides, count)
            row: dict[str, Any] = {"connections": count, "connect_seconds": took}
            for side, process in sides.items():
                row[f"{side}_kib"] = kib(empty[side], rss_bytes(process.pid), count - BEFORE)
            row.update(_heartbeats(sides, seconds))
            rows.append(row)
    found = {"rows": rows, "interval": interval, "seconds": seconds, "skipped": skipped}
    return {**found, "weights": weigh(500)}


def weigh(count: int) -> dict[str, dict[str, Any]]:
    """What a connection consists of at each side, on the average of so many: see `weights`."""
    with contextlib.ExitStack() as stack:
        sides = _start(stack, None)
        _grow(sides, BEFORE)
        for when in ("before", "after"):
            answers = {}
            for side, process in sides.items():
                tell(process, {"weigh": when})
                answers[side] = hear(process)
            if when == "before":
                _grow(sides, BEFORE + count)
        return {side: weights.of_one(answer, count) for side, answer in answers.items()}


def _start(stack: contextlib.ExitStack, interval: float | None) -> dict[str, subprocess.Popen[str]]:
    listener = stack.enter_context(running(python("idle", "listen", str(interval or 1000))))
    dialer = stack.enter_context(running(python("idle", "dial", str(hear(listener)["port"]))))
    return {"listener": listener, "dialer": dialer}


def _grow(sides: dict[str, subprocess.Popen[str]], count: int) -> float:
    """Dials until so many are open, and both sides know it."""
    begin = time.perf_counter()
    tell(sides["dialer"], {"open": count})
    hear(sides["dialer"])
    while True:
        tell(sides["listener"], {})
        if hear(sides["listener"])["connections"] >= count:
            break
        time.sleep(0.1)
    took = time.perf_counter() - begin
    time.sleep(1)  # what the handshakes have left behind is freed
    return took


def kib(before: int | None, after: int | None, connections: int) -> float | None:
    """What has been added for each; `None` where that is not known."""
    if before is None or after is None:
        return None
    return (after - before) / connections / 1024


def _heartbeats(sides: dict[str, subprocess.Popen[str]], seconds: float) -> dict[str, Any]:
    """The share of a core that each side takes while nothing but heartbeats happens."""
    before = {side: cpu_seconds([process.pid]) for side, process in sides.items()}
    begin = time.perf_counter()
    time.sleep(seconds)
    elapsed = time.perf_counter() - begin
    shares: dict[str, Any] = {}
    for side, process in sides.items():
        old, new = before[side], cpu_seconds([process.pid])
        known = old is not None and new is not None
        shares[f"{side}_core"] = (new - old) / elapsed if known else None  # type: ignore[operator]  # known
    return shares


def main() -> None:
    hide_c_masking()
    raise_file_limit()
    logging.disable()  # thousands of lines when the other process ends
    kind, argument = sys.argv[1:]
    if kind == "listen":
        trio.run(_listen, float(argument))
    else:
        trio.run(_dial, int(argument))


if __name__ == "__main__":
    main()
