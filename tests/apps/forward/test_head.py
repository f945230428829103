"""`forward` itself, and the head that the server gets."""

from __future__ import annotations

import ssl
from typing import Any

import pytest

from restsock import forward
from restsock.apps import Forward, make_handler
from restsock.apps.forward._head import BadTargetError, forwarded_head
from restsock.connection import Peer
from restsock.openapi import OpenAPIHandler
from restsock.protocol import Headers, RequestHead
from restsock.testing import connected_pair
from tests.apps.forward.test_forward import Sees, forwarded
from tests.apps.forward.upstreams import scripted

PEER = Peer("192.0.2.7", 1234)


def head_of(
    *fields: tuple[bytes, bytes],
    url: str = "http://127.0.0.1:5000",
    target: bytes = b"/a?b",
    method: bytes = b"GET",
    peer: Peer = PEER,
    **options: Any,
) -> RequestHead:
    request = RequestHead(method, target, [(b"Host", b"edge-1"), *fields])
    options.setdefault("forwarded", None)
    return forwarded_head(request, forward(url, **options), peer)


# --- where to ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("url", "tls", "host", "port", "prefix", "authority"),
    [
        ("http://127.0.0.1:5000", False, "127.0.0.1", 5000, "", "127.0.0.1:5000"),
        ("http://localhost/", False, "localhost", 80, "", "localhost"),
        ("https://app.example/api/v1/", True, "app.example", 443, "/api/v1", "app.example"),
        ("HTTP://App.example:443", False, "app.example", 443, "", "app.example:443"),
        ("http://[::1]:80", False, "::1", 80, "", "[::1]"),
        ("http://bücher.example", False, "xn--bcher-kva.example", 80, "", "xn--bcher-kva.example"),
        ("http://[fe80::1%25eth0]:80", False, "fe80::1%eth0", 80, "", "[fe80::1]"),
        ("http://[fe80::1%eth0]:80", False, "fe80::1%eth0", 80, "", "[fe80::1]"),
    ],
)
def test_urls(url: str, tls: bool, host: str, port: int, prefix: str, authority: str) -> None:
    origin = forward(url).origin
    assert (origin.tls, origin.host, origin.port, origin.prefix) == (tls, host, port, prefix)
    assert origin.authority == authority


@pytest.mark.parametrize(
    "url",
    [
        "",
        "127.0.0.1:5000",
        "ws://127.0.0.1/",
        "http://",
        "http://:80/",
        "http://a:0/",
        "http://a:b/",
        "http://a:70000/",
        "http://user:secret@a/",
        "http://a/?secret",
        "http://a/#secret",
        "http://a/ secret",
        "http://a\r\nsecret: 1/",
        "http://a/ä",
        "http+unix:///run/a.sock?secret",
        "http+unix:///run/a.sock:/?secret",
        "http+unix:///run/a.sock:secret",
        "http+unix://secret/run/a.sock",
        "http+unix:secret",
        "ws+unix:///run/secret",
        "http://a_b!/",
        "http://[secret]/",
    ],
)
def test_urls_that_are_none(url: str) -> None:
    with pytest.raises(ValueError) as caught:  # noqa: PT011  # the words differ
        forward(url)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    "options",
    [
        {"host": ""},
        {"host": "a\r\nb"},
        {"host": "a/b"},
        {"forwarded": "yes"},
        {"ssl_context": ssl.create_default_context()},
        {"connect_timeout": 0},
        {"connect_timeout": True},
        {"response_timeout": -1},
        {"idle_timeout": float("nan")},
        {"keep_alive": -1},
        {"keep_alive": float("inf")},
        {"max_connections": 0},
        {"max_head": 10},
    ],
)
def test_options_that_are_none(options: dict[str, Any]) -> None:
    (name,) = options
    with pytest.raises(ValueError, match="TLS" if name == "ssl_context" else name):
        forward("http://127.0.0.1:5000", **options)


def test_it_is_told_apart_from_other_apps() -> None:
    app = forward("http://127.0.0.1:5000")
    assert isinstance(app, Forward)
    assert hasattr(make_handler(app), "handle")
    with pytest.raises(ValueError, match="no interface="):
        make_handler(app, interface="wsgi")
    with pytest.raises(TypeError, match="str"):
        forward(b"http://127.0.0.1")  # type: ignore[arg-type]  # on purpose


# --- Host and path ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("host", "seen"),
    [("keep", b"edge-1"), ("upstream", b"127.0.0.1:5000"), ("app.example:81", b"app.example:81")],
)
def test_host(host: str, seen: bytes) -> None:
    assert head_of(host=host).headers == [(b"Host", seen)]


@pytest.mark.parametrize(
    ("target", "prefix", "seen"),
    [
        (b"/a?b=/..", b"", b"/a?b=/.."),
        (b"/../a", b"", b"/../a"),
        (b"/a?b=/..", b"/api", b"/api/a?b=/.."),
        (b"/", b"/api/", b"/api/"),
        (b"//a..b/...", b"/api", b"/api//a..b/..."),
        (b"/a;b=1/100%25/%252F/%C3%A4", b"/api", b"/api/a;b=1/100%25/%252F/%C3%A4"),
        (b"/%E0%A4%85/%C4%80", b"/api", b"/api/%E0%A4%85/%C4%80"),
        (b"/\xc3\xa4", b"", b"/%C3%A4"),
    ],
)
def test_paths(target: bytes, prefix: bytes, seen: bytes) -> None:
    url = "http://127.0.0.1:5000" + prefix.decode()
    assert head_of(url=url, target=target).target == seen


def test_the_server_as_a_whole() -> None:
    assert head_of(url="http://a/api", target=b"*", method=b"OPTIONS").target == b"*"


@pytest.mark.parametrize(
    "target",
    [
        *(b"/..", b"/../a", b"/a/../../b", b"/%2e%2e/a", b"/a/.%2E?x", b"/..%2fa", b"/a%5c..%5cb"),
        *(b"/..;/admin", b"/..;a=b/admin", b"/..%3b/admin", b"/%2e%2e%3ba/x", b"/a;/../../b"),
        *(b"//../a", b"/..//a", b"/..\\a", b"/a;\\..;\\b", b"/..%3f/a", b"/..%23/a", b"/..%20/a"),
        *(b"/%252e%252e/a", b"/..%252fa", b"/..%253b/a", b"/%25252e./a", b"/%25%32%65./a"),
        *(b"/..%00/a", b"/.%00./a", b"/a%00", b"/.%09./a", b"/..%0a/a", b"/a%7f"),
        *(b"/%c0%ae%c0%ae/a", b"/..%c0%afa", b"/..%c1%9ca", b"/%e0%80%ae./a", b"/%u002e./a"),
        b"/%2525252525252e./a",
    ],
)
def test_paths_that_lead_out_of_the_prefix(target: bytes) -> None:
    with pytest.raises(BadTargetError):
        head_of(url="http://127.0.0.1:5000/api", target=target)


async def test_a_path_that_leads_out_is_a_400() -> None:
    sees = Sees()
    async with forwarded(sees, path="/api") as (dialer, _):
        assert (await dialer.request("GET", "/../admin")).status == 400
        assert (await dialer.request("GET", "/..;/admin")).status == 400
        assert (await dialer.request("GET", "/a")).status == 200
    assert [head.split()[1] for head in sees.heads] == [b"/api/a"]


# --- who calls --------------------------------------------------------------------------------

LIES = (
    (b"X-Forwarded-For", b"6.6.6.6"),
    (b"X_Forwarded_For", b"6.6.6.6"),
    (b"x-forwarded-proto", b"https"),
    (b"X-Forwarded-Host", b"evil"),
    (b"X-Forwarded-Prefix", b"/evil"),
    (b"X-Real-IP", b"6.6.6.6"),
    (b"Forwarded", b"for=6.6.6.6"),
    (b"X-Forwarded", b"for=6.6.6.6"),
    (b"X-Forwarded-Anything", b"1"),
    (b"Via", b"1.1 evil"),
    (b"X-Client-IP", b"6.6.6.6"),
    (b"True-Client-IP", b"6.6.6.6"),
    (b"CF-Connecting-IP", b"6.6.6.6"),
    (b"X-Original-URL", b"/admin"),
    (b"X-Rewrite-URL", b"/admin"),
    (b"X-Forwarded.For", b"6.6.6.6"),
)


def test_what_the_caller_says_of_itself_is_removed() -> None:
    assert head_of(*LIES).headers == [(b"Host", b"edge-1")]


def test_by_default_the_server_is_told() -> None:
    request = RequestHead(b"GET", b"/", [(b"Host", b"edge-1"), *LIES], "https")
    assert forwarded_head(request, forward("http://127.0.0.1:5000"), PEER).headers == [
        (b"Host", b"edge-1"),
        (b"X-Forwarded-For", b"192.0.2.7"),
        (b"X-Forwarded-Host", b"edge-1"),
        (b"X-Forwarded-Proto", b"https"),
    ]


@pytest.mark.parametrize("trust", [False, True])
def test_a_name_that_passes_for_another_is_left_out(trust: bool) -> None:
    fields = ((b"X-A", b"1"), (b"X_A", b"2"), (b"X.A", b"3"), (b"Proxy", b"4"), (b"Viable", b"5"))
    head = head_of(*fields, trust_forwarded=trust)
    assert head.headers == [(b"Host", b"edge-1"), (b"X-A", b"1"), (b"Viable", b"5")]


def test_x_forwarded() -> None:
    assert head_of(*LIES, forwarded="x-forwarded").headers == [
        (b"Host", b"edge-1"),
        (b"X-Forwarded-For", b"192.0.2.7"),
        (b"X-Forwarded-Host", b"edge-1"),
        (b"X-Forwarded-Proto", b"http"),
    ]


@pytest.mark.parametrize(
    ("peer", "host", "seen"),
    [
        (PEER, b"edge-1", b"for=192.0.2.7;host=edge-1;proto=http"),
        (Peer("2001:db8::7", 1, True), b"edge-1", b'for="[2001:db8::7]";host=edge-1;proto=https'),
        (Peer("fe80::1%eth0", 1), b"a:81", b'for="[fe80::1]";host="a:81";proto=http'),
        (Peer("memory", 0), b"[::1]", b'for=unknown;host="[::1]";proto=http'),
    ],
)
def test_forwarded(peer: Peer, host: bytes, seen: bytes) -> None:
    request = RequestHead(b"GET", b"/", [(b"Host", host), *LIES])
    head = forwarded_head(request, forward("http://a", forwarded="forwarded"), peer)
    assert head.headers == [(b"Host", host), (b"Forwarded", seen)]


def test_what_a_trusted_caller_says_stays_in_front() -> None:
    came: Headers = [
        (b"X-Forwarded-For", b"1.1.1.1"),
        (b"x-forwarded-for", b"2.2.2.2"),
        (b"X-Forwarded-Proto", b"https"),
        (b"Forwarded", b"for=1.1.1.1"),
    ]
    head = head_of(*came, forwarded="both", trust_forwarded=True, host="upstream")
    assert dict(head.headers) == {
        b"Host": b"127.0.0.1:5000",
        b"X-Forwarded-For": b"1.1.1.1, 2.2.2.2, 192.0.2.7",
        b"X-Forwarded-Proto": b"https",
        b"X-Forwarded-Host": b"edge-1",
        b"Forwarded": b"for=1.1.1.1, for=192.0.2.7;host=edge-1;proto=http",
    }
    assert len(head.headers) == 5


def test_http2_is_not_asked_for() -> None:
    fields = ((b"Connection", b"upgrade"), (b"Upgrade", b"H2C"), (b"HTTP2-Settings", b"x"))
    assert head_of(*fields).headers == [(b"Host", b"edge-1")]
    websocket = ((b"Connection", b"upgrade"), (b"Upgrade", b"websocket"))
    assert head_of(*websocket).headers == [(b"Host", b"edge-1"), *websocket]


async def test_the_tunnel_tells_who_calls() -> None:
    sees = Sees()
    async with forwarded(sees, forwarded="both") as (dialer, _):
        await dialer.request("GET", "/", headers={"Host": "edge-1", "X-Forwarded-For": "6.6.6.6"})
    assert b"\r\nX-Forwarded-For: unknown\r\n" in sees.heads[0]
    assert b"6.6.6.6" not in sees.heads[0]


async def test_a_contract_in_front_of_a_server() -> None:
    """Whatever language the server is written in: a wrong call does not reach it."""
    number = {"name": "n", "in": "query", "required": True, "schema": {"type": "integer"}}
    get = {"parameters": [number], "responses": {"200": {"description": "ok"}}}
    document = {
        "openapi": "3.1.0",
        "info": {"title": "t", "version": "1"},
        "paths": {"/a": {"get": get}},
    }
    sees = Sees()
    async with scripted(sees) as upstream:
        handler = OpenAPIHandler(forward(upstream.url), document)
        async with connected_pair(app_b=handler) as (dialer, _):
            for target, status in (("/a?n=1", 200), ("/a?n=x", 400), ("/b", 404)):
                assert (await dialer.request("GET", target)).status == status
    assert [head.split()[1] for head in sees.heads] == [b"/a?n=1"]
