"""Requests per second of `requests` through the tunnel, against the same Flask app on waitress.

    python tests/bench/bench_requests.py [--threads 1,8,32] [--rounds 7] [--seconds 1.5]
                                         [--caller listener] [--json FILE]

The app runs in processes of its own, once behind waitress, once behind a tunnel; this process is
the caller of both, each of its threads with a `requests.Session` of its own. Rates drift by half
within an hour on a shared machine, so the two are measured in turn, in short spells, and what
counts is the median of the ratios of neighbours. With the defaults it takes about 70 s.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import logging
import os
import platform
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import requests

import restsock.sync

NAME = "bench"
# Of the app's server, either way. For a small app more of them help neither.
THREADS = 8
TARGETS = ("waitress", "tunnel")


# ---- the server's side: the app, in a process of its own


def flask_app() -> Callable[..., object]:
    """A small JSON endpoint, as most APIs have them."""
    import flask

    app = flask.Flask("bench")

    @app.get("/pets/<int:pet>")
    def pet(pet: int) -> flask.Response:
        return flask.jsonify(id=pet, name="Rex", tags=["dog", "brown"], price=12.5)

    wsgi: Callable[..., object] = app
    return wsgi


def serve_waitress() -> None:
    import waitress

    # It warns about each request that finds no free thread, which would slow it down.
    logging.getLogger("waitress.queue").setLevel(logging.ERROR)
    server = waitress.create_server(flask_app(), host="127.0.0.1", port=0, threads=THREADS)
    print(server.effective_port, flush=True)
    threading.Thread(target=exit_with_the_caller, daemon=True).start()
    server.run()


def exit_with_the_caller() -> None:
    sys.stdin.read()
    os._exit(0)


def serve_dialing(url: str) -> None:
    with restsock.sync.connect(url, app=flask_app(), name=NAME, workers=THREADS):
        sys.stdin.read()  # until the caller ends


def serve_listening() -> None:
    with restsock.sync.listen("127.0.0.1", 0, app=flask_app(), workers=THREADS) as server:
        print(server.address[1], flush=True)
        sys.stdin.read()


@contextlib.contextmanager
def child(*args: str) -> Iterator[subprocess.Popen[str]]:
    """This script in another process, for as long as the block runs."""
    process = subprocess.Popen(
        [sys.executable, __file__, *args], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    try:
        yield process
    finally:
        try:
            process.communicate(timeout=10)  # the end of its stdin is its sign to end
        except subprocess.TimeoutExpired:
            process.kill()
            process.communicate()


def port_of(process: subprocess.Popen[str]) -> int:
    assert process.stdout is not None
    return int(process.stdout.readline())


# ---- the caller's side


@dataclass
class Spell:
    """What one spell of one target gave."""

    target: str
    threads: int
    requests: int
    seconds: float
    p50_ms: float
    p99_ms: float

    @property
    def rate(self) -> float:
        return self.requests / self.seconds


def spell(
    target: str, new_session: Callable[[], requests.Session], url: str, threads: int, seconds: float
) -> Spell:
    """Call `url` from so many threads for so long."""
    latencies: list[list[float]] = [[] for _ in range(threads)]
    failures: list[BaseException] = []
    ready = threading.Barrier(threads + 1)
    over = threading.Event()

    def work(mine: list[float]) -> None:
        try:
            with new_session() as session:
                fetch(session, url)  # the connection is made outside the measurement
                ready.wait()
                while not over.is_set():
                    begin = time.perf_counter()
                    fetch(session, url)
                    mine.append(time.perf_counter() - begin)
        except BaseException as error:  # noqa: BLE001  # reported by the caller's thread
            failures.append(error)
            ready.abort()

    workers = [threading.Thread(target=work, args=(mine,)) for mine in latencies]
    for worker in workers:
        worker.start()
    begin = time.perf_counter()
    try:
        ready.wait()
        begin = time.perf_counter()
        over.wait(seconds)
    except threading.BrokenBarrierError:
        pass  # a worker has failed, and says why below
    over.set()
    for worker in workers:
        worker.join()
    elapsed = time.perf_counter() - begin
    if failures:
        raise failures[0]
    done = sorted(latency for mine in latencies for latency in mine)
    return Spell(
        target=target,
        threads=threads,
        requests=len(done),
        seconds=elapsed,
        p50_ms=done[len(done) // 2] * 1e3,
        p99_ms=done[int(len(done) * 0.99)] * 1e3,
    )


def fetch(session: requests.Session, url: str) -> None:
    response = session.get(url)
    if response.status_code != 200 or response.json()["id"] != 7:
        raise RuntimeError(f"a wrong answer: {response.status_code} {response.text!r}")


@contextlib.contextmanager
def tunnel(caller: str) -> Iterator[Callable[[], requests.Session]]:
    """A running tunnel, and what makes a session whose requests go through it."""
    with contextlib.ExitStack() as stack:
        if caller == "listener":
            server = stack.enter_context(restsock.sync.listen("127.0.0.1", 0))
            events = stack.enter_context(server.events())
            stack.enter_context(child("--serve", "dialing", "--url", server.url))
            next(iter(events))
            adapter = server.adapter(NAME)
        else:
            port = port_of(stack.enter_context(child("--serve", "listening")))
            client = stack.enter_context(restsock.sync.connect(f"ws://127.0.0.1:{port}/"))
            adapter = client.adapter()

        def new_session() -> requests.Session:
            session = requests.Session()
            session.mount(f"http://{NAME}/", adapter)
            return session

        yield new_session


def measure(args: argparse.Namespace) -> list[Spell]:
    spells: list[Spell] = []
    with child("--serve", "waitress") as direct, tunnel(args.caller) as new_session:
        ways: dict[str, tuple[Callable[[], requests.Session], str]] = {
            "waitress": (requests.Session, f"http://127.0.0.1:{port_of(direct)}/pets/7"),
            "tunnel": (new_session, f"http://{NAME}/pets/7"),
        }
        for target, way in ways.items():
            spell(target, *way, max(args.threads), 0.5)  # everybody is warm
        for turn in range(args.rounds):
            # Who goes first alternates, so that neither always has the cooler machine.
            order = TARGETS if turn % 2 == 0 else TARGETS[::-1]
            for threads in args.threads:
                spells += [spell(name, *ways[name], threads, args.seconds) for name in order]
            if sys.stderr.isatty():
                print(f"\rround {turn + 1} of {args.rounds}", end="", file=sys.stderr, flush=True)
    return spells


def summary(spells: list[Spell], threads: int) -> dict[str, float]:
    """The medians of one number of threads."""
    of = {t: [s for s in spells if s.target == t and s.threads == threads] for t in TARGETS}
    ratios = [b.rate / a.rate for a, b in zip(of["waitress"], of["tunnel"], strict=True)]
    row: dict[str, float] = {
        "threads": threads,
        "ratio": statistics.median(ratios),
        "ratio_min": min(ratios),
        "ratio_max": max(ratios),
    }
    for target in TARGETS:
        row[f"{target}_per_s"] = statistics.median(s.rate for s in of[target])
        row[f"{target}_p50_ms"] = statistics.median(s.p50_ms for s in of[target])
        row[f"{target}_p99_ms"] = statistics.median(s.p99_ms for s in of[target])
    return row


def show(rows: list[dict[str, float]], args: argparse.Namespace) -> None:
    print(
        f"\nrequests -> Flask, Python {platform.python_version()}, the {args.caller} calls, "
        f"{args.rounds} rounds of {args.seconds} s, medians (requests/s; p50 and p99 in ms)\n"
    )
    print("threads   tunnel/waitress          waitress    p50    p99      tunnel    p50    p99")
    for row in rows:
        print(
            f"{row['threads']:>7.0f}   {row['ratio']:.2f} ({row['ratio_min']:.2f}-"
            f"{row['ratio_max']:.2f})         "
            f"{row['waitress_per_s']:>8.0f} {row['waitress_p50_ms']:>6.1f} "
            f"{row['waitress_p99_ms']:>6.1f}    "
            f"{row['tunnel_per_s']:>8.0f} {row['tunnel_p50_ms']:>6.1f} {row['tunnel_p99_ms']:>6.1f}"
        )


def numbers(text: str) -> list[int]:
    return [int(part) for part in text.split(",")]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--threads", type=numbers, default=[1, 8, 32], help="1,8,32")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--seconds", type=float, default=1.5, help="the length of one spell")
    parser.add_argument("--caller", choices=["listener", "dialer"], default="listener")
    parser.add_argument("--json", type=Path, help="write every spell to this file")
    parser.add_argument("--serve", choices=["waitress", "dialing", "listening"], help="internal")
    parser.add_argument("--url", help="internal")
    args = parser.parse_args()
    if args.serve == "waitress":
        serve_waitress()
    elif args.serve == "dialing":
        serve_dialing(args.url)
    elif args.serve == "listening":
        serve_listening()
    else:
        spells = measure(args)
        rows = [summary(spells, threads) for threads in args.threads]
        show(rows, args)
        if args.json:
            report = {
                "python": platform.python_version(),
                "caller": args.caller,
                "rows": rows,
                "spells": [asdict(s) for s in spells],
            }
            args.json.write_text(json.dumps(report, indent=2))


if __name__ == "__main__":
    main()
