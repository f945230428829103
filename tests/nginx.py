"""nginx in front of a server, configured as a page of the documentation says."""

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
import trustme

from .ports import free_port

__all__ = ["DOCS", "needs_nginx", "nginx", "wait_until_open"]

needs_nginx = pytest.mark.skipif(shutil.which("nginx") is None, reason="nginx is not installed")

DOCS = Path(__file__).parents[1] / "docs"
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


def _snippet(page: str, upstream: int) -> tuple[str, str]:
    """What a page says, with the port of the server in it: in front of `server`, and in it."""
    found = re.search(r"```nginx\n(.*?)```", (DOCS / page).read_text(), re.DOTALL)
    assert found is not None
    text = re.sub(r"127\.0\.0\.1:\d+", f"127.0.0.1:{upstream}", found[1])
    if "server {" not in text:
        return "", text
    maps, _, rest = text.partition("server {")
    return maps, rest.rpartition("}")[0].replace("listen 443 ssl;", "")


def wait_until_open(port: int, process: subprocess.Popen[bytes], log: Path) -> None:
    """Waits until a process has opened its port."""
    for _ in range(500):
        with socket.socket() as sock:
            if sock.connect_ex(("127.0.0.1", port)) == 0:
                return
        assert process.poll() is None, log.read_text()
        time.sleep(0.02)
    raise AssertionError(log.read_text())


@contextmanager
def nginx(page: str, upstream: int, folder: Path) -> Iterator[int]:
    """Runs it for a while, with TLS, on loopback; also for hub.example and the hosts below it.

    Args:
        page: Of docs/; its first block of nginx is the configuration.
        upstream: The port of the server.
        folder: For its files; `ca.pem` is the authority of its certificate.

    Yields:
        Its port.
    """
    authority = trustme.CA()
    authority.cert_pem.write_to_path(folder / "ca.pem")
    certificate = authority.issue_cert("127.0.0.1", "hub.example", "*.hub.example")
    certificate.private_key_pem.write_to_path(folder / "key.pem")
    certificate.cert_chain_pems[0].write_to_path(folder / "cert.pem")
    port = free_port()
    maps, locations = _snippet(page, upstream)
    (folder / "nginx.conf").write_text(
        CONFIG.format(folder=folder, port=port, maps=maps, locations=locations)
    )
    process = subprocess.Popen(
        ["nginx", "-e", str(folder / "error.log"), "-c", str(folder / "nginx.conf")]
    )
    try:
        wait_until_open(port, process, folder / "error.log")
        yield port
    finally:
        process.terminate()
        process.wait(10)
