"""swaggersocket for asyncio."""

from __future__ import annotations

import asyncio

import pytest

import restsock
import restsock.aio
from restsock import swaggersocket
from restsock.swaggersocket import aio


def test_both_ends_on_asyncio() -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()

        async def edge(request: restsock.Request) -> restsock.Response:
            assert asyncio.get_running_loop() is loop
            return restsock.Response(200, body=b"edge " + await request.read())

        endpoint = swaggersocket.Endpoint(name_of=str)
        async with (
            restsock.aio.listen("127.0.0.1", 0, endpoints={"/": endpoint}) as server,
            aio.connect(server.url, app=edge, metadata="edge", proxy=False),
        ):
            calls = [
                server.request("edge", "POST", "/", body=b"%d" % n, timeout=20) for n in range(5)
            ]
            answers = await asyncio.gather(*calls)
            assert [answer.body for answer in answers] == [b"edge %d" % n for n in range(5)]

    asyncio.run(main())


def test_it_needs_asyncio() -> None:
    with pytest.raises(TypeError, match="metdata"):
        aio.connect("ws://a/", metdata=1)
