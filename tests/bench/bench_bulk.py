"""A large download and a large upload at once: memory of both peers, and small requests meanwhile.

    python tests/bench/bench_bulk.py [--mib 1024] [--limit 64] [--json FILE]

One peer listens and calls (this process), the other dials and serves (a child). Idle is after a few
small requests; then both transfers run, neither body ever whole in memory, while a further thread
keeps asking for something small. Exits 1 when a peer's RSS grew by more than `--limit` MiB.

RSS is read from /proc; where there is none, from `resource` (the peak of each process); where there
is neither, it is not shown.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import requests

import restsock.sync

NAME = "bulk"
MIB = 1024 * 1024
PIECE = bytes(range(256)) * 256  # 64 KiB
SAMPLE_EVERY = 0.02  # seconds


# ---- the serving peer


def app(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
    """/download?<mib>, /upload, /rss, and anything else for a few bytes."""
    path = environ["PATH_INFO"]
    if path == "/download":
        start_response("200 OK", [("Content-Type", "application/octet-stream")])
        return pieces(int(environ["QUERY_STRING"]))
    if path == "/upload":
        received = 0
        while data := environ["wsgi.input"].read(len(PIECE)):
            received += len(data)
        body = str(received).encode()
    elif path == "/rss":
        body = json.dumps(peak_rss()).encode()
    else:
        body = b"small"
    start_response("200 OK", [("Content-Length", str(len(body)))])
    return [body]


def pieces(mib: int) -> Iterator[bytes]:
    for _ in range(mib * MIB // len(PIECE)):
        yield PIECE


def serve(url: str) -> None:
    with restsock.sync.connect(url, app=app, name=NAME):
        sys.stdin.read()  # until the other peer ends


# ---- memory


def rss(pid: int) -> int | None:
    """The resident memory of a process in bytes, now."""
    try:
        resident = Path(f"/proc/{pid}/statm").read_text().split()[1]
    except OSError:
        return None
    return int(resident) * os.sysconf("SC_PAGE_SIZE")


def peak_rss() -> int | None:
    """The largest resident memory that this process has had, in bytes."""
    try:
        import resource
    except ImportError:
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


class Memory:
    """Idle and peak of both peers."""

    def __init__(self, child: int, session: requests.Session) -> None:
        self._pids = {"caller": os.getpid(), "server": child}
        self._session = session
        self._over = threading.Event()
        self._sampler = threading.Thread(target=self._sample)
        self.idle = self._now()
        self.peak = dict(self.idle)

    def start(self) -> None:
        self._sampler.start()

    def stop(self) -> None:
        self._over.set()
        self._sampler.join()
        self._note()

    def growth(self) -> dict[str, int]:
        """Bytes above idle, of each peer that can tell."""
        return {
            peer: peak - idle
            for peer, idle in self.idle.items()
            if idle is not None and (peak := self.peak[peer]) is not None
        }

    def _now(self) -> dict[str, int | None]:
        if Path("/proc/self/statm").exists():
            return {peer: rss(pid) for peer, pid in self._pids.items()}
        there = self._session.get(f"http://{NAME}/rss").json()
        return {"caller": peak_rss(), "server": there}

    def _note(self) -> None:
        for peer, now in self._now().items():
            if now is not None:
                self.peak[peer] = max(now, self.peak[peer] or 0)

    def _sample(self) -> None:
        while not self._over.wait(SAMPLE_EVERY):
            if Path("/proc/self/statm").exists():
                self._note()


# ---- the calling peer


def download(session: requests.Session, mib: int) -> int:
    received = 0
    with session.get(f"http://{NAME}/download?{mib}", stream=True) as response:
        for data in response.iter_content(len(PIECE)):
            received += len(data)
    return received


def upload(session: requests.Session, mib: int) -> int:
    return int(session.post(f"http://{NAME}/upload", data=pieces(mib)).text)


def small(session: requests.Session) -> float:
    """Seconds of one small request."""
    begin = time.perf_counter()
    response = session.get(f"http://{NAME}/small")
    if response.content != b"small":
        raise RuntimeError(f"a wrong answer: {response.status_code} {response.content!r}")
    return time.perf_counter() - begin


def percentiles(seconds: list[float]) -> dict[str, float]:
    """p50, p99 and the worst in milliseconds."""
    ordered = sorted(seconds)
    return {
        "count": len(ordered),
        "p50_ms": ordered[len(ordered) // 2] * 1e3,
        "p99_ms": ordered[int(len(ordered) * 0.99)] * 1e3,
        "worst_ms": ordered[-1] * 1e3,
    }


@contextlib.contextmanager
def peers() -> Iterator[tuple[int, Callable[[], requests.Session]]]:
    """The serving peer's process id, and what makes a session that calls it."""
    with restsock.sync.listen("127.0.0.1", 0) as server, server.events() as events:
        process = subprocess.Popen(
            [sys.executable, __file__, "--serve", server.url], stdin=subprocess.PIPE
        )
        try:
            next(iter(events))

            def new_session() -> requests.Session:
                session = requests.Session()
                session.mount(f"http://{NAME}/", server.adapter(NAME))
                return session

            yield process.pid, new_session
        finally:
            try:
                process.communicate(timeout=10)  # the end of its stdin is its sign to end
            except subprocess.TimeoutExpired:
                process.kill()
                process.communicate()


def measure(mib: int) -> dict[str, Any]:
    report: dict[str, Any] = {"mib": mib}
    failures: list[BaseException] = []

    def transfer(kind: Callable[[requests.Session, int], int]) -> None:
        try:
            begin = time.perf_counter()
            with new_session() as session:
                moved = kind(session, mib)
            if moved != mib * MIB:
                raise RuntimeError(f"{kind.__name__}: {moved} bytes instead of {mib * MIB}")
            seconds = time.perf_counter() - begin
            report[kind.__name__] = {"seconds": seconds, "mb_per_s": mib * MIB / seconds / 1e6}
        except BaseException as error:  # noqa: BLE001  # raised again below
            failures.append(error)

    with peers() as (child, new_session), new_session() as session:
        report["small_idle"] = percentiles([small(session) for _ in range(300)])
        memory = Memory(child, session)
        memory.start()
        transfers = [threading.Thread(target=transfer, args=(kind,)) for kind in (download, upload)]
        for thread in transfers:
            thread.start()
        meanwhile = []
        while any(thread.is_alive() for thread in transfers):
            meanwhile.append(small(session))
            # 50 a second: what is measured is how long one waits, not how many fit in.
            transfers[0].join(0.02) if transfers[0].is_alive() else transfers[1].join(0.02)
        memory.stop()
        if failures:
            raise failures[0]
    report["small_meanwhile"] = percentiles(meanwhile)
    report["rss_idle"] = memory.idle
    report["rss_peak"] = memory.peak
    report["rss_growth"] = memory.growth()
    return report


def show(report: dict[str, Any]) -> None:
    print(f"{report['mib']} MiB down and {report['mib']} MiB up at once\n")
    for kind in ("download", "upload"):
        print(f"{kind:9} {report[kind]['seconds']:6.1f} s   {report[kind]['mb_per_s']:6.0f} MB/s")
    for when in ("idle", "meanwhile"):
        row = report[f"small_{when}"]
        print(
            f"small requests, {when:9}  {row['count']:5} of them   p50 {row['p50_ms']:6.2f} ms   "
            f"p99 {row['p99_ms']:6.2f} ms   worst {row['worst_ms']:6.2f} ms"
        )
    for peer in ("caller", "server"):
        if peer in report["rss_growth"]:
            idle, peak = report["rss_idle"][peer], report["rss_peak"][peer]
            print(
                f"RSS of the {peer}: idle {idle / MIB:6.1f} MiB   peak {peak / MIB:6.1f} MiB   "
                f"growth {(peak - idle) / MIB:5.1f} MiB"
            )
        else:
            print(f"RSS of the {peer}: unknown, this system has neither /proc nor `resource`")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--mib", type=int, default=1024, help="the size of each transfer")
    parser.add_argument("--limit", type=int, default=64, help="MiB that RSS may grow by")
    parser.add_argument("--json", type=Path, help="write the figures to this file")
    parser.add_argument("--serve", metavar="URL", help="internal")
    args = parser.parse_args()
    if args.serve:
        serve(args.serve)
        return 0
    report = measure(args.mib)
    show(report)
    if args.json:
        args.json.write_text(json.dumps(report, indent=2))
    over = {peer: grown for peer, grown in report["rss_growth"].items() if grown > args.limit * MIB}
    for peer, grown in over.items():
        print(f"the {peer} grew by {grown / MIB:.1f} MiB, more than {args.limit}", file=sys.stderr)
    return 1 if over else 0


if __name__ == "__main__":
    sys.exit(main())
