"""`RedisStreams`: against a real server, on a port of its own."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest
import trio

from restsock.auth import Basic
from restsock.gateway import CallFailed, RedisStreams
from tests.gateway.backends.brokers import RedisServer, redis_server
from tests.gateway.backends.workers import redis_client, redis_worker
from tests.gateway.stand_in import message, running
from tests.waiting import until

AUTH = Basic("default", "secret")


@pytest.fixture
def server() -> Iterator[RedisServer]:
    with redis_server() as found:
        yield found


async def test_a_worker_answers(server: RedisServer) -> None:
    backend = RedisStreams("calls:{key}", server.url, auth=AUTH)
    with redis_worker(server, "calls:buy") as seen:
        async with running(backend):
            reply = await backend.call(message({"a": 1}, "buy", headers={"traceparent": "00-1"}))
            assert (reply.status, reply.body) == (200, {"a": 1})
            asked = seen[0]
            assert (asked["key"], asked["content-type"]) == (b"buy", b"application/json")
            assert json.loads(asked["headers"])["traceparent"] == "00-1"
            assert 29_000 < int(asked["milliseconds"]) <= 30_000
            failed = await backend.call(message({"fail": 1}, "buy"))
            assert (failed.status, failed.failed) == (404, True)
            assert (await backend.call(message({"twice": 1}, "buy"))).body == {"twice": 1}
            await until(lambda: backend.late == 1)
            assert (await backend.call(message({"junk": 1}, "buy"))).status == 502
            with pytest.raises(CallFailed) as caught:
                await backend.call(message({"hold": 1}, "buy", within=0.3))
            assert (caught.value.status, caught.value.may_have_run) == (504, True)
            with redis_client(server) as found:
                (answers,) = found.keys("restsock:answers:*")
                await until(lambda: found.xlen(answers) == 0)
                assert 0 < found.ttl(answers) <= 60
    with redis_client(server) as found:
        assert found.keys("restsock:answers:*") == []


async def test_many_calls_at_once(server: RedisServer) -> None:
    backend = RedisStreams("calls:{key}", server.url, auth=AUTH)
    done: list[int] = []

    async def call(n: int) -> None:
        done.append((await backend.call(message({"n": n}, "buy"))).body["n"])

    with redis_worker(server, "calls:buy"):
        async with running(backend), trio.open_nursery() as nursery:
            for n in range(200):
                nursery.start_soon(call, n)
    assert sorted(done) == [*range(200)]


async def test_a_stream_is_bounded_and_may_be_another_kind_of_key(server: RedisServer) -> None:
    backend = RedisStreams("calls:{key}", server.url, auth=AUTH, max_length=100, answers=False)
    async with running(backend):
        for _ in range(500):
            assert (await backend.call(message({}, "buy"))).status == 202
        with redis_client(server) as found:
            assert found.xlen("calls:buy") < 300
            found.set("calls:text", "x")
        with pytest.raises(CallFailed) as caught:
            await backend.call(message({}, "text"))
        assert (caught.value.status, caught.value.may_have_run) == (503, False)


async def test_a_server_that_dies_is_an_answer_and_comes_back(server: RedisServer) -> None:
    backend = RedisStreams("calls:{key}", server.url, auth=AUTH)
    errors: list[CallFailed] = []

    async def call() -> None:
        with pytest.raises(CallFailed) as caught:
            await backend.call(message({"hold": 1}, "buy"))
        errors.append(caught.value)

    async with running(backend):
        async with trio.open_nursery() as nursery:
            with redis_worker(server, "calls:buy") as seen:
                nursery.start_soon(call)
                await until(lambda: seen)
            server.kill()
        assert errors[0].may_have_run
        with pytest.raises(CallFailed) as caught:
            await backend.call(message({}, "buy", within=0.1))
        assert (caught.value.status, caught.value.may_have_run) == (503, False)
        await trio.to_thread.run_sync(server.start)
        await until(lambda: backend.connected)
        with redis_worker(server, "calls:buy"):
            assert (await backend.call(message({"a": 2}, "buy"))).body == {"a": 2}


async def test_wrong_credentials_are_told_to_the_log_without_a_secret(
    server: RedisServer, caplog: pytest.LogCaptureFixture
) -> None:
    backend = RedisStreams("calls:{key}", server.url, auth=Basic("default", "hidden"))
    async with running(backend):
        with pytest.raises(CallFailed):
            await backend.call(message({}, "buy", within=0.5))
    assert "no connection" in caplog.text
    assert "hidden" not in caplog.text


def test_what_is_wrong_is_said_at_once() -> None:
    with pytest.raises(ValueError, match="no password in the URL"):
        RedisStreams("a", "redis://:secret@127.0.0.1/")
    with pytest.raises(ValueError, match="number of a database"):
        RedisStreams("a", "redis://127.0.0.1/main")
    with pytest.raises(ValueError, match="part of its own"):
        RedisStreams("{key}")
    with pytest.raises(ValueError, match="max_length"):
        RedisStreams("a", max_length=0)
    assert repr(RedisStreams("a:{key}")) == "RedisStreams('a:{key}')"
