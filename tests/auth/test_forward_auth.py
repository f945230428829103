"""ForwardAuth: what is asked of the other server, and what becomes of its answers."""

from __future__ import annotations

import contextlib
import logging
import socket
import ssl
import threading
from collections.abc import Iterator

import pytest

from restsock.auth import Answered, ForwardAuth, Refused, Upgrade
from restsock.auth._fetch import Place, fetch

from .servers import Server, serving

UPGRADE = Upgrade(
    "/pets?limit=1",
    [
        (b"host", b"edge-1.hub.example"),
        (b"cookie", b"session=s3cr3t"),
        (b"authorization", b"Bearer t0k3n"),
        (b"accept", b"text/html"),
        (b"content-length", b"10"),
        (b"connection", b"upgrade"),
        (b"upgrade", b"websocket"),
        (b"x-forwarded-uri", b"/forged"),
        (b"x_forwarded_uri", b"/forged"),
        (b"remote-user", b"forged"),
        (b"restsock-identity", b"forged"),
        (b"x-original-url", b"/forged"),
        (b"x-rewrite-url", b"/forged"),
        (b"true-client-ip", b"10.0.0.1"),
        (b"cf-connecting-ip", b"10.0.0.1"),
    ],
    "203.0.113.7",
    4711,
    method="POST",
    scheme="https",
)


@pytest.fixture
def server() -> Iterator[Server]:
    with serving(lambda target, fields: (200, {}, b"")) as found:
        yield found


def test_what_the_other_server_gets(server: Server) -> None:
    ForwardAuth(f"{server.url}/auth?x=1")(UPGRADE)
    ((target, fields),) = server.seen
    assert target == "/auth?x=1"
    assert fields == {
        "host": server.url.removeprefix("http://"),
        "cookie": "session=s3cr3t",
        "authorization": "Bearer t0k3n",
        "accept": "text/html",
        "x-forwarded-method": "POST",
        "x-forwarded-proto": "https",
        "x-forwarded-host": "edge-1.hub.example",
        "x-forwarded-uri": "/pets?limit=1",
        "x-forwarded-for": "203.0.113.7",
        "x-original-method": "POST",
        "x-original-url": "https://edge-1.hub.example/pets?limit=1",
    }


@pytest.mark.parametrize(
    ("fields", "name", "groups"),
    [
        ({"Remote-User": "anna", "Remote-Groups": "ops, dev,"}, "anna", ["ops", "dev"]),
        ({"X-Auth-Request-User": "anna", "X-Auth-Request-Groups": "ops"}, "anna", ["ops"]),
        ({"X-Forwarded-User": "a", "Remote-User": "anna"}, "anna", []),
        ({}, "authenticated", []),
    ],
)
def test_whom_it_names(
    server: Server, fields: dict[str, str], name: str, groups: list[str]
) -> None:
    server.reply = lambda target, asked: (204 if not fields else 200, fields, b"")
    principal = ForwardAuth(server.url)(UPGRADE)
    assert (principal.name, principal.claims["groups"]) == (name, groups)


def test_fields_of_ones_own(server: Server) -> None:
    server.reply = lambda target, asked: (200, {"X-Me": "anna", "Remote-User": "no"}, b"")
    assert ForwardAuth(server.url, user_fields=["x-me"])(UPGRADE).name == "anna"
    assert ForwardAuth(server.url, user_fields=(), anonymous="guest")(UPGRADE).name == "guest"


@pytest.mark.parametrize("status", [302, 307, 401, 403, 429])
def test_other_answers_are_passed_on(server: Server, status: int) -> None:
    fields = {"Location": "https://login.example/", "Set-Cookie": "a=b", "Connection": "close"}
    server.reply = lambda target, asked: (status, fields, b"go there")
    with pytest.raises(Answered) as answered:
        ForwardAuth(server.url)(UPGRADE)
    answer = answered.value
    assert (answer.status, answer.body) == (status, b"go there")
    kept = dict(answer.headers)
    assert (kept[b"Location"], kept[b"Set-Cookie"]) == (b"https://login.example/", b"a=b")
    assert b"Content-Length" not in kept
    assert b"Connection" not in kept


@pytest.mark.parametrize("value", ["a\x01b", "a\x00b", "x" * 33_000])
def test_an_answer_that_cannot_be_passed_on(server: Server, value: str) -> None:
    server.reply = lambda target, asked: (302, {"Location": value}, b"")
    with pytest.raises(Refused) as refused:
        ForwardAuth(server.url)(UPGRADE)
    assert (refused.value.status, type(refused.value)) == (503, Refused)


@pytest.mark.parametrize("status", [500, 502, 503])
def test_a_server_that_fails_admits_no_client(
    server: Server, status: int, caplog: pytest.LogCaptureFixture
) -> None:
    server.reply = lambda target, asked: (status, {}, b"a traceback")
    with caplog.at_level(logging.INFO), pytest.raises(Refused) as refused:
        ForwardAuth(server.url)(UPGRADE)
    assert not isinstance(refused.value, Answered)
    assert refused.value.status == 503
    assert f"a status of {status}" in caplog.text
    assert "s3cr3t" not in caplog.text
    assert "t0k3n" not in caplog.text


def test_a_name_that_cannot_be_one(server: Server) -> None:
    server.reply = lambda target, asked: (200, {"Remote-User": "\xff"}, b"")
    assert ForwardAuth(server.url)(UPGRADE).name == "\ufffd"
    server.reply = lambda target, asked: (200, {"Remote-User": ""}, b"")
    with pytest.raises(Refused) as refused:
        ForwardAuth(server.url)(UPGRADE)
    assert refused.value.status == 503


def test_an_answer_without_end_is_none(server: Server) -> None:
    server.reply = lambda target, asked: (200, {}, b"x" * 100_000)
    with pytest.raises(Refused) as refused:
        ForwardAuth(server.url)(UPGRADE)
    assert refused.value.status == 503


def test_no_answer_in_time() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}/"
        with pytest.raises(Refused) as refused:
            ForwardAuth(url, timeout=0.05)(UPGRADE)
    assert refused.value.status == 503
    with pytest.raises(Refused) as refused:  # nobody is there
        ForwardAuth(url, timeout=5)(UPGRADE)
    assert refused.value.status == 503


@pytest.mark.parametrize("begin", [b"HTTP/1.1 200 OK\r\n\r\n", b"HTTP/1.1 200 OK\r\nX: ", b"H"])
def test_a_slow_answer_has_no_more_time_than_another(begin: bytes) -> None:
    """Each byte comes in time, and all of them would take ten seconds."""

    def drip(listener: socket.socket) -> None:
        stream, _ = listener.accept()
        with stream, contextlib.suppress(OSError):
            stream.sendall(begin)
            while not over.wait(0.05):
                stream.sendall(b"x")

    over = threading.Event()
    limit = threading.Timer(10, over.set)
    limit.start()
    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=drip, args=(listener,))
        thread.start()
        with pytest.raises(Refused) as refused:
            ForwardAuth(f"http://127.0.0.1:{listener.getsockname()[1]}/", timeout=0.3)(UPGRADE)
        assert refused.value.status == 503
        assert not over.is_set()
        over.set()
        thread.join()
    limit.cancel()
    limit.join()


def test_the_authorities_of_the_system_are_read_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """They take longer than a request, and anybody can cause one."""
    made: list[ssl.SSLContext] = []
    real = ssl.create_default_context

    def make() -> ssl.SSLContext:
        made.append(real())
        return made[-1]

    monkeypatch.setattr(ssl, "create_default_context", make)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        place = Place.of(f"https://127.0.0.1:{listener.getsockname()[1]}/", "x")
    for _ in range(3):
        with pytest.raises(OSError, match="refused"):
            fetch(place, timeout=1, max_body=1)
    assert len(made) <= 1


@pytest.mark.parametrize(
    "url", ["", "auth", "ftp://x/", "http://auth.example/", "https://u:p@auth.example/", "http:///"]
)
def test_what_is_no_url(url: str) -> None:
    with pytest.raises(ValueError, match="URL of ForwardAuth") as error:
        ForwardAuth(url)
    assert "u:p" not in str(error.value)


def test_its_repr_tells_the_host_alone() -> None:
    assert repr(ForwardAuth("https://auth.example/x?key=s3cr3t")) == "ForwardAuth('auth.example')"
