"""Mistakes that tunnels and their admin APIs have made, each with the test that catches it here.

The table in docs/hub.md names them; the docstring of each test begins with the mistake. Those of
the ingress alone are in tests/ingress/test_security.py, those with secrets in test_secrets.py.
"""

from __future__ import annotations

import json
import logging
import re
import sys
import tracemalloc
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import httpx
import pytest
import trio

import restsock
from restsock._addresses import is_loopback
from restsock.auth import Bearer
from restsock.hub import Config, ConfigError, Hub, Tokens
from tests.cli import test_secrets as of_the_command
from tests.e2e import raw_peer
from tests.hub import test_browsers, test_secrets
from tests.hub.helpers import (
    OPEN,
    SPEC,
    admin_of,
    admin_token_of,
    config_for,
    listening,
    peer_of,
    request_of,
    said_to,
)
from tests.ingress import test_security as at_the_ingress
from tests.plain_client import statuses

# --- who gets in --------------------------------------------------------------------------------


async def test_an_admin_api_without_a_password(tmp_path: Path) -> None:
    """An admin API without a password: on loopback, by any route, with a token in the query."""
    async with Hub(config_for(tmp_path)) as hub, httpx.AsyncClient(base_url=hub.admin_url) as web:
        token = admin_token_of(hub)
        for operation in SPEC.operations:
            answer = await web.request(**request_of(operation))
            if operation.id in OPEN:
                assert (answer.status_code, answer.text) == (200, "ok\n"), operation
                continue
            assert answer.status_code == 401, operation
            assert answer.headers["www-authenticate"].startswith("Bearer")
            assert answer.headers["content-type"] == "application/problem+json"
            for wrong in ("Bearer wrong", "Bearer", f"Basic {token}", token, f"Bearer {token}x"):
                refused = await web.request(**request_of(operation, authorization=wrong))
                assert refused.status_code in (400, 401), (operation, wrong)
            request = request_of(operation, cookie=f"token={token}", **{"x-authorization": token})
            request["url"] += f"?access_token={token}&token={token}&x-authorization={token}"
            assert (await web.request(**request)).status_code == 401, operation
        assert (await web.get("/nothing")).status_code == 401  # what there is, is not told either


async def test_everybody_let_in_by_default(tmp_path: Path) -> None:
    """A listener on all interfaces by default, and one that lets everybody in from anywhere."""
    config = Config()
    for address in (config.peers.listen, config.admin.listen):
        assert is_loopback(address.rpartition(":")[0]), address
    assert config.ingress.listen is None  # that of the peers
    for wrong in (
        {"peers__listen": "0.0.0.0:0"},
        {"peers__listen": ":0"},
        {"peers__listen": "[::]:0", "peers__public": True},
        {"ingress__listen": "0.0.0.0:0"},
        {"admin__listen": "0.0.0.0:0"},
        {"ingress__listen": "0.0.0.0:0", "ingress__public": True, "hub__dev": True},
        # On loopback, and yet reached from anywhere, through a reverse proxy.
        {"hub__trusted_proxies": ("127.0.0.1",)},
        {"hub__trusted_proxies": ("127.0.0.1",), "peers__public": True},
    ):
        with pytest.raises(ConfigError):
            async with Hub(config_for(tmp_path, **wrong)):
                pass
    async with Hub(config_for(tmp_path)) as hub:
        config_for(tmp_path, '[hub]\ntrusted_proxies = "127.0.0.1"')  # writes the file
        with pytest.raises(ConfigError, match="everybody could dial in"):
            await hub.reload()
    (tmp_path / "other").mkdir()
    async with Hub(config_for(tmp_path)) as hub, Hub(config_for(tmp_path / "other")) as other:
        assert len(admin_token_of(hub)) >= 43  # 256 bits, and no sample password
        assert admin_token_of(hub) != admin_token_of(other)


async def test_a_right_that_goes_by_the_spelling_of_a_path(tmp_path: Path) -> None:
    """A right that goes by the spelling of a path: one way to write it is forgotten."""
    _, reader = Tokens(tmp_path / "admin.json").new("reader", scopes=["read"])
    config = config_for(tmp_path, '[admin]\ntokens = "admin.json"')
    async with Hub(config) as hub, peer_of(hub) as client, admin_of(hub, reader) as admin:
        (peer,) = (await admin.get("/api/v1/peers")).json()["items"]
        host = httpx.URL(hub.admin_url).netloc.decode()
        path = f"/api/v1/peers/{peer['id']}"
        spellings = [
            *(path, f"{path}/", f"/{path}", path.replace("/v1/", "/v1//"), path.upper()),
            *(path.replace("peers", "p%65ers"), path.replace("/peers/", "/peers%2f")),
            *(f"/api/v1/names/../peers/{peer['id']}", f"/api/v1/./peers/{peer['id']}"),
            *(f"{path};x=y", f"{path}?reconnect=true", f"{path}#x", f"http://{host}{path}"),
            *(f"{path}/drain", f"{path}/dr%61in"),
            *("/api/v1/config/reload", "/api/v1/config/%72eload"),
        ]
        for target in spellings:
            for method in ("DELETE", "POST", "delete", "Post", "PUT", "PATCH"):
                data = await said_to(
                    hub.admin_url,
                    f"{method} {target} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n"
                    f"Authorization: Bearer {reader}\r\nX-HTTP-Method-Override: DELETE\r\n"
                    "Content-Type: application/json\r\nContent-Length: 2\r\n\r\n{}".encode(),
                )
                (status,) = statuses(data)
                assert status in (400, 403, 404, 405), (method, target, data)
        assert hub.reloads == 0
        assert client.connection is not None
        assert not client.connection.leaving


async def test_access_asked_at_the_beginning_alone(tmp_path: Path) -> None:
    """Access asked at the beginning alone: what is withdrawn goes on over an open connection."""
    old, new = tmp_path / "old", tmp_path / "new"
    for folder in (old, new):
        folder.mkdir()
        for name in ("peers", "callers", "admins"):
            Tokens(folder / f"{name}.json").new("other", scopes=["read"])
    _, peer_token = Tokens(old / "peers.json").new("edge-1")
    _, caller = Tokens(old / "callers.json").new("acme")
    _, reader = Tokens(old / "admins.json").new("ann", scopes=["read"])
    toml = (
        '[peers]\ntokens = "old/peers.json"\n[admin]\ntokens = "old/admins.json"\n'
        '[ingress]\naccess = "a"\n[access.a]\nbearer = "old/callers.json"'
    )
    fields = {"Restsock-Peer": "edge-1", "Authorization": f"Bearer {caller}"}
    async with Hub(config_for(tmp_path, toml)) as hub, admin_of(hub, reader) as admin:
        async with (
            peer_of(hub, auth=Bearer(peer_token)) as peer,
            httpx.AsyncClient(base_url=hub.ingress_url, headers=fields) as web,
        ):
            assert (await web.get("/")).status_code == 200
            assert (await admin.get("/api/v1/status")).status_code == 200
            config_for(tmp_path, toml.replace("old/", "new/"))  # writes the file
            assert await hub.reload() == []
            assert (await web.get("/")).status_code == 401
            assert (await admin.get("/api/v1/status")).status_code == 401
            assert "401" in (await peer.wait_closed()).reason


# --- ways round ---------------------------------------------------------------------------------


async def test_the_admin_api_reached_through_a_peer(tmp_path: Path) -> None:
    """Loopback taken for a credential: the product's own forwarding leads to the admin API."""
    _, value = Tokens(tmp_path / "callers.json").new("acme")
    toml = '[ingress]\naccess = "a"\n[access.a]\nbearer = "callers.json"'
    async with Hub(config_for(tmp_path, toml)) as hub, httpx.AsyncClient() as web:
        fields = {"Authorization": f"Bearer {value}"}
        direct = await web.get(f"{hub.ingress_url}api/v1/status", headers=fields)
        assert direct.status_code == 404
        for host, seen in (("keep", 421), ("upstream", 401)):
            async with peer_of(hub, app=restsock.forward(hub.admin_url, host=host)):
                for operation in SPEC.operations:
                    request = request_of(operation, host="edge-1.localhost", **fields)
                    request["url"] = hub.ingress_url + request["url"].removeprefix("/")
                    answer = await web.request(**request)
                    expected = 200 if operation.id in OPEN and seen == 401 else seen
                    assert answer.status_code == expected, (host, operation)


@pytest.mark.parametrize("name", ["admin", "ingress"])
async def test_two_listeners_at_one_place(tmp_path: Path, name: str) -> None:
    """The admin API on a host or a port of the ingress: a path of a public name means it."""
    toml = '[hub]\ndomain = "hub.example"\n[[route]]\nhost = "api.example"\npeer = "edge-1"'
    more = {"ingress__listen": "127.0.0.1:0"} if name == "ingress" else {}
    async with Hub(config_for(tmp_path, toml, **more)) as hub, admin_of(hub) as admin:
        for host in ("hub.example", "edge-1.hub.example", "admin.hub.example", "api.example"):
            answer = await admin.get("/api/v1/status", headers={"host": host})
            assert answer.status_code == 421, host
        token = {"authorization": f"Bearer {admin_token_of(hub)}"}
        async with httpx.AsyncClient(base_url=hub.ingress_url, headers=token) as web:
            for host in ("hub.example", "admin.hub.example", "127.0.0.1", "localhost"):
                for path in ("/api/v1/status", "/metrics", "/healthz", "/_/admin/api/v1/status"):
                    answer = await web.get(path, headers={"host": host})
                    assert answer.status_code == 404, (host, path)
    for key in ("peers.listen", "ingress.listen"):
        same = {key.replace(".", "__"): "127.0.0.1:9", "admin__listen": "127.0.0.1:9"}
        with pytest.raises(ConfigError, match="another address"):
            async with Hub(config_for(tmp_path, **same)):
                pass


async def test_an_address_that_a_request_chooses(tmp_path: Path) -> None:
    """SSRF: what is sent to the admin API names an address, and the hub goes there."""
    async with Hub(config_for(tmp_path)) as hub, admin_of(hub) as admin:
        with listening() as inside:
            url = f"http://127.0.0.1:{inside.port}/"
            texts = [
                f'[ingress]\naccess = "a"\n[access.a]\nforward_auth = "{url}"',
                f'[ingress]\naccess = "a"\n[access.a.jwt]\njwks = "{url}"\naudience = "hub"',
                f'[peers]\ntokens = "{url}"',
                f'[tls]\ncertificate = "{url}"',
            ]
            for text in texts:
                answer = await admin.post("/api/v1/config/check", json={"text": text})
                assert answer.status_code == 200
            await admin.post("/api/v1/routes/explain", json={"url": url})
            assert not inside.visited()


# --- bytes --------------------------------------------------------------------------------------


@pytest.mark.parametrize("listener", ["peers", "shared", "ingress", "admin"])
async def test_smuggling_at_each_listener(
    tmp_path: Path, listener: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Smuggling: framing that two readers understand differently hides a second request."""
    targets: list[str] = []

    async def note(request: restsock.Request) -> restsock.Response:
        targets.append(request.target)
        return restsock.Response(200, body=b"ok")

    more = {} if listener == "shared" else {"ingress__listen": "127.0.0.1:0"}
    async with Hub(config_for(tmp_path, **more)) as hub, peer_of(hub, app=note):
        peers = hub.peers_url.replace("ws:", "http:")
        urls = {"peers": peers, "shared": peers, "ingress": hub.ingress_url, "admin": hub.admin_url}
        url = urls[listener]
        host = b"localhost" if listener == "admin" else b"edge-1.localhost"
        hidden = (
            b"POST /api/v1/config/reload HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer "
            + admin_token_of(hub).encode()
            + b"\r\nConnection: close\r\nContent-Type: application/json\r\n"
            b"Content-Length: 2\r\n\r\n{}"
            if listener == "admin"
            else b"GET /hidden HTTP/1.1\r\nHost: edge-1.localhost\r\nConnection: close\r\n\r\n"
        )
        for kind, data in at_the_ingress.MALFORMED.items():
            answered = statuses(await said_to(url, data.replace(b"%s", host) + hidden))
            assert len(answered) == 1, (kind, answered)
            assert answered[0] in (400, 405, 426, 501, 505), (kind, answered)
        for kind, data in {
            "no host in 1.0": b"GET / HTTP/1.0\r\n\r\n",
            "no request": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
            "HTTP/2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
            "nothing": b"",
            "bytes behind an upgrade": raw_peer.UPGRADE + bytes(64) + hidden,
            "a second request behind an upgrade": raw_peer.UPGRADE + hidden,
        }.items():
            answered = statuses(await said_to(url, data + hidden))
            assert len(answered) <= 1 or kind == "nothing", (kind, answered)
        assert "/hidden" not in targets or listener in ("shared", "ingress")
        assert hub.reloads == (1 if listener == "admin" else 0)  # after "nothing"
        # And it goes on, with the peer that it has.
        async with httpx.AsyncClient() as web:
            answer = await web.get(hub.ingress_url, headers={"Restsock-Peer": "edge-1"})
            assert answer.status_code == 200
    assert not [r for r in caplog.records if r.levelno >= logging.ERROR]


async def test_memory_by_a_number_of_strangers(tmp_path: Path) -> None:
    """Allocation by a number that nobody has checked: of a cookie, a range, a page, a cursor."""
    many = "9" * 4000
    async with Hub(config_for(tmp_path)) as hub, admin_of(hub) as admin, peer_of(hub):
        await admin.get("/api/v1/peers")
        tracemalloc.start()
        try:
            for fields in (
                {"cookie": "; ".join(f"a{n}=chunks-4294967295" for n in range(1000))},
                {"range": f"bytes=0-{many}"},
                {"accept": ",".join(["text/x;q=0.1"] * 2000)},
                {"last-event-id": f"x-{many}"},
                {"content-length": many},
            ):
                for path in ("/healthz", "/api/v1/events", "/api/v1/peers"):
                    data = await said_to(hub.admin_url, _get(hub, path, fields))
                    assert set(statuses(data)) <= {200, 400, 413, 431}, (fields, path)
            for query in (f"limit={many}", "limit=-1", "limit=1e9", "limit=201", "limit="):
                for path in ("peers", "events", "requests", "tokens"):
                    answer = await admin.get(f"/api/v1/{path}?{query}")
                    assert answer.status_code in (200, 400), (path, query)
                    if answer.status_code == 200:
                        assert len(answer.json()["items"]) <= 200
            for cursor in (many, f"-{many}", f"x-{many}", "%00", "%f0%9f%92%a9", "a&cursor=b"):
                for path in ("peers", "events", "requests", "tokens"):
                    answer = await admin.get(f"/api/v1/{path}?cursor={cursor}&after={cursor}")
                    assert answer.status_code in (200, 400), (path, cursor)
            for body in (
                b"[" * 100_000,
                b'{"url":' * 20_000,
                json.dumps({"text": "a = " + "[" * 100_000}).encode(),
                b'{"url": "http://x/", "headers": {' + b",".join(b'"a": ""' for _ in range(9999)),
            ):
                for path in ("routes/explain", "config/check", "tokens"):
                    answer = await admin.post(
                        f"/api/v1/{path}",
                        content=body,
                        headers={"content-type": "application/json"},
                    )
                    assert answer.status_code in (200, 400, 409, 413), (path, body[:20])
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        assert peak < 64 * 1024 * 1024
        assert (await admin.get("/api/v1/status")).status_code == 200


def _get(hub: Hub, path: str, fields: dict[str, str]) -> bytes:
    lines = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
    return (
        f"GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n{lines}"
        f"Authorization: Bearer {admin_token_of(hub)}\r\n\r\n"
    ).encode()


# --- names and ids ------------------------------------------------------------------------------


def files_below(folder: Path) -> list[Path]:
    return sorted(folder.rglob("*"))


@pytest.mark.parametrize(
    "name",
    [
        *("../../etc/passwd", "..", "/etc/passwd", "a/b", "a\\b", "%2e%2e%2f", "a" * 64, "CON"),
        *("a\0b", "\u202egnp.exe", "a\nb", "", "a" * 256, "\ud800"),
    ],
)
async def test_names_that_are_paths(tmp_path: Path, name: str) -> None:
    """Traversal: a name is a path, or looks like another one; here it is neither file nor host."""
    async with Hub(config_for(tmp_path)) as hub, admin_of(hub) as admin:
        before = files_below(tmp_path)
        stream = await trio.open_tcp_stream(*hub.server.address)
        peer = raw_peer.RawPeer(stream)
        try:
            await peer.raw(raw_peer.UPGRADE.replace(b"hub.test", b"127.0.0.1"))
            assert await peer.status() == 101
            await peer.text(raw_peer.hello(name=name))
            opcode, payload = await peer.message()
            printable = 0 < len(name) <= 255 and name.isprintable()
            if not printable:
                assert opcode == raw_peer.CLOSE
                assert raw_peer.close_of(payload)[0] == 4000
                return
            welcome = json.loads(payload)["payload"]
            ready = {"connection_id": welcome["connection_id"]}
            async with hub.server.events() as events:
                await peer.text(raw_peer.envelope("ready", ready))
                await events.receive()
            (listed,) = (await admin.get("/api/v1/peers")).json()["items"]
            assert (listed["name"], listed["url"]) == (name, None)
            for path in (f"names/{name}", "names/..%2f..%2fetc%2fpasswd", "names/%00"):
                answer = await admin.get(f"/api/v1/{path}")
                assert "root:" not in answer.text
            assert files_below(tmp_path) == before
        finally:
            await peer.close()


async def test_ids_that_can_be_guessed(tmp_path: Path) -> None:
    """Enumeration: ids are counted, and who has one knows the next. Here they are random."""
    Tokens(tmp_path / "t.json").new("x")
    async with Hub(config_for(tmp_path)) as hub, admin_of(hub) as admin:
        async with peer_of(hub, "a"), peer_of(hub, "b"), peer_of(hub, "c"):
            ids = [peer["id"] for peer in (await admin.get("/api/v1/peers")).json()["items"]]
        ids += [token.id for token in Tokens(tmp_path / "t.json").ls()]
    assert len(ids) == 4
    for each in ids:
        assert len(set(each)) > 6
        assert len(re.sub("[^0-9a-f]", "", each)) == 32
    assert len({each[:8] for each in ids}) == len(ids)


# --- the table ----------------------------------------------------------------------------------


def test_the_table_names_each_of_these_tests() -> None:
    text = (Path(__file__).parents[2] / "docs" / "hub.md").read_text("utf-8")
    table = text.partition("## Mistakes of others")[2].partition("\n## ")[0]
    here = sys.modules[__name__]
    named = set(re.findall(r"`(test_\w+)`", table))
    modules = (here, test_browsers, test_secrets, of_the_command)
    assert named == {name for module in modules for name in mistakes(module)}


def mistakes(module: ModuleType) -> Iterator[str]:
    for name, value in vars(module).items():
        if name.startswith("test_") and callable(value) and not name.startswith("test_the_table"):
            assert value.__doc__, name
            yield name
