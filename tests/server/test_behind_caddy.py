"""Caddy in front of a listener, which ends TLS for it, as docs/deploy.md says."""

from __future__ import annotations

from pathlib import Path

import flask
import pytest
import requests

import restsock
import restsock.sync
import restsock.tls
from tests.caddy import caddy, names_here, needs_caddy

pytestmark = needs_caddy

PAGE = "deploy.md"

app = flask.Flask("app")


@app.get("/address")
def address() -> str:
    """Where the caller is."""
    return str(flask.request.remote_addr)


def test_both_sides_call_each_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    names_here(monkeypatch)
    with restsock.sync.listen("127.0.0.1", 0, app=app, trusted_proxies=["127.0.0.1"]) as server:
        with caddy(PAGE, server.address[1], tmp_path) as port:
            options = restsock.Options(sockets=restsock.SocketOptions(local_address="127.0.0.2"))
            with restsock.sync.connect(
                f"wss://hub.example:{port}/",
                app=app,
                name="edge-1",
                tls=restsock.tls.client(ca=tmp_path / "ca.pem"),
                # What a dialer says of itself.
                headers={"X-Forwarded-For": "203.0.113.9", "Forwarded": "for=203.0.113.9"},
                options=options,
            ) as client:
                assert client.request("GET", "/address", timeout=15).text == "127.0.0.2"
                with requests.Session() as session:
                    session.mount("http://edge-1/", server.adapter("edge-1"))
                    assert session.get("http://edge-1/address", timeout=15).status_code == 200
