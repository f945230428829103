"""Dialing through proxies, over real sockets: willing, unwilling and hostile ones."""

from __future__ import annotations

import contextlib
import logging
import ssl
from typing import Any

import pytest
import trio
import trio.testing
import trustme

import restsock
import restsock.sync
from restsock import Backoff, HandshakeError, Options, Proxy, SocketOptions, Timeouts
from restsock.client import Client, parse_url
from restsock.client._dial import Transport, open_tcp
from restsock.connection._direct_socket import direct_socket_of
from restsock.server import Server
from tests.client.proxies import (
    ESTABLISHED,
    Answer,
    ProxyServer,
    SocksServer,
    says,
    says_nothing,
)
from tests.memory_network import Echo

LOGIN = ("us@er", "ses:samE/%")
USERINFO = "us%40er:ses%3AsamE%2F%25"


@pytest.fixture(scope="module")
def ca() -> trustme.CA:
    return trustme.CA()


@pytest.fixture(scope="module")
def trusting(ca: trustme.CA) -> ssl.SSLContext:
    context = ssl.create_default_context()
    ca.configure_trust(context)
    return context


def certified(ca: trustme.CA, *names: str) -> ssl.SSLContext:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    ca.issue_cert(*names).configure_cert(context)
    return context


@pytest.fixture(scope="module")
def hub_context(ca: trustme.CA) -> ssl.SSLContext:
    return certified(ca, "hub.example", "127.0.0.1")


@pytest.fixture(scope="module")
def proxy_context(ca: trustme.CA) -> ssl.SSLContext:
    return certified(ca, "localhost")


def client_through(
    proxy: Proxy, url: str = "ws://hub.example/", context: ssl.SSLContext | None = None, **more: Any
) -> Client:
    return Client(
        parse_url(url), proxy=proxy, ssl_context=context, name="edge", handler=Echo("edge"), **more
    )


async def works(client: Client, server: Server) -> None:
    """Both ways, over the proxy."""
    assert (await client.request("GET", "/up")).text == "hub: GET /up"
    assert (await server.route("edge").request("GET", "/down")).text == "edge: GET /down"


async def error_of(client: Client) -> HandshakeError:
    with pytest.raises(HandshakeError) as caught:
        async with client:
            pytest.fail("entered")
    assert "samE" not in str(caught.value)  # of all passwords here
    return caught.value


ONCE = Backoff(tries=1)


# --- HTTP ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("proxy_tls", [False, True])
@pytest.mark.parametrize("hub_tls", [False, True])
@pytest.mark.parametrize("login", [None, LOGIN])
async def test_connect(
    trusting: ssl.SSLContext,
    hub_context: ssl.SSLContext,
    proxy_context: ssl.SSLContext,
    proxy_tls: bool,
    hub_tls: bool,
    login: tuple[str, str] | None,
) -> None:
    context = hub_context if hub_tls else None
    async with Server("127.0.0.1", 0, handler=Echo("hub"), ssl_context=context) as server:
        routes = {f"hub.example:{443 if hub_tls else 80}": server.address}
        proxies = ProxyServer(routes, login=login, ssl_context=proxy_context if proxy_tls else None)
        async with proxies.running():
            proxy = Proxy(
                proxies.url(USERINFO if login else ""), ssl_context=trusting if proxy_tls else None
            )
            url = f"{'wss' if hub_tls else 'ws'}://hub.example/"
            async with client_through(proxy, url, trusting if hub_tls else None) as client:
                await works(client, server)
                assert client.connection is not None
                assert client.connection.peer.host == "hub.example"
                # Only TLS within TLS costs the short ways of a socket.
                plain = not (proxy_tls and hub_tls)
                assert (direct_socket_of(client.connection._stream) is not None) == plain
            (head,) = proxies.heads
            name = b"hub.example:443" if hub_tls else b"hub.example:80"
            assert head.startswith(b"CONNECT " + name + b" HTTP/1.1\r\nHost: " + name + b"\r\n")
            assert (b"Proxy-Authorization" in head) == (login is not None)
            while proxies.open:
                await trio.testing.wait_all_tasks_blocked()


async def test_credentials_are_for_the_proxy_alone() -> None:
    """The listener sees none of them, and the proxy none of the listener's."""
    seen: list[bytes] = []

    async def listener(stream: trio.abc.Stream) -> None:
        await stream.send_all(ESTABLISHED)
        seen.append(bytes(await stream.receive_some()))

    async with ProxyServer({}, answer=listener).running() as proxies:
        proxy = Proxy(proxies.url("user:sesamE"), headers={"X-Proxy": "a"})
        client = client_through(proxy, headers=[(b"Authorization", b"b")], backoff=ONCE)
        await error_of(client)
        assert b"X-Proxy: a\r\n" in proxies.heads[0]
        assert b"\r\nAuthorization" not in proxies.heads[0]
        assert seen[0].startswith(b"GET / HTTP/1.1\r\nHost: hub.example\r\n")
        assert b"Proxy-Authorization" not in seen[0]
        assert b"X-Proxy" not in seen[0]


async def test_it_comes_back_through_the_proxy() -> None:
    async with Server("127.0.0.1", 0, handler=Echo("hub")) as server:
        async with ProxyServer({"hub.example:80": server.address}).running() as proxies:
            backoff = Backoff(initial=0.01)
            async with client_through(Proxy(proxies.url()), backoff=backoff) as client:
                while not len(server.connections):
                    await trio.lowlevel.checkpoint()
                (first,) = server.connections
                await first.aclose(1001)
                with trio.fail_after(10):
                    while client.statistics().connections < 2:
                        await trio.lowlevel.checkpoint()
                await works(client, server)
            assert len(proxies.heads) == 2


@pytest.mark.parametrize("userinfo", ["", "user:wrong-samE"])
async def test_credentials_that_are_wanted(userinfo: str, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    async with ProxyServer({}, login=LOGIN).running() as proxies:
        error = await error_of(client_through(Proxy(proxies.url(userinfo))))
        assert error.status == 407
        assert not error.retryable
        problem = "does not accept the credentials" if userinfo else "wants credentials"
        assert str(error) == (
            f"cannot reach hub.example through the proxy http://localhost:{proxies.port}: it "
            f"answered 407 Proxy Authentication Required: it {problem} (Basic, Negotiate)"
        )
        assert len(proxies.heads) == 1
        assert "wrong-samE" not in caplog.text
        while proxies.open:
            await trio.testing.wait_all_tasks_blocked()


async def test_a_listener_that_cannot_be_reached_is_dialed_again() -> None:
    async with ProxyServer({}).running() as proxies:
        backoff = Backoff(tries=3, initial=0.001)
        error = await error_of(client_through(Proxy(proxies.url()), backoff=backoff))
        assert (error.status, error.retryable) == (502, True)
        assert str(error).endswith("it answered 502 Bad Gateway")
        assert len(proxies.heads) == 3


HOSTILE = {
    "forbidden": (says(b"HTTP/1.1 403 No\r\n\r\n"), False, "it answered 403 No"),
    "garbage": (says(b"SSH-2.0-x\r\n\r\n"), False, "its answer is not HTTP"),
    "cut at once": (says(b""), True, "it closed the socket"),
    "cut in the middle": (says(b"HTTP/1.1 200 O"), True, "it closed the socket"),
    "a huge head": (says(b"HTTP/1.1 200 OK\r\nX: " + b"x" * 10**6), False, "more than 16384"),
    "heads without end": (says(b"HTTP/1.1 100 Go\r\n\r\n" * 10**5), False, "more than 16384"),
    "it goes on": (says(ESTABLISHED + b"HTTP/1.1 101 x\r\n"), False, "bytes after its answer"),
}


@pytest.mark.parametrize("name", HOSTILE)
@pytest.mark.parametrize("tls", [False, True])
async def test_hostile_answers(
    name: str, tls: bool, trusting: ssl.SSLContext, proxy_context: ssl.SSLContext
) -> None:
    answer, retryable, words = HOSTILE[name]
    context = proxy_context if tls else None
    async with ProxyServer({}, answer=answer, ssl_context=context).running() as proxies:
        proxy = Proxy(proxies.url(), ssl_context=trusting if tls else None)
        error = await error_of(client_through(proxy, backoff=ONCE))
        assert error.retryable is retryable
        assert str(error).startswith(f"cannot reach hub.example through the proxy {proxy}: ")
        assert words in str(error)
        with trio.fail_after(5):
            while proxies.open:
                await trio.testing.wait_all_tasks_blocked()


async def drips(stream: trio.abc.Stream) -> None:
    """Sends a byte now and then, for ever."""
    with contextlib.suppress(trio.BrokenResourceError):
        while True:
            await stream.send_all(b"X")
            await trio.sleep(1)


@pytest.mark.parametrize("answer", [says_nothing, drips])
async def test_a_proxy_that_takes_its_time(
    answer: Answer, autojump_clock: trio.testing.MockClock
) -> None:
    ours, theirs = trio.testing.memory_stream_pair()

    async def open_stream(_: object) -> trio.abc.Stream:
        await trio.lowlevel.checkpoint()
        return ours

    async with trio.open_nursery() as nursery:
        nursery.start_soon(answer, theirs)
        with pytest.raises(HandshakeError) as caught:
            await Transport(
                parse_url("wss://hub.example/"),
                ssl.create_default_context(),
                open_stream,
                proxy=Proxy("http://u:sesamE@proxy:3128"),
            ).open(7)
        assert str(caught.value) == (
            "cannot reach hub.example through the proxy http://proxy:3128 within 7 s"
        )
        assert caught.value.retryable
        assert trio.current_time() == 7
        nursery.cancel_scope.cancel()
    with pytest.raises(trio.ClosedResourceError):
        await ours.send_all(b"x")


async def test_a_cancelled_attempt_leaves_nothing_open(
    autojump_clock: trio.testing.MockClock,
) -> None:
    ours, theirs = trio.testing.memory_stream_pair()

    async def open_stream(_: object) -> trio.abc.Stream:
        await trio.lowlevel.checkpoint()
        return ours

    with trio.move_on_after(1):
        proxy = Proxy("http://proxy")
        await Transport(parse_url("ws://hub/"), None, open_stream, proxy=proxy).open(7)
    assert trio.current_time() == 1
    while await theirs.receive_some():
        pass


async def test_a_proxy_that_is_not_there() -> None:
    async with ProxyServer({}).running() as proxies:
        url = proxies.url().replace("localhost", "127.0.0.1")
    error = await error_of(client_through(Proxy(url), backoff=ONCE))
    assert str(error).startswith(f"cannot reach the proxy {url}: ")
    assert "Connection refused" in str(error)
    assert error.retryable


async def test_the_certificate_of_the_proxy(
    ca: trustme.CA, trusting: ssl.SSLContext, proxy_context: ssl.SSLContext
) -> None:
    async with ProxyServer({}, ssl_context=proxy_context).running() as proxies:
        # Not a certificate that the system trusts.
        error = await error_of(client_through(Proxy(proxies.url())))
        assert not error.retryable
        assert str(error).startswith(f"cannot begin TLS with the proxy {proxies.url()}: its cert")
        assert proxies.heads == []
    async with ProxyServer({}, ssl_context=certified(ca, "hub.example")).running() as proxies:
        # The one of the listener is no proof for the proxy.
        proxy = Proxy(proxies.url(), ssl_context=trusting)
        error = await error_of(client_through(proxy))
        assert "its certificate is not accepted" in str(error)
        assert proxies.heads == []


async def test_the_proxy_cannot_pose_as_the_listener(
    ca: trustme.CA, trusting: ssl.SSLContext, proxy_context: ssl.SSLContext
) -> None:
    """TLS with the listener is checked by its own name, whatever is around it."""
    async with Server("127.0.0.1", 0, ssl_context=proxy_context) as server:
        routes = {"hub.example:443": server.address}
        async with ProxyServer(routes, ssl_context=proxy_context).running() as proxies:
            proxy = Proxy(proxies.url(), ssl_context=trusting)
            error = await error_of(client_through(proxy, "wss://hub.example/", trusting))
            assert str(error).startswith("cannot begin TLS with hub.example: its certificate is")
            assert not error.retryable


async def test_tls_to_a_proxy_that_speaks_none(trusting: ssl.SSLContext) -> None:
    async with ProxyServer({}, answer=says(b"")).running() as proxies:
        url = proxies.url().replace("http://", "https://")
        proxy = Proxy(url, ssl_context=trusting)
        options = Options(timeouts=Timeouts(handshake=0.3))
        error = await error_of(client_through(proxy, backoff=ONCE, options=options))
        assert str(error).startswith(f"cannot begin TLS with the proxy {url}")


async def test_an_address_with_a_zone_is_told_without_it() -> None:
    async with ProxyServer({}).running() as proxies:
        client = client_through(Proxy(proxies.url()), "ws://[fe80::1%25lo]:81/", backoff=ONCE)
        await error_of(client)
        assert proxies.heads[0].startswith(b"CONNECT [fe80::1]:81 HTTP/1.1\r\n")


# --- the environment ------------------------------------------------------------------------------


async def test_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "no_proxy", "NO_PROXY", "REQUEST_METHOD"):
        monkeypatch.delenv(name, raising=False)
    async with restsock.listen("127.0.0.1", 0) as server:
        async with ProxyServer({"hub.example:80": server.address}).running() as proxies:
            monkeypatch.setenv("HTTP_PROXY", proxies.url("user:sesamE"))
            async with restsock.connect("ws://hub.example/", name="edge"):
                while server.connections.by_name("edge") is None:
                    await trio.lowlevel.checkpoint()
            assert len(proxies.heads) == 1
            # This machine itself is dialed directly.
            async with restsock.connect(server.url):
                pass
            assert len(proxies.heads) == 1
            with pytest.raises(HandshakeError, match="502"):  # it has no route there
                async with restsock.connect(server.url, proxy=proxies.url(), backoff=ONCE):
                    pytest.fail("entered")


# --- SOCKS ------------------------------------------------------------------------------------


@pytest.mark.parametrize("hub_tls", [False, True])
@pytest.mark.parametrize("login", [None, LOGIN])
async def test_socks(
    trusting: ssl.SSLContext,
    hub_context: ssl.SSLContext,
    hub_tls: bool,
    login: tuple[str, str] | None,
) -> None:
    context = hub_context if hub_tls else None
    async with Server("127.0.0.1", 0, handler=Echo("hub"), ssl_context=context) as server:
        port = 443 if hub_tls else 80
        async with SocksServer({f"hub.example:{port}": server.address}, login=login).running() as s:
            proxy = Proxy(s.url(USERINFO if login else ""))
            url = f"{'wss' if hub_tls else 'ws'}://hub.example/"
            options = Options(sockets=SocketOptions(keep_alive_idle=77))
            client = client_through(proxy, url, trusting if hub_tls else None, options=options)
            async with client:
                await works(client, server)
                if not hub_tls:
                    assert client.connection is not None
                    stream = client.connection._stream
                    assert isinstance(stream, trio.SocketStream)
                    assert direct_socket_of(stream) is not None
                    assert stream.getsockopt(trio.socket.SOL_SOCKET, trio.socket.SO_KEEPALIVE)
            assert s.types == [3]  # the proxy looks the name up


def names(*addresses: str) -> None:
    """Lets every name be these, for this run of trio."""

    class Resolver(trio.abc.HostnameResolver):
        async def getaddrinfo(self, host: Any, port: Any, *args: Any) -> Any:
            await trio.lowlevel.checkpoint()
            assert host == b"hub.example"
            return [
                (trio.socket.AF_INET6, trio.socket.SOCK_STREAM, 6, "", (address, port, 0, 0))
                if ":" in address
                else (trio.socket.AF_INET, trio.socket.SOCK_STREAM, 6, "", (address, port))
                for address in addresses
            ]

        async def getnameinfo(self, sockaddr: Any, flags: int) -> Any:
            raise NotImplementedError

    trio.socket.set_custom_hostname_resolver(Resolver())


async def test_socks_with_names_looked_up_here() -> None:
    """Each address of the name is tried in turn."""
    async with Server("127.0.0.1", 0, handler=Echo("hub")) as server:
        async with SocksServer({"10.0.0.1:80": server.address}).running() as proxies:
            names("fd00::1", "10.0.0.1", "10.0.0.2")
            proxy = Proxy(f"socks5://127.0.0.1:{proxies.port}")
            async with client_through(proxy) as client:
                await works(client, server)
            assert proxies.heads == [b"fd00::1:80", b"10.0.0.1:80"]
            assert proxies.types == [4, 1]


async def test_socks_when_all_addresses_fail() -> None:
    names("10.0.0.1", "10.0.0.2")
    proxies = SocksServer({})
    async with proxies.running():
        proxy = Proxy(f"socks5://127.0.0.1:{proxies.port}")
        proxies.replies = {"10.0.0.1:80": 2}
        error = await error_of(client_through(proxy, backoff=ONCE))
        assert str(error) == (
            f"cannot reach hub.example through the proxy {proxy}: "
            "Connection not allowed by ruleset; Host unreachable"
        )
        assert error.retryable  # the second may be there later
        proxies.replies["10.0.0.2:80"] = 2
        error = await error_of(client_through(proxy))
        assert str(error).endswith(f"{proxy}: Connection not allowed by ruleset")
        assert not error.retryable


async def test_socks_addresses_share_the_time() -> None:
    names("10.0.0.1", "10.0.0.2", "10.0.0.3")
    async with SocksServer({}, answer=says_nothing).running() as proxies:
        proxy = Proxy(f"socks5://127.0.0.1:{proxies.port}")
        with pytest.raises(HandshakeError, match="through the proxy"):
            await Transport(parse_url("ws://hub.example/"), None, open_tcp, proxy=proxy).open(0.6)
        with trio.fail_after(5):
            while proxies.open:
                await trio.testing.wait_all_tasks_blocked()
        assert len(proxies.peers) == 3


@pytest.mark.parametrize(
    ("userinfo", "words"),
    [
        ("", "No acceptable authentication methods were offered"),
        ("user:wrong-samE", "Username and password authentication failure"),
    ],
)
async def test_socks_credentials_that_are_wanted(userinfo: str, words: str) -> None:
    async with SocksServer({}, login=LOGIN).running() as proxies:
        proxy = Proxy(proxies.url(userinfo))
        error = await error_of(client_through(proxy))
        assert str(error) == f"cannot reach hub.example through the proxy {proxy}: {words}"
        assert not error.retryable


@pytest.mark.parametrize(
    ("code", "retryable"),
    [(1, True), (2, False), (3, True), (4, True), (5, True), (6, True), (7, False), (8, False)],
)
async def test_socks_refusals(code: int, retryable: bool) -> None:
    proxies = SocksServer({})
    proxies.replies["hub.example:80"] = code
    async with proxies.running():
        error = await error_of(client_through(Proxy(proxies.url()), backoff=ONCE))
        assert error.retryable is retryable
        assert error.status is None


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (says(b""), "closed"),
        (says(b"\x05"), "closed"),
        (says(b"HTTP/1.1 400 Bad Request\r\n\r\n"), "version"),
        (says(b"\x05\x07"), "method"),
        (says(b"\x05\x02"), "method"),
        (says(b"\x05\x00\x05\x00\x00\x03\x02\xff\xff\x00\x01"), "not SOCKS5"),
        (says(b"\x05\x00\x05\x00\x00\x09"), "address type"),
        (says(b"\x05\x00\x05\x99\x00"), "reply"),
        (says(b"\x05\x00\x05\x00\x00\x03\xff" + b"x" * 20), "closed"),
    ],
)
async def test_hostile_socks_answers(answer: Answer, words: str) -> None:
    async with SocksServer({}, answer=answer).running() as proxies:
        error = await error_of(client_through(Proxy(proxies.url()), backoff=ONCE))
        assert words in str(error)
        with trio.fail_after(5):
            while proxies.open:
                await trio.testing.wait_all_tasks_blocked()


async def test_a_silent_socks_proxy() -> None:
    async with SocksServer({}, answer=says_nothing).running() as proxies:
        options = Options(timeouts=Timeouts(handshake=0.2))
        error = await error_of(client_through(Proxy(proxies.url()), backoff=ONCE, options=options))
        assert str(error).endswith("within 0.2 s")
        with trio.fail_after(5):
            while proxies.open:
                await trio.testing.wait_all_tasks_blocked()


async def test_a_socks_proxy_that_is_not_there() -> None:
    async with SocksServer({}).running() as proxies:
        url = proxies.url().replace("localhost", "127.0.0.1")
    error = await error_of(client_through(Proxy(url), backoff=ONCE))
    assert "Connection refused" in str(error)
    assert error.retryable


@pytest.mark.parametrize("kind", [ProxyServer, SocksServer])
async def test_the_local_address_is_for_the_way_to_the_proxy(kind: type[ProxyServer]) -> None:
    options = Options(sockets=SocketOptions(local_address="127.0.0.9"))
    async with Server("127.0.0.1", 0, handler=Echo("hub")) as server:
        async with kind({"hub.example:80": server.address}).running() as proxies:
            proxy = Proxy(proxies.url())
            async with client_through(proxy, options=options, backoff=ONCE) as client:
                await works(client, server)
            assert proxies.peers == ["127.0.0.9"]


# --- threads ----------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [ProxyServer, SocksServer])
async def test_from_a_thread(kind: type[ProxyServer]) -> None:
    async with Server("127.0.0.1", 0, handler=Echo("hub")) as server:
        async with kind({"hub.example:80": server.address}, login=LOGIN).running() as proxies:

            def use() -> str:
                url = proxies.url(USERINFO)
                with restsock.sync.connect("ws://hub.example/", proxy=url) as client:
                    return client.request("GET", "/", timeout=10).text

            assert await trio.to_thread.run_sync(use) == "hub: GET /"

            def fail() -> None:
                url = proxies.url("user:wrong-samE")
                with pytest.raises(HandshakeError, match="through the proxy") as caught:
                    restsock.sync.connect("ws://hub.example/", proxy=url)
                assert "wrong-samE" not in str(caught.value)

            await trio.to_thread.run_sync(fail)
