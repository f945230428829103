"""What signals do to a peer, and what it does when its hub is away, comes and goes."""

from __future__ import annotations

import json
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import requests

import restsock.sync
from restsock.ingress import Ingress
from tests.ports import free_port
from tests.waiting import until_blocking

from .command import Process
from .conftest import TOKEN, Hub

Start = Callable[..., Process]


# Its second part comes once a file is there.
_SLOW = """
import os, time

def app(environ, start_response):
    start_response("200 OK", [])
    yield b"first"
    while not os.path.exists("go on"):
        time.sleep(0.01)
    yield b"second"
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "slow.py").write_text(_SLOW)
    return tmp_path


@contextmanager
def in_flight(hub: Hub, name: str) -> Iterator[Iterator[bytes]]:
    """A response whose first part has come; gives the others."""
    with requests.get(
        hub.url.replace("ws", "http"), headers={"Restsock-Peer": name}, stream=True
    ) as answer:
        parts = answer.iter_content(None)
        assert next(parts) == b"first"
        yield parts


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGTERM, 0), (signal.SIGHUP, 0), (signal.SIGINT, 130)]
)
def test_what_is_in_flight_is_finished(
    start: Start, hub: Hub, folder: Path, number: signal.Signals, code: int
) -> None:
    served = start("serve", "slow:app", "--name", "busy", "--hub", hub.url, cwd=folder)
    served.out.next()
    with in_flight(hub, "busy") as parts:
        served.signal(number)
        served.err.until(f"{number.name}: closing after what is in flight")
        (folder / "go on").touch()
        assert list(parts) == [b"second"]
    assert served.wait() == code
    assert served.out.rest() == []


def wait_for_a_peer(server: restsock.sync.Server) -> None:
    """The peer has its last step of the handshake done a moment before the hub has."""
    until_blocking(lambda: len(server.connections))


def test_a_second_signal_cuts_off(start: Start, hub: Hub, folder: Path) -> None:
    served = start("serve", "slow:app", "--name", "cut", "--hub", hub.url, cwd=folder)
    served.out.next()
    with in_flight(hub, "cut") as parts:
        served.signal(signal.SIGINT)
        served.err.until("once more to cut that off")
        served.signal(signal.SIGINT)
        with pytest.raises(requests.exceptions.ChunkedEncodingError):
            list(parts)
    (folder / "go on").touch()
    assert served.wait() == 130


def test_it_is_killed(start: Start, hub: Hub, folder: Path) -> None:
    served = start("serve", "slow:app", "--name", "killed", "--hub", hub.url, cwd=folder)
    served.out.next()
    with in_flight(hub, "killed") as parts:
        served.signal(signal.SIGKILL)
        with pytest.raises(requests.exceptions.ChunkedEncodingError):
            list(parts)
    assert served.wait() == -signal.SIGKILL


def test_a_hub_that_is_not_there_yet(start: Start) -> None:
    port = free_port()
    served = start("forward", "1", "--name", "early", "--hub", f"ws://127.0.0.1:{port}")
    assert "as 'early'" in served.err.until("connecting to")
    assert "Connection refused; dialing again in" in served.err.until("no connection")
    with restsock.sync.listen("127.0.0.1", port, ingress=Ingress()) as server:
        assert served.out.next() == f"http://early.localhost:{port}/"
        wait_for_a_peer(server)
        server.close(1000, "no more use for you")
    served.err.until("restsock: the hub has ended the connection")
    assert served.wait() == 1


@pytest.mark.covers("--log-format")
def test_it_is_interrupted_before_there_is_a_hub(start: Start) -> None:
    served = start("forward", "1", "--hub", "ws://127.0.0.1:1", "--json", "--log-format", "json")
    assert json.loads(served.err.until("dialing again"))["level"] == "WARNING"
    served.signal(signal.SIGINT)
    assert served.wait() == 130
    assert served.out.rest() == []


def test_another_peer_takes_the_name(start: Start, hub: Hub) -> None:
    served = start("serve", "restsock.cli.demo:app", "--name", "wanted", "--hub", hub.url, "-q")
    served.out.next()
    with restsock.sync.connect(hub.url, name="wanted"):
        line = served.err.until("restsock: ")
        assert line.startswith("restsock: another peer has taken the name 'wanted'; stop that one")
        assert served.wait() == 1


def test_a_name_that_is_taken_is_waited_for(start: Start) -> None:
    with restsock.sync.listen("127.0.0.1", 0, names="reject", ingress=Ingress()) as server:
        with restsock.sync.connect(server.url, name="wanted"):
            served = start("forward", "1", "--name", "wanted", "--hub", server.url)
            assert "dialing again in" in served.err.until("the name is taken")
        assert "wanted.localhost" in served.out.next()


def test_the_hub_forgets_the_token(start: Start) -> None:
    tokens = {TOKEN.encode(): restsock.Principal("edge-1")}

    def auth(upgrade: restsock.auth.Upgrade) -> restsock.Principal | None:
        found = upgrade.authorization
        return None if found is None else tokens.get(found.token or b"")

    with restsock.sync.listen("127.0.0.1", 0, auth=auth) as server:
        served = start(
            *("serve", "restsock.cli.demo:app", "--name", "edge-1", "--hub", server.url),
            RESTSOCK_TOKEN=TOKEN,
        )
        served.err.until("connected; ")
        wait_for_a_peer(server)
        tokens.clear()
        assert server.revoke("edge-1") == 1
        assert served.wait() == 4
    assert "restsock: the hub does not accept this token" in "\n".join(served.err.rest())
