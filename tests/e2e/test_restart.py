"""A listener is restarted, again and again, while both sides ask; nobody notices but the log."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from typing import Any

import pytest

import restsock
import restsock.sync

OPTIONS = restsock.Options(timeouts=restsock.Timeouts(connect=20, close=5, grace=20))
QUICK = restsock.Backoff(initial=0.05, factor=2, cap=0.2)
RESTARTS = 20


class Counted:
    """A WSGI app that takes its time, and counts how often each request was run."""

    def __init__(self) -> None:
        self.runs: Counter[str] = Counter()
        self._lock = threading.Lock()

    def __call__(self, environ: dict[str, Any], start_response: Any) -> list[bytes]:
        path = environ["PATH_INFO"]
        with self._lock:
            self.runs[path] += 1
        body = environ["wsgi.input"].read()
        time.sleep(0.005)
        start_response("200 OK", [("Content-Type", "text/plain")])
        return [path.encode(), b" ", body]


class Load:
    """Threads that ask until they are told to stop, and what came of it."""

    def __init__(self) -> None:
        self.stop = threading.Event()
        self.sent = 0
        self.again = 0
        self.wrong: list[str] = []
        self.failed: list[Exception] = []
        self._lock = threading.Lock()
        self._threads: list[threading.Thread] = []

    def start(self, name: str, ask: Any) -> None:
        thread = threading.Thread(target=self._run, args=(name, ask))
        self._threads.append(thread)
        thread.start()

    def _run(self, name: str, ask: Any) -> None:
        number = 0
        while not self.stop.is_set():
            number += 1
            path = f"/{name}/{number}"
            body = path.encode() * (number % 50)
            with self._lock:
                self.sent += 1
            try:
                if ask(path, body) != path.encode() + b" " + body:
                    self.wrong.append(path)
            except Exception as exc:  # noqa: BLE001  # counted, and shown
                self.failed.append(exc)

    def join(self) -> None:
        self.stop.set()
        for thread in self._threads:
            thread.join()


def test_a_listener_restarted_under_load_fails_nobody() -> None:
    hub, edge, load = Counted(), Counted(), Load()

    def listen(port: int) -> restsock.sync.Server:
        return restsock.sync.listen("127.0.0.1", port, app=hub, options=OPTIONS)

    server = listen(0)
    port = server.address[1]
    present = {"server": server}
    with restsock.sync.connect(
        server.url, app=edge, name="edge", options=OPTIONS, backoff=QUICK
    ) as client:
        session = restsock.Session()
        session.mount("http://hub/", client.adapter())

        def inward(path: str, body: bytes) -> bytes:
            return client.request("POST", path, body=body).content

        def by_session(path: str, body: bytes) -> bytes:
            content: bytes = session.post(f"http://hub{path}", data=body).content
            return content

        def in_pieces(path: str, body: bytes) -> bytes:
            return client.request("POST", path, body=iter([body[:7], body[7:]])).content

        def outward(path: str, body: bytes) -> bytes:
            # A server that has closed takes no requests: whoever makes them goes on with the next.
            deadline = time.monotonic() + 20
            while True:
                try:
                    return present["server"].request("edge", "POST", path, body=body).content
                except (restsock.PeerUnavailable, restsock.ConnectionClosed) as exc:
                    if exc.may_have_run is not False or time.monotonic() > deadline:
                        raise
                    load.again += 1
                    time.sleep(0.005)
                except restsock.PeerNotFound:
                    if time.monotonic() > deadline:
                        raise

        for number, ask in enumerate([inward, by_session, in_pieces, inward] + [outward] * 4):
            load.start(f"t{number}", ask)
        try:
            for _ in range(RESTARTS):
                time.sleep(0.1)
                server.close(1012, "restart")
                server = present["server"] = listen(port)
                assert client.wait_connected(20) is not None
            time.sleep(0.2)
        finally:
            load.join()
        assert client.statistics().connections == RESTARTS + 1
        session.close()
    server.close()
    assert load.failed == []
    assert load.wrong == []
    ran = hub.runs + edge.runs
    assert set(ran.values()) == {1}
    assert len(ran) == load.sent
    assert load.sent > 8 * RESTARTS


# --- signals ------------------------------------------------------------------------------

ASYNC = """
import sys, trio, restsock

async def app(request):
    await trio.sleep(float(request.path[1:]))
    return restsock.Response(200, {}, b"whole")

async def main():
    async with (
        restsock.listen("127.0.0.1", 0, app=app) as server,
        restsock.drain_on_signal(server),
    ):
        print(server.url, flush=True)
        await trio.sleep_forever()
    print("done", flush=True)

trio.run(main)
"""

BLOCKING = """
import sys, time, restsock.sync

def app(environ, start_response):
    time.sleep(float(environ["PATH_INFO"][1:]))
    start_response("200 OK", [])
    return [b"whole"]

with (
    restsock.sync.listen("127.0.0.1", 0, app=app) as server,
    restsock.sync.drain_on_signal(server),
):
    print(server.url, flush=True)
    server.wait_closed()
print("done", flush=True)
"""


@pytest.fixture(params=[ASYNC, BLOCKING], ids=["async", "blocking"])
def process(request: pytest.FixtureRequest) -> Any:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)}
    with subprocess.Popen(
        [sys.executable, "-c", request.param],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment,
    ) as process:
        try:
            yield process
        finally:
            process.kill()


@pytest.mark.skipif(os.name != "posix", reason="signals of POSIX")
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_drains(process: subprocess.Popen[str], number: signal.Signals) -> None:
    assert process.stdout is not None
    url = process.stdout.readline().strip()
    with restsock.sync.connect(url, options=OPTIONS) as client:
        with client.stream("GET", "/0", timeout=20) as warm:
            assert warm.read() == b"whole"
        threading.Timer(0.3, process.send_signal, [number]).start()
        assert client.request("GET", "/1", timeout=20).text == "whole"
        out, err = process.communicate(timeout=20)
    # A word, and no traceback.
    said = f"{number.name}: closing after what is in flight; once more to cut that off\n"
    assert (process.returncode, out, err) == (0, "done\n", said)


@pytest.mark.skipif(os.name != "posix", reason="signals of POSIX")
def test_a_second_signal_cuts_it_short(process: subprocess.Popen[str]) -> None:
    assert process.stdout is not None
    url = process.stdout.readline().strip()
    begun = time.monotonic()
    with restsock.sync.connect(url, options=OPTIONS) as client:
        for seconds in (0.3, 0.8):
            threading.Timer(seconds, process.send_signal, [signal.SIGTERM]).start()
        with pytest.raises(restsock.ConnectionClosed) as caught:
            client.request("GET", "/3", timeout=30)
        assert caught.value.may_have_run is True
        assert 0.6 < time.monotonic() - begun < 3
        out, err = process.communicate(timeout=20)
    assert (process.returncode, out) == (0, "done\n")
    assert "SIGTERM: closing now\n" in err
    assert "Traceback" not in err


def test_there_has_to_be_something_to_close() -> None:
    with pytest.raises(TypeError, match="to close"), restsock.sync.drain_on_signal():
        pytest.fail("entered")
