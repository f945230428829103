"""`RabbitMQ`: against a real broker, on a port of its own."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import trio

from restsock.auth import Basic
from restsock.gateway import CallFailed, RabbitMQ
from restsock.testing import FaultyProxy
from restsock.tls import ClientTLS
from tests.gateway.backends.brokers import RabbitServer, rabbit_server
from tests.gateway.backends.workers import rabbit_worker
from tests.gateway.stand_in import message, running
from tests.waiting import until

pytestmark = pytest.mark.timeout(180)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RabbitServer]:
    with rabbit_server(tmp_path_factory.mktemp("rabbit")) as found:
        yield found


async def test_a_worker_answers(server: RabbitServer) -> None:
    backend = RabbitMQ("calls-{key}", server.url)
    with rabbit_worker(server, "calls-buy") as seen:
        async with running(backend):
            await until(lambda: backend.connected)
            reply = await backend.call(message({"a": 1}, "buy", headers={"traceparent": "00-1"}))
            assert (reply.status, reply.body) == (200, {"a": 1})
            asked = seen[0]
            assert (asked.type, asked.content_type) == ("buy", "application/json")
            assert asked.headers["traceparent"] == "00-1"
            failed = await backend.call(message({"fail": 1}, "buy"))
            assert (failed.status, failed.failed) == (404, True)
            assert (await backend.call(message({"twice": 1}, "buy"))).body == {"twice": 1}
            await until(lambda: backend.late == 1)
            with pytest.raises(CallFailed) as caught:
                await backend.call(message({"hold": 1}, "buy", within=0.3))
            assert (caught.value.status, caught.value.may_have_run) == (504, True)


async def test_where_there_is_no_queue_nothing_has_run(server: RabbitServer) -> None:
    backend = RabbitMQ("nobody-{key}", server.url, auth=Basic("guest", "guest"))
    async with running(backend):
        await until(lambda: backend.connected)
        with pytest.raises(CallFailed) as caught:
            await backend.call(message({}, "x"))
        assert (caught.value.status, caught.value.may_have_run) == (503, False)
        for key in ("", "*", "#", "a.b", "\n", "x" * 300):
            with pytest.raises(CallFailed) as caught:
                await backend.call(message({}, key))
            assert caught.value.status == 422


async def test_a_connection_that_is_lost_is_an_answer_and_made_again(server: RabbitServer) -> None:
    async with FaultyProxy("127.0.0.1", server.port) as proxy:
        backend = RabbitMQ("calls-{key}", f"amqp://127.0.0.1:{proxy.port}/")
        errors: list[CallFailed] = []

        async def call() -> None:
            with pytest.raises(CallFailed) as caught:
                await backend.call(message({"hold": 1}, "buy"))
            errors.append(caught.value)

        with rabbit_worker(server, "calls-buy") as seen:
            async with running(backend):
                await until(lambda: backend.connected)
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(call)
                    await until(lambda: seen)
                    await proxy.refuse()
                    await proxy.cut()
                assert errors[0].may_have_run
                await until(lambda: not backend.connected)
                with pytest.raises(CallFailed) as caught:
                    await backend.call(message({}, "buy", within=0.1))
                assert (caught.value.status, caught.value.may_have_run) == (503, False)
                await proxy.accept()
                await until(lambda: backend.connected)
                assert (await backend.call(message({"a": 2}, "buy"))).body == {"a": 2}


def test_what_is_wrong_is_said_at_once() -> None:
    with pytest.raises(ValueError, match="no password in the URL"):
        RabbitMQ("a", "amqp://me:secret@127.0.0.1/")
    with pytest.raises(ValueError, match="amqp://"):
        RabbitMQ("a", "http://127.0.0.1/")
    with pytest.raises(ValueError, match=r"^tls= needs a "):
        RabbitMQ("a", tls=ClientTLS())
    with pytest.raises(ValueError, match="timeout"):
        RabbitMQ("a", timeout=-1)
    with pytest.raises(ValueError, match="could name any"):
        RabbitMQ("{key}")
    RabbitMQ("{key}", exchange="calls")  # which leads nowhere else
    assert repr(RabbitMQ("a.{key}")) == "RabbitMQ('a.{key}')"
