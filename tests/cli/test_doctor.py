"""`restsock doctor`: what it finds, and what it says about it."""

from __future__ import annotations

import datetime
import json
import socket
import ssl
from collections.abc import Iterator
from typing import Any

import pytest
import trustme

import restsock.sync

from .command import Run
from .conftest import TOKEN, Hub


def findings(run: Run, *args: str) -> tuple[int, dict[str, Any]]:
    done = run("doctor", *args, "--json")
    return done.code, {found["step"]: found for found in json.loads(done.out)}


@pytest.mark.covers("doctor --json")
def test_all_is_well(run: Run, hub: Hub) -> None:
    code, found = findings(run, "--hub", hub.url)
    assert code == 0
    assert {step: one["state"] for step, one in found.items()} == {
        "proxy": "ok",
        "DNS": "ok",
        "TCP": "ok",
        "TLS": "skipped",
        "upgrade": "ok",
        "handshake": "ok",
        "heartbeat": "ok",
        "clock": "ok",
    }


def test_tls(run: Run, secure: Hub, ca_file: str) -> None:
    code, found = findings(run, "--hub", secure.url, "--ca", ca_file, "--timeout", "20")
    assert code == 0
    assert "certificate valid for" in found["TLS"]["text"]
    code, found = findings(run, "--hub", secure.url)
    assert (code, found["TLS"]["state"]) == (1, "failed")
    assert "--ca" in found["TLS"]["hint"]
    assert "upgrade" not in found


def test_a_certificate_that_has_expired(run: Run, ca: trustme.CA, ca_file: str) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    past = datetime.datetime(2020, 1, 1, tzinfo=datetime.timezone.utc)
    ca.issue_cert("127.0.0.1", not_after=past).configure_cert(context)
    with restsock.sync.listen("127.0.0.1", 0, tls=context) as server:
        code, found = findings(run, "--hub", server.url, "--ca", ca_file)
        assert (code, found["TLS"]["text"]) == (1, "certificate has expired")
        assert "renew" in found["TLS"]["hint"]
        done = run("serve", "restsock.cli.demo:app", "--hub", server.url, "--ca", ca_file)
        assert done.code == 1
        assert "certificate has expired; have the hub's certificate renewed" in done.err


def test_a_port_without_tls(run: Run, hub: Hub) -> None:
    _, found = findings(run, "--hub", hub.url.replace("ws", "wss"))
    assert found["TLS"]["hint"] == "does the hub speak TLS on this port? try --hub ws://..."


@pytest.mark.covers("doctor --timeout")
def test_a_hub_that_says_nothing(run: Run) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"ws://127.0.0.1:{silent.getsockname()[1]}"
        code, found = findings(run, "--hub", url, "--timeout", "0.2")
    assert code == 1
    assert "0.2 s" in json.dumps(found)


def test_nobody_listens(run: Run) -> None:
    done = run("doctor", "--hub", "ws://127.0.0.1:1", "--no-color")
    assert done.code == 1
    assert "FAIL  TCP        127.0.0.1:1: Connection refused\n" in done.out
    assert "does a firewall let this port through?" in done.out


def test_no_such_host(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown(*args: Any, **options: Any) -> Any:
        raise socket.gaierror(-2, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    code, found = findings(run, "--hub", "ws://no-such-host.example")
    assert (code, found["DNS"]["state"]) == (1, "failed")


def test_tokens(run: Run, guarded: Hub, token_file: str) -> None:
    code, found = findings(run, "--hub", guarded.url)
    assert (code, found["upgrade"]["state"]) == (4, "failed")
    code, found = findings(run, "--hub", guarded.url, "--token-file", token_file)
    assert (code, found["upgrade"]["state"]) == (0, "ok")
    assert TOKEN not in json.dumps(found)


def test_a_proxy_of_the_environment(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://user:secret@127.0.0.1:1")
    monkeypatch.delenv("NO_PROXY", raising=False)
    monkeypatch.delenv("no_proxy", raising=False)
    code, found = findings(run, "--hub", "ws://hub.example")
    assert code == 1
    assert found["proxy"]["text"] == "dials through http://127.0.0.1:1"
    assert "cannot reach the proxy" in found["handshake"]["text"]
    monkeypatch.setenv("HTTP_PROXY", "nonsense://x")
    code, found = findings(run, "--hub", "ws://hub.example")
    assert (code, found["proxy"]["state"]) == (1, "failed")


@pytest.fixture
def readiness() -> Iterator[Hub]:
    """Something that answers as an admin API does."""
    with restsock.sync.listen("127.0.0.1", 0, health_path="/readyz") as server:
        yield Hub(server.url.replace("ws", "http"), server)


@pytest.mark.covers("doctor --ready", "doctor --admin")
def test_ready(run: Run, readiness: Hub, hub: Hub) -> None:
    assert run("doctor", "--ready", "--admin", readiness.url).code == 0
    not_it = run("doctor", "--ready", "--admin", hub.url.replace("ws", "http"))
    assert (not_it.code, not_it.err) == (1, "restsock: the hub is not ready: 404\n")
    nothing = run("doctor", "--ready", "--admin", "http://127.0.0.1:1")
    assert nothing.code == 1
    assert "no hub answers at http://127.0.0.1:1" in nothing.err
