"""Clients of plain HTTP that mean harm, on the port of a listener whose honest peer goes on."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import trio

import restsock
from tests.hostile.site import HASTY, LIMITS, TIMEOUTS, site
from tests.plain_client import GET, dial, statuses
from tests.protocol.vectors import as_bytes, load
from tests.waiting import until

EVIL = b"GET /evil HTTP/1.1\r\nHost: a\r\n\r\n"
VECTORS = load("plain_http.json")


class Endpoint:
    """Answers with what it was asked for; `/hang` never."""

    def __init__(self) -> None:
        self.paths: set[str] = set()
        self.running = 0

    async def __call__(self, request: restsock.Request) -> restsock.Response:
        self.paths.add(request.path)
        if request.path == "/hang":
            self.running += 1
            try:
                await trio.sleep_forever()
            finally:
                self.running -= 1
        return restsock.Response(200, {}, str(len(await request.read())))


async def test_what_follows_a_malformed_message_never_runs() -> None:
    endpoint = Endpoint()
    async with site(endpoints={"/": endpoint}) as one:

        async def ask(case: Any) -> None:
            async with free, dial(one.server) as client:
                await client.send(as_bytes(case["receive"]) + EVIL)
                allowed = case["status"] if isinstance(case["status"], list) else [case["status"]]
                (status,) = statuses(await client.rest())
                assert status in allowed, case

        free = trio.CapacityLimiter(8)
        async with trio.open_nursery() as nursery:
            for case in VECTORS["bad"]:
                nursery.start_soon(ask, case)
        await one.answered()
    assert "/evil" not in endpoint.paths


async def test_heads_that_never_end() -> None:
    async with (
        site(endpoints={"/": Endpoint()}, options=HASTY) as one,
        trio.open_nursery() as nursery,
    ):

        async def crawl() -> None:
            async with dial(one.server) as client:
                await client.send(b"GET / HTTP/1.1\r\nHost: a\r\n")
                try:
                    while True:
                        await client.send(b"X: y\r\n")
                        await trio.sleep(0.05)
                except trio.BrokenResourceError:
                    gone.append(1)

        gone: list[int] = []
        for _ in range(2 * LIMITS.max_handshakes):
            nursery.start_soon(crawl)
        await until(lambda: len(gone) == 2 * LIMITS.max_handshakes)
        await one.answered()


async def test_a_flood_of_clients() -> None:
    limits = restsock.Limits(max_http_clients=16)
    options = restsock.Options(limits=limits, timeouts=TIMEOUTS)
    async with site(options=options, endpoints={"/": Endpoint()}) as one:
        clients = []
        for _ in range(200):
            client = dial(one.server)
            clients.append(client)
            opened = await client.__aenter__()
            assert (await opened.get())[0] == 200
            assert len(one.server._http_clients) <= 16
        await one.answered()
        for client in clients:
            await client.__aexit__(None, None, None)


async def test_requests_without_end_on_one_connection() -> None:
    """Pipelined after one that hangs: they are not read, and end with it."""
    endpoint = Endpoint()
    # Its end waits behind what is not read, so the first one hangs until the listener closes.
    options = restsock.Options(limits=LIMITS, timeouts=replace(TIMEOUTS, grace=0.5))
    async with site(endpoints={"/": endpoint}, options=options) as one:
        async with dial(one.server) as client, trio.open_nursery() as nursery:
            await client.send(GET.replace(b"/ ", b"/hang "))

            async def flood() -> None:
                while True:
                    await client.send(EVIL * 1000)

            nursery.start_soon(flood)
            await until(lambda: endpoint.running > 0)
            await one.answered(20)
            nursery.cancel_scope.cancel()
        await one.answered()
    assert not endpoint.running
    assert endpoint.paths == {"/hang"}


async def test_chunks_of_one_byte() -> None:
    async with site(endpoints={"/": Endpoint()}) as one, dial(one.server) as client:
        await client.send(b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n")
        await client.send(b"1\r\na\r\n" * 200_000 + b"0\r\n\r\n")
        assert (await client.response())[2] == b"200000"
        await one.answered()
