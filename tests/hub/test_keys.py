"""Each key of the file has an effect on a hub that runs; those of access are in `test_access`."""

from __future__ import annotations

import dataclasses
import hashlib
import hmac
import json
import logging
import ssl
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
import trio
import trio.testing
import trustme
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    PrivateFormat,
    load_pem_private_key,
)

import restsock
from restsock import Backoff, Heartbeat, Limits, SocketOptions, Timeouts
from restsock.auth import Bearer
from restsock.hub import Hub, Tokens
from tests.covered import claims, keys
from tests.hub.helpers import config_for, echo, peer_of

ONCE = Backoff(tries=1)


def test_each_key_is_covered_by_a_test() -> None:
    claimed = {name for name in claims() if " " not in name and not name.startswith("-")}
    assert keys() - claimed == set(), "no test covers them"
    assert claimed - keys() == set(), "there are none of these"


@asynccontextmanager
async def running(
    folder: Path, toml: str, app: Any = echo, **more: Any
) -> AsyncIterator[tuple[Hub, httpx.AsyncClient]]:
    """A hub with this file, its peer `edge-1`, and a client whose base is the ingress."""
    async with Hub(config_for(folder, toml, **more)) as hub, peer_of(hub, app=app):
        async with httpx.AsyncClient(base_url=hub.ingress_url) as web:
            yield hub, web


TO_PEER = {"Restsock-Peer": "edge-1"}


# --- [hub] --------------------------------------------------------------------------------


@pytest.mark.covers("hub.name")
async def test_its_name_is_what_peers_may_call(tmp_path: Path) -> None:
    _, value = Tokens(tmp_path / "t.json").new("edge-1", may_call=["central"])
    for name, status in (("central", 503), ("other", 403)):
        toml = f'[hub]\nname = "{name}"\n[peers]\ntokens = "t.json"'
        async with Hub(config_for(tmp_path, toml)) as hub:
            assert hub.status()["name"] == name
            async with peer_of(hub, auth=Bearer(value)) as client:
                assert (await client.request("GET", "/")).status == status


@pytest.mark.covers("hub.grace")
async def test_what_is_in_flight_has_the_grace(tmp_path: Path) -> None:
    begun = trio.Event()

    async def stuck(request: restsock.Request) -> restsock.Response:
        begun.set()
        await trio.sleep_forever()

    async def call(web: httpx.AsyncClient) -> None:
        try:
            assert (await web.get("/", headers=TO_PEER)).status_code >= 500
        except httpx.TransportError:
            pass

    with trio.fail_after(20):  # the default is 30 s
        async with trio.open_nursery() as nursery:
            async with running(tmp_path, '[hub]\ngrace = "50ms"', stuck) as (_, web):
                nursery.start_soon(call, web)
                await begun.wait()


@pytest.mark.covers("hub.trusted_proxies")
async def test_proxies_say_where_callers_and_peers_are(tmp_path: Path) -> None:
    toml = '[hub]\ntrusted_proxies = ["127.0.0.1", "::1"]\n'
    toml += "[peers]\npublic = true\n[ingress]\npublic = true"
    async with running(tmp_path, toml) as (hub, web):
        there = {"X-Forwarded-For": "192.0.2.7"}
        await web.get("/", headers={**TO_PEER, **there})
        assert [each.value.client for each in hub.passed] == ["192.0.2.7"]
        headers = [(b"X-Forwarded-For", b"192.0.2.8")]
        async with peer_of(hub, "edge-2", headers=headers):
            await web.get("/", headers={"Restsock-Peer": "edge-2"})
            found = hub.server.connections.by_name("edge-2")
            assert found is not None
            assert found.peer.host == "192.0.2.8"


@pytest.mark.covers("hub.client_ip")
async def test_a_content_delivery_network_says_where_callers_are(tmp_path: Path) -> None:
    toml = '[hub]\ntrusted_proxies = "127.0.0.1"\nclient_ip = "cloudfront"\n'
    toml += "[peers]\npublic = true\n[ingress]\npublic = true"
    async with running(tmp_path, toml) as (hub, web):
        there = {"CloudFront-Viewer-Address": "2001:db8::9:46532"}
        await web.get("/", headers={**TO_PEER, **there})
        assert [each.value.client for each in hub.passed] == ["2001:db8::9"]


# --- [peers] ------------------------------------------------------------------------------


@pytest.mark.covers("peers.names")
async def test_a_name_may_be_refused_to_the_second(tmp_path: Path) -> None:
    async with running(tmp_path, '[peers]\nnames = "reject"') as (hub, _):
        with pytest.raises(restsock.HandshakeError, match="the name is taken"):
            async with peer_of(hub, backoff=ONCE):
                pass


@pytest.mark.covers("peers.access")
async def test_peers_come_in_by_a_table_of_access(tmp_path: Path) -> None:
    _, value = Tokens(tmp_path / "t.json").new("edge-1")
    toml = '[peers]\naccess = "a"\n[access.a]\nbearer = "t.json"'
    async with Hub(config_for(tmp_path, toml)) as hub:
        with pytest.raises(restsock.HandshakeError, match="401"):
            async with peer_of(hub):
                pass
        async with peer_of(hub, auth=Bearer(value)):
            pass


@pytest.mark.covers("peers.origins")
async def test_pages_of_an_origin_may_dial_in(tmp_path: Path) -> None:
    toml = '[peers]\norigins = ["https://ui.example"]'
    async with Hub(config_for(tmp_path, toml)) as hub:
        async with peer_of(hub, headers=[(b"Origin", b"https://ui.example")]):
            pass
        with pytest.raises(restsock.HandshakeError, match="403"):
            async with peer_of(hub, headers=[(b"Origin", b"https://evil.example")]):
                pass


@pytest.mark.covers("peers.public", "ingress.public")
async def test_everybody_may_come_where_that_is_said(tmp_path: Path) -> None:
    toml = "[peers]\npublic = true\n[ingress]\npublic = true"
    # This machine, in a spelling that is not taken for it.
    async with Hub(config_for(tmp_path, toml, peers__listen="127.1:0")) as hub:
        assert not hub.loopback
        port = hub.server.address[1]
        url = f"ws://127.0.0.1:{port}/"
        async with restsock.connect(url, name="edge-1", app=echo), httpx.AsyncClient() as web:
            answer = await web.get(f"http://127.0.0.1:{port}/", headers=TO_PEER)
            assert answer.status_code == 200


# --- [ingress] ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("toml", "request_", "status"),
    [
        pytest.param(*case, marks=pytest.mark.covers(f"ingress.{case[0].split()[0]}"))
        for case in (
            ("header = false", {"headers": TO_PEER}, 400),
            ("path_prefix = false", {"url": "/_/edge-1/"}, 404),
            ('reserved = ["edge-1"]', {"headers": {"Host": "edge-1.localhost"}}, 404),
            ("max_body = 10", {"headers": TO_PEER, "method": "POST", "content": b"x" * 11}, 413),
        )
    ],
)
async def test_what_the_ingress_refuses(
    tmp_path: Path, toml: str, request_: dict[str, Any], status: int
) -> None:
    sent = {"method": "GET", "url": "/", **request_}
    for line, expected in ((toml, status), ("", 200)):
        async with running(tmp_path, f"[ingress]\n{line}") as (_, web):
            assert (await web.request(**sent)).status_code == expected


@pytest.mark.covers("ingress.wait")
async def test_a_peer_that_is_away_is_waited_for(tmp_path: Path) -> None:
    async with Hub(config_for(tmp_path, ingress__wait="20s")) as hub:
        answers = []

        async def call() -> None:
            async with httpx.AsyncClient(timeout=20) as web:
                answers.append(await web.get(hub.ingress_url, headers=TO_PEER))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(call)
            await trio.testing.wait_all_tasks_blocked(0.05)
            assert hub.server.statistics().waiting == 1
            async with peer_of(hub):
                await hub.passed.wait(None)
        assert answers[0].status_code == 200


@pytest.mark.covers("ingress.timeout", "ingress.pages")
async def test_a_peer_has_a_time_to_answer(tmp_path: Path) -> None:
    (tmp_path / "pages").mkdir()
    (tmp_path / "pages" / "504.html").write_text("<p>our own {status}</p>")

    async def stuck(request: restsock.Request) -> restsock.Response:
        await trio.sleep_forever()

    toml = '[ingress]\ntimeout = "50ms"\npages = "pages"'
    async with running(tmp_path, toml, stuck) as (_, web):
        answer = await web.get("/", headers={**TO_PEER, "Accept": "text/html"})
        assert (answer.status_code, answer.text) == (504, "<p>our own 504</p>")


@pytest.mark.covers("ingress.max_in_flight")
async def test_a_peer_has_so_many_requests_at_a_time(tmp_path: Path) -> None:
    begun, go = trio.Event(), trio.Event()

    async def slow(request: restsock.Request) -> restsock.Response:
        begun.set()
        await go.wait()
        return restsock.Response(200)

    async with running(tmp_path, "[ingress]\nmax_in_flight = 1", slow) as (_, web):
        async with trio.open_nursery() as nursery:

            async def first() -> None:
                assert (await web.get("/", headers=TO_PEER)).status_code == 200

            nursery.start_soon(first)
            await begun.wait()
            assert (await web.get("/", headers=TO_PEER)).status_code == 503
            go.set()


@pytest.mark.covers("ingress.rate", "route.rate")
async def test_callers_have_a_rate(tmp_path: Path) -> None:
    toml = (
        '[ingress]\nrate = "2/h"\n[[route]]\nhost = "slow.example"\npeer = "edge-1"\nrate = "1/h"'
    )
    async with running(tmp_path, toml) as (_, web):
        for fields, allowed in ((TO_PEER, 2), ({"Host": "slow.example"}, 1)):
            answers = [(await web.get("/", headers=fields)).status_code for _ in range(3)]
            assert answers == [200] * allowed + [429] * (3 - allowed)


# --- [tls] --------------------------------------------------------------------------------


def write_certificates(folder: Path, ca: trustme.CA) -> None:
    """`hub.pem`, its encrypted `hub.key`, and `clients.pem`."""
    leaf = ca.issue_cert("localhost", "127.0.0.1")
    leaf.cert_chain_pems[0].write_to_path(folder / "hub.pem")
    key = load_pem_private_key(leaf.private_key_pem.bytes(), None)
    encryption = BestAvailableEncryption(b"of-the-key")
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, encryption)
    (folder / "hub.key").write_bytes(pem)
    (folder / "key.password").write_text("of-the-key\n")
    ca.cert_pem.write_to_path(folder / "clients.pem")


def tls_cases() -> Iterator[Any]:
    places = {"tls": "peers", "ingress.tls": "ingress", "admin.tls": "admin"}
    for table, listener in places.items():
        for secret in ("password", "password_file"):
            names = ("certificate", "key", "client_ca", "client_certificate", secret)
            mark = pytest.mark.covers(*(f"{table}.{name}" for name in names))
            yield pytest.param(table, listener, secret, marks=mark, id=f"{table}-{secret}")


@pytest.mark.parametrize(("table", "listener", "secret"), [*tls_cases()])
async def test_tls(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, table: str, listener: str, secret: str
) -> None:
    monkeypatch.setenv("KEY_PASSWORD", "of-the-key")
    ca = trustme.CA()
    write_certificates(tmp_path, ca)
    value = "${KEY_PASSWORD}" if secret == "password" else "key.password"
    toml = (
        f'[{table}]\ncertificate = "hub.pem"\nkey = "hub.key"\n{secret} = "{value}"\n'
        'client_ca = "clients.pem"\nclient_certificate = "{}"\n'
    ).replace('"{}"', "{kind}")
    more = {"ingress__listen": "127.0.0.1:0"} if listener == "ingress" else {}
    for kind, without in (("optional", True), ("required", False)):
        config = config_for(tmp_path, toml.replace("{kind}", f'"{kind}"'), **more)
        async with Hub(config) as hub:
            url = {
                "peers": hub.peers_url.replace("wss:", "https:"),
                "ingress": hub.ingress_url,
                "admin": hub.admin_url,
            }[listener]
            assert url.startswith("https://")
            anonymous = ssl.create_default_context()
            ca.configure_trust(anonymous)
            known = ssl.create_default_context()
            ca.configure_trust(known)
            ca.issue_cert("client@example.com").configure_cert(known)
            assert await answers(url, known)
            assert await answers(url, anonymous) is without


async def answers(url: str, context: ssl.SSLContext) -> bool:
    try:
        async with httpx.AsyncClient(verify=context) as web:
            return (await web.get(url)).status_code > 0
    except httpx.TransportError:
        return False


# --- [log] --------------------------------------------------------------------------------


@pytest.mark.covers("log.level")
async def test_the_level_of_the_log(tmp_path: Path) -> None:
    async with Hub(config_for(tmp_path, '[log]\nlevel = "error"')):
        assert logging.getLogger("restsock").getEffectiveLevel() == logging.ERROR


# --- [[route]] ----------------------------------------------------------------------------


async def tell(request: restsock.Request) -> restsock.Response:
    """An app that tells what has arrived, and sets some fields."""
    told = {name.decode().lower(): value.decode() for name, value in request.headers}
    fields = [
        ("X-Debug", "1"),
        ("Set-Cookie", "a=b; Domain=example.com"),
        ("Content-Type", "application/json"),
    ]
    body = json.dumps({"target": request.target, "fields": told})
    return restsock.Response(200, fields, body.encode())


async def routed(
    folder: Path, route: str, url: str = "/v1/pets", **sent: Any
) -> tuple[httpx.Response, Mapping[str, str], str]:
    """What comes back through a route, and what the peer has got: fields and target."""
    toml = f'[[route]]\nhost = "api.example.com"\npeer = "edge-1"\n{route}'
    async with running(folder, toml, tell) as (_, web):
        headers = {"Host": "api.example.com", **sent.pop("headers", {})}
        answer = await web.request(sent.pop("method", "GET"), url, headers=headers, **sent)
    told: Any = answer.json() if answer.status_code == 200 else {"fields": {}, "target": ""}
    return answer, told["fields"], told["target"]


@pytest.mark.covers("route.host", "route.peer", "route.path", "route.strip")
async def test_a_route_is_for_a_path(tmp_path: Path) -> None:
    _, fields, target = await routed(tmp_path, 'path = "/v1"\nstrip = true')
    assert target == "/pets"
    assert fields["x-forwarded-prefix"] == "/v1"
    _, _, target = await routed(tmp_path, 'path = "/v1"')
    assert target == "/v1/pets"
    answer, _, _ = await routed(tmp_path, 'path = "/v2"')
    assert answer.status_code == 404


@pytest.mark.covers("route.request_headers.set", "route.request_headers.remove")
async def test_fields_of_requests(tmp_path: Path) -> None:
    route = 'request_headers = { set = { X-Stage = "live" }, remove = ["X-Drop"] }'
    _, fields, _ = await routed(tmp_path, route, headers={"X-Stage": "test", "X-Drop": "1"})
    assert fields["x-stage"] == "live"
    assert "x-drop" not in fields


@pytest.mark.covers("route.response_headers.set", "route.response_headers.remove")
async def test_fields_of_responses(tmp_path: Path) -> None:
    route = 'response_headers = { set = { X-Stage = "live" }, remove = "X-Debug" }'
    answer, _, _ = await routed(tmp_path, route)
    assert answer.headers["X-Stage"] == "live"
    assert "X-Debug" not in answer.headers


@pytest.mark.covers("route.upstream_host", "route.cookie_domain")
async def test_the_host_and_the_cookies_of_a_peer(tmp_path: Path) -> None:
    answer, fields, _ = await routed(tmp_path, "")
    assert (fields["host"], answer.headers["Set-Cookie"]) == ("api.example.com", "a=b")
    answer, fields, _ = await routed(tmp_path, 'upstream_host = "name"\ncookie_domain = "keep"')
    assert (fields["host"], "Domain" in answer.headers["Set-Cookie"]) == ("edge-1", True)


@pytest.mark.parametrize(
    "line",
    [
        pytest.param(line, marks=pytest.mark.covers("route.webhook.scheme", f"route.webhook.{key}"))
        for key, line in (
            ("secret", 'secret = "${WEBHOOK_SECRET}"'),
            ("secret_file", 'secret_file = "webhook.secret"'),
        )
    ],
)
async def test_webhooks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, line: str) -> None:
    monkeypatch.setenv("WEBHOOK_SECRET", "s3cret")
    (tmp_path / "webhook.secret").write_text("s3cret")
    route = f'webhook = {{ scheme = "github", {line} }}'
    for secret, status in ((b"s3cret", 200), (b"other", 401)):
        signature = f"sha256={hmac.new(secret, b'body', hashlib.sha256).hexdigest()}"
        answer, _, _ = await routed(
            tmp_path,
            route,
            method="POST",
            content=b"body",
            headers={"X-Hub-Signature-256": signature},
        )
        assert answer.status_code == status


# --- the options of the library -----------------------------------------------------------

OPTIONS: dict[str, Any] = {
    "limits": Limits(),
    "timeouts": Timeouts(),
    "heartbeat": Heartbeat(),
    "sockets": SocketOptions(),
}
# Where the half, or the opposite, is no value.
OTHERS = {
    "sockets.unix_mode": 0o640,
    "sockets.local_address": "127.0.0.1",
    "sockets.backlog": 7,
    "sockets.keep_alive_idle": 7,
}
OPTION_KEYS = [
    f"{table}.{field.name}"
    for table, default in OPTIONS.items()
    for field in dataclasses.fields(default)
]


def another(key: str) -> Any:
    """A value that an option can have, and does not have by itself."""
    table, _, name = key.partition(".")
    default = getattr(OPTIONS[table], name)
    if key in OTHERS:
        return OTHERS[key]
    if isinstance(default, bool):
        return not default
    if default is None:
        return 70_000
    return default // 2 if isinstance(default, int) else default / 2


@pytest.mark.covers(*OPTION_KEYS)
async def test_each_option_of_the_library_reaches_the_listeners(tmp_path: Path) -> None:
    """What they do there is shown by the tests of the library."""
    given = {key: another(key) for key in OPTION_KEYS}
    toml = ""
    for table in OPTIONS:
        toml += f"[{table}]\n"
        for key, value in given.items():
            if key.startswith(f"{table}."):
                toml += f"{key.partition('.')[2]} = {json.dumps(value)}\n"
    config = config_for(tmp_path, toml, ingress__listen="127.0.0.1:0")
    async with Hub(config) as hub:
        for server in (hub.server, hub._servers["ingress"]):
            found = {
                key: getattr(getattr(server.options, key.partition(".")[0]), key.partition(".")[2])
                for key in OPTION_KEYS
            }
            assert found == given
