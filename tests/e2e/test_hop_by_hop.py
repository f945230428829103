"""What Connection names is for one hop: it does not cross, whoever calls and whoever serves."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import AsyncExitStack
from typing import Any

import httpx
import pytest
import requests
import trio

from restsock import Request, Response, TunnelAdapter, forward
from restsock.adapters import AsyncHTTPXTransport, HTTPXTransport
from restsock.connection import Connection
from restsock.testing import connected_pair
from tests.apps.forward.upstreams import Peer, scripted

ASKED = {"Connection": "Authorization, X-Hop", "Authorization": "s3cr3t", "X-Hop": "1", "X-Ok": "2"}
TOLD = [(b"Connection", b"X-Hop"), (b"X-Hop", b"1"), (b"X-Ok", b"2")]
TRAILERS = [(b"X-Hop", b"1"), (b"X-End", b"2")]

Names = set[str]


def names(fields: Iterable[tuple[Any, Any]]) -> Names:
    decoded = {n.decode("latin-1") if isinstance(n, bytes) else n for n, _ in fields}
    return {name.lower() for name in decoded}


class App:
    """Keeps the names of the fields that came; tells fields of which some are for the hop."""

    def __init__(self) -> None:
        self.came: Names = set()

    async def asgi(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            return
        self.came = names(scope["headers"])
        await send(
            {"type": "http.response.start", "status": 200, "headers": TOLD, "trailers": True}
        )
        await send({"type": "http.response.body", "body": b"x"})
        await send({"type": "http.response.trailers", "headers": TRAILERS})

    def wsgi(self, environ: Any, start_response: Any) -> list[bytes]:
        fields = [key for key in environ if key.startswith("HTTP_")]
        self.came = {key[5:].lower().replace("_", "-") for key in fields}
        # A server's own Connection is not the app's, by PEP 3333; apps say it all the same.
        start_response("200 OK", [(n.decode(), v.decode()) for n, v in TOLD])
        return [b"x"]

    async def function(self, request: Request) -> Response:
        self.came = names(request.headers)
        return Response(200, TOLD, b"x", TRAILERS)

    async def server(self, peer: Peer) -> None:
        while head := await peer.head():
            lines = head.decode().split("\r\n")[1:-2]
            self.came = {line.partition(":")[0].lower() for line in lines}
            await peer.send(
                b"HTTP/1.1 200 OK\r\nConnection: X-Hop\r\nX-Hop: 1\r\nX-Ok: 2\r\n"
                b"Transfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\nX-Hop: 1\r\nX-End: 2\r\n\r\n"
            )


async def by_connection(dialer: Connection) -> tuple[Names, Names]:
    response = await dialer.request("GET", "/", headers=ASKED)
    return names(response.headers), names(response.trailers)


async def by_requests(dialer: Connection) -> tuple[Names, Names]:
    def get() -> Names:
        with requests.Session() as session:
            session.trust_env = False
            session.mount("http://", TunnelAdapter(dialer))
            return {name.lower() for name in session.get("http://edge/", headers=ASKED).headers}

    return await trio.to_thread.run_sync(get), set()


async def by_httpx(dialer: Connection) -> tuple[Names, Names]:
    async with httpx.AsyncClient(transport=AsyncHTTPXTransport(dialer)) as client:
        response = await client.get("http://edge/", headers=ASKED)
        return set(response.headers), names(response.extensions["trailers"])


async def by_httpx_in_a_thread(dialer: Connection) -> tuple[Names, Names]:
    def get() -> tuple[Names, Names]:
        with httpx.Client(transport=HTTPXTransport(dialer)) as client:
            response = client.get("http://edge/", headers=ASKED)
            return set(response.headers), names(response.extensions["trailers"])

    return await trio.to_thread.run_sync(get)


@pytest.mark.parametrize(
    "call", [by_connection, by_requests, by_httpx, by_httpx_in_a_thread], ids=lambda c: c.__name__
)
@pytest.mark.parametrize("kind", ["asgi", "wsgi", "function", "server"])
async def test_what_connection_names_stays_behind(kind: str, call: Any) -> None:
    app = App()
    with trio.fail_after(20):
        async with AsyncExitStack() as stack:
            served: Any = getattr(app, kind)
            if kind == "server":
                served = forward((await stack.enter_async_context(scripted(served))).url)
            dialer, _ = await stack.enter_async_context(connected_pair(app_b=served))
            told, trailers = await call(dialer)
    assert "x-ok" in app.came
    assert not app.came & {"connection", "authorization", "x-hop"}
    assert "x-ok" in told
    assert not told & {"connection", "x-hop"}
    assert trailers <= {"x-end"}
    if call is not by_requests and kind != "wsgi":
        assert trailers == {"x-end"}
