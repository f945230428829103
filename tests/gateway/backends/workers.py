"""Who answers at a broker: in a thread, by what it is asked."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import aio_pika
import redis

from tests.gateway.backends.brokers import RabbitServer, RedisServer

__all__ = ["rabbit_worker", "redis_client", "redis_worker"]


@contextmanager
def redis_client(server: RedisServer) -> Iterator[Any]:
    """A client of Redis that waits."""
    given: dict[str, Any] = {}
    if server.files is not None:
        ca, _, pem = map(str, server.files)
        given = {"ssl": True, "ssl_ca_certs": ca, "ssl_certfile": pem, "ssl_keyfile": pem}
        given["ssl_check_hostname"] = False
    with redis.Redis(port=server.port, password="secret", **given) as found:
        yield found


@contextmanager
def redis_worker(server: RedisServer, stream: str) -> Iterator[list[dict[str, Any]]]:
    """Answers the entries of a stream, by what they say, in a thread."""
    seen: list[dict[str, Any]] = []
    over = threading.Event()

    def work() -> None:
        last: Any = "0"
        with redis_client(server) as found:
            while not over.is_set():
                for _, entries in found.xread({stream: last}, block=20) or ():
                    for number, raw in entries:
                        last = number
                        answer(found, {name.decode(): value for name, value in raw.items()})

    def answer(found: Any, asked: dict[str, Any]) -> None:
        seen.append(asked)
        if b"hold" in asked["body"]:
            return
        made = {"id": asked["id"], "body": asked["body"]}
        if b"fail" in asked["body"]:
            made["status"] = "404"
        if b"junk" in asked["body"]:
            made |= {"status": "seven"}
        for _ in range(2 if b"twice" in asked["body"] else 1):
            found.xadd(asked["reply-to"], made)

    thread = threading.Thread(target=work)
    thread.start()
    try:
        yield seen
    finally:
        over.set()
        thread.join()


@contextmanager
def rabbit_worker(server: RabbitServer, queue: str) -> Iterator[list[Any]]:
    """Answers what comes to a queue, by what it says, on asyncio in a thread."""
    seen: list[Any] = []
    ready = threading.Event()
    loop = asyncio.new_event_loop()
    stop = asyncio.Event()

    async def answer(asked: Any) -> None:
        seen.append(asked)
        if b"hold" in asked.body:
            return
        headers: Any = {"status": 404} if b"fail" in asked.body else {}
        made = aio_pika.Message(
            asked.body,
            correlation_id=asked.correlation_id,
            content_type=asked.content_type,
            headers=headers,
        )
        for _ in range(2 if b"twice" in asked.body else 1):
            await channel.default_exchange.publish(made, asked.reply_to)

    channel: Any = None

    async def work() -> None:
        nonlocal channel
        async with await aio_pika.connect(server.url, ssl_context=server.context()) as connection:
            channel = await connection.channel()
            declared = await channel.declare_queue(queue, auto_delete=True)
            await declared.consume(answer, no_ack=True)
            ready.set()
            await stop.wait()

    thread = threading.Thread(target=loop.run_until_complete, args=(work(),))
    thread.start()
    try:
        assert ready.wait(20)
        yield seen
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join()
        loop.close()
