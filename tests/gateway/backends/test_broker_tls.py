"""Brokers over TLS, and brokers that hang: `RabbitMQ` and `RedisStreams` against real servers."""

from __future__ import annotations

import logging
import re
import shutil
import sys
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import trio

from restsock.auth import Basic
from restsock.gateway import CallFailed, RabbitMQ, RedisStreams
from restsock.gateway.backends import _rabbitmq, _redis_streams
from restsock.tls import ClientTLS
from tests.gateway.backends.brokers import Certificates, rabbit_server, redis_server
from tests.gateway.backends.workers import rabbit_worker, redis_worker
from tests.gateway.stand_in import message, running
from tests.waiting import until

pytestmark = [
    pytest.mark.timeout(180),
    pytest.mark.skipif(
        sys.version_info < (3, 11),
        reason="asyncio of 3.10 leaves sockets whose TLS handshake was given up",
    ),
]

SILENT = 0.5


class Kind(NamedTuple):
    """A kind of broker that runs."""

    server: Any
    make: Callable[..., RabbitMQ | RedisStreams]
    worker: Callable[[], Any]
    password: str


@pytest.fixture(params=["redis", "rabbitmq"], scope="module")
def kind(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Kind]:
    """It runs before and after each test."""
    folder = tmp_path_factory.mktemp(request.param)
    files = Certificates.made(folder / "tls")
    password = folder / "password"
    if request.param == "redis":
        password.write_text("secret\n", "utf-8")
        with redis_server(files) as server:
            make: Any = partial(
                RedisStreams, "calls-{key}", server.url, auth=Basic("default", file=password)
            )
            yield Kind(server, make, partial(redis_worker, server, "calls-buy"), "secret")
        return
    password.write_text("guest\n", "utf-8")
    with rabbit_server(folder, files) as broker:
        make = partial(RabbitMQ, "calls-{key}", broker.url, auth=Basic("guest", file=password))
        yield Kind(broker, make, partial(rabbit_worker, broker, "calls-buy"), "guest")


async def test_a_worker_answers_over_tls_also_after_a_restart(kind: Kind) -> None:
    ca, _, pem = kind.server.files
    tls = ClientTLS(ca=ca, certificate=pem, server_hostname="broker.test")
    backend = kind.make(tls=tls)
    async with running(backend):
        await until(lambda: backend.connected)
        with kind.worker():
            assert (await backend.call(message({"a": 1}, "buy"))).body == {"a": 1}
        kind.server.kill()
        await until(lambda: not backend.connected)
        with pytest.raises(CallFailed) as caught:
            await backend.call(message({}, "buy", within=0.1))
        assert (caught.value.status, caught.value.may_have_run) == (503, False)
        await trio.to_thread.run_sync(kind.server.start)
        await until(lambda: backend.connected)
        with kind.worker():
            assert (await backend.call(message({"a": 2}, "buy"))).body == {"a": 2}


async def test_who_is_not_who_they_should_be_is_refused_and_the_log_says_why(
    kind: Kind, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    ca, _, pem = kind.server.files
    other = Certificates.made(tmp_path / "other")
    name = "broker.test"
    # A broker that closes at once may reset the connection before its alert was read.
    refused = "this side's certificate|reset by peer"
    wrong: list[tuple[dict[str, Any], str]] = [
        ({"ca": other.ca, "certificate": pem, "server_hostname": name}, "certificate is not acc"),
        ({"ca": ca, "certificate": pem, "server_hostname": "other.test"}, "not valid for 'other"),
        ({"ca": ca, "certificate": pem}, "not valid for '127.0.0.1'"),
        ({"ca": ca, "server_hostname": name}, refused),
        ({"ca": ca, "certificate": other.client, "server_hostname": name}, refused),
    ]
    caplog.set_level(logging.DEBUG)

    def logged(why: str) -> bool:
        return re.search(why, caplog.text) is not None

    for options, why in wrong:
        caplog.clear()
        backend = kind.make(tls=ClientTLS(**options))
        async with running(backend):
            await until(partial(logged, why))
            assert not backend.connected
            with pytest.raises(CallFailed) as caught:
                await backend.call(message({}, "buy", within=0.1))
            assert (caught.value.status, caught.value.may_have_run) == (503, False)
        assert f":{kind.password}@" not in caplog.text
        assert "'secret'" not in caplog.text


async def test_a_certificate_that_is_renewed_is_used_for_the_next_connection(
    kind: Kind, tmp_path: Path
) -> None:
    own, other = kind.server.files, Certificates.made(tmp_path / "other")
    file = tmp_path / "gateway.pem"
    shutil.copy(other.client, file)
    tls = ClientTLS(ca=own.ca, certificate=file, server_hostname="broker.test")
    backend = kind.make(tls=tls)
    async with running(backend):
        await trio.sleep(0.5)
        assert not backend.connected
        shutil.copy(own.client, file)
        await until(lambda: backend.connected)


async def test_a_broker_that_hangs_is_given_up_and_used_when_it_goes_on(
    kind: Kind, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_redis_streams, "_BLOCK", 0.5)
    monkeypatch.setattr(_redis_streams, "_CONNECT", SILENT)
    monkeypatch.setattr(_rabbitmq, "_CONNECT", SILENT)
    monkeypatch.setattr(_rabbitmq, "_HEARTBEAT", 1)
    ca, _, pem = kind.server.files
    backend = kind.make(tls=ClientTLS(ca=ca, certificate=pem, server_hostname="broker.test"))
    async with running(backend):
        await until(lambda: backend.connected)
        kind.server.stop()
        try:
            with pytest.raises(CallFailed) as caught:
                await backend.call(message({}, "buy", within=0.3))
            assert (caught.value.status, caught.value.may_have_run) == (504, True)
            await until(lambda: not backend.connected)
        finally:
            kind.server.go_on()
        monkeypatch.undo()
        await until(lambda: backend.connected)
        with kind.worker():
            assert (await backend.call(message({"a": 1}, "buy"))).body == {"a": 1}


@pytest.mark.parametrize("secure", [False, True])
@pytest.mark.parametrize("name", ["redis", "rabbitmq"])
async def test_what_says_nothing_from_the_beginning_is_given_up(
    name: str, secure: bool, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(_redis_streams, "_CONNECT", SILENT)
    monkeypatch.setattr(_rabbitmq, "_CONNECT", SILENT)
    met = 0

    async def say_nothing(stream: trio.SocketStream) -> None:
        nonlocal met
        met += 1
        async for _ in stream:
            pass

    async with trio.open_nursery() as nursery:
        (listener,) = await nursery.start(partial(trio.serve_tcp, say_nothing, 0, host="127.0.0.1"))
        place = f"{'s' if secure else ''}://127.0.0.1:{listener.socket.getsockname()[1]}/"
        backend = (
            RedisStreams("calls-{key}", f"redis{place}")
            if name == "redis"
            else RabbitMQ("calls-{key}", f"amqp{place}")
        )
        async with running(backend):
            await until(lambda: "no connection: TimeoutError" in caplog.text)
            await until(lambda: met > 1)
            assert not backend.connected
        nursery.cancel_scope.cancel()


def test_tls_that_is_none_or_has_no_place_is_said_at_once() -> None:
    for make in (RabbitMQ, RedisStreams):
        with pytest.raises(ValueError, match=r"^tls= needs a "):
            make("a", tls=ClientTLS())
        with pytest.raises(TypeError, match=r"restsock\.tls\.client"):
            make("a", tls="ca.pem")  # type: ignore[arg-type]
