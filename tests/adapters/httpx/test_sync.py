"""The blocking transport, with httpx and with httpx2, over a real tunnel."""

from __future__ import annotations

import gc
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import httpx
import httpx2
import pytest
import trio

import restsock.sync
from restsock import Limits, Options, RestsockError, Timeouts
from restsock.adapters import HTTPX2Transport, HTTPXTransport
from tests.adapters.httpx.app import App

PACKAGES = [httpx, httpx2]
OPTIONS = Options(timeouts=Timeouts(connect=5.0), limits=Limits(max_streams=4))

pytestmark = pytest.mark.parametrize("package", PACKAGES, ids=lambda package: package.__name__)


@contextmanager
def calling(package: Any, *, options: Options = OPTIONS) -> Iterator[tuple[Any, App]]:
    """A client of the package whose requests go to the app."""
    app = App()
    with (
        restsock.sync.listen("127.0.0.1", 0, options=options) as server,
        restsock.sync.connect(server.url, app=app, name="edge-1", options=options),
        package.Client(transport=server.transport("edge-1"), base_url="http://edge-1") as client,
    ):
        yield client, app


def wait(event: trio.Event) -> None:
    """Waits, in a thread, for an event of the loop's."""
    for _ in range(500):
        if event.is_set():
            return
        threading.Event().wait(0.01)
    raise AssertionError("not in time")


def test_a_call(package: Any) -> None:
    with calling(package) as (client, _):
        answer = client.post("/echo?q=a%20b", json={"a": 1}, headers={"X-A": "1"})
        assert answer.status_code == 201
        assert answer.http_version == "HTTP/1.1"
        assert answer.reason_phrase == "Created"
        assert answer.headers.get_list("x-many") == ["1", "2"]
        assert answer.request.method == "POST"
        seen = answer.json()
        assert (seen["method"], seen["target"]) == ("POST", "/echo?q=a%20b")
        assert seen["body"].replace(" ", "") == '{"a":1}'
        names = [name.lower() for name, _ in seen["headers"]]
        assert ["Host", "edge-1"] in seen["headers"]
        assert "x-a" in names
        assert not {"connection", "transfer-encoding", "upgrade"} & set(names)
        assert names.count("content-length") == 1


def test_redirects_and_cookies(package: Any) -> None:
    with calling(package) as (client, _):
        answer = client.get("/redirect", follow_redirects=True)
        assert [step.status_code for step in answer.history] == [302]
        assert ["Cookie", "a=b"] in answer.json()["headers"]


@pytest.mark.parametrize("status", [200, 204, 304, 404, 503])
@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_statuses(package: Any, status: int, method: str) -> None:
    with calling(package) as (client, _):
        answer = client.request(method, f"/status?{status}")
        assert answer.status_code == status
        empty = method == "HEAD" or status in (204, 304)
        assert answer.content == (b"" if empty else b"text")


def test_trailers(package: Any) -> None:
    with calling(package) as (client, _):
        answer = client.get("/trailers")
        assert answer.content == b"body"
        assert answer.extensions["trailers"] == [(b"X-Sum", b"4")]


def test_bodies(package: Any) -> None:
    def pieces() -> Iterator[bytes]:
        for _ in range(100):
            yield b"x" * 10_000

    with calling(package) as (client, _):
        assert client.post("/size", content=b"x" * 1_000_000).text == "1000000"
        assert client.post("/size", content=pieces()).text == "1000000"
        assert client.post("/size", content=b"").text == "0"
        assert client.post("/size", files={"a": b"x" * 1_000}).status_code == 200
        assert len(client.get("/long").content) == 3_000_000


def test_a_body_that_fails_cuts_the_request_off(package: Any) -> None:
    def pieces() -> Iterator[bytes]:
        yield b"x"
        raise ZeroDivisionError

    with calling(package) as (client, app):
        with pytest.raises(ZeroDivisionError):
            client.post("/size", content=pieces())
        wait(app.left)


def test_what_comes_is_handed_on_at_once_and_leaving_is_told(package: Any) -> None:
    with calling(package) as (client, app):
        with client.stream("GET", "/events") as answer:
            pieces = answer.iter_raw()
            assert next(pieces) == b"one"
            assert client.post("/go").status_code == 204
            assert next(pieces) == b"two"
            assert not app.left.is_set()
        wait(app.left)


def test_a_dropped_response_is_cut_off(package: Any) -> None:
    with calling(package) as (client, app):
        answer = client.send(client.build_request("GET", "/events"), stream=True)
        assert answer.status_code == 200
        del answer
        gc.collect()
        wait(app.left)


def test_both_ways_at_once(package: Any) -> None:
    with calling(package) as (client, _):
        content = (b"x" * 10_000 for _ in range(400))
        answer = client.post("/upper", content=content)
        assert answer.content == b"X" * 4_000_000


def test_an_early_response(package: Any) -> None:
    def pieces() -> Iterator[bytes]:
        while True:
            yield b"x" * 10_000

    with calling(package) as (client, _):
        answer = client.post("/early", content=pieces())
        assert (answer.status_code, answer.text) == (413, "too much")


def test_threads(package: Any) -> None:
    with calling(package) as (client, app):
        with ThreadPoolExecutor(8) as pool:
            answers = list(pool.map(lambda n: client.get(f"/echo?{n}").json(), range(80)))
        assert [a["target"] for a in answers] == [f"/echo?{n}" for n in range(80)]
        assert app.reached == 80


# --- what goes wrong --------------------------------------------------------------------------


def check(caught: Any, package: Any, *, may_have_run: bool | None) -> None:
    error = caught.value
    assert error.request.url.host == "edge-1"
    assert isinstance(error.__cause__, RestsockError)
    assert error.__cause__.may_have_run is may_have_run
    assert type(error).__module__.partition(".")[0] == package.__name__


def test_no_head_in_time(package: Any) -> None:
    with calling(package) as (client, app):
        with pytest.raises(package.ReadTimeout) as caught:
            client.get("/never", timeout=package.Timeout(5, read=0.05))
        check(caught, package, may_have_run=True)
        wait(app.left)


def test_no_more_of_the_body_in_time(package: Any) -> None:
    with calling(package) as (client, app):
        with client.stream("GET", "/events", timeout=package.Timeout(5, read=0.2)) as answer:
            with pytest.raises(package.ReadTimeout) as caught:
                answer.read()
        check(caught, package, may_have_run=True)
        wait(app.left)


def test_nothing_is_taken_of_the_request(package: Any) -> None:
    with calling(package) as (client, _):
        with pytest.raises(package.WriteTimeout) as caught:
            client.post("/never", content=b"x" * 1_000_000, timeout=package.Timeout(5, write=0.1))
        check(caught, package, may_have_run=True)


def test_no_peer(package: Any) -> None:
    with restsock.sync.listen("127.0.0.1", 0) as server:
        transport = server.transport("edge-1")
        with package.Client(
            transport=transport, timeout=package.Timeout(5, connect=0.05)
        ) as client:
            with pytest.raises(package.ConnectTimeout) as caught:
                client.get("http://edge-1/")
        check(caught, package, may_have_run=False)


def test_no_free_stream(package: Any) -> None:
    with calling(package, options=Options(limits=Limits(max_streams=1))) as (client, app):
        with client.stream("GET", "/events"):
            with pytest.raises(package.PoolTimeout) as caught:
                client.get("/echo", timeout=package.Timeout(5, pool=0.05))
        check(caught, package, may_have_run=False)
        assert app.reached == 1


def test_a_response_that_breaks_off(package: Any) -> None:
    with calling(package) as (client, _):
        with client.stream("GET", "/broken") as answer:
            assert client.post("/go").status_code == 204
            with pytest.raises(package.RemoteProtocolError) as caught:
                answer.read()
        check(caught, package, may_have_run=True)


def test_what_cannot_be_sent(package: Any) -> None:
    with calling(package) as (client, app):
        with pytest.raises(package.LocalProtocolError) as caught:
            client.get("/echo", headers={"X-A": "a\nb: c"})
        check(caught, package, may_have_run=False)
        with pytest.raises(package.LocalProtocolError):
            client.post("/echo", content=iter([b"abc"]), headers={"Content-Length": "2"})
        assert app.reached <= 1


def test_a_connection_that_ends(package: Any) -> None:
    with restsock.sync.listen("127.0.0.1", 0) as server:
        app = App()
        with restsock.sync.connect(server.url, app=app, name="edge-1"):
            with package.Client(transport=server.transport("edge-1")) as client:
                with client.stream("GET", "http://edge-1/events") as answer:
                    connection = server.connections.by_name("edge-1")
                    assert connection is not None
                    connection.close(1001)
                    with pytest.raises(package.ReadError) as caught:
                        answer.read()
        check(caught, package, may_have_run=True)


async def test_on_the_loops_own_thread(package: Any) -> None:
    async with restsock.listen("127.0.0.1", 0) as server:
        kind = {httpx: HTTPXTransport, httpx2: HTTPX2Transport}[package]
        transport = kind(server.route("edge-1"))
        with package.Client(transport=transport) as client:
            with pytest.raises(RestsockError, match="would wait for itself"):
                client.get("http://edge-1/")


def test_the_classes_are_the_packages_own(package: Any) -> None:
    kind = {httpx: HTTPXTransport, httpx2: HTTPX2Transport}[package]
    assert issubclass(kind, package.BaseTransport)
    assert "max_retries" not in (kind.__doc__ or "")


def test_a_request_of_neither(package: Any) -> None:
    kind: Any = {httpx: HTTPXTransport, httpx2: HTTPX2Transport}[package]
    with pytest.raises(TypeError, match="httpx or httpx2"):
        kind(object()).handle_request(object())


def test_without_the_package(package: Any) -> None:
    program = f"""
import sys
sys.modules[{package.__name__!r}] = None
import restsock.adapters
try:
    restsock.adapters.{ {httpx: "HTTPXTransport", httpx2: "AsyncHTTPX2Transport"}[package] }
except ImportError as exc:
    print(exc)
transport = restsock.adapters.transport_for(object())
print(type(transport).__name__)
sys.modules["httpx"] = sys.modules["httpx2"] = None
for name in list(sys.modules):
    if name.startswith("restsock.adapters.httpx._httpx"):
        del sys.modules[name]
try:
    restsock.adapters.transport_for(object())
except ImportError as exc:
    print(exc)
"""
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=30, check=False
    )
    assert done.returncode == 0, done.stderr
    hint, other, neither = done.stdout.splitlines()
    assert f"pip install 'restsock[{package.__name__}]'" in hint
    assert other == ("HTTPX2Transport" if package is httpx else "HTTPXTransport")
    assert "pip install 'restsock[httpx]'" in neither


def test_a_body_that_reads_once_is_sent_once(package: Any) -> None:
    """For a challenge and for a redirect; a plain iterator as well as a generator."""
    for again in ("digest", "/moved"):
        bodies = [map(bytes, [b"bo", b"dy"]), (part for part in (b"bo", b"dy")), iter([b"body"])]
        for body in bodies:
            with calling(package) as (client, app):
                auth = package.DigestAuth("user", "secret") if again == "digest" else None
                target = "/challenge" if again == "digest" else again
                with pytest.raises(package.StreamConsumed):
                    client.put(target, content=body, auth=auth, follow_redirects=True)
                assert app.reached == 1


@pytest.mark.parametrize("host", ["a b", "edge-1/path", "user@edge-1", ""])
def test_a_host_that_cannot_be_sent(package: Any, host: str) -> None:
    with calling(package) as (client, app), pytest.raises(package.LocalProtocolError):
        client.get("/echo", headers={"Host": host})
    assert not app.reached


def test_no_proxy_has_a_part_in_it(package: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://user:secret@127.0.0.1:9")
    with calling(package) as (client, _):
        transport = client._transport
        fields = {"Proxy-Authorization": "Basic c2VjcmV0"}
        seen = client.get("/echo", headers=fields).json()["headers"]
        assert "proxy-authorization" not in [name.lower() for name, _ in seen]
        for prefix in ("http://edge-1", "all://edge-1"):
            with package.Client(mounts={prefix: transport}) as mounted:
                for url in (
                    "http://edge-1/echo",
                    "http://EDGE-1:80/echo",
                    "http://u:p@edge-1/echo",
                ):
                    assert mounted.get(url).status_code == 201
