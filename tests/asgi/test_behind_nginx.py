"""nginx in front of a web server with a listener in it, as docs/existing-server.md says."""

from __future__ import annotations

from pathlib import Path

import requests
from flask import Flask

import restsock
import restsock.sync
import restsock.tls
from tests.nginx import needs_nginx, nginx
from tests.waiting import until_blocking

from .hosts import hosted

pytestmark = needs_nginx

PAGE = "existing-server.md"

edge = Flask("edge")


@edge.get("/hello")
def hello() -> dict[str, int]:
    return {"hello": 1}


def test_peers_come_through_nginx(tmp_path: Path) -> None:
    with hosted("uvicorn", tmp_path / "log") as host, nginx(PAGE, host.port, tmp_path) as port:
        tls = restsock.tls.client(ca=tmp_path / "ca.pem")
        where = f"wss://127.0.0.1:{port}/tunnel"
        with restsock.sync.connect(where, tls=tls, app=edge, name="edge-1") as client:
            url = f"https://127.0.0.1:{port}/call/edge-1/hello"
            for _ in range(3):
                answer = requests.get(url, verify=str(tmp_path / "ca.pem"), timeout=15)
                assert answer.json() == {"hello": 1}
            assert client.connection is not None


def test_a_peer_is_where_nginx_says(tmp_path: Path) -> None:
    with hosted("uvicorn", tmp_path / "log") as host, nginx(PAGE, host.port, tmp_path) as port:
        tls = restsock.tls.client(ca=tmp_path / "ca.pem")
        where = f"wss://127.0.0.1:{port}/proxied"
        headers = {"X-Forwarded-For": "203.0.113.9"}  # a dialer's own word, which nginx adds to
        options = restsock.Options(sockets=restsock.SocketOptions(local_address="127.0.0.2"))
        with restsock.sync.connect(where, tls=tls, name="edge-3", headers=headers, options=options):
            # The client is connected a moment before the listener lists it.
            until_blocking(lambda: host.get("/peers").json())
            ((_, address, *_),) = host.get("/peers").json()
            assert address == "127.0.0.2"
