"""One adapter, and one transport, for all peers of a server: the host of the URL names the peer."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from typing import Any, cast

import anyio
import httpx
import httpx2
import pytest
import requests
from flask import Flask, Response, redirect, request
from requests.adapters import BaseAdapter
from requests.exceptions import ConnectTimeout, InvalidURL

import restsock
import restsock.sync
from restsock import Options, PeerNotFound, PeerUnavailable, Timeouts
from restsock.adapters import PeersByHost, TunnelAdapter
from restsock.openapi import Contract
from tests.apis import API, each_api

OPTIONS = Options(timeouts=Timeouts(connect=5.0))
NAMES = ["edge-1", "shop.7", "käse", "Edge-2", "x_1"]


def app_of(name: str) -> Flask:
    app = Flask(name)

    @app.get("/who")
    def who() -> Any:
        cookies = request.headers.get("Cookie")
        return [name, request.host, request.scheme, cookies]

    @app.get("/log-in")
    def log_in() -> Any:
        response = Response("in")
        response.set_cookie("of", name.encode("punycode").decode())
        response.set_cookie("wide", "yes", domain="peers")
        return response

    @app.get("/to")
    def to() -> Any:
        return redirect(request.args["url"])

    @app.get("/openapi.json")
    def document() -> Any:
        path = "/who" if name == "edge-1" else "/other"
        operation = {"get": {"responses": {"default": {"description": "any"}}}}
        info = {"title": name, "version": "1"}
        return {"openapi": "3.1.0", "info": info, "paths": {path: operation}}

    return app


@pytest.fixture(scope="module")
def server() -> Iterator[restsock.sync.Server]:
    with restsock.sync.listen("127.0.0.1", 0, options=OPTIONS) as server:
        clients = [restsock.sync.connect(server.url, app=app_of(name), name=name) for name in NAMES]
        gone = restsock.sync.connect(server.url, name="gone")
        gone.close()
        yield server
        for client in clients:
            client.close()


@pytest.fixture(params=[requests.Session, restsock.Session], ids=["requests", "restsock"])
def session(
    request: pytest.FixtureRequest, server: restsock.sync.Server
) -> Iterator[requests.Session]:
    with request.param() as session:
        adapter = server.adapter(suffix=".peers")
        session.mount("http://", adapter)
        session.mount("https://", adapter)
        session.trust_env = False
        yield session


@pytest.mark.parametrize(
    ("host", "name"),
    [
        ("edge-1.peers", "edge-1"),
        ("EDGE-1.Peers", "edge-1"),
        ("edge%2D1.peers", "edge-1"),
        ("edge-1.peers.", "edge-1"),
        ("edge-1.peers:80", "edge-1"),
        ("edge-1.peers:8080", "edge-1"),
        ("user:secret@edge-1.peers", "edge-1"),
        ("shop.7.peers", "shop.7"),
        ("käse.peers", "käse"),
        ("KÄSE.peers", "käse"),
        ("xn--kse-qla.peers", "käse"),
        ("k%C3%A4se.peers", "käse"),
        ("x_1.peers", "x_1"),
    ],
)
def test_a_host_names_a_peer(
    session: requests.Session, server: restsock.sync.Server, host: str, name: str
) -> None:
    found = session.get(f"http://{host}/who").json()
    assert found[0] == name
    for package in (httpx, httpx2):
        with package.Client(transport=server.transport(suffix=".peers")) as client:
            assert client.get(f"http://{host}/who").json()[0] == name


@pytest.mark.parametrize(
    "host", ["example.org", "peers", "edge-1.peers.example", "edge-1xpeers", "127.0.0.1", "[::1]"]
)
def test_a_host_without_the_suffix_names_none(
    session: requests.Session, server: restsock.sync.Server, host: str
) -> None:
    with pytest.raises(InvalidURL, match=r"names no peer: .* end with '\.peers'"):
        session.get(f"http://{host}/who")
    with httpx.Client(transport=server.transport(suffix=".peers")) as client:
        with pytest.raises(httpx.InvalidURL, match=r"end with '\.peers'"):
            client.get(f"http://{host}/who")


@pytest.mark.parametrize("host", ["%00.peers", "%ff.peers", f"{'x' * 256}.peers", ".peers"])
def test_a_host_that_can_be_no_name(session: requests.Session, host: str) -> None:
    with pytest.raises(InvalidURL):
        session.get(f"http://{host}/who")


def test_who_is_not_there(session: requests.Session, server: restsock.sync.Server) -> None:
    with pytest.raises(ConnectTimeout) as caught:
        session.get("http://never.peers/who", timeout=0.05)
    cause = caught.value.__cause__
    assert isinstance(cause, PeerNotFound)
    assert cause.may_have_run is False
    with pytest.raises(ConnectTimeout) as caught:
        session.get("http://gone.peers/who", timeout=0.05)
    assert isinstance(caught.value.__cause__, PeerUnavailable)
    # A name is compared as it is, and a URL has no capitals there.
    with pytest.raises(ConnectTimeout, match="'edge-2' is not connected"):
        session.get("http://Edge-2.peers/who", timeout=0.05)
    with httpx.Client(transport=server.transport(suffix=".peers")) as client:
        with pytest.raises(httpx.ConnectTimeout):
            client.get("http://never.peers/who", timeout=0.05)


def test_what_the_app_sees(session: requests.Session) -> None:
    assert session.get("http://edge-1.peers/who").json() == ["edge-1", "edge-1.peers", "http", None]
    seen = session.get("https://shop.7.peers:8443/who").json()
    assert seen == ["shop.7", "shop.7.peers:8443", "https", None]
    # A Host of one's own says nothing of the peer.
    seen = session.get("http://edge-1.peers/who", headers={"Host": "shop.7.peers"}).json()
    assert seen[:2] == ["edge-1", "shop.7.peers"]


def test_redirects_lead_from_peer_to_peer_and_away(session: requests.Session) -> None:
    class Elsewhere(BaseAdapter):
        def send(self, request: Any, *args: Any, **kwargs: Any) -> Any:
            raise ZeroDivisionError(request.url)

        def close(self) -> None:
            pass

    there = session.get("http://edge-1.peers/to", params={"url": "http://shop.7.peers/who"})
    assert there.json()[0] == "shop.7"
    with pytest.raises(InvalidURL, match=r"example\.org"):
        session.get("http://edge-1.peers/to", params={"url": "http://example.org/"})
    session.mount("http://example.org/", Elsewhere())
    with pytest.raises(ZeroDivisionError, match=r"http://example\.org/"):
        session.get("http://edge-1.peers/to", params={"url": "http://example.org/"})


def test_each_peer_has_its_own_cookies(session: requests.Session) -> None:
    session.get("http://edge-1.peers/log-in")
    assert session.get("http://shop.7.peers/who").json()[3] is None
    session.get("http://shop.7.peers/log-in")
    assert session.get("http://edge-1.peers/who").json()[3] == "of=edge-1-"
    assert session.get("http://shop.7.peers/who").json()[3] == "of=shop.7-"


def test_each_peer_has_its_own_document(server: restsock.sync.Server) -> None:
    with restsock.Session() as session:
        session.mount("http://", server.adapter(suffix=".peers", openapi=True))
        assert session.get("http://edge-1.peers/who").ok
        with pytest.raises(restsock.RequestValidationError):
            session.get("http://shop.7.peers/who")


def test_one_document_for_all(server: restsock.sync.Server) -> None:
    document = json.loads(server.route("edge-1").request("GET", "/openapi.json").content)
    contract = Contract(document)
    with restsock.Session() as session:
        session.mount("http://", server.adapter(suffix=".peers", openapi=contract))
        for host in ("edge-1.peers", "shop.7.peers"):
            assert session.get(f"http://{host}/who").ok
            with pytest.raises(restsock.RequestValidationError):
                session.get(f"http://{host}/other")
    assert contract.validator is contract.validator


def _get(adapter: BaseAdapter, url: str) -> requests.Response:
    with requests.Session() as session:
        session.mount("http://", adapter)
        return session.get(url)


def test_a_copy_calls_the_same_peers(session: requests.Session) -> None:
    assert copy.deepcopy(session).get("http://edge-1.peers/who").json()[0] == "edge-1"


def test_the_whole_host_may_be_the_name(server: restsock.sync.Server) -> None:
    with httpx.Client(transport=server.transport(suffix="")) as client:
        assert client.get("http://shop.7/who").json()[:2] == ["shop.7", "shop.7"]


def test_mounts_of_httpx(server: restsock.sync.Server) -> None:
    mounts = {"all://*.peers": server.transport(suffix=".peers")}
    with httpx.Client(mounts=mounts, trust_env=False) as client:
        assert client.get("http://edge-1.peers/who").json()[0] == "edge-1"
        assert client.get("https://shop.7.peers/who").json()[2] == "https"


def test_what_is_no_way(server: restsock.sync.Server) -> None:
    for wrong in ("peers", ".pe ers", ".", "..a", ".a/", "*.peers"):
        with pytest.raises(ValueError, match="suffix"):
            server.adapter(suffix=wrong)
    for make in (server.adapter, server.transport):
        with pytest.raises(TypeError, match="pass the name of a peer, or suffix="):
            make()
        with pytest.raises(TypeError, match="pass the name of a peer, or suffix="):
            make("edge-1", suffix=".peers")
    peers: Any = PeersByHost(".peers", lambda name: server.route(name)._sender())
    with pytest.raises(TypeError, match="bind"):
        TunnelAdapter(peers, contract=cast("Any", object()))


@each_api
async def test_every_api_has_it(api: API) -> None:
    async def who(request: restsock.Request) -> restsock.Response:
        return restsock.Response(body=str(request.connection.name))

    async with (
        api.listen("127.0.0.1", 0) as server,
        api.connect(server.url, app=who, name="edge-1"),
    ):
        transport = server.transport(suffix=".peers")
        async with httpx.AsyncClient(transport=transport) as client:
            assert (await client.get("http://edge-1.peers/")).status_code == 200
        adapter = server.adapter(suffix=".peers")
        answer = await anyio.to_thread.run_sync(_get, adapter, "http://edge-1.peers/")
        assert answer.status_code == 200
