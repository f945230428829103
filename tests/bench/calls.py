"""Function calls of one small GET, of Python and of C: what no mood of the machine changes.

    python -m tests.bench.calls session ws                 figures as JSON
    python -m tests.bench.calls session wss --functions    our functions, the most called first:
                                                           calls, functions in C that they call

Both ends are in one process, each with a loop of its own, and every thread has a profile function
that counts. Of the ingress it is the hub alone: the app that it passes requests on to is another
process, and the caller is `requests`. A call of a function in C belongs to the package whose code
makes it. Resuming a generator or a coroutine counts as a call, as it does for the interpreter.

Which thread reads the socket is a race, and so is who finds a lock taken: a request has a few
calls more when a thread was late. So each request is counted by itself, from rest to rest, and of
all requests the one at the lower quarter is taken. It is the same in every run.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from functools import partial
from pathlib import Path
from types import CodeType, FrameType
from typing import Any

from tests.bench import certificates
from tests.bench.processes import ROOT, environment, hide_c_masking, python, running
from tests.bench.profiling import package_of

WARM_UP = 50
REQUESTS = 200

# Every thread must have been quiet for so many looks, this far apart.
_LOOKS = 3
_PAUSE = 0.0005  # seconds

_NAME = "bench"
KINDS = ("adapter", "session", "aio", "plain", "ingress")
SCHEMES = ("ws", "wss")

# Thread, function, and whether it has called one in C or was called itself.
Counts = dict[tuple[int, CodeType, str], int]


class Recorder:
    """Counts calls in this thread, and in those that are started while it is installed."""

    def __init__(self) -> None:
        self._counts: Counts = {}

    @contextlib.contextmanager
    def installed(self) -> Iterator[None]:
        threading.setprofile(self._note)
        try:
            yield
        finally:
            threading.setprofile(None)

    def _note(
        self,
        frame: FrameType,
        event: str,
        _arg: object,
        thread: Callable[[], int] = threading.get_ident,
    ) -> None:
        if event == "call" or event == "c_call":
            key = (thread(), frame.f_code, event)
            self._counts[key] = self._counts.get(key, 0) + 1

    def count(self, run: Callable[[], object]) -> Counts:
        """Calls of all threads from here until they are at rest again."""
        counts: Counts = {}
        self._counts = counts
        sys.setprofile(self._note)
        try:
            run()
        finally:
            sys.setprofile(None)
        own = threading.get_ident()
        before, quiet = -1, 0
        while quiet < _LOOKS:
            time.sleep(_PAUSE)
            now = sum(n for (thread, _, _), n in list(counts.items()) if thread != own)
            quiet, before = (quiet + 1, now) if now == before else (0, now)
        return {key: n for key, n in counts.items() if key[1].co_filename != __file__}


# --- one process ------------------------------------------------------------------------------


def _served(url: str, app: Any, tls: Any) -> AbstractContextManager[Any]:
    """An app, dialing from a loop in a thread of its own."""
    import restsock
    from tests.bench.serve import WORKERS

    return _entered(restsock.connect(url, app=app, name=_NAME, tls=tls, workers=WORKERS))


@contextlib.contextmanager
def _entered(endpoint: Any) -> Iterator[Any]:
    """A client or a server, on a loop in a thread of its own."""
    import trio

    tokens: list[trio.lowlevel.TrioToken] = []
    over = trio.Event()
    entered = threading.Event()

    async def serve() -> None:
        tokens.append(trio.lowlevel.current_trio_token())
        async with endpoint:
            entered.set()
            await over.wait()

    thread = threading.Thread(target=trio.run, args=(serve,), name=SERVER_LOOP)
    thread.start()
    entered.wait()
    try:
        yield endpoint
    finally:
        tokens[0].run_sync_soon(over.set)
        thread.join()


SERVER_LOOP = "server's loop"
_ROLES = {"MainThread": "calling thread", "restsock.sync": "caller's loop"}


def _role(name: str) -> str:
    return "server's worker" if name.startswith("restsock-wsgi") else _ROLES.get(name, name)


@contextlib.contextmanager
def _threads(kind: str, folder: str | None) -> Iterator[Callable[[int], object]]:
    """What makes so many requests from this thread."""
    import requests

    import restsock.sync
    from tests.bench import app_flask, spells

    tls = certificates.listener_tls(folder)
    with contextlib.ExitStack() as stack:
        server = stack.enter_context(restsock.sync.listen(certificates.HOST, 0, tls=tls))
        with server.events() as events:
            stack.enter_context(_served(server.url, app_flask.app, certificates.dialer_tls(folder)))
            next(iter(events))
        session = stack.enter_context(
            restsock.Session() if kind == "session" else requests.Session()
        )
        base = f"http://{_NAME}"
        session.mount(base, server.adapter(_NAME))
        yield partial(spells.calls, session, base)


@contextlib.contextmanager
def _plain(folder: str | None) -> Iterator[Callable[[int], object]]:
    """What makes so many requests of plain HTTP to an endpoint of a listener."""
    import requests

    import restsock
    from restsock.apps import make_handler
    from tests.bench import app_flask, spells
    from tests.bench.serve import WORKERS

    tls = certificates.listener_tls(folder)
    app = make_handler(app_flask.app, workers=WORKERS)
    listener = restsock.listen(certificates.HOST, 0, tls=tls, endpoints={"/": app})
    with _entered(listener) as server, requests.Session() as session:
        session.trust_env = False
        if folder is not None:
            session.verify = str(certificates.files_in(Path(folder)).ca)
        scheme = "http" if folder is None else "https"
        base = f"{scheme}://{certificates.HOST}:{server.address[1]}"
        yield partial(spells.calls, session, base)


@contextlib.contextmanager
def _ingress(folder: str | None) -> Iterator[Callable[[int], object]]:
    """What makes so many requests of plain HTTP to a peer, by way of the ingress that is here."""
    import requests

    import restsock
    from restsock.ingress import Ingress, Route
    from tests.bench import spells
    from tests.bench.peers import wait_until_served

    tls = certificates.listener_tls(folder)
    ingress = Ingress(routes=[Route(certificates.HOST, _NAME)])
    listener = restsock.listen(certificates.HOST, 0, tls=tls, ingress=ingress)
    with contextlib.ExitStack() as stack:
        server = stack.enter_context(_entered(listener))
        host, port = certificates.HOST, server.address[1]
        files = None if folder is None else certificates.files_in(Path(folder))
        words = ["dial", server.url, _NAME, "flask", *([] if folder is None else [folder])]
        stack.enter_context(running(python("serve", *words)))
        base = f"{'http' if files is None else 'https'}://{host}:{port}"
        wait_until_served(base, files)
        session = stack.enter_context(requests.Session())
        session.trust_env = False
        if files is not None:
            session.verify = str(files.ca)
        yield partial(spells.calls, session, base)


@contextlib.contextmanager
def _tasks(folder: str | None) -> Iterator[Callable[[int], object]]:
    """What makes so many requests from a task of an asyncio loop on this thread."""
    import restsock.aio
    from restsock.connection import _leader
    from tests.bench import app_flask
    from tests.bench.workloads import WORKLOADS, check

    async def calls(route: restsock.aio.Route, count: int) -> None:
        workload = WORKLOADS["small"]
        for _ in range(count):
            response = await route.request(workload.method, workload.path, timeout=10)
            check(workload, response.status, response.content)

    _leader.LOAN = 1e6  # however slow the machine is, the loop goes on reading the socket itself
    tls = certificates.listener_tls(folder)
    with contextlib.ExitStack() as stack:
        loop = asyncio.new_event_loop()
        stack.callback(loop.close)
        server = restsock.aio.listen(certificates.HOST, 0, tls=tls)
        loop.run_until_complete(server.__aenter__())
        stack.callback(lambda: loop.run_until_complete(server.aclose()))
        stack.enter_context(_served(server.url, app_flask.app, certificates.dialer_tls(folder)))
        route = server.route(_NAME)
        yield lambda count: loop.run_until_complete(calls(route, count))


_PLAIN = {"plain": _plain, "ingress": _ingress}


def requests_counted(kind: str, scheme: str) -> tuple[list[Counts], dict[int, str]]:
    """The calls of each request, and which thread does what."""
    recorder = Recorder()
    with contextlib.ExitStack() as stack:
        stack.enter_context(recorder.installed())
        folder = None
        if scheme == "wss":
            folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="restsock-bench-"))
            certificates.issue(Path(folder))
        if kind == "aio":
            opened = _tasks(folder)
        else:
            opened = _PLAIN[kind](folder) if kind in _PLAIN else _threads(kind, folder)
        calls = stack.enter_context(opened)
        calls(WARM_UP)
        counted = [recorder.count(partial(calls, 1)) for _ in range(REQUESTS)]
        threads = {
            thread.ident: _role(thread.name)
            for thread in threading.enumerate()
            if thread.ident is not None
        }
    return counted, threads


def ours(package: str) -> bool:
    return package.partition(".")[0] == "restsock"


def _own(counts: Counts, event: str) -> int:
    """Calls of restsock's functions, or by them of functions in C."""
    return sum(n for (_, code, what), n in counts.items() if what == event and ours(_package(code)))


_packages: dict[CodeType, str] = {}


def _package(code: CodeType) -> str:
    package = _packages.get(code)
    if package is None:
        package = _packages[code] = package_of(code.co_filename)
    return package


def typical(counted: list[Counts]) -> Counts:
    """The request at the lower quarter, by calls of restsock's own functions."""
    ranked = sorted(counted, key=lambda counts: (_own(counts, "call"), _own(counts, "c_call")))
    return ranked[len(ranked) // 4]


def figures(counts: Counts, threads: dict[int, str]) -> dict[str, Any]:
    """Of one request: Python and C calls of restsock alone, and of each thread and package."""
    cells: dict[tuple[str, str], list[int]] = {}
    for (thread, code, event), n in counts.items():
        cell = cells.setdefault((threads.get(thread, "others"), _package(code)), [0, 0])
        cell[event == "c_call"] += n
    return {
        "own": [_own(counts, "call"), _own(counts, "c_call")],
        "cells": [
            {"thread": thread, "package": package, "python": python, "c": c}
            for (thread, package), (python, c) in sorted(cells.items())
        ],
    }


def functions(counts: Counts) -> list[tuple[str, int, int]]:
    """restsock's functions: where, how often called, and how many functions in C they call."""
    found: dict[CodeType, list[int]] = {}
    for (_, code, event), n in counts.items():
        if ours(_package(code)):
            found.setdefault(code, [0, 0])[event == "c_call"] += n
    rows = []
    for code, (calls, c) in found.items():
        name = getattr(code, "co_qualname", code.co_name)  # 3.11 and later
        path = Path(code.co_filename).relative_to(ROOT)
        rows.append((f"{path}:{code.co_firstlineno} {name}", calls, c))
    return sorted(rows, key=lambda row: (-row[1], -row[2], row[0]))


# --- the measurement --------------------------------------------------------------------------


def measure_one(kind: str, scheme: str) -> dict[str, Any]:
    """The figures of one way, from a process of its own: every thread is started under watch."""
    out = subprocess.run(
        python("calls", kind, scheme),
        check=True,
        stdout=subprocess.PIPE,
        text=True,
        cwd=ROOT,
        env=environment(),
    ).stdout
    found: dict[str, Any] = json.loads(out)
    return found


def measure() -> list[dict[str, Any]]:
    """`requests` with the adapter, `restsock.Session` and `restsock.aio`, over ws and wss.

    And plain HTTP to an endpoint of a listener and to a peer by way of the ingress, over http and
    https.
    """
    return [
        {"kind": kind, "scheme": scheme, **measure_one(kind, scheme)}
        for kind in KINDS
        for scheme in SCHEMES
    ]


def main() -> None:
    hide_c_masking()
    parser = argparse.ArgumentParser(prog="python -m tests.bench.calls")
    parser.add_argument("kind", choices=KINDS)
    parser.add_argument("scheme", choices=SCHEMES)
    parser.add_argument("--functions", action="store_true", help="ours, the most called first")
    args = parser.parse_args()
    counted, threads = requests_counted(args.kind, args.scheme)
    counts = typical(counted)
    if args.functions:
        for where, calls, c in functions(counts):
            print(f"{calls:4} {c:4}  {where}")
    else:
        print(json.dumps(figures(counts, threads)))


if __name__ == "__main__":
    main()
