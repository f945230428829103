"""What a scope has besides the specification's keys, and messages of ASGI's extensions."""

from __future__ import annotations

import dataclasses
import ssl
from typing import Any

import pytest
import trio
import trustme

import restsock
from restsock.apps import BadResponseError, ConnectionInfo
from restsock.apps._connection_info import _distinguished_name
from restsock.connection import AsyncExchange, Request, Response
from restsock.protocol import RequestHead
from restsock.testing import connected_pair

HOST = (b"Host", b"edge")

LOOPS = pytest.mark.parametrize("loop", ["trio", "asyncio"])


def http(app: Any) -> Any:
    async def only_http(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "http":
            await app(scope, receive, send)

    return only_http


async def ok(send: Any) -> None:
    await send({"type": "http.response.start", "status": 200})
    await send({"type": "http.response.body", "body": b"ok"})


# --- early hints ----------------------------------------------------------------------------------


@LOOPS
async def test_early_hints(loop: str) -> None:
    @http
    async def app(scope: Any, receive: Any, send: Any) -> None:
        assert "http.response.early_hint" in scope["extensions"]
        for number in range(2):
            links = [b"</%d.css>; rel=preload" % number, b"</%d.js>" % number]
            await send({"type": "http.response.early_hint", "links": links})
        await ok(send)

    async with connected_pair(app_b=app, loop_b=loop) as (dialer, _):
        exchange = AsyncExchange.open(dialer, RequestHead(b"GET", b"/", [HOST]))
        for number in range(2):
            head = await exchange.receive_head(interim=True)
            assert (head.status, head.reason) == (103, b"Early Hints")
            assert list(head.headers) == [
                (b"Link", b"</%d.css>; rel=preload" % number),
                (b"Link", b"</%d.js>" % number),
            ]
        assert (await exchange.receive_head()).status == 200
        # Those who know nothing of them are not disturbed.
        assert (await dialer.request("GET", "/")).content == b"ok"


@LOOPS
async def test_early_hints_that_cannot_be_sent(loop: str) -> None:
    @http
    async def app(scope: Any, receive: Any, send: Any) -> None:
        async def refused(links: Any, error: type[Exception]) -> None:
            with pytest.raises(error):
                await send({"type": "http.response.early_hint", "links": links})

        await refused([b"a\r\nSet-Cookie: b"], BadResponseError)
        await refused(["text"], TypeError)
        await refused([b"x" * 1000] * 20, BadResponseError)
        await send({"type": "http.response.start", "status": 200})
        await send({"type": "http.response.body", "body": b"o", "more_body": True})
        await refused([b"</a>"], BadResponseError)
        await send({"type": "http.response.body", "body": b"k"})

    async with connected_pair(app_b=app, loop_b=loop) as (dialer, _):
        assert (await dialer.request("GET", "/")).content == b"ok"


# --- who asks -------------------------------------------------------------------------------------


@LOOPS
async def test_all_requests_of_a_connection_have_its_info(loop: str) -> None:
    seen: list[ConnectionInfo] = []

    @http
    async def app(scope: Any, receive: Any, send: Any) -> None:
        assert "tls" not in scope["extensions"]
        seen.append(scope["restsock"])
        await ok(send)

    async with connected_pair(app_b=app, loop_b=loop, name="edge", metadata=[1]) as (dialer, _):
        for _ in range(2):
            await dialer.request("GET", "/")
    assert seen[0] == ConnectionInfo(id=dialer.id, name="edge", metadata=[1], principal=None)
    assert seen[0] is seen[1]
    with pytest.raises(dataclasses.FrozenInstanceError):
        seen[0].name = "another"  # type: ignore[misc]  # on purpose


def test_it_can_be_had_where_a_user_expects_it() -> None:
    assert restsock.ConnectionInfo is ConnectionInfo


# --- tls ------------------------------------------------------------------------------------------


@LOOPS
async def test_tls_tells_of_the_peers_certificate(loop: str) -> None:
    authority = trustme.CA()
    server_cert = authority.issue_cert("127.0.0.1", common_name="hub")
    client_cert = authority.issue_cert("edge-1", organization_name="Käfer, Sons", common_name="e1")
    server_context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    server_cert.configure_cert(server_context)
    authority.configure_trust(server_context)
    server_context.verify_mode = ssl.CERT_REQUIRED
    client_context = ssl.create_default_context()
    authority.configure_trust(client_context)
    client_cert.configure_cert(client_context)
    seen: dict[str, dict[str, Any]] = {}

    def app(side: str) -> Any:
        @http
        async def serve(scope: Any, receive: Any, send: Any) -> None:
            assert scope["scheme"] == "https"
            seen[side] = scope["extensions"]["tls"]
            await ok(send)

        return serve

    async with (
        restsock.listen(
            "127.0.0.1", 0, app=app("listener"), loop=loop, ssl_context=server_context
        ) as server,
        restsock.connect(
            server.url, app=app("dialer"), loop=loop, name="edge-1", ssl_context=client_context
        ) as client,
    ):
        with trio.fail_after(20):
            await client.request("GET", "/")
            await server.request("edge-1", "GET", "/")
    for side, certificate in (("listener", client_cert), ("dialer", server_cert)):
        told = seen[side]
        assert told["client_cert_chain"] == [certificate.cert_chain_pems[0].bytes().decode()]
        assert told["client_cert_error"] is None
        assert told["server_cert"] is None
        assert told["tls_version"] == 0x0304
        assert told["cipher_suite"] in {0x1301, 0x1302, 0x1303}
    assert "CN=hub" in seen["dialer"]["client_cert_name"]
    assert r"O=Käfer\, Sons" in seen["listener"]["client_cert_name"]


async def test_tls_without_a_certificate_of_the_peers() -> None:
    authority = trustme.CA()
    server_context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("127.0.0.1").configure_cert(server_context)
    client_context = ssl.create_default_context()
    authority.configure_trust(client_context)
    seen: list[dict[str, Any]] = []

    @http
    async def app(scope: Any, receive: Any, send: Any) -> None:
        seen.append(scope["extensions"]["tls"])
        await ok(send)

    async with (
        restsock.listen("127.0.0.1", 0, app=app, ssl_context=server_context) as server,
        restsock.connect(server.url, ssl_context=client_context) as client,
    ):
        with trio.fail_after(20):
            await client.request("GET", "/")
    assert (seen[0]["client_cert_chain"], seen[0]["client_cert_name"]) == ([], None)


@pytest.mark.parametrize(
    ("subject", "name"),
    [
        ((), ""),
        (((("countryName", "DE"),), (("commonName", "a"),)), "CN=a,C=DE"),
        (((("commonName", "a"), ("userId", "7")),), "CN=a+UID=7"),
        (((("emailAddress", "a@b"),),), "emailAddress=a@b"),
        (((("commonName", '#a,b+c"d\\e<f>;'),),), r"CN=\#a\,b\+c\"d\\e\<f\>\;"),
        (((("commonName", " a "),),), "CN=\\ a\\ "),
        (((("commonName", " "),),), "CN=\\ "),
    ],
)
def test_distinguished_names(subject: Any, name: str) -> None:
    assert _distinguished_name(subject) == name


# --- functions are no ASGI ------------------------------------------------------------------------


async def function(request: Request) -> Response:
    return Response(200)


async def test_a_function_takes_no_loop() -> None:
    with pytest.raises(ValueError, match="for ASGI apps"):
        async with connected_pair(app_b=function, loop_b="asyncio"):
            pytest.fail("it runs")
