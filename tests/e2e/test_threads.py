"""Threads that come, go, time out and are interrupted while they use one connection, both ways."""

from __future__ import annotations

import contextlib
import ctypes
import random
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import requests
import trio

import restsock
import restsock.sync
import restsock.tls
from restsock.connection import Request, Response
from tests.tls_pair import contexts

SECONDS = 2.0
THREADS = 8


async def app(request: Request) -> Response:
    """Says what it was asked; slowly, or in many pieces, if the path says so."""
    if request.path.startswith("/slow"):
        await trio.sleep(0.01)
    if request.path.startswith("/long"):

        async def pieces() -> Any:
            for _ in range(50):
                yield request.path.encode() * 100

        return Response(body=pieces())
    return Response(body=request.path.encode() + await request.read())


def wsgi(environ: dict[str, Any], start_response: Any) -> list[bytes]:
    body = environ["wsgi.input"].read()
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [environ["PATH_INFO"].encode(), body]


@contextlib.contextmanager
def both_ways(tls: bool) -> Iterator[tuple[Callable[[], requests.Session], ...]]:
    """Makers of sessions that call the dialer, a WSGI app, and the listener, a function."""
    here, there = contexts()
    listen = restsock.sync.listen("127.0.0.1", 0, app=app, tls=there if tls else None)
    with listen as server:
        scheme, port = ("wss", server.address[1]) if tls else ("ws", server.address[1])
        with restsock.sync.connect(
            f"{scheme}://127.0.0.1:{port}/", app=wsgi, name="edge", tls=here if tls else None
        ) as client:

            def session(kind: type[requests.Session], adapter: Any) -> requests.Session:
                made = kind()
                made.mount("http://peer/", adapter)
                return made

            yield (
                lambda: session(restsock.Session, client.adapter()),
                lambda: session(requests.Session, server.adapter("edge")),
            )


def interrupt(thread: threading.Thread) -> None:
    assert thread.ident is not None
    ctypes.pythonapi.PyThreadState_SetAsyncExc(
        ctypes.c_ulong(thread.ident), ctypes.py_object(KeyboardInterrupt)
    )


@pytest.mark.parametrize("interrupts", [False, True])
@pytest.mark.parametrize("tls", [False, True])
def test_threads_that_come_go_time_out_and_are_interrupted(tls: bool, interrupts: bool) -> None:
    here, _ = contexts()
    here.check_hostname, checked = False, here.check_hostname
    wrong: list[str] = []
    answered = [0]
    stop = time.monotonic() + SECONDS

    def ask(session: requests.Session, rng: random.Random, number: int) -> None:
        path = f"/{rng.choice(['fast', 'slow', 'long'])}/{number}/{rng.random()}"
        timeout = rng.choice([(5, 5), (5, 5), (5, 0.003)])
        body = rng.choice([None, b"x" * 100, b"y" * 100_000])
        try:
            with session.post(
                f"http://peer{path}", data=body, timeout=timeout, stream=True
            ) as response:
                if rng.random() < 0.2:
                    return  # leaves the rest
                got = response.content
        except requests.RequestException:
            return
        whole = path.encode() + (body or b"")
        pieces = path.encode() * 5000
        if response.status_code == 200 and got not in (whole, pieces):
            wrong.append(path)
        answered[0] += 1

    def work(make: Callable[[], requests.Session], number: int) -> None:
        rng = random.Random(number)
        while time.monotonic() < stop:
            try:
                with make() as session:
                    for _ in range(20):
                        ask(session, rng, number)
            except KeyboardInterrupt:
                pass
            except restsock.RestsockError as exc:  # it was interrupted where that cannot be mended
                if not interrupts:
                    wrong.append(repr(exc))

    try:
        with both_ways(tls) as makers:
            for make in makers:  # both ends are there
                with make() as session:
                    assert session.get("http://peer/first", timeout=(5, 5)).status_code == 200
            threads = [
                threading.Thread(target=work, args=(makers[number % 2], number), daemon=True)
                for number in range(THREADS)
            ]
            for thread in threads:
                thread.start()
            rng = random.Random(0)
            while interrupts and time.monotonic() < stop - 0.5:
                time.sleep(0.02)
                interrupt(rng.choice(threads))
            for thread in threads:
                thread.join(20)
            assert not any(thread.is_alive() for thread in threads)
            assert wrong == []
            assert answered[0] > 20
            for make in makers:  # and nobody is harmed
                with make() as session:
                    response = session.get("http://peer/last", timeout=(10, 5))
                    assert response.content == b"/last"
    finally:
        here.check_hostname = checked
