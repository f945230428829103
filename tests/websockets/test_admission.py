"""Who gets a WebSocket: everything that is answered before the 101."""

from __future__ import annotations

import base64
import logging
from typing import Any

import pytest
import trio
import trustme

import restsock
from restsock.auth import (
    Answered,
    BasicUsers,
    BearerTokens,
    CertificateSubject,
    Principal,
    Refused,
    Upgrade,
)
from restsock.websockets import Endpoint, Request, ServerWebSocket, connect
from tests.plain_client import PlainClient
from tests.websockets.site import (
    KEY,
    PATIENCE,
    echo,
    listening,
    raw_client,
    request_for,
)

TOKENS = {"s3cret-token": "edge-1"}


async def ask(server: Any, request: bytes) -> tuple[int, dict[bytes, bytes], bytes]:
    """The answer to a request; of a 101 its head alone."""
    stream = await trio.open_tcp_stream("127.0.0.1", server.address[1])
    try:
        await stream.send_all(request)
        client = PlainClient(stream)
        head = b""
        with trio.fail_after(PATIENCE):
            while b"\r\n\r\n" not in head:
                data = await stream.receive_some(65536)
                assert data, head
                head += data
        lines = head.partition(b"\r\n\r\n")[0].split(b"\r\n")
        fields = {
            name.lower(): value.strip()
            for name, _, value in (line.partition(b":") for line in lines[1:])
        }
        client._rest = head
        status = int(lines[0].split()[1])
        if status == 101:
            return status, fields, b""
        return await client.response()
    finally:
        await stream.aclose()


def bearer(token: str) -> str:
    return f"Authorization: Bearer {token}"


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        (b"GET /ws HTTP/1.1\r\nHost: a\r\n\r\n", 426),
        (b"POST /ws HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc", 426),
        (request_for().replace(b"Upgrade: websocket", b"Upgrade: h3"), 426),
        (request_for().replace(b"Version: 13", b"Version: 8"), 426),
        (request_for().replace(b"Sec-WebSocket-Version: 13\r\n", b""), 426),
        (request_for().replace(b"GET", b"PUT"), 400),
        (request_for(key=""), 400),
        (request_for(key="dG9vIHNob3J0"), 400),
        (request_for("/ws", f"Sec-WebSocket-Key: {KEY}"), 400),
        (request_for().replace(b"HTTP/1.1", b"HTTP/1.0"), 426),
        (request_for("/other"), 404),
        (request_for("/wsx"), 404),
    ],
)
async def test_what_is_no_request_for_a_websocket(request_: bytes, status: int) -> None:
    async with listening(Endpoint(echo)) as server:
        found, fields, _ = await ask(server, request_)
        assert found == status
        if status == 426:
            assert fields[b"sec-websocket-version"] == b"13"


async def test_one_path_alone() -> None:
    async with listening(Endpoint(echo, path="/ws/in")) as server:
        assert (await ask(server, request_for("/ws/in?x=1")))[0] == 101
        assert (await ask(server, request_for("/ws/in/side")))[0] == 404
        assert (await ask(server, request_for("/ws")))[0] == 404


@pytest.mark.parametrize(
    ("field", "status"),
    [
        (bearer("s3cret-token"), 101),
        (bearer("wrong"), 401),
        ("X-None: 1", 401),
        ("Authorization: Basic eDp5", 401),
        ("Authorization: Bearer", 400),
    ],
)
async def test_bearer_tokens(field: str, status: int, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    async with listening(Endpoint(echo, auth=BearerTokens(TOKENS))) as server:
        found, fields, body = await ask(server, request_for("/ws", field))
        assert found == status
        if status == 401:
            assert fields[b"www-authenticate"].startswith(b"Bearer")
            assert server.limit_log.counts["refused"] == 1
        assert b"s3cret" not in body
    assert "s3cret" not in caplog.text


async def test_basic_users_and_who_they_are() -> None:
    seen: list[Principal | None] = []

    async def serve(websocket: ServerWebSocket) -> None:
        seen.append(websocket.principal)

    auth = BasicUsers({"ann": "pass"})
    async with listening(Endpoint(serve, auth=auth)) as server:
        good = base64.b64encode(b"ann:pass").decode()
        assert (await ask(server, request_for("/ws", f"Authorization: Basic {good}")))[0] == 101
        found, fields, _ = await ask(server, request_for("/ws", "Authorization: Basic YTpi"))
        assert (found, fields[b"www-authenticate"][:5]) == (401, b"Basic")
    assert [principal and principal.name for principal in seen] == ["ann"]


async def test_functions_that_authenticate() -> None:
    upgrades: list[Upgrade] = []

    async def auth(upgrade: Upgrade) -> Principal | None:
        upgrades.append(upgrade)
        match upgrade.header("x-who"):
            case "locked":
                raise Refused(403, "The account is locked.")
            case "elsewhere":
                raise Answered(302, [(b"location", b"/login")])
            case "broken":
                raise RuntimeError("a secret")
            case "other":
                return Principal("other", may_call=["something-else"])
            case None:
                return None
            case name:
                return Principal(name)

    async with listening(Endpoint(echo, auth=auth)) as server:
        for who, status in [
            ("ann", 101),
            ("locked", 403),
            ("elsewhere", 302),
            ("broken", 500),
            ("other", 403),
        ]:
            found, fields, body = await ask(server, request_for("/ws?q", f"X-Who: {who}"))
            assert found == status, who
            assert b"secret" not in body
            assert (fields.get(b"location") == b"/login") is (who == "elsewhere")
        assert (await ask(server, request_for()))[0] == 401
    assert (upgrades[0].target, upgrades[0].method, upgrades[0].host) == (
        "/ws?q",
        "GET",
        "127.0.0.1",
    )


async def test_a_function_that_takes_too_long_is_given_up() -> None:
    async def auth(upgrade: Upgrade) -> Principal | None:
        await trio.sleep_forever()
        return None

    options = restsock.Options(timeouts=restsock.Timeouts(handshake=0.2))
    async with listening(Endpoint(echo, auth=auth), options=options) as server:
        assert (await ask(server, request_for()))[0] == 503


async def test_a_client_that_leaves_is_not_authenticated_any_more() -> None:
    begun, cancelled = trio.Event(), trio.Event()

    async def auth(upgrade: Upgrade) -> Principal | None:
        begun.set()
        try:
            await trio.sleep_forever()
        finally:
            cancelled.set()
        return None

    async with listening(Endpoint(echo, auth=auth)) as server:
        stream = await trio.open_tcp_stream("127.0.0.1", server.address[1])
        await stream.send_all(request_for())
        with trio.fail_after(PATIENCE):
            await begun.wait()
            await stream.aclose()
            await cancelled.wait()


@pytest.mark.parametrize(
    ("origins", "field", "status"),
    [
        (None, "Origin: http://hub.example", 101),
        (None, "Origin: https://HUB.example", 101),
        (None, "X-None: no origin", 101),
        (None, "Origin: http://hub.example:81", 403),
        (None, "Origin: http://evil.example", 403),
        (None, "Origin: http://hub.example.evil.example", 403),
        (None, "Origin: null", 403),
        (None, "Origin: ", 403),
        (None, "Origin: http://hub.example\r\nOrigin: http://evil.example", 403),
        ("https://ui.example", "Origin: https://ui.example", 101),
        ("https://ui.example", "Origin: http://hub.example", 403),
        (["https://a.example", "https://b.example"], "Origin: https://b.example", 101),
        ("*", "Origin: http://evil.example", 101),
        ((), "Origin: http://hub.example", 403),
    ],
)
async def test_origins(origins: Any, field: str, status: int) -> None:
    called: list[Upgrade] = []

    def auth(upgrade: Upgrade) -> Principal | None:
        called.append(upgrade)
        return Principal("ann")

    async with listening(Endpoint(echo, origins=origins, auth=auth)) as server:
        assert (await ask(server, request_for("/ws", field)))[0] == status
    assert len(called) == (status == 101)  # nobody is asked about a page from elsewhere


@pytest.mark.parametrize(
    ("offered", "chosen"),
    [
        ("a, b", b"b"),
        ("a", b"a"),
        ("c", None),
        ("", None),
        ("c,\tb ,a", b"b"),
        ("a\r\nSec-WebSocket-Protocol: b", b"b"),
    ],
)
async def test_subprotocols(offered: str, chosen: bytes | None) -> None:
    async with listening(Endpoint(echo, subprotocols=["b", "a"])) as server:
        field = f"Sec-WebSocket-Protocol: {offered}"
        status, fields, _ = await ask(server, request_for("/ws", field))
        assert (status, fields.get(b"sec-websocket-protocol")) == (101, chosen)


def encoded(token: str) -> str:
    return base64.urlsafe_b64encode(token.encode()).decode().rstrip("=")


@pytest.mark.parametrize(
    ("fields", "status", "chosen"),
    [
        ([f"Sec-WebSocket-Protocol: bearer, bearer.{encoded('s3cret-token')}"], 101, b"bearer"),
        ([f"Sec-WebSocket-Protocol: v1, bearer.{encoded('s3cret-token')}"], 101, b"v1"),
        ([f"Sec-WebSocket-Protocol: bearer.{encoded('s3cret-token')}"], 101, None),
        ([f"Sec-WebSocket-Protocol: bearer, bearer.{encoded('wrong')}"], 401, None),
        (["Sec-WebSocket-Protocol: bearer"], 401, None),
        (["Sec-WebSocket-Protocol: bearer, bearer."], 400, None),
        (["Sec-WebSocket-Protocol: bearer, bearer.a~b"], 400, None),
        (["Sec-WebSocket-Protocol: bearer, bearer.a"], 400, None),
        ([f"Sec-WebSocket-Protocol: bearer, bearer.{encoded('a' + chr(10) + 'b')}"], 400, None),
        ([f"Sec-WebSocket-Protocol: bearer.{encoded('a')}, bearer.{encoded('b')}"], 400, None),
        (
            [bearer("x"), f"Sec-WebSocket-Protocol: bearer.{encoded('s3cret-token')}"],
            400,
            None,
        ),
        ([bearer("s3cret-token")], 101, None),
    ],
)
async def test_the_token_of_a_browser(
    fields: list[str], status: int, chosen: bytes | None, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    seen: list[Request] = []

    async def serve(websocket: ServerWebSocket) -> None:
        seen.append(websocket.request)

    endpoint = Endpoint(
        serve, auth=BearerTokens(TOKENS), browser_token="bearer", subprotocols=["v1"]
    )
    async with listening(endpoint) as server:
        found, answer, body = await ask(server, request_for("/ws", *fields))
        assert (found, answer.get(b"sec-websocket-protocol")) == (status, chosen)
        assert encoded("s3cret-token").encode() not in body
        if status == 101 and chosen is not None:
            with trio.fail_after(PATIENCE):
                await endpoint.wait_drained()
            shown = b"".join(value for _, value in seen[0].headers)
            assert encoded("s3cret-token").encode() not in shown
            assert b"s3cret-token" not in shown
    assert "s3cret" not in caplog.text
    assert encoded("s3cret-token") not in caplog.text


async def test_fields_of_the_answer_from_a_function() -> None:
    def fields(request: Request) -> dict[str, str]:
        return {"X-Path": request.path}

    async with listening(Endpoint(echo, headers=fields)) as server:
        _, answer, _ = await ask(server, request_for("/ws/here"))
        assert answer[b"x-path"] == b"/ws/here"


async def test_a_function_for_fields_that_fails_is_a_500(
    caplog: pytest.LogCaptureFixture,
) -> None:
    def fields(request: Request) -> dict[str, str]:
        raise RuntimeError("a bug of the program")

    async with listening(Endpoint(echo, headers=fields)) as server:
        assert (await ask(server, request_for()))[0] == 500
    assert "GET /ws" in caplog.text


@pytest.mark.parametrize(("trusted", "host"), [((), "127.0.0.1"), (("127.0.0.1",), "203.0.113.9")])
async def test_where_a_client_is_behind_a_proxy(trusted: tuple[str, ...], host: str) -> None:
    seen: list[str] = []

    def auth(upgrade: Upgrade) -> Principal | None:
        seen.append(upgrade.host)
        return Principal("ann")

    async def serve(websocket: ServerWebSocket) -> None:
        seen.append(websocket.peer.host)

    endpoint = Endpoint(serve, auth=auth, trusted_proxies=trusted)
    async with listening(endpoint) as server:
        field = "X-Forwarded-For: 10.0.0.1, 203.0.113.9"
        assert (await ask(server, request_for("/ws", field)))[0] == 101
        with trio.fail_after(PATIENCE):
            await endpoint.wait_drained()
    assert seen == [host, host]


async def test_credentials_that_are_withdrawn_close_the_websocket(tmp_path: Any) -> None:
    file = tmp_path / "tokens.json"
    file.write_text('{"s3cret-token": "edge-1"}')
    auth = BearerTokens(file=file)
    async with (
        listening(Endpoint(echo, auth=auth)) as server,
        raw_client(server, bearer("s3cret-token")) as client,
    ):
        file.write_text('{"another-token": "edge-2"}')
        event = await client.next()
        assert getattr(event, "code", None) == 1008
        assert (await ask(server, request_for("/ws", bearer("s3cret-token"))))[0] == 401
        assert (await ask(server, request_for("/ws", bearer("another-token"))))[0] == 101


async def test_a_refusal_leaves_the_connection_for_another_request() -> None:
    async with listening(Endpoint(echo, auth=BearerTokens(TOKENS))) as server:
        stream = await trio.open_tcp_stream("127.0.0.1", server.address[1])
        client = PlainClient(stream)
        await stream.send_all(request_for())
        assert (await client.response())[0] == 401
        await stream.send_all(request_for("/ws", bearer("s3cret-token")))
        head = await client.receive()
        assert head.startswith(b"HTTP/1.1 101 ")
        await stream.aclose()


async def test_client_certificates_name_their_owner(tmp_path: Any) -> None:
    authority = trustme.CA()
    ca = tmp_path / "ca.pem"
    authority.cert_pem.write_to_path(ca)
    files = {}
    for name in ("localhost", "edge-1"):
        issued = authority.issue_cert(name, common_name=name)
        files[name] = tmp_path / f"{name}.pem", tmp_path / f"{name}.key"
        issued.cert_chain_pems[0].write_to_path(files[name][0])
        issued.private_key_pem.write_to_path(files[name][1])
    certificate, key = files["localhost"]
    seen: list[Principal | None] = []

    async def serve(websocket: ServerWebSocket) -> None:
        seen.append(websocket.principal)

    tls = restsock.tls.server(certificate=certificate, key=key, client_ca=ca)
    endpoint = Endpoint(serve, auth=CertificateSubject())
    async with restsock.listen("127.0.0.1", 0, tls=tls, endpoints={"/ws": endpoint}) as server:
        certificate, key = files["edge-1"]
        mine = restsock.tls.client(ca=ca, certificate=certificate, key=key)
        url = f"wss://localhost:{server.address[1]}/ws"
        async with connect(url, tls=mine, proxy=False) as websocket:
            with pytest.raises(restsock.WebSocketClosed):
                await websocket.receive()
    assert [principal and principal.name for principal in seen] == ["edge-1"]


async def test_refusals_are_logged_without_what_is_secret(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with listening(Endpoint(echo, auth=BearerTokens(TOKENS))) as server:
        with caplog.at_level(logging.INFO):
            await ask(server, request_for("/ws?token=hush", bearer("hush")))
    (line,) = [r.getMessage() for r in caplog.records if "WebSocket" in r.getMessage()]
    assert line.endswith("refused the WebSocket at GET /ws with 401: This token is not known.")
    assert "hush" not in caplog.text
