"""One spell of requests, from threads or from tasks, and its figures."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import anyio
import requests

from tests.bench.workloads import MIB, PIECE, WORKLOADS, Workload, check

NewSession = Callable[[], requests.Session]
# Sends one request from a task; gives the status and the body of the answer.
Fetch = Callable[[Workload], Awaitable[tuple[int, bytes]]]


def percentiles(seconds: list[float]) -> dict[str, float]:
    """p50 and p99 in milliseconds."""
    ordered = sorted(seconds)
    return {
        "p50_ms": ordered[len(ordered) // 2] * 1e3,
        "p99_ms": ordered[min(int(len(ordered) * 0.99), len(ordered) - 1)] * 1e3,
    }


def _figures(latencies: list[float], elapsed: float, cpu: float) -> dict[str, Any]:
    return {
        "requests": len(latencies),
        "seconds": elapsed,
        "caller_cpu": cpu,
        **percentiles(latencies),
    }


def fetch(session: requests.Session, workload: Workload, base: str) -> None:
    """One request, its answer read and checked."""
    if workload.method == "GET":
        response = session.get(base + workload.path)
    else:
        response = session.post(base + workload.path, data=workload.body)
    check(workload, response.status_code, response.content)


def calls(session: requests.Session, base: str, count: int) -> None:
    """So many small requests, one behind the other."""
    for _ in range(count):
        fetch(session, WORKLOADS["small"], base)


def spell(
    new_session: NewSession, base: str, workload: Workload, threads: int, seconds: float
) -> dict[str, Any]:
    """Requests from so many threads, each with a session of its own, for so long."""
    latencies: list[list[float]] = [[] for _ in range(threads)]
    failures: list[BaseException] = []
    ready = threading.Barrier(threads + 1)
    over = threading.Event()

    def work(mine: list[float]) -> None:
        try:
            with new_session() as session:
                fetch(session, workload, base)  # a connection is made outside the measurement
                ready.wait()
                while not over.is_set():
                    begin = time.perf_counter()
                    fetch(session, workload, base)
                    mine.append(time.perf_counter() - begin)
        except BaseException as error:  # noqa: BLE001  # raised again below
            failures.append(error)
            ready.abort()

    workers = [threading.Thread(target=work, args=(mine,)) for mine in latencies]
    for worker in workers:
        worker.start()
    with contextlib.suppress(threading.BrokenBarrierError):  # a worker has failed; see below
        ready.wait()
        begin, cpu = time.perf_counter(), time.process_time()
        over.wait(seconds)
    over.set()
    for worker in workers:
        worker.join()
    if failures:
        raise failures[0]
    done = [latency for mine in latencies for latency in mine]
    return _figures(done, time.perf_counter() - begin, time.process_time() - cpu)


async def task_spell(
    fetch_one: Fetch, workload: Workload, tasks: int, seconds: float
) -> dict[str, Any]:
    """Requests from so many tasks of one loop for so long."""
    latencies: list[float] = []
    clock = time.perf_counter

    async def once() -> None:
        check(workload, *await fetch_one(workload))

    async def work(end: float) -> None:
        while (begin := clock()) < end:
            await once()
            latencies.append(clock() - begin)

    async with anyio.create_task_group() as group:
        for _ in range(tasks):
            group.start_soon(once)  # connections are made outside the measurement
    begin, cpu = clock(), time.process_time()
    async with anyio.create_task_group() as group:
        for _ in range(tasks):
            group.start_soon(work, begin + seconds)
    return _figures(latencies, clock() - begin, time.process_time() - cpu)


# --- events -----------------------------------------------------------------------------------


def events(new_session: NewSession, base: str, count: int) -> dict[str, Any]:
    """Reads a stream of so many server-sent events; each says when it was made."""
    delays = []
    rest = b""
    with new_session() as session, session.get(f"{base}/events/{count}", stream=True) as response:
        for data in response.iter_content(None):
            now = time.monotonic()
            *whole, rest = (rest + data).split(b"\n\n")
            delays += [now - float(event.removeprefix(b"data: ")) for event in whole]
    if len(delays) != count:
        raise RuntimeError(f"{len(delays)} events instead of {count}")
    return {"events": count, **percentiles(delays)}


# --- bulk -------------------------------------------------------------------------------------


def download(session: requests.Session, base: str, mib: int) -> None:
    """Reads a body of so many MiB, never holding it whole."""
    received = 0
    with session.get(f"{base}/download/{mib}", stream=True) as response:
        for data in response.iter_content(len(PIECE)):
            received += len(data)
    if received != mib * MIB:
        raise RuntimeError(f"{received} bytes instead of {mib} MiB")


def upload(session: requests.Session, base: str, mib: int) -> None:
    """Sends a body of so many MiB from a generator."""

    def pieces() -> Iterator[bytes]:
        for _ in range(mib * MIB // len(PIECE)):
            yield PIECE

    received = session.post(f"{base}/upload", data=pieces()).json()["id"]
    if received != mib * MIB:
        raise RuntimeError(f"{received} bytes instead of {mib} MiB")


def bulk(new_session: NewSession, base: str, direction: str, mib: int) -> dict[str, Any]:
    """One transfer, on a connection that has been used before."""
    move = {"down": download, "up": upload}[direction]
    with new_session() as session:
        fetch(session, WORKLOADS["small"], base)
        begin, cpu = time.perf_counter(), time.process_time()
        move(session, base, mib)
        elapsed = time.perf_counter() - begin
        return {
            "seconds": elapsed,
            "mb_per_s": mib * MIB / elapsed / 1e6,
            "caller_cpu": time.process_time() - cpu,
        }


# A small request every so often, not as many as fit in: what counts is how long one waits.
_PACE = 0.002  # seconds


def beside(new_session: NewSession, base: str, mib: int, seconds: float) -> dict[str, Any]:
    """Latencies of small requests, alone and then beside downloads, each for so long at least."""
    failures: list[BaseException] = []
    downloads = 0

    def load(end: float) -> None:
        nonlocal downloads
        try:
            with new_session() as session:
                while time.perf_counter() < end:
                    download(session, base, mib)
                    downloads += 1
        except BaseException as error:  # noqa: BLE001  # raised again below
            failures.append(error)

    def small(going: Callable[[], bool]) -> list[float]:
        latencies = []
        with new_session() as session:
            fetch(session, WORKLOADS["small"], base)
            while going():
                begin = time.perf_counter()
                fetch(session, WORKLOADS["small"], base)
                latencies.append(time.perf_counter() - begin)
                time.sleep(_PACE)
        return latencies

    end = time.perf_counter() + seconds
    idle = small(lambda: time.perf_counter() < end)
    thread = threading.Thread(target=load, args=(time.perf_counter() + seconds,))
    thread.start()
    meanwhile = small(thread.is_alive)
    thread.join()
    if failures:
        raise failures[0]
    return {
        "idle": {**percentiles(idle), "requests": len(idle)},
        "beside": {**percentiles(meanwhile), "requests": len(meanwhile)},
        "downloads": downloads,
    }
