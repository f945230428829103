"""The scheme of the caller's URL is what the app is told, whether the wire has TLS or not."""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import flask
import httpx
import httpx2
import pytest
import requests
import trio
import trustme

import restsock
from restsock import adapters, openapi
from restsock.connection import AsyncExchange, Connection
from restsock.protocol import RequestHead
from restsock.testing import connected_pair
from tests.apps.forward.upstreams import Peer as Upstream
from tests.apps.forward.upstreams import scripted

DOCUMENT = {
    "openapi": "3.1.0",
    "info": {"title": "t", "version": "1"},
    "paths": {"/": {"get": {"operationId": "ask", "responses": {"200": {"description": "ok"}}}}},
}


def wsgi(environ: Any, start_response: Any) -> list[bytes]:
    port = {"http": "80", "https": "443"}[environ["wsgi.url_scheme"]]
    assert ":" in environ["HTTP_HOST"] or environ["SERVER_PORT"] == port
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [environ["wsgi.url_scheme"].encode()]


async def asgi(scope: Any, receive: Any, send: Any) -> None:
    assert scope["type"] == "http"
    port = {"http": 80, "https": 443}[scope["scheme"]]
    assert b":" in dict(scope["headers"])[b"host"] or scope["server"][1] == port
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": scope["scheme"].encode()})


async def function(request: restsock.Request) -> restsock.Response:
    return restsock.Response(body=request.scheme)


async def server(peer: Upstream) -> None:
    """Says what X-Forwarded-Proto it was told."""
    while head := await peer.head():
        told = [
            line[19:] for line in head.split(b"\r\n") if line.startswith(b"X-Forwarded-Proto: ")
        ]
        (proto,) = told
        await peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(proto), proto))


@asynccontextmanager
async def serving(app: Any, *, tls: bool) -> AsyncIterator[tuple[restsock.Server, restsock.Client]]:
    """Both ends serve the app, over a real socket."""
    options: dict[str, Any] = {}
    trust: dict[str, Any] = {}
    if tls:
        authority = trustme.CA()
        options["tls"] = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        authority.issue_cert("127.0.0.1").configure_cert(options["tls"])
        trust["tls"] = ssl.create_default_context()
        authority.configure_trust(trust["tls"])
    async with AsyncExitStack() as stack:
        if app is server:
            app = restsock.forward((await stack.enter_async_context(scripted(server))).url)
        hub = await stack.enter_async_context(restsock.listen("127.0.0.1", 0, app=app, **options))
        dialing = restsock.connect(hub.url, name="edge-1", app=app, **trust)
        yield hub, await stack.enter_async_context(dialing)


def _requests(session: requests.Session) -> Callable[[Any, str], str]:
    def ask(requester: Any, url: str) -> str:
        with session:
            session.mount(url, adapters.TunnelAdapter(requester))
            return session.get(url, timeout=10).text

    return ask


def _contract(requester: Any, url: str) -> str:
    with requests.Session() as session:
        session.mount(url, adapters.TunnelAdapter(requester))
        answer: requests.Response = openapi.APIClient(session, DOCUMENT, base_url=url).ask()
        return answer.text


def _httpx(package: Any) -> Callable[[Any, str], str]:
    def ask(requester: Any, url: str) -> str:
        with package.Client(transport=adapters.HTTPXTransport(requester)) as http:
            return str(http.get(url).text)

    return ask


@pytest.mark.parametrize("tls", [False, True], ids=["ws", "wss"])
@pytest.mark.parametrize("app", [wsgi, asgi, function, server], ids=lambda app: app.__name__)
async def test_the_scheme_of_the_url_reaches_the_app(app: Any, *, tls: bool) -> None:
    with trio.fail_after(30):
        async with serving(app, tls=tls) as (hub, edge):
            for requester in (hub.route("edge-1"), edge):
                for scheme in ("http", "https"):
                    url = f"{scheme}://edge-1/"
                    for ask in (
                        _requests(requests.Session()),
                        _requests(restsock.Session()),
                        _contract,
                        _httpx(httpx),
                        _httpx(httpx2),
                    ):
                        assert await trio.to_thread.run_sync(ask, requester, url) == scheme
                    for package in (httpx, httpx2):
                        async with package.AsyncClient(transport=requester.transport()) as http:
                            assert (await http.get(url)).text == scheme
                    api = openapi.APIClient(requester, DOCUMENT, base_url=url)
                    assert (await api.ask()).body == scheme.encode()
                    async with api.ask.stream() as answer:
                        assert await answer.read() == scheme.encode()
                    told = await requester.request("GET", "/", scheme=scheme)
                    assert told.body == scheme.encode()
                # Nobody says: it is that of the connection.
                response = await requester.request("GET", "/")
                assert response.body == (b"https" if tls else b"http")


@pytest.mark.parametrize("tls", [False, True], ids=["ws", "wss"])
@pytest.mark.parametrize(("scheme", "seen"), [("http", "ws"), ("https", "wss")])
async def test_a_websocket_is_told_it_in_its_own_words(
    scheme: str, seen: str, *, tls: bool
) -> None:
    scopes: list[Any] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "websocket":
            scopes.append(scope)
            await receive()
            await send({"type": "websocket.close"})

    fields = [
        (b"Host", b"edge-1"),
        (b"Connection", b"upgrade"),
        (b"Upgrade", b"websocket"),
        (b"Sec-WebSocket-Version", b"13"),
        (b"Sec-WebSocket-Key", b"dGhlIHNhbXBsZSBub25jZQ=="),
    ]
    with trio.fail_after(20):
        async with serving(app, tls=tls) as (hub, _):
            head = RequestHead(b"GET", b"/", fields, scheme)
            exchange = AsyncExchange.open(hub.route("edge-1"), head)
            await exchange.receive_head()
            exchange.close()
    assert scopes[0]["scheme"] == seen


async def test_links_and_cookies_of_flask_lead_back_through_the_tunnel() -> None:
    app = flask.Flask("links")

    @app.route("/")
    def index() -> Any:
        response = flask.redirect(flask.url_for("secret", _external=True))
        response.set_cookie("a", "1", secure=flask.request.is_secure)
        return response

    @app.route("/secret")
    def secret() -> Any:
        return flask.request.cookies.get("a", "no cookie")

    def ask(requester: Any) -> str:
        with restsock.Session() as session:
            session.mount("http://edge-1/", adapters.TunnelAdapter(requester))
            return session.get("http://edge-1/", timeout=10).text

    with trio.fail_after(20):
        async with serving(app, tls=True) as (hub, _):
            assert await trio.to_thread.run_sync(ask, hub.route("edge-1")) == "1"


async def test_an_app_that_calls_back_says_its_own_scheme() -> None:
    async def calls_back(request: restsock.Request) -> restsock.Response:
        connection: Connection = request.connection
        back = await connection.request("GET", "/", scheme="https")
        default = await connection.request("GET", "/")
        assert isinstance(back.body, bytes)
        assert isinstance(default.body, bytes)
        return restsock.Response(body=b"%s %s" % (back.body, default.body))

    async with connected_pair(app_a=function, app_b=calls_back) as (dialer, _):
        assert (await dialer.request("GET", "/", scheme="https")).body == b"https http"


async def test_another_scheme_is_refused_before_anything_is_sent() -> None:
    async with connected_pair(app_b=function) as (dialer, _):
        with pytest.raises(restsock.LocalProtocolError, match="scheme"):
            await dialer.request("GET", "/", scheme="ftp")
        assert (await dialer.request("GET", "/")).status == 200
