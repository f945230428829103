"""Sockets that a parent process hands over: it holds them while this one restarts."""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import anyio
import pytest

import restsock
import restsock.sync
from restsock import Backoff, listen, systemd_sockets
from tests.apis import API, each_native_api
from tests.e2e.test_apis import App
from tests.ports import free_port
from tests.server.socket_file import socket_path as socket_path
from tests.waiting import until

pytestmark = pytest.mark.skipif(os.name != "posix", reason="descriptors are passed on POSIX")

QUICK = Backoff(initial=0.02, factor=2, cap=0.1)

# Serves one request, and ends when its input does.
CHILD = """
import os, sys
import restsock, restsock.sync

async def app(request):
    return restsock.Response(200, body=f"{os.getpid()} {request.path}")

sockets = restsock.systemd_sockets()
assert sockets and not any(sock.get_inheritable() for sock in sockets)
assert not any(name.startswith("LISTEN_") for name in os.environ)
with restsock.sync.listen(sockets=sockets, app=app) as server:
    print(server.url, flush=True)
    sys.stdin.read()
"""

# What systemd does between fork and exec: the socket as descriptor 3, and the variables.
PARENT = """
import os, sys
os.dup2(int(sys.argv[1]), 3)
os.environ.update(LISTEN_PID=str(os.getpid()), LISTEN_FDS="1")
os.execv(sys.executable, [sys.executable, "-c", sys.argv[2]])
"""


class Child:
    """A process that was started with a socket as systemd does it."""

    def __init__(self, sock: socket.socket) -> None:
        number = sock.fileno()
        self._process = subprocess.Popen(
            [sys.executable, "-c", PARENT, str(number), CHILD],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            pass_fds=[number],
        )

    @property
    def pid(self) -> int:
        return self._process.pid

    def url(self) -> str:
        assert self._process.stdout is not None
        return self._process.stdout.readline().strip()

    def end(self) -> None:
        self._process.communicate(timeout=20)
        assert self._process.returncode == 0


@pytest.fixture(params=["tcp", "unix"])
def held(request: pytest.FixtureRequest, socket_path: Path) -> Iterator[tuple[str, socket.socket]]:
    """A socket that listens, and its URL."""
    if request.param == "tcp":
        sock = socket.create_server(("127.0.0.1", 0))
        url = f"ws://127.0.0.1:{sock.getsockname()[1]}/"
    else:
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        sock.bind(str(socket_path))
        sock.listen()
        url = f"ws+unix://{socket_path}"
    with sock:
        yield url, sock


async def app(request: restsock.Request) -> restsock.Response:
    return restsock.Response(200, body="hub")


@each_native_api
async def test_each_native_api(api: API, held: tuple[str, socket.socket]) -> None:
    url, sock = held
    for _ in range(2):  # ours is open afterwards, and so is the file
        mine = sock.dup()
        async with api.listen(sockets=[mine], app=app) as server:
            assert server.url == url
            async with api.connect(url) as client:
                assert (await client.request("GET", "/")).text == "hub"
        assert mine.fileno() == -1
    with socket.socket(sock.family, socket.SOCK_STREAM) as dialer:
        dialer.connect(sock.getsockname())


@each_native_api
async def test_who_drains_leaves_newcomers_to_the_next(
    api: API, held: tuple[str, socket.socket]
) -> None:
    url, sock = held
    slow = App()
    async with api.listen(sockets=[sock.dup()], app=slow) as first:
        async with api.connect(url, backoff=QUICK) as client, anyio.create_task_group() as tasks:
            tasks.start_soon(partial(client.request, "POST", "/slow", body=b"x"))
            await slow.begun.wait()
            tasks.start_soon(first.aclose)
            await until(lambda: not first.health().ok)
            async with api.listen(sockets=[sock.dup()], app=app):
                async with api.connect(url, backoff=Backoff(tries=1)) as newcomer:
                    assert (await newcomer.request("GET", "/")).text == "hub"
                slow.go_on.set()


async def test_several_at_once(socket_path: Path) -> None:
    tcp = socket.create_server(("127.0.0.1", 0))
    unix = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    unix.bind(str(socket_path))
    unix.listen()
    url = f"ws://127.0.0.1:{tcp.getsockname()[1]}/"
    async with listen(sockets=[tcp, unix], app=app) as server:
        assert server.url == url
        for where in (url, f"ws+unix://{socket_path}"):
            async with restsock.connect(where) as client:
                assert (await client.request("GET", "/")).text == "hub"


def test_a_restart_refuses_no_connection(held: tuple[str, socket.socket]) -> None:
    url, sock = held
    first = Child(sock)
    assert first.url() == url
    with restsock.sync.connect(url, backoff=QUICK) as client:
        assert client.request("GET", "/a").text == f"{first.pid} /a"
        first.end()
        # Nothing accepts now, and the socket takes dialers all the same.
        answers: list[Any] = []

        def dial() -> None:
            with restsock.sync.connect(url, backoff=Backoff(tries=1)) as newcomer:
                answers.append(newcomer.request("GET", "/b").text)

        thread = threading.Thread(target=dial)
        thread.start()
        second = Child(sock)
        thread.join(20)
        assert answers == [f"{second.pid} /b"]
        assert client.request("GET", "/c").text == f"{second.pid} /c"
        assert client.statistics().failures == 0
    second.end()


@pytest.mark.skipif(
    shutil.which("systemd-socket-activate") is None, reason="needs systemd-socket-activate"
)
@pytest.mark.parametrize("kind", ["tcp", "unix"])
def test_systemd(kind: str, socket_path: Path) -> None:
    if kind == "tcp":
        where = f"127.0.0.1:{free_port()}"
        url = f"ws://{where}/"
    else:
        where, url = str(socket_path), f"ws+unix://{socket_path}"
    command = ["systemd-socket-activate", "-l", where, "-E", "PYTHONPATH", sys.executable, "-c"]
    with subprocess.Popen(
        [*command, CHILD], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        # It starts the service when the first one dials.
        with restsock.sync.connect(url, backoff=QUICK) as client:
            assert client.request("GET", "/x").text == f"{process.pid} /x"
        output, _ = process.communicate(timeout=20)
        assert output.strip() == url
        assert process.returncode == 0


@pytest.fixture
def three(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[int]]:
    """Three sockets as systemd hands them over, from another descriptor on; their ports."""
    numbers, ports = range(100, 103), []
    monkeypatch.setattr("restsock.server._inherited._FIRST", numbers[0])
    for number in numbers:
        with socket.create_server(("127.0.0.1", 0)) as sock:
            ports.append(sock.getsockname()[1])
            os.dup2(sock.fileno(), number)
    for name in ("PID", "FDS", "FDNAMES"):
        monkeypatch.delenv(f"LISTEN_{name}", raising=False)
    yield ports
    for number in numbers:
        with contextlib.suppress(OSError):  # it was taken, and closed
            os.close(number)


def ports_of(sockets: list[socket.socket]) -> list[int]:
    ports = [sock.getsockname()[1] for sock in sockets]
    for sock in sockets:
        sock.close()
    return ports


def announce(monkeypatch: pytest.MonkeyPatch, **values: str) -> None:
    for name, value in values.items():
        monkeypatch.setenv(f"LISTEN_{name}", value)


def test_the_sockets_of_systemd(three: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
    announce(monkeypatch, PID=str(os.getpid()), FDS="3")
    sockets = systemd_sockets()
    assert not any(sock.get_inheritable() for sock in sockets)
    assert ports_of(sockets) == three
    assert not any(name.startswith("LISTEN_") for name in os.environ)
    assert systemd_sockets() == []


def test_by_name(three: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
    announce(monkeypatch, PID=str(os.getpid()), FDS="3", FDNAMES="public:local:public")
    assert systemd_sockets("other") == []
    assert ports_of(systemd_sockets("public")) == [three[0], three[2]]
    assert systemd_sockets("public") == []
    assert "LISTEN_PID" in os.environ
    assert ports_of(systemd_sockets()) == [three[1]]
    assert not any(name.startswith("LISTEN_") for name in os.environ)


@pytest.mark.parametrize("values", [{}, {"FDS": "3"}, {"PID": "1", "FDS": "3"}])
def test_of_another_process(
    three: list[int], values: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    announce(monkeypatch, **values)
    assert systemd_sockets() == []
    assert os.environ.get("LISTEN_FDS") == values.get("FDS")


def test_none_were_handed_over() -> None:
    with pytest.raises(ValueError, match="sockets= is empty"):
        listen(sockets=[])


def test_what_cannot_be_accepted_from() -> None:
    with pytest.raises(TypeError, match="takes sockets, not int"):
        listen(sockets=[3])  # type: ignore[list-item]
    with socket.socket() as silent, pytest.raises(ValueError, match="sockets that listen"):
        listen(sockets=[silent])
    with socket.socket(type=socket.SOCK_DGRAM) as datagrams:
        with pytest.raises(ValueError, match="stream sockets"):
            listen(sockets=[datagrams])
    with socket.create_server(("127.0.0.1", 0)) as sock:
        with pytest.raises(ValueError, match="not both"):
            listen("127.0.0.1", 0, sockets=[sock])
