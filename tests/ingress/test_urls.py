"""The URLs that peers are told when they dial in: each leads to that peer, and to no other."""

from __future__ import annotations

import pytest
import requests
import trustme
from hypothesis import given
from hypothesis import strategies as st

import restsock
import restsock.aio
import restsock.sync
import restsock.tls
from restsock.auth import Refused
from restsock.ingress import Ingress, Route, Webhook
from restsock.ingress._names import Naming
from restsock.ingress._urls import urls_of
from restsock.protocol import RequestHead
from tests.ingress.site import echo


def naming(*routes: Route, domains: tuple[str, ...] = (), path_prefix: bool = False) -> Naming:
    return Naming(domains, routes, header=True, path_prefix=path_prefix)


HOOKS = Route("hooks.example.com", "edge-1", webhook=Webhook("github", "secret"))
API = Route("api.example.com", "edge-1", path="/v1")


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("ws://0.0.0.0:8080/", "http://edge-1.hub.example:8080/"),
        ("wss://0.0.0.0:8443/", "https://edge-1.hub.example:8443/"),
        ("wss://127.0.0.1:443/", "https://edge-1.hub.example/"),
        ("http://127.0.0.1:80/", "http://edge-1.hub.example/"),
        ("https://hub.example", "https://edge-1.hub.example/"),
    ],
)
def test_scheme_and_port(url: str, expected: str) -> None:
    assert urls_of(naming(domains=("hub.example",)), "edge-1", url) == (expected,)


@pytest.mark.parametrize("url", ["ws+unix:///run/x.sock", "unix:/run/x.sock", "ws://memory:0/"])
def test_an_ingress_that_no_url_leads_to(url: str) -> None:
    assert urls_of(naming(domains=("hub.example",)), "edge-1", url) == ()


def test_the_best_is_first() -> None:
    rules = naming(HOOKS, API, domains=("hub.example", "b.example"), path_prefix=True)
    assert urls_of(rules, "edge-1", "wss://10.0.0.1:443/") == (
        "https://api.example.com/v1",
        "https://edge-1.hub.example/",
        "https://edge-1.b.example/",
        "https://hooks.example.com/",
        "https://10.0.0.1/_/edge-1/",
    )


def test_the_path_prefix_needs_a_host_that_can_be_dialed() -> None:
    rules = naming(path_prefix=True)
    assert urls_of(rules, "a", "ws://[::]:80/") == ()
    assert urls_of(rules, "a", "ws://[::1]:80/") == ("http://[::1]/_/a/",)
    rules = naming(domains=("hub.example",), path_prefix=True)
    assert urls_of(rules, "a", "ws://0.0.0.0:80/")[-1] == "http://hub.example/_/a/"


def test_a_route_takes_the_host_of_another_peer() -> None:
    rules = naming(Route("edge-1.hub.example", "other"), domains=("hub.example",))
    assert urls_of(rules, "edge-1", "ws://hub.example:80/") == ()
    assert urls_of(rules, "other", "ws://hub.example:80/") == (
        "http://edge-1.hub.example/",
        "http://other.hub.example/",
    )


def test_there_are_never_too_many() -> None:
    rules = naming(*(Route(f"{n}.example", "edge-1") for n in range(20)))
    assert len(urls_of(rules, "edge-1", "ws://hub.example/")) == 8


NAMES = st.text("aZ0-./?%#@:\\ \u00e9\u0430", min_size=1, max_size=12) | st.sampled_from(
    ["edge-1", "admin", "xn--a", "x" * 64, "localhost", "hub.example", "a/../b"]
)


@given(NAMES)
def test_each_url_leads_to_the_peer(name: str) -> None:
    rules = naming(API, domains=("hub.example",), path_prefix=True)
    for url in urls_of(rules, name, "wss://hub.example/"):
        rest = url.removeprefix("https://")
        host, _, path = rest.partition("/")
        head = RequestHead(b"GET", b"/" + path.encode(), [(b"Host", host.encode())])
        try:
            assert rules.find(head).name == name
        except Refused as exc:
            raise AssertionError(url) from exc


@pytest.mark.parametrize(
    "url", ["hub.example", "ws://hub.example", "https://u@hub.example", "https://hub.example/x"]
)
def test_the_url_of_an_ingress_is_checked(url: str) -> None:
    with pytest.raises(ValueError, match="URL of an ingress"):
        Ingress(url=url)


# --- as a peer is told them ---------------------------------------------------------------


async def test_trio() -> None:
    ingress = Ingress(url="https://hub.example", domains=["hub.example"])
    async with restsock.listen("127.0.0.1", 0, ingress=ingress) as server:
        async with restsock.connect(server.url, name="edge-1", app=echo) as client:
            expected = ("https://edge-1.hub.example/", "https://hub.example/_/edge-1/")
            assert client.urls == expected
            assert client.connection is not None
            assert client.connection.urls == expected
            await server.request("edge-1", "GET", "/")  # from then on the server knows it
            (theirs,) = server.connections
            assert theirs.urls == expected
        assert not client.urls  # it has no connection any more
        async with restsock.connect(server.url) as nameless:
            assert not nameless.urls


def test_threads() -> None:
    def app(environ, start_response):  # type: ignore[no-untyped-def]
        start_response("200 OK", [("Content-Length", "2")])
        return [b"ok"]

    with restsock.sync.listen("127.0.0.1", 0, ingress=Ingress()) as server:
        with restsock.sync.connect(server.url, app=app, name="edge-1") as client:
            by_host, by_path = client.urls
            port = server.address[1]
            assert by_host == f"http://edge-1.localhost:{port}/"
            assert by_path == f"http://127.0.0.1:{port}/_/edge-1/"
            assert requests.get(by_path, timeout=10).text == "ok"
            (theirs,) = server.connections
            assert theirs.urls == client.urls


def test_asyncio() -> None:
    import asyncio

    async def main() -> None:
        async with restsock.aio.listen("127.0.0.1", 0, ingress=Ingress()) as server:
            async with restsock.aio.connect(server.url, name="edge-1") as client:
                assert client.connection is not None
                assert client.connection.urls == client.urls
                assert len(client.urls) == 2

    asyncio.run(main())


async def test_tls() -> None:
    import ssl

    ca = trustme.CA()
    theirs, ours = (
        ssl.SSLContext(side) for side in (ssl.PROTOCOL_TLS_SERVER, ssl.PROTOCOL_TLS_CLIENT)
    )
    ca.issue_cert("127.0.0.1").configure_cert(theirs)
    ca.configure_trust(ours)
    ingress = Ingress(domains=["hub.example"])
    async with restsock.listen("127.0.0.1", 0, tls=theirs, ingress=ingress) as server:
        async with restsock.connect(server.url, name="edge-1", tls=ours) as client:
            assert client.urls[0] == f"https://edge-1.hub.example:{server.address[1]}/"


async def test_a_listener_without_an_ingress() -> None:
    async with restsock.listen("127.0.0.1", 0) as server:
        async with restsock.connect(server.url, name="edge-1") as client:
            assert client.urls == ()


async def test_new_rules_are_for_those_who_come() -> None:
    ingress = Ingress(domains=["a.example"])
    async with restsock.listen("127.0.0.1", 0, ingress=ingress) as server:
        async with restsock.connect(server.url, name="old") as old:
            ingress.swap(Ingress(domains=["b.example"]))
            async with restsock.connect(server.url, name="new") as new:
                assert ".a.example" in old.urls[0]
                assert ".b.example" in new.urls[0]
