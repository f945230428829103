"""nginx in front of a listener, which ends TLS for it, as docs/networks.md says."""

from __future__ import annotations

from pathlib import Path

import flask
import requests

import restsock
import restsock.sync
import restsock.tls
from tests.nginx import needs_nginx, nginx

pytestmark = needs_nginx

PAGE = "networks.md"

app = flask.Flask("app")


@app.get("/hello")
def hello() -> dict[str, int]:
    return {"hello": 1}


@app.get("/address")
def address() -> str:
    """Where the caller is."""
    return str(flask.request.remote_addr)


def ask(server: restsock.sync.Server) -> object:
    with requests.Session() as session:
        session.mount("http://edge-1/", server.adapter("edge-1"))
        return session.get("http://edge-1/hello", timeout=15).json()


def test_both_sides_call_each_other_through_nginx(tmp_path: Path) -> None:
    with restsock.sync.listen("127.0.0.1", 0, app=app) as server:
        with nginx(PAGE, server.address[1], tmp_path) as port:
            tls = restsock.tls.client(ca=tmp_path / "ca.pem")
            where = f"wss://127.0.0.1:{port}/"
            with restsock.sync.connect(where, tls=tls, app=app, name="edge-1") as client:
                assert ask(server) == {"hello": 1}
                assert client.request("GET", "/hello", timeout=15).json() == {"hello": 1}


def test_a_dialer_is_where_nginx_says_and_not_where_it_says_itself(tmp_path: Path) -> None:
    with restsock.sync.listen("127.0.0.1", 0, app=app, trusted_proxies=["127.0.0.1"]) as server:
        with nginx(PAGE, server.address[1], tmp_path) as port:
            tls = restsock.tls.client(ca=tmp_path / "ca.pem")
            where = f"wss://127.0.0.1:{port}/"
            headers = {"X-Forwarded-For": "203.0.113.9", "Forwarded": "for=203.0.113.9"}
            options = restsock.Options(sockets=restsock.SocketOptions(local_address="127.0.0.2"))
            with restsock.sync.connect(where, tls=tls, headers=headers, options=options) as client:
                assert client.request("GET", "/address", timeout=15).text == "127.0.0.2"


def test_a_listener_that_restarts_gets_its_dialers_back(tmp_path: Path) -> None:
    with restsock.sync.listen("127.0.0.1", 0) as first:
        listens_on = first.address[1]
        with nginx(PAGE, listens_on, tmp_path) as port:
            tls = restsock.tls.client(ca=tmp_path / "ca.pem")
            where = f"wss://127.0.0.1:{port}/"
            with restsock.sync.connect(where, tls=tls, app=app, name="edge-1"):
                assert ask(first) == {"hello": 1}
                first.close()  # from here on nginx answers 502
                with restsock.sync.listen("127.0.0.1", listens_on) as second:
                    assert ask(second) == {"hello": 1}
