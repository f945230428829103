"""A hub that ends: what is in flight goes on, and a restart on the same socket loses nothing."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
import trio
import trio.lowlevel
import trio.testing

import restsock
from restsock import Backoff
from restsock.hub import Hub
from restsock.hub._listening import Place
from tests.hub.helpers import Load, config_for, echo, peer_of

posix = pytest.mark.skipif(os.name != "posix", reason="signals")
TO_PEER = {"Restsock-Peer": "edge-1", "Connection": "close"}
QUICK = Backoff(initial=0.02, cap=0.1)


async def test_what_is_in_flight_goes_on(tmp_path: Path) -> None:
    begun, go = trio.Event(), trio.Event()

    async def slow(request: restsock.Request) -> restsock.Response:
        begun.set()
        await go.wait()
        return restsock.Response(200, body="done")

    answers = []
    async with Hub(config_for(tmp_path)) as hub, peer_of(hub, app=slow):
        url = hub.ingress_url

        async def call() -> None:
            async with httpx.AsyncClient(headers=TO_PEER) as web:
                answers.append((await web.get(url)).text)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(call)
            await begun.wait()
            nursery.start_soon(hub.aclose)
            while not hub.closing:
                await trio.lowlevel.checkpoint()
            go.set()
    assert answers == ["done"]


async def test_the_second_close_cuts_it_off(tmp_path: Path) -> None:
    begun = trio.Event()

    async def stuck(request: restsock.Request) -> restsock.Response:
        begun.set()
        await trio.sleep_forever()

    async with Hub(config_for(tmp_path)) as hub, peer_of(hub, app=stuck):
        url = hub.ingress_url

        async def call() -> None:
            async with httpx.AsyncClient(headers=TO_PEER) as web:
                try:
                    assert (await web.get(url)).status_code >= 500
                except httpx.TransportError:
                    pass

        async with trio.open_nursery() as nursery:
            nursery.start_soon(call)
            await begun.wait()
            nursery.start_soon(hub.aclose)
            await trio.testing.wait_all_tasks_blocked(0.01)
            await hub.aclose(grace=0)


@pytest.mark.parametrize("separate", [False, True])
async def test_a_restart_on_sockets_that_are_handed_over_loses_nothing(
    tmp_path: Path, separate: bool
) -> None:
    sockets = {"peers": [socket.create_server(("127.0.0.1", 0), backlog=128)]}
    if separate:
        sockets["ingress"] = [socket.create_server(("127.0.0.1", 0), backlog=128)]
    address = sockets["ingress" if separate else "peers"][0].getsockname()
    url = f"http://127.0.0.1:{address[1]}/"
    restart = trio.Event()

    async def serve(task_status: trio.TaskStatus[None]) -> None:
        nonlocal restart
        for number in range(4):
            given = {name: [sock.dup() for sock in found] for name, found in sockets.items()}
            config = config_for(tmp_path, ingress__wait="10s")
            async with Hub(config, sockets=given):  # type: ignore[arg-type]
                if number == 0:
                    task_status.started()
                await restart.wait()
                restart = trio.Event()

    async with trio.open_nursery() as nursery:
        await nursery.start(serve)
        peers = f"ws://127.0.0.1:{sockets['peers'][0].getsockname()[1]}/"
        async with restsock.connect(peers, name="edge-1", app=echo, backoff=QUICK):
            async with Load(url, Connection="close").running() as load:
                for _ in range(3):
                    await load.more(20)
                    restart.set()
                await load.more(20)
        restart.set()
    for found in sockets.values():
        for sock in found:
            sock.close()
    assert set(load.statuses) == {200}
    assert len(load.statuses) >= 80


async def test_peers_that_are_first_know_their_urls_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They dial in as soon as they can, while the ingress has yet to listen."""
    enter = restsock.Server.__aenter__

    async def enter_late(server: restsock.Server) -> restsock.Server:
        if server._front_door is not None:
            await trio.testing.wait_all_tasks_blocked(0.05)
        return await enter(server)

    monkeypatch.setattr(restsock.Server, "__aenter__", enter_late)
    sockets = {
        name: [socket.create_server(("127.0.0.1", 0), backlog=128)] for name in ("peers", "ingress")
    }
    peers, ingress = (sockets[name][0].getsockname()[1] for name in ("peers", "ingress"))
    hub = Hub(config_for(tmp_path), sockets=sockets)  # type: ignore[arg-type]
    told: list[tuple[str, ...]] = []

    async def dial() -> None:
        async with restsock.connect(f"ws://127.0.0.1:{peers}/", name="edge-1") as client:
            told.append(client.urls)
            assert len(hub._servers) == 3
            assert hub._servers["ingress"]._listening.address is None

    async with trio.open_nursery() as nursery:
        nursery.start_soon(dial)
        async with hub:
            assert told[0][0] == f"http://edge-1.localhost:{ingress}/"


@pytest.mark.parametrize("port", [0, 1])
def test_where_the_ingress_will_be_found(port: int) -> None:
    assert Place.at(f":{port}", "x").expected == ("0.0.0.0", port)
    with socket.create_server(("127.0.0.1", 0)) as sock:
        assert Place.on([sock]).expected == sock.getsockname()


# --- a process --------------------------------------------------------------------------------

PROGRAM = """
import sys, trio
from restsock.hub import Hub, load

async def main():
    async with Hub(load(sys.argv[1], {"hub.state": sys.argv[2]})) as hub:
        print(hub.peers_url, flush=True)
        await hub.run_until_signal()

trio.run(main)
print("over", flush=True)
"""


@pytest.fixture
def process(tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    path = tmp_path / "hub.toml"
    path.write_text('[peers]\nlisten = "127.0.0.1:0"\n[admin]\nlisten = "127.0.0.1:0"\n')
    notify = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    notify.bind(str(tmp_path / "notify"))
    notify.settimeout(20)
    arguments = [sys.executable, "-c", PROGRAM, str(path), str(tmp_path / "state")]
    environment = {**os.environ, "NOTIFY_SOCKET": str(tmp_path / "notify")}
    environment["WATCHDOG_USEC"] = "200000"
    with subprocess.Popen(
        arguments, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as running:
        running.told = notify  # type: ignore[attr-defined]
        try:
            yield running
        finally:
            running.kill()
            notify.close()


def told(process: subprocess.Popen[str], wanted: str) -> str:
    """What systemd is told, up to the message that begins like this."""
    while True:
        message: str = process.told.recv(4096).decode()  # type: ignore[attr-defined]
        if message.startswith(wanted):
            return message


@posix
def test_a_process_is_reloaded_and_ended_by_signals(
    process: subprocess.Popen[str], tmp_path: Path
) -> None:
    assert process.stdout is not None
    assert process.stderr is not None
    assert process.stdout.readline().startswith("ws://127.0.0.1:")
    assert "STATUS=peers at" in told(process, "READY=1")
    told(process, "WATCHDOG=1")
    told(process, "WATCHDOG=1")
    process.send_signal(signal.SIGHUP)
    assert "MONOTONIC_USEC=" in told(process, "RELOADING=1")
    told(process, "READY=1")
    (tmp_path / "hub.toml").write_text("nonsense")
    process.send_signal(signal.SIGHUP)
    told(process, "RELOADING=1")
    told(process, "READY=1")
    process.send_signal(signal.SIGTERM)
    told(process, "STOPPING=1")
    out, err = process.communicate(timeout=20)
    assert out == "over\n"
    assert process.returncode == 0
    assert "the configuration stays as it is: not TOML" in err


@posix
def test_a_second_interrupt_ends_it_at_once(process: subprocess.Popen[str]) -> None:
    assert process.stdout is not None
    host, port = process.stdout.readline().strip().removeprefix("ws://").strip("/").split(":")
    told(process, "READY=1")
    with socket.create_connection((host, int(port))) as client:
        # A request that is in flight: its body never comes, and its peer is waited for.
        client.sendall(
            b"POST / HTTP/1.1\r\nHost: x\r\nRestsock-Peer: e\r\nContent-Length: 9\r\n\r\n"
        )
        process.send_signal(signal.SIGINT)
        told(process, "STOPPING=1")
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=20)
    assert process.returncode == 0, err


def test_systemd_is_not_told_where_it_is_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    from restsock.hub._notify import notify

    for address in ("", "relative", "/no/such/socket", "@no-such-socket"):
        monkeypatch.setenv("NOTIFY_SOCKET", address)
        notify("READY=1")
    monkeypatch.delenv("NOTIFY_SOCKET")
    notify("READY=1")
