"""nginx in front of a web server with a listener in it, as docs/existing-server.md says."""

from __future__ import annotations

import re
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import requests
import trustme
from flask import Flask

import restsock
import restsock.sync
import restsock.tls

from .hosts import Host, free_port, hosted

pytestmark = pytest.mark.skipif(shutil.which("nginx") is None, reason="nginx is not installed")

DOCS = Path(__file__).parents[2] / "docs" / "existing-server.md"
CONFIG = """
daemon off;
pid {folder}/pid;
error_log {folder}/error.log;
events {{}}
http {{
  access_log off;
  client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy;
  fastcgi_temp_path {folder}/f; uwsgi_temp_path {folder}/u; scgi_temp_path {folder}/s;
  {maps}
  server {{
    listen 127.0.0.1:{port} ssl;
    ssl_certificate {folder}/cert.pem;
    ssl_certificate_key {folder}/key.pem;
    {locations}
  }}
}}
"""

edge = Flask("edge")


@edge.get("/hello")
def hello() -> dict[str, int]:
    return {"hello": 1}


def snippet(upstream: int) -> tuple[str, str]:
    """What the page says, with the server's port in it: in front of `server`, and in it."""
    found = re.search(r"```nginx\n(.*?)```", DOCS.read_text(), re.DOTALL)
    assert found is not None
    text = re.sub(r"127\.0\.0\.1:8000", f"127.0.0.1:{upstream}", found[1])
    maps, _, rest = text.partition("server {")
    return maps, rest.rpartition("}")[0].replace("listen 443 ssl;", "")


@contextmanager
def nginx(upstream: Host, folder: Path) -> Iterator[int]:
    authority = trustme.CA()
    authority.cert_pem.write_to_path(folder / "ca.pem")
    certificate = authority.issue_cert("127.0.0.1")
    certificate.private_key_pem.write_to_path(folder / "key.pem")
    certificate.cert_chain_pems[0].write_to_path(folder / "cert.pem")
    port = free_port()
    maps, locations = snippet(upstream.port)
    (folder / "nginx.conf").write_text(
        CONFIG.format(folder=folder, port=port, maps=maps, locations=locations)
    )
    process = subprocess.Popen(
        ["nginx", "-e", str(folder / "error.log"), "-c", str(folder / "nginx.conf")]
    )
    try:
        for _ in range(500):
            with socket.socket() as sock:
                if sock.connect_ex(("127.0.0.1", port)) == 0:
                    break
            assert process.poll() is None, (folder / "error.log").read_text()
            time.sleep(0.02)
        yield port
    finally:
        process.terminate()
        process.wait(10)


def test_peers_come_through_nginx(tmp_path: Path) -> None:
    with hosted("uvicorn", tmp_path / "log") as host, nginx(host, tmp_path) as port:
        tls = restsock.tls.client(ca=tmp_path / "ca.pem")
        where = f"wss://127.0.0.1:{port}/tunnel"
        with restsock.sync.connect(where, tls=tls, app=edge, name="edge-1") as client:
            url = f"https://127.0.0.1:{port}/call/edge-1/hello"
            for _ in range(3):
                answer = requests.get(url, verify=str(tmp_path / "ca.pem"), timeout=15)
                assert answer.json() == {"hello": 1}
            assert client.connection is not None


def test_a_peer_is_where_nginx_says(tmp_path: Path) -> None:
    with hosted("uvicorn", tmp_path / "log") as host, nginx(host, tmp_path) as port:
        tls = restsock.tls.client(ca=tmp_path / "ca.pem")
        where = f"wss://127.0.0.1:{port}/proxied"
        headers = {"X-Forwarded-For": "203.0.113.9"}  # a dialer's own word, which nginx adds to
        options = restsock.Options(sockets=restsock.SocketOptions(local_address="127.0.0.2"))
        with restsock.sync.connect(where, tls=tls, name="edge-3", headers=headers, options=options):
            ((_, address, *_),) = host.get("/peers").json()
            assert address == "127.0.0.2"
