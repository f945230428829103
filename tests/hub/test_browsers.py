"""Mistakes that let pages of browsers in, each with the test that catches it here.

The table in docs/hub.md names them; the docstring of each test begins with the mistake.
"""

from __future__ import annotations

from pathlib import Path

import httpx
import pytest

from restsock.auth import Bearer
from restsock.hub import Hub, Tokens
from tests.e2e import raw_peer
from tests.hub.helpers import OPEN, SPEC, admin_of, config_for, peer_of, request_of, said_to
from tests.plain_client import statuses

UNSAFE = ("POST", "DELETE")
EVIL = "<img/src=x/onerror=alert(1)>"


async def test_pages_of_other_origins_are_let_in(tmp_path: Path) -> None:
    """CORS for everybody (`Access-Control-Allow-Origin: *`): any page reads and changes all."""
    async with Hub(config_for(tmp_path)) as hub, admin_of(hub) as admin:
        port = httpx.URL(hub.admin_url).port
        for operation in SPEC.operations:
            for origin in ("http://evil.example", "null", f"http://edge-1.localhost:{port}"):
                answer = await admin.request(**request_of(operation, origin=origin))
                assert answer.status_code == 403, (operation, origin)
                assert not [name for name in answer.headers if name.startswith("access-control")]
            preflight = {"origin": "http://evil.example", "access-control-request-method": "POST"}
            answer = await admin.options(request_of(operation)["url"], headers=preflight)
            assert answer.status_code == 403
            assert not [name for name in answer.headers if name.startswith("access-control")]
        own = await admin.get("/api/v1/status", headers={"origin": f"http://127.0.0.1:{port}"})
        assert own.status_code == 200
        assert not [name for name in own.headers if name.startswith("access-control")]


async def test_pages_become_peers(tmp_path: Path) -> None:
    """WebSockets of any origin (`CheckOrigin: true`): a page dials in, and takes over a name."""
    upgrade = raw_peer.UPGRADE.replace(b"Host: hub.test\r\n", b"%s")
    _, value = Tokens(tmp_path / "t.json").new("edge-1")
    for toml in ("", '[peers]\ntokens = "t.json"'):
        async with Hub(config_for(tmp_path, toml)) as hub:
            url = hub.peers_url.replace("ws:", "http:")
            for host, origin in (
                ("127.0.0.1", "http://evil.example"),
                ("127.0.0.1", "null"),
                ("edge-1.localhost", "http://edge-2.localhost"),
                # DNS rebinding: its host is ours. With tokens it has none.
                ("evil.example", "http://evil.example"),
                ("edge-1.localhost", "http://edge-1.localhost"),
            ):
                fields = f"Host: {host}\r\nOrigin: {origin}\r\n".encode()
                (status,) = statuses(await said_to(url, upgrade % fields))
                assert status == (401 if toml and host in origin else 403), (host, origin)
            async with peer_of(hub, auth=Bearer(value)):
                pass  # what is no page is let in


@pytest.mark.covers("admin.hosts")
async def test_any_host_is_believed(tmp_path: Path) -> None:
    """DNS rebinding: a page whose name was pointed at this machine is no other origin."""
    async with Hub(config_for(tmp_path, '[admin]\nhosts = "Admin.example"')) as hub:
        async with admin_of(hub) as admin:
            port = httpx.URL(hub.admin_url).port
            for operation in SPEC.operations:
                for host in (
                    *(f"evil.example:{port}", f"edge-1.localhost:{port}", "127.0.0.1.evil"),
                    *("hub.example", "2130706433", "127.1", "admin.example.evil"),
                ):
                    answer = await admin.request(**request_of(operation, host=host))
                    assert answer.status_code == 421, (operation, host)
            for host in (
                "admin.example",
                f"ADMIN.example:{port}",
                f"localhost:{port}",
                "127.0.0.2",
            ):
                answer = await admin.get("/api/v1/status", headers={"host": host})
                assert answer.status_code == 200, host


async def test_what_peers_say_becomes_a_page(tmp_path: Path) -> None:
    """Stored XSS: a name, a path or metadata is markup in the origin of the admin API."""
    async with Hub(config_for(tmp_path)) as hub, admin_of(hub) as admin:
        async with peer_of(hub, "edge-1", metadata={EVIL: EVIL}), httpx.AsyncClient() as web:
            fields = {"Restsock-Peer": "edge-1", "X-Evil": EVIL, "User-Agent": EVIL}
            await web.get(f"{hub.ingress_url}{EVIL}?{EVIL}", headers=fields)
            await web.get(hub.ingress_url, headers={"Restsock-Peer": EVIL})
            (peer,) = (await admin.get("/api/v1/peers")).json()["items"]
            for operation in SPEC.operations:
                if operation.id in (*OPEN, "streamRequests"):
                    continue
                for value in (EVIL, peer["id"]):
                    request = request_of(operation, accept="text/html, */*;q=0.1")
                    request["url"] = (
                        operation.path.replace("{id}", value).replace("{name}", EVIL)
                        + f"?cursor={EVIL}&after={EVIL}&name={EVIL}"
                    )
                    if operation.method in UNSAFE and value == peer["id"]:
                        request["url"] = f"/api/v1/{EVIL}"
                    answer = await admin.request(**request)
                    kind = answer.headers.get("content-type", "")
                    assert not kind.startswith(("text/html", "image/", "application/x")), operation
                    if "json" in kind:
                        answer.json()
                    if answer.status_code == 200 and operation.id != "getDocument":
                        assert answer.headers["x-content-type-options"] == "nosniff", operation
                        policy = answer.headers["content-security-policy"]
                        assert policy.startswith("default-src 'none'")
                        assert answer.headers["cache-control"] == "no-store"


async def test_forms_of_pages_change_something(tmp_path: Path) -> None:
    """CSRF: a form changes something, with what a browser adds by itself, or by a GET."""
    async with Hub(config_for(tmp_path)) as hub, peer_of(hub), admin_of(hub) as admin:
        for operation in SPEC.operations:
            if operation.method not in UNSAFE:
                continue
            for kind in ("text/plain", "application/x-www-form-urlencoded", "multipart/form-data"):
                request = request_of(operation, **{"content-type": kind})
                request.pop("json", None)
                answer = await admin.request(**request, content=b"{}")
                assert answer.status_code == 415, (operation, kind)
        (peer,) = (await admin.get("/api/v1/peers")).json()["items"]
        for _ in range(2):
            for operation in SPEC.operations:
                path = operation.path.replace("{id}", peer["id"]).replace("{name}", "edge-1")
                if operation.id != "streamRequests":
                    answer = await admin.get(path)
                    assert "set-cookie" not in answer.headers
                    assert (await admin.head(path)).status_code == answer.status_code
        assert [each["id"] for each in (await admin.get("/api/v1/peers")).json()["items"]] == [
            peer["id"]
        ]
        assert hub.reloads == 0
