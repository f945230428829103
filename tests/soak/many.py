"""Thousands of idle connections and hundreds of busy ones at once, on one server.

    python -m tests.soak.many                              5,000 idle, 200 busy
    python -m tests.soak.many --idle 10000 --busy 500 --seconds 30 --json FILE
    python -m tests.soak.many --plain                      the idle ones are clients of plain HTTP
    python -m tests.soak.many listen|busy|plain ...        internal: the processes

One process listens. Two hold the idle connections, two the busy ones, whose requests go to the
listener's app; and the listener calls the app of each busy peer by its name. The busy ones send at
a steady rate at first, then as fast as they can. The same is measured before the idle ones are
there, so that it shows what they cost.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import logging
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, NamedTuple

import trio

from tests.bench.idle import raise_file_limit
from tests.bench.processes import cpu_seconds, hear, rss_bytes, running, tell
from tests.faults.page import put

_PROCESSES = 2  # for each kind of dialers
_MIB = 1024 * 1024
_AT_ONCE = 64  # clients of plain HTTP that connect


def _options() -> Any:
    import restsock

    times = restsock.Timeouts(handshake=60, connect=60, keep_alive=3600)
    return restsock.Options(timeouts=times)


# --- the processes ----------------------------------------------------------------------------


async def _listen() -> None:
    import restsock

    async def app(request: restsock.Request) -> restsock.Response:
        return restsock.Response(200, {}, request.path)

    async with restsock.listen(
        "127.0.0.1", 0, app=app, options=_options(), endpoints={"/": app}
    ) as server:
        print(json.dumps({"port": server.address[1]}), flush=True)
        while line := await trio.to_thread.run_sync(sys.stdin.readline):
            command = json.loads(line)
            here = len(server.connections) + len(server._http_clients)
            answer: dict[str, Any] = {"connections": here}
            if "names" in command:
                routes = [server.route(name) for name in command["names"]]
                answer.update(await _call(routes, command["seconds"], command["pause"]))
            print(json.dumps(answer), flush=True)


async def _busy(port: int, prefix: str, count: int) -> None:
    import restsock

    async def app(request: restsock.Request) -> restsock.Response:
        return restsock.Response(200, {}, request.path)

    async with contextlib.AsyncExitStack() as stack:
        clients = []
        for number in range(count):
            client = restsock.connect(
                f"ws://127.0.0.1:{port}/", app=app, name=f"{prefix}{number}", options=_options()
            )
            clients.append(await stack.enter_async_context(client))
        print(json.dumps({"names": [client.name for client in clients]}), flush=True)
        while line := await trio.to_thread.run_sync(sys.stdin.readline):
            command = json.loads(line)
            answer = await _call(clients, command["seconds"], command["pause"])
            answer["connections"] = sum(client.statistics().connections for client in clients)
            print(json.dumps(answer), flush=True)


async def _plain(port: int) -> None:
    """Clients of plain HTTP: each asks once, and keeps its connection."""
    get = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"
    free = trio.CapacityLimiter(_AT_ONCE)
    streams: list[trio.SocketStream] = []

    async def one() -> None:
        async with free:
            stream = await trio.open_tcp_stream("127.0.0.1", port)
            streams.append(stream)
            await stream.send_all(get)
            assert (await stream.receive_some(4096)).startswith(b"HTTP/1.1 200 ")

    while line := await trio.to_thread.run_sync(sys.stdin.readline):
        async with trio.open_nursery() as nursery:
            for _ in range(json.loads(line)["open"]):
                nursery.start_soon(one)
        print(json.dumps({"open": len(streams)}), flush=True)


async def _call(requesters: list[Any], seconds: float, pause: float) -> dict[str, Any]:
    """Each of them sends requests, one behind the other, for so long."""
    times: list[float] = []
    errors: list[str] = []

    async def one(number: int, requester: Any) -> None:
        if pause:  # not all in the same moment
            await trio.sleep(pause * number / len(requesters))
        count = 0
        while trio.current_time() < end:
            count += 1
            path = f"/{number}/{count}"
            begin = time.perf_counter()
            try:
                response = await requester.request("GET", path, timeout=30)
            except Exception as exc:  # noqa: BLE001  # whatever it is, it is counted
                errors.append(repr(exc))
            else:
                if (response.status, response.text) != (200, path):
                    errors.append(f"{response.status} {response.text[:50]}")
            took = time.perf_counter() - begin
            times.append(took)
            if pause > took:
                await trio.sleep(pause - took)

    end = trio.current_time() + seconds
    async with trio.open_nursery() as nursery:
        for number, requester in enumerate(requesters):
            nursery.start_soon(one, number, requester)
    return {"times": times, "errors": len(errors), "first_error": errors[:1]}


# --- the measurement --------------------------------------------------------------------------


class Site(NamedTuple):
    """A listener with busy peers."""

    listener: subprocess.Popen[str]
    port: str
    callers: list[subprocess.Popen[str]]
    names: list[str]

    def spell(
        self, name: str, seconds: float, pause: float, *, both: bool = False
    ) -> dict[str, Any]:
        """They send for so long, and with `both` the listener calls each of them, too."""
        everybody = [self.listener, *self.callers]
        before = {process.pid: cpu_seconds([process.pid]) or 0.0 for process in everybody}
        begin = time.perf_counter()
        for caller in self.callers:
            tell(caller, {"seconds": seconds, "pause": pause})
        if both:
            tell(self.listener, {"names": self.names, "seconds": seconds, "pause": pause})
        heard = [hear(caller) for caller in self.callers]
        dialed = sum(answer["connections"] for answer in heard)
        if both:
            heard.append(hear(self.listener))
        took = time.perf_counter() - begin
        times = sorted(one for answer in heard for one in answer["times"])
        used = {
            process.pid: (cpu_seconds([process.pid]) or 0.0) - before[process.pid]
            for process in everybody
        }
        tell(self.listener, {})
        return {
            "name": name,
            "connections": hear(self.listener)["connections"],
            "requests": len(times),
            "rate": len(times) / took,
            "p50_ms": 1000 * times[len(times) // 2],
            "p99_ms": 1000 * times[len(times) * 99 // 100],
            "max_ms": 1000 * times[-1],
            "errors": sum(answer["errors"] for answer in heard),
            "first_error": [error for answer in heard for error in answer["first_error"]][:1],
            "dialed_again": dialed - len(self.names),
            "listener_core": used[self.listener.pid] / took,
            "listener_mib": (rss_bytes(self.listener.pid) or 0) / _MIB,
        }


def site(stack: contextlib.ExitStack, busy: int) -> Site:
    """Starts the processes of one, until the stack is closed."""
    module = [sys.executable, "-m", "tests.soak.many"]
    listener = stack.enter_context(running([*module, "listen"]))
    port = str(hear(listener)["port"])
    each = str(busy // _PROCESSES)
    callers = [
        stack.enter_context(running([*module, "busy", port, f"busy{number}-", each]))
        for number in range(_PROCESSES)
    ]
    names = [name for caller in callers for name in hear(caller)["names"]]
    return Site(listener, port, callers, names)


def measure(
    idle: int, busy: int, seconds: float, pause: float, *, plain: bool = False
) -> dict[str, Any]:
    """One run."""
    wanted = idle + busy + 300
    if raise_file_limit() < wanted:
        raise SystemExit(f"needs {wanted} open files in one process: ulimit -n")
    with contextlib.ExitStack() as stack:
        busy_site = site(stack, busy)
        listener = busy_site.listener
        figures: dict[str, Any] = {"idle": idle, "busy": len(busy_site.names), "rows": []}
        rows = figures["rows"]
        rows.append(busy_site.spell("busy alone, steady", seconds, pause))
        begin = time.perf_counter()
        kind = ["tests.soak.many", "plain"] if plain else ["tests.bench.idle", "dial"]
        dial = [sys.executable, "-m", *kind, busy_site.port]
        dialers = [stack.enter_context(running(dial)) for _ in range(_PROCESSES)]
        before = rss_bytes(listener.pid) or 0
        for dialer in dialers:
            tell(dialer, {"open": idle // _PROCESSES})
        for dialer in dialers:
            hear(dialer)
        figures["connect_seconds"] = time.perf_counter() - begin
        time.sleep(1)
        figures["idle_kib_each"] = ((rss_bytes(listener.pid) or 0) - before) / 1024 / max(idle, 1)
        rows.append(busy_site.spell("with idle, steady", seconds, pause))
        rows.append(busy_site.spell("with idle, flat out", seconds, 0))
        rows.append(busy_site.spell("with idle, both ways", seconds, pause, both=True))
        # More than interval and timeout of a heartbeat: whoever is not answered is noticed.
        time.sleep(max(0.0, 30 - (time.perf_counter() - begin)))
        tell(listener, {})
        figures["connections_at_the_end"] = hear(listener)["connections"]
        return figures


def report(figures: dict[str, Any]) -> str:
    """As a table."""
    names = [
        "connections",
        "requests",
        "a second",
        "p50 ms",
        "p99 ms",
        "max ms",
        "errors",
        "listener: core",
        "MiB",
    ]
    head = f"| {figures['busy']} busy, {figures['idle']:,} idle | {' | '.join(names)} |"
    lines = [head, "| --- |" + " --: |" * len(names)]
    lines += [
        f"| {row['name']} | {row['connections']:,} | {row['requests']:,} | {row['rate']:,.0f} "
        f"| {row['p50_ms']:.1f} | {row['p99_ms']:.1f} | {row['max_ms']:.0f} | {row['errors']} "
        f"| {row['listener_core']:.0%} | {row['listener_mib']:.0f} |"
        for row in figures["rows"]
    ]
    lines.append(
        f"\n{figures['connect_seconds']:.1f} s to connect the idle ones, "
        f"{figures['idle_kib_each']:.1f} KiB each; "
        f"{figures['connections_at_the_end']:,} connections at the end"
    )
    return "\n".join(lines)


def main() -> int:
    logging.disable()  # thousands of lines when the processes end
    if sys.argv[1:2] == ["listen"]:
        raise_file_limit()
        trio.run(_listen)
        return 0
    if sys.argv[1:2] == ["busy"]:
        raise_file_limit()
        trio.run(_busy, int(sys.argv[2]), sys.argv[3], int(sys.argv[4]))
        return 0
    if sys.argv[1:2] == ["plain"]:
        raise_file_limit()
        trio.run(_plain, int(sys.argv[2]))
        return 0
    parser = argparse.ArgumentParser(prog="python -m tests.soak.many", description=__doc__)
    parser.add_argument("--idle", type=int, default=5000)
    parser.add_argument("--busy", type=int, default=200)
    parser.add_argument("--seconds", type=float, default=15.0, help="of each row")
    parser.add_argument("--pause", type=float, default=0.25, help="seconds between two requests")
    parser.add_argument("--plain", action="store_true", help="idle clients of plain HTTP")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--page", action="store_true", help="write them into docs/reliability.md")
    arguments = parser.parse_args()
    figures = measure(
        arguments.idle,
        arguments.busy,
        arguments.seconds,
        arguments.pause,
        plain=arguments.plain,
    )
    print(report(figures))
    if arguments.page:
        put("many", report(figures))
    if arguments.json:
        arguments.json.write_text(json.dumps(figures, indent=1))
    wrong = [row for row in figures["rows"] if row["errors"] or row["dialed_again"]]
    missing = figures["connections_at_the_end"] < arguments.idle + figures["busy"]
    return 1 if wrong or missing else 0


if __name__ == "__main__":
    sys.exit(main())
