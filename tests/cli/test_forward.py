"""`restsock forward`: servers that run already."""

from __future__ import annotations

import json
import os
import re
import shutil
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, make_server

import pytest
import requests

import restsock.sync
from restsock.cli._doors import OnlyPaths
from restsock.cli._forward import upstream_url
from restsock.ingress import Ingress
from restsock.protocol import RequestHead
from tests.waiting import until_blocking

from .command import ROOT, Process, Run, environment
from .conftest import Hub

Start = Callable[..., Process]


class _Quiet(WSGIRequestHandler):
    def log_message(self, format: str, *args: Any) -> None:
        pass


def _app(environ: dict[str, Any], start_response: Callable[..., Any]) -> list[bytes]:
    shown = environ.get("HTTP_AUTHORIZATION", "none")
    start_response("200 OK", [("Content-Type", "text/plain"), ("X-Authorization", shown)])
    return [f"{environ['PATH_INFO']} at {environ['HTTP_HOST']}".encode()]


@pytest.fixture(scope="module")
def upstream() -> Iterator[int]:
    with make_server("127.0.0.1", 0, _app, handler_class=_Quiet) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        yield server.server_port
        server.shutdown()
        thread.join()


@pytest.mark.covers("forward --name", "--hub")
def test_a_port(start: Start, hub: Hub, upstream: int, run: Run) -> None:
    served = start("forward", str(upstream), "--name", "fwd", "--hub", hub.url)
    assert served.out.next().startswith("http://fwd.localhost:")
    host = hub.url.removeprefix("ws://").strip("/")
    assert run("call", "fwd", "/x", "--hub", hub.url).out == f"/x at {host}"


@pytest.mark.covers("forward --json")
def test_the_url_is_what_the_hub_tells(start: Start) -> None:
    ingress = Ingress(domains=["hub.example"], url="https://hub.example", path_prefix=False)
    with restsock.sync.listen("127.0.0.1", 0, ingress=ingress) as server:
        plain = start("forward", "--null", "--name", "edge-1", "--hub", server.url)
        assert plain.out.next() == "https://edge-1.hub.example/"
        as_json = start("forward", "--null", "--name", "edge-2", "--hub", server.url, "--json")
        told = json.loads(as_json.out.next())
        assert told["urls"] == [told["url"]] == ["https://edge-2.hub.example/"]
        named = start("forward", "--null", "--name", "edge.3", "--hub", server.url)
        named.err.until("callers name this peer with 'Restsock-Peer: edge.3'")


@pytest.mark.covers("forward --host", "forward --only", "forward --meta")
def test_settings(start: Start, hub: Hub, upstream: int, run: Run) -> None:
    url = f"http://127.0.0.1:{upstream}/base"
    served = start(
        *("forward", url, "--name", "some", "--host", "upstream", "--timeout", "5"),
        *("--only", "/open", "--only", "/more/", "--meta", "a=b", "--hub", hub.url),
    )
    served.out.next()
    until_blocking(lambda: hub.server.connections.by_metadata({"a": "b"}))
    done = run("call", "some", "/open/x", "--hub", hub.url)
    assert done.out == f"/base/open/x at 127.0.0.1:{upstream}"
    assert run("call", "some", "/more", "--hub", hub.url).code == 0
    closed = run("call", "some", "/opened", "--hub", hub.url, "--json")
    assert json.loads(closed.out)["status"] == 404


@pytest.mark.covers("forward --basic")
def test_callers_show_a_password(start: Start, hub: Hub, upstream: int, tmp_path: Path) -> None:
    users = tmp_path / "users.json"
    users.write_text(json.dumps({"ann": "correct horse"}))
    served = start(
        *("forward", str(upstream), "--name", "shy", "--basic", str(users), "--hub", hub.url)
    )
    served.out.next()
    url, host = hub.url.replace("ws", "http"), {"Host": "shy.localhost"}
    without = requests.get(url, headers=host)
    assert without.status_code == 401
    assert without.headers["WWW-Authenticate"].startswith("Basic realm=")
    assert requests.get(url, headers=host, auth=("ann", "wrong")).status_code == 401
    assert requests.get(url, headers={**host, "Authorization": "nonsense"}).status_code == 400
    found = requests.get(url, headers=host, auth=("ann", "correct horse"))
    assert (found.status_code, found.headers["X-Authorization"]) == (200, "none")


@pytest.mark.covers("forward --null")
def test_no_server_at_all(start: Start, hub: Hub, run: Run) -> None:
    served = start("forward", "--null", "--name", "hooks", "--json", "--hub", hub.url)
    assert json.loads(served.out.next())["url"].startswith("http://hooks.localhost")
    done = run("call", "hooks", "/hook", "a=1", "--hub", hub.url)
    assert (done.code, done.out) == (0, "")
    assert json.loads(served.out.next())["path"] == "/hook"


def test_a_server_that_is_not_there(start: Start, hub: Hub, run: Run) -> None:
    served = start("forward", "1", "--name", "gone", "--hub", hub.url)
    served.out.next()
    done = run("call", "gone", "/", "--hub", hub.url, "--json")
    assert (done.code, json.loads(done.out)["status"]) == (1, 502)


@pytest.mark.covers("forward --timeout")
def test_a_server_that_does_not_answer(start: Start, hub: Hub, run: Run) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = str(silent.getsockname()[1])
        served = start("forward", port, "--name", "mute", "--timeout", "0.05", "--hub", hub.url)
        served.out.next()
        done = run("call", "mute", "/", "--hub", hub.url, "--json")
        assert (done.code, json.loads(done.out)["status"]) == (1, 504)


def test_wrong_use(run: Run) -> None:
    assert run("forward").code == 2
    assert run("forward", "5000", "--null").code == 2
    assert run("forward", "ftp://host").code == 2
    assert run("forward", "5000", "--host", "a b").code == 2
    assert run("forward", "5000", "--only", "api").code == 2
    assert run("forward", "5000", "--only", "/api/../x").code == 2
    missing = run("forward", "5000", "--basic", "no-such-file")
    assert (missing.code, missing.err.startswith("restsock: --basic: ")) == (1, True)


@pytest.mark.parametrize(
    ("target", "url"),
    [
        ("5000", "http://127.0.0.1:5000"),
        ("box:5000", "http://box:5000"),
        ("https://box/api", "https://box/api"),
        ("unix:/run/app.sock", "http+unix:///run/app.sock"),
        ("unix:///run/app.sock", "http+unix:///run/app.sock"),
    ],
)
def test_what_a_target_means(target: str, url: str) -> None:
    assert upstream_url(target) == url


class _Exchange:
    """What `OnlyPaths` uses of an exchange."""

    def __init__(self, target: bytes) -> None:
        self.request = RequestHead(b"GET", target, [])
        self.observer: object = None
        self.status = 0

    def respond(self, head: Any, body: bytes) -> None:
        self.status = head.status


class _Inner:
    def __init__(self) -> None:
        self.seen = False

    def handle(self, exchange: Any) -> None:
        self.seen = True


@pytest.mark.parametrize(
    ("target", "passes"),
    [
        (b"/api", True),
        (b"/api?x=/../y", True),
        (b"/api/x", True),
        (b"/apis", False),
        (b"/", False),
        (b"/api/../secret", False),
        (b"/api/%2e%2e/secret", False),
        (b"/api/..%2fsecret", False),
        (b"/api\\..\\secret", False),
        (b"/api/..;/secret", False),
        (b"/api/x;a=b", False),
        (b"/api/x/", True),
        (b"//api", False),
        (b"/%61pi", False),
        (b"*", False),
    ],
)
def test_only_what_is_under_a_path_passes(target: bytes, passes: bool) -> None:
    inner, exchange = _Inner(), _Exchange(target)
    handler: Any = OnlyPaths(inner, ["/api/"])  # type: ignore[arg-type]  # it has what is used
    handler.handle(exchange)
    assert inner.seen is passes
    assert exchange.status == (0 if passes else 404)


@pytest.mark.skipif(shutil.which("bash") is None, reason="bash is not installed")
def test_a_script_reads_the_url_and_goes_on(hub: Hub, tmp_path: Path) -> None:
    """As docs/cli.md says."""
    page = (ROOT / "docs" / "cli.md").read_text("utf-8")
    found = re.search(r"`(read -r URL < <\(restsock forward 5000 [^`]+)`", page)
    assert found is not None
    line = found[1].replace("forward 5000", "forward --null")
    command = tmp_path / "restsock"
    command.write_text(f'#!/bin/sh\nexec {sys.executable} -m restsock "$@"\n')
    command.chmod(0o700)
    env = environment({"RESTSOCK_HUB": hub.url})
    env["PATH"] = f"{tmp_path}{os.pathsep}{env['PATH']}"
    done = subprocess.run(
        ["bash", "-c", f'{line}; echo "$URL"; kill $!; wait $!; echo "$?"'],
        env=env,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    url, code = done.stdout.splitlines()
    assert url.startswith("http://edge-1.localhost:")
    assert code == "0"
