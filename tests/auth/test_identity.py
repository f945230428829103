"""Identity over real sockets and real TLS: both directions, async and for threads."""

from __future__ import annotations

import json
import logging
import socket
import ssl
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import trio
import trio.lowlevel
import trustme

import restsock
import restsock.sync
from restsock import (
    Backoff,
    HandshakeError,
    Options,
    Principal,
    Timeouts,
    _watch,
    connect,
    listen,
    tls,
)
from restsock.auth import (
    Basic,
    BasicUsers,
    Bearer,
    BearerTokens,
    CertificateSubject,
    Refused,
    Upgrade,
)
from restsock.openapi import AccessHandler, allow
from restsock.server import _registrar
from tests.waiting import until

SECRET = "s3cr3t-and-long"
OTHER = "another-s3cr3t"
ONCE = Backoff(tries=1)
QUICK = Backoff(initial=0.01, cap=0.02)


async def hub(request: restsock.Request) -> restsock.Response:
    principal = request.connection.principal
    return restsock.Response(body=f"hub to {principal and principal.name}: {request.target}")


async def edge(request: restsock.Request) -> restsock.Response:
    return restsock.Response(body=f"edge: {request.target}")


@pytest.fixture
def eager(monkeypatch: pytest.MonkeyPatch) -> None:
    """Files are looked at whenever somebody asks, and what is withdrawn is looked for often."""
    monkeypatch.setattr(_watch, "_INTERVAL", 0)
    monkeypatch.setattr(_registrar, "_INTERVAL", 0.01)


@pytest.fixture
def plain_log(caplog: pytest.LogCaptureFixture) -> Iterator[pytest.LogCaptureFixture]:
    """All that is logged, which never holds a secret."""
    caplog.set_level(logging.DEBUG)
    yield caplog
    assert SECRET not in caplog.text
    assert OTHER not in caplog.text


async def only(server: restsock.Server) -> restsock.Connection:
    """Its one connection; a client may know of it a moment earlier."""
    await until(lambda: len(server.connections) == 1)
    (connection,) = server.connections
    return connection


# --- credentials --------------------------------------------------------------------------


async def fetched() -> dict[str, str]:
    await trio.lowlevel.checkpoint()
    return {"Authorization": f"Bearer {SECRET}"}


@pytest.mark.parametrize(
    ("shown", "asked"),
    [
        (Bearer(SECRET), BearerTokens({SECRET: "edge-1"})),
        (Basic("edge-1", SECRET), BasicUsers({"edge-1": SECRET})),
        (lambda: [("Authorization", f"Bearer {SECRET}")], BearerTokens({SECRET: "edge-1"})),
        (fetched, BearerTokens({SECRET: "edge-1"})),
    ],
    ids=["bearer", "basic", "function", "async"],
)
async def test_let_in(shown: Any, asked: Any, plain_log: pytest.LogCaptureFixture) -> None:
    async with listen("127.0.0.1", 0, app=hub, auth=asked) as server:
        events = server.events()
        async with connect(server.url, app=edge, name="edge-1", auth=shown) as client:
            assert (await client.request("GET", "/a")).text == "hub to edge-1: /a"
            assert (await server.route("edge-1").request("GET", "/b")).text == "edge: /b"
            (connection,) = server.connections
            assert connection.principal == Principal("edge-1")
            event = await events.receive()
            assert event.principal == "edge-1"
            for thing in (server, client, connection, shown, asked, event):
                assert SECRET not in repr(thing)


@pytest.mark.parametrize(
    ("shown", "status"), [(None, 401), (Bearer(OTHER), 401), (Basic("edge-1", SECRET), 401)]
)
async def test_turned_away(shown: Any, status: int, plain_log: pytest.LogCaptureFixture) -> None:
    async with listen("127.0.0.1", 0, auth=BearerTokens({SECRET: "edge-1"})) as server:
        events = server.events()
        with pytest.raises(HandshakeError) as caught:
            async with connect(server.url, auth=shown):
                pytest.fail("let in")
        assert caught.value.status == status
        assert not caught.value.retryable
        for secret in (SECRET, OTHER):
            assert secret not in str(caught.value)
        assert len(server.connections) == 0
        assert server.limit_log.counts == {"refused": 1}
        with pytest.raises(trio.WouldBlock):
            events.receive_nowait()


async def test_the_wrong_name(plain_log: pytest.LogCaptureFixture) -> None:
    async with listen("127.0.0.1", 0, auth=BearerTokens({SECRET: "edge-1"})) as server:
        with pytest.raises(HandshakeError, match=r"4005 .*may not have this name") as caught:
            async with connect(server.url, name="edge-2", auth=Bearer(SECRET)):
                pytest.fail("let in")
        assert not caught.value.retryable
        assert len(server.connections) == 0
        assert server.connections.by_name("edge-2") is None


async def test_who_may_call_what() -> None:
    tokens = BearerTokens({SECRET: Principal("edge-1", may_call=["other"])})
    async with listen("127.0.0.1", 0, app=hub, auth=tokens) as server:
        async with connect(server.url, app=edge, name="edge-1", auth=Bearer(SECRET)) as client:
            response = await client.request("GET", "/")
            assert (response.status, response.text) == (403, "edge-1 may not call listener.\n")
            assert server.limit_log.counts == {"may_call": 1}
            assert (await server.route("edge-1").request("GET", "/b")).text == "edge: /b"
    async with listen("127.0.0.1", 0, app=hub, auth=tokens, name="other") as server:
        async with connect(server.url, auth=Bearer(SECRET)) as client:
            assert (await client.request("GET", "/")).status == 200


def wsgi_app(environ: dict[str, Any], start_response: Callable[..., object]) -> list[bytes]:
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [repr(environ["restsock.connection"].principal).encode()]


async def asgi_app(scope: Any, receive: Any, send: Any) -> None:
    if scope["type"] == "http":
        body = repr(scope["restsock"].principal).encode()
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": body})


@pytest.mark.parametrize(("app", "interface"), [(wsgi_app, "wsgi"), (asgi_app, "asgi")])
async def test_apps_learn_who_it_is(app: Any, interface: str) -> None:
    tokens = BearerTokens({SECRET: Principal("edge-1", claims={"plan": "x"})})
    async with listen("127.0.0.1", 0, app=app, interface=interface, auth=tokens) as server:
        async with connect(server.url, auth=Bearer(SECRET)) as client:
            assert (await client.request("GET", "/")).text == repr(Principal("edge-1"))


async def test_rules_by_operation_go_by_the_principal() -> None:
    spec = {
        "openapi": "3.1.0",
        "info": {"title": "t", "version": "1"},
        "paths": {
            "/status": {
                "get": {"operationId": "status", "responses": {"200": {"description": "ok"}}}
            }
        },
    }
    handler = AccessHandler(hub, spec, [allow("ops", "hub", "status")], peer="hub")
    tokens = BearerTokens({SECRET: Principal("ops", may_register="*"), OTHER: "edge-1"})
    async with listen("127.0.0.1", 0, app=handler, auth=tokens) as server:
        async with connect(server.url, name="edge-1", auth=Bearer(SECRET)) as client:
            assert (await client.request("GET", "/status")).status == 200
        async with connect(server.url, name="edge-1", auth=Bearer(OTHER)) as client:
            assert (await client.request("GET", "/status")).status == 403


def test_for_threads(plain_log: pytest.LogCaptureFixture) -> None:
    asked: list[int] = []

    def authenticate(upgrade: Upgrade) -> Principal | None:
        asked.append(threading.get_ident())
        return Principal("edge-1") if upgrade.header("x-key") == SECRET else None

    with restsock.sync.listen("127.0.0.1", 0, app=hub, auth=authenticate) as server:
        with pytest.raises(HandshakeError) as caught:
            restsock.sync.connect(server.url)
        assert caught.value.status == 401
        with restsock.sync.connect(
            server.url, app=edge, name="edge-1", auth=lambda: {"X-Key": SECRET}
        ) as client:
            assert client.request("GET", "/a").text == "hub to edge-1: /a"
            assert server.request("edge-1", "GET", "/b").text == "edge: /b"
            (connection,) = server.connections
            assert connection.principal == Principal("edge-1")
            assert client.connection is not None
            assert client.connection.principal is None
            assert server.revoke("nobody") == 0
            assert server.revoke("edge-1") == 1
            closed = connection.wait_closed(10)
            assert closed is not None
            assert closed.code == 4005
        assert len(asked) >= 2
        assert threading.get_ident() not in asked


# --- the dialer's side --------------------------------------------------------------------


class Flaky:
    """Credentials that cannot be had at first."""

    def __init__(self, *failures: Exception) -> None:
        self.failures = list(failures)
        self.calls = 0

    async def __call__(self) -> list[tuple[str, str]]:
        self.calls += 1
        if self.failures:
            raise self.failures.pop(0)
        return [("Authorization", f"Bearer {SECRET}")]


async def test_credentials_are_asked_for_each_time(plain_log: pytest.LogCaptureFixture) -> None:
    auth = Flaky(OSError(f"no {SECRET}"), KeyError(SECRET))
    async with listen("127.0.0.1", 0, auth=BearerTokens({SECRET: "edge-1"})) as server:
        async with connect(server.url, auth=auth, backoff=QUICK) as client:
            assert auth.calls == 3
            connection = await only(server)
            await connection.aclose(1001)
            await until(lambda: client.statistics().connections == 2)
            assert auth.calls == 4


@pytest.mark.parametrize(
    "auth",
    [
        Flaky(OSError(SECRET)),
        lambda: [("Authorization", f"Bearer {SECRET}\r\nX: y")],
        lambda: [("Host", SECRET)],
        lambda: SECRET,
        lambda: None,
    ],
)
async def test_credentials_that_are_none(auth: Any, plain_log: pytest.LogCaptureFixture) -> None:
    async with listen("127.0.0.1", 0) as server:
        with pytest.raises(HandshakeError, match="no credentials to dial with") as caught:
            async with connect(server.url, auth=auth, backoff=ONCE):
                pytest.fail("let in")
        assert SECRET not in str(caught.value)
        assert caught.value.__cause__ is None


async def test_credentials_that_take_too_long() -> None:
    async def never() -> dict[str, str]:
        await trio.sleep_forever()
        raise AssertionError

    options = Options(timeouts=Timeouts(handshake=0.05))
    with pytest.raises(HandshakeError, match="no credentials to dial with within"):
        async with connect("ws://127.0.0.1:9/", auth=never, backoff=ONCE, options=options):
            pytest.fail("let in")


def test_arguments() -> None:
    url = "ws://127.0.0.1:1/"
    with pytest.raises(TypeError):
        connect(url, auth=SECRET)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="from both") as caught:
        connect(url, auth=Bearer(SECRET), headers={"authorization": SECRET})
    assert SECRET not in str(caught.value)
    with pytest.raises(TypeError):
        listen("127.0.0.1", 0, auth={SECRET: "x"})  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="origin"):
        listen("127.0.0.1", 0, origins=["hub"])
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    with pytest.raises(ValueError, match="the same"):
        listen("127.0.0.1", 0, tls=context, ssl_context=context)
    with pytest.raises(ValueError, match="the same"):
        connect("wss://hub/", tls=context, ssl_context=context)
    with pytest.raises(TypeError):
        listen("127.0.0.1", 0, tls="hub.pem")  # type: ignore[arg-type]
    with pytest.raises(TypeError):
        listen("127.0.0.1", 0, tls=tls.client())  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="wss"):
        connect(url, tls=tls.client())
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        context.minimum_version = ssl.TLSVersion.TLSv1
    with pytest.raises(ValueError, match="TLSv1_2"):
        listen("127.0.0.1", 0, tls=context)


# --- what is withdrawn --------------------------------------------------------------------


async def test_a_withdrawn_token_ends_its_connections(
    tmp_path: Path, eager: None, plain_log: pytest.LogCaptureFixture
) -> None:
    file = tmp_path / "tokens.json"
    file.write_text(json.dumps({SECRET: "edge-1", OTHER: "edge-2"}))
    async with listen("127.0.0.1", 0, app=hub, auth=BearerTokens(file=file)) as server:
        async with (
            connect(server.url, name="edge-1", auth=Bearer(SECRET), backoff=QUICK) as one,
            connect(server.url, name="edge-2", auth=Bearer(OTHER), backoff=QUICK) as two,
        ):
            first = one.connection
            second = two.connection
            assert first is not None
            file.write_text(json.dumps({OTHER: "edge-2"}))
            # Nothing is sent on it, and it is closed all the same.
            with trio.fail_after(10):
                assert (await first.wait_closed()).code == 4005
                # The client has tried again, with the same token, and was told 401.
                closed = await one.wait_closed()
            assert "401" in closed.reason
            assert server.connections.by_name("edge-1") is None
            assert two.connection is second
            assert (await two.request("GET", "/")).text == "hub to edge-2: /"


async def test_a_token_that_is_replaced(
    tmp_path: Path, eager: None, plain_log: pytest.LogCaptureFixture
) -> None:
    """The listener's file changes first, the client's a while later; it comes back by itself."""
    theirs, ours = tmp_path / "tokens.json", tmp_path / "token"
    theirs.write_text(json.dumps({SECRET: "edge-1"}))
    ours.write_text(SECRET)
    async with listen("127.0.0.1", 0, app=hub, auth=BearerTokens(file=theirs)) as server:
        auth = Bearer(file=ours)
        async with connect(server.url, name="edge-1", auth=auth, backoff=QUICK) as client:
            theirs.write_text(json.dumps({OTHER: "edge-1"}))
            await until(lambda: client.statistics().failures >= 3)
            assert not client.closed
            ours.write_text(OTHER)
            assert (await client.request("GET", "/", timeout=10)).text == "hub to edge-1: /"


async def test_a_function_may_have_another_token_later() -> None:
    known = {SECRET: "edge-1"}
    shown = [SECRET, "wrong", "wrong", SECRET]

    async def authenticate(upgrade: Upgrade) -> Principal | None:
        return BearerTokens(known)(upgrade)

    async def credentials() -> dict[str, str]:
        return {"Authorization": f"Bearer {shown.pop(0)}"}

    async with listen("127.0.0.1", 0, app=hub, auth=authenticate) as server:
        async with connect(server.url, auth=credentials, backoff=QUICK) as client:
            await (await only(server)).aclose(1001)
            assert (await client.request("GET", "/", timeout=10)).text == "hub to edge-1: /"
            assert client.statistics().failures == 2
            assert shown == []


@pytest.mark.parametrize("status", [403, 404])
async def test_other_refusals_are_final(status: int) -> None:
    refuse = False

    async def authenticate(upgrade: Upgrade) -> Principal | None:
        if refuse:
            raise Refused(status)
        return Principal("edge-1")

    async def credentials() -> dict[str, str]:
        return {}

    async with listen("127.0.0.1", 0, auth=authenticate) as server:
        async with connect(server.url, auth=credentials, backoff=QUICK) as client:
            refuse = True
            await (await only(server)).aclose(1001)
            with trio.fail_after(10):
                assert str(status) in (await client.wait_closed()).reason


async def test_the_first_401_is_final_even_with_a_file(tmp_path: Path) -> None:
    ours = tmp_path / "token"
    ours.write_text(OTHER)
    async with listen("127.0.0.1", 0, auth=BearerTokens({SECRET: "edge-1"})) as server:
        with pytest.raises(HandshakeError) as caught:
            async with connect(server.url, auth=Bearer(file=ours)):
                pytest.fail("let in")
        assert caught.value.status == 401


async def test_revoke() -> None:
    tokens = BearerTokens({SECRET: Principal("site", may_register="*"), OTHER: "edge-3"})
    async with listen("127.0.0.1", 0, app=hub, auth=tokens) as server:
        async with (
            connect(server.url, name="edge-1", auth=Bearer(SECRET), backoff=QUICK) as one,
            connect(server.url, name="edge-2", auth=Bearer(SECRET), backoff=QUICK) as two,
            connect(server.url, name="edge-3", auth=Bearer(OTHER), backoff=QUICK) as three,
        ):
            before = [client.connection for client in (one, two, three)]
            assert server.revoke("edge-1") == 0
            assert server.revoke("site") == 2
            for connection in before[:2]:
                assert connection is not None
                with trio.fail_after(10):
                    assert (await connection.wait_closed()).code == 4005
            # The authenticator still knows them: they come back.
            await until(lambda: one.statistics().connections == two.statistics().connections == 2)
            assert three.connection is before[2]


# --- TLS ----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def ca() -> trustme.CA:
    return trustme.CA()


class Files:
    """Certificates as files, as an operator has them."""

    def __init__(self, folder: Path, ca: trustme.CA) -> None:
        self.folder = folder
        self.ca = folder / "ca.pem"
        ca.cert_pem.write_to_path(str(self.ca))

    def issue(self, ca: trustme.CA, name: str, *hosts: str, common_name: str | None = None) -> Any:
        issued = ca.issue_cert(*hosts, common_name=common_name)
        certificate, key = self.folder / f"{name}.pem", self.folder / f"{name}.key"
        certificate.write_bytes(b"".join(pem.bytes() for pem in issued.cert_chain_pems))
        issued.private_key_pem.write_to_path(str(key))
        return {"certificate": certificate, "key": key}


@pytest.fixture
def files(tmp_path: Path, ca: trustme.CA) -> Files:
    return Files(tmp_path, ca)


async def test_mutual_tls(files: Files, ca: trustme.CA) -> None:
    server_tls = tls.server(**files.issue(ca, "hub", "127.0.0.1"), client_ca=files.ca)
    edge_tls = tls.client(
        ca=files.ca, **files.issue(ca, "edge", "edge-1.example", common_name="edge-1")
    )
    async with listen("127.0.0.1", 0, app=hub, tls=server_tls, auth=CertificateSubject()) as server:
        assert server.url.startswith("wss://")
        async with connect(server.url, app=edge, name="edge-1", tls=edge_tls) as client:
            assert (await client.request("GET", "/a")).text == "hub to edge-1: /a"
            assert (await server.route("edge-1").request("GET", "/b")).text == "edge: /b"
            (connection,) = server.connections
            assert connection.principal is not None
            assert len(connection.principal.claims["certificate_sha256"]) == 64
        with pytest.raises(HandshakeError, match="4005"):
            async with connect(server.url, name="edge-2", tls=edge_tls):
                pytest.fail("let in")


async def test_mutual_tls_without_the_right_certificate(files: Files, ca: trustme.CA) -> None:
    other_ca = trustme.CA()
    strangers = files.issue(other_ca, "stranger", "edge-1.example", common_name="edge-1")
    required = tls.server(**files.issue(ca, "hub", "127.0.0.1"), client_ca=files.ca)
    async with listen("127.0.0.1", 0, tls=required, auth=CertificateSubject()) as server:
        for dialer in (tls.client(ca=files.ca), tls.client(ca=files.ca, **strangers)):
            with pytest.raises(HandshakeError, match="does not accept this side's cert") as caught:
                async with connect(server.url, tls=dialer):
                    pytest.fail("let in")
            assert not caught.value.retryable
    optional = tls.server(
        **files.issue(ca, "hub", "127.0.0.1"), client_ca=files.ca, client_certificate="optional"
    )
    async with listen("127.0.0.1", 0, tls=optional, auth=CertificateSubject()) as server:
        with pytest.raises(HandshakeError, match="A client certificate is needed") as caught:
            async with connect(server.url, tls=tls.client(ca=files.ca)):
                pytest.fail("let in")
        assert caught.value.status == 403


async def test_the_name_of_the_listener_is_checked(files: Files, ca: trustme.CA) -> None:
    server_tls = tls.server(**files.issue(ca, "hub", "hub.example"))
    async with listen("127.0.0.1", 0, app=hub, tls=server_tls) as server:
        for wrong in (None, "other.example"):
            with pytest.raises(HandshakeError, match="certificate is not accepted"):
                async with connect(server.url, tls=tls.client(ca=files.ca, server_hostname=wrong)):
                    pytest.fail("connected")
        with pytest.raises(HandshakeError, match="certificate is not accepted"):
            async with connect(server.url):  # the CAs of this system do not know it
                pytest.fail("connected")
        right = tls.client(ca=files.ca, server_hostname="hub.example")
        async with connect(server.url, tls=right) as client:
            assert (await client.request("GET", "/")).text == "hub to None: /"


def certificate_at(address: tuple[str, int], ca_file: Path) -> str:
    context = ssl.create_default_context(cafile=ca_file)
    context.check_hostname = False
    with socket.create_connection(address, 10) as sock:
        with context.wrap_socket(sock) as secure:
            found: Any = secure.getpeercert()
            name: str = dict(part[0] for part in found["subject"])["commonName"]
            return name


async def test_new_certificates_without_a_restart(
    files: Files, ca: trustme.CA, eager: None, caplog: pytest.LogCaptureFixture
) -> None:
    paths = files.issue(ca, "hub", "127.0.0.1", common_name="old")
    async with listen("127.0.0.1", 0, app=hub, tls=tls.server(**paths)) as server:

        async def shown() -> str:
            return await trio.to_thread.run_sync(certificate_at, server.address, files.ca)

        async with connect(server.url, tls=tls.client(ca=files.ca)) as client:
            before = client.connection
            assert await shown() == "old"
            # Half of the change has been made: the key does not fit.
            old_certificate = paths["certificate"].read_bytes()
            files.issue(ca, "hub", "127.0.0.1", common_name="new")
            new_certificate = paths["certificate"].read_bytes()
            paths["certificate"].write_bytes(old_certificate)
            assert await shown() == "old"
            assert "keeping the old" in caplog.text
            for broken in (b"", b"not a certificate", new_certificate[:100]):
                paths["certificate"].write_bytes(broken)
                assert await shown() == "old"
            paths["certificate"].unlink()
            assert await shown() == "old"
            paths["certificate"].write_bytes(new_certificate)
            assert await shown() == "new"
            # Who was there has noticed nothing.
            assert (await client.request("GET", "/")).status == 200
            assert client.connection is before


async def test_a_dialer_follows_its_files(files: Files, ca: trustme.CA, eager: None) -> None:
    server_tls = tls.server(**files.issue(ca, "hub", "127.0.0.1"), client_ca=files.ca)
    paths = files.issue(ca, "edge", "a.example", common_name="edge-1")
    async with listen("127.0.0.1", 0, tls=server_tls, auth=CertificateSubject()) as server:
        async with connect(
            server.url, tls=tls.client(ca=files.ca, **paths), backoff=QUICK
        ) as client:
            connection = await only(server)
            assert connection.principal is not None
            assert connection.principal.name == "edge-1"
            files.issue(ca, "edge", "a.example", common_name="edge-2")
            await connection.aclose(1001)
            await until(lambda: client.statistics().connections == 2)
            connection = await only(server)
            assert connection.principal is not None
            assert connection.principal.name == "edge-2"


async def test_a_dialer_waits_for_a_better_certificate(
    files: Files, ca: trustme.CA, eager: None
) -> None:
    """One that was let in before goes on trying while its files are not the right ones."""
    server_tls = tls.server(**files.issue(ca, "hub", "127.0.0.1"), client_ca=files.ca)
    paths = files.issue(ca, "edge", "a.example", common_name="edge-1")
    async with listen("127.0.0.1", 0, tls=server_tls, auth=CertificateSubject()) as server:
        async with connect(
            server.url, tls=tls.client(ca=files.ca, **paths), backoff=QUICK
        ) as client:
            files.issue(trustme.CA(), "edge", "a.example", common_name="edge-1")
            await (await only(server)).aclose(1001)
            await until(lambda: client.statistics().failures >= 3)
            assert not client.closed
            files.issue(ca, "edge", "a.example", common_name="edge-1")
            await until(lambda: client.statistics().connections == 2)


async def test_an_old_version_of_tls_is_refused(files: Files, ca: trustme.CA) -> None:
    server_tls = tls.server(**files.issue(ca, "hub", "127.0.0.1"))
    async with listen("127.0.0.1", 0, tls=server_tls) as server:
        context = ssl.create_default_context(cafile=files.ca)
        context.set_ciphers("ALL:@SECLEVEL=0")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            context.minimum_version = ssl.TLSVersion.TLSv1
            context.maximum_version = ssl.TLSVersion.TLSv1_1

        def dial() -> None:
            with socket.create_connection(server.address, 10) as sock:
                with context.wrap_socket(sock, server_hostname="127.0.0.1"):
                    pytest.fail("connected")

        with pytest.raises(ssl.SSLError, match=r"(?i)version"):
            await trio.to_thread.run_sync(dial)


def test_what_tls_refuses(files: Files, ca: trustme.CA) -> None:
    from cryptography.hazmat.primitives import serialization

    paths = files.issue(ca, "hub", "hub.example")
    key = serialization.load_pem_private_key(paths["key"].read_bytes(), None)
    locked = files.folder / "locked.key"
    locked.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.BestAvailableEncryption(SECRET.encode()),
        )
    )
    certificate = paths["certificate"]
    # No prompt on the terminal, which nobody would see.
    with pytest.raises(ValueError, match="needs a password"):
        tls.server(certificate, locked)
    with pytest.raises(ssl.SSLError):
        tls.server(certificate, locked, password="wrong")
    unlocked = tls.server(certificate, locked, password=SECRET)
    assert SECRET not in repr(unlocked)
    assert unlocked.context().minimum_version == ssl.TLSVersion.TLSv1_2
    assert unlocked.context() is unlocked.context()
    with pytest.raises(FileNotFoundError):
        tls.server(files.folder / "missing.pem")
    with pytest.raises(ValueError, match="its certificate"):
        tls.client(key=locked)
    with pytest.raises(ValueError, match="client_ca"):
        tls.server(**paths, client_certificate="optional")
    with pytest.raises(ValueError, match="required or optional"):
        tls.server(**paths, client_certificate="maybe")  # type: ignore[arg-type]
    both = files.folder / "both.pem"
    both.write_bytes(certificate.read_bytes() + paths["key"].read_bytes())
    assert tls.server(both).context().verify_mode == ssl.CERT_NONE
    assert tls.client().context().check_hostname


def test_mutual_tls_for_threads(files: Files, ca: trustme.CA) -> None:
    server_tls = tls.server(**files.issue(ca, "hub", "127.0.0.1"), client_ca=files.ca)
    edge_tls = tls.client(ca=files.ca, **files.issue(ca, "edge", "e", common_name="edge-1"))
    with restsock.sync.listen(
        "127.0.0.1", 0, app=hub, tls=server_tls, auth=CertificateSubject()
    ) as server:
        with restsock.sync.connect(server.url, app=edge, name="edge-1", tls=edge_tls) as client:
            assert client.request("GET", "/a").text == "hub to edge-1: /a"
            assert server.request("edge-1", "GET", "/b").text == "edge: /b"


# --- nobody waits for anybody -------------------------------------------------------------

_HALF = b"GET / HTTP/1.1\r\nHost: hub\r\nUpgrade: websocket\r\n"
_WHOLE = (
    b"GET / HTTP/1.1\r\nHost: hub\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n"
    b"Sec-WebSocket-Protocol: restsock.v1\r\nX-Slow: yes\r\n\r\n"
)
SLOW = 50


async def _slow_async(upgrade: Upgrade) -> Principal | None:
    if upgrade.header("x-slow"):
        await trio.sleep_forever()
    return Principal("edge-1")


@pytest.mark.parametrize("first", [b"", _HALF, _WHOLE], ids=["silent", "half", "authenticating"])
async def test_slow_handshakes_delay_nobody(first: bytes) -> None:
    async with listen("127.0.0.1", 0, app=hub, auth=_slow_async) as server:
        await _with_slow_ones(server, first, connect(server.url, name="edge-1"))


async def test_blocked_authenticators_delay_nobody() -> None:
    release = threading.Event()

    def authenticate(upgrade: Upgrade) -> Principal | None:
        if upgrade.header("x-slow"):
            release.wait(60)
        return Principal("edge-1")

    try:
        async with listen("127.0.0.1", 0, app=hub, auth=authenticate) as server:
            await _with_slow_ones(server, _WHOLE, connect(server.url, name="edge-1"))
    finally:
        release.set()


@pytest.mark.parametrize("first", [b"", b"\x16\x03\x01\x02\x00\x01\x00"], ids=["silent", "half"])
async def test_slow_tls_delays_nobody(first: bytes, files: Files, ca: trustme.CA) -> None:
    server_tls = tls.server(**files.issue(ca, "hub", "127.0.0.1"))
    async with listen("127.0.0.1", 0, app=hub, tls=server_tls) as server:
        await _with_slow_ones(server, first, connect(server.url, tls=tls.client(ca=files.ca)))


@pytest.mark.parametrize("first", [b"\x16\x03\x01\x00\x01\xff", b"GET / HTTP/1.1\r\n\r\n"])
async def test_failed_tls_delays_nobody(first: bytes, files: Files, ca: trustme.CA) -> None:
    server_tls = tls.server(**files.issue(ca, "hub", "127.0.0.1"))
    async with listen("127.0.0.1", 0, app=hub, tls=server_tls) as server:
        await _with_slow_ones(server, first, connect(server.url, tls=tls.client(ca=files.ca)))


async def _with_slow_ones(server: restsock.Server, first: bytes, client: restsock.Client) -> None:
    """Fifty who are slow are there before an honest one comes, and all the while."""
    slow: list[trio.SocketStream] = []
    try:
        for _ in range(SLOW):
            stream = await trio.open_tcp_stream(*server.address)
            slow.append(stream)
            if first:
                await stream.send_all(first)
        # All of them have been accepted: connections are, in the order in which they came.
        start = time.perf_counter()
        async with client:
            for _ in range(20):
                assert (await client.request("GET", "/")).status == 200
        # Each of the fifty has ten seconds.
        assert time.perf_counter() - start < 8
    finally:
        for stream in slow:
            with trio.CancelScope(shield=True):
                await trio.aclose_forcefully(stream)
