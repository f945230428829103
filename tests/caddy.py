"""Caddy in front of a server, configured as a page of the documentation says."""

from __future__ import annotations

import os
import re
import shutil
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import trustme

from .nginx import DOCS, wait_until_open
from .ports import free_port

__all__ = ["caddy", "names_here", "needs_caddy"]

needs_caddy = pytest.mark.skipif(shutil.which("caddy") is None, reason="caddy is not installed")

GLOBAL = """\
{{
	admin off
	auto_https disable_redirects
	default_bind 127.0.0.1
	storage file_system {folder}/storage
}}
"""


def names_here(monkeypatch: pytest.MonkeyPatch) -> None:
    """Has hub.example, and the hosts below it, be this machine."""
    look_up = socket.getaddrinfo

    def here(host: Any, *args: Any, **kwargs: Any) -> Any:
        name = host.decode() if isinstance(host, bytes) else host
        return look_up("127.0.0.1" if str(name).endswith("hub.example") else host, *args, **kwargs)

    monkeypatch.setattr(socket, "getaddrinfo", here)


def _configuration(page: str, upstream: int, port: int, folder: Path) -> str:
    """What a page says, with the port of the server in it, and with our port and certificate."""
    found = re.search(r"```caddyfile\n(.*?)```", (DOCS / page).read_text("utf-8"), re.DOTALL)
    assert found is not None
    text = re.sub(r"127\.0\.0\.1:\d+", f"127.0.0.1:{upstream}", found[1])
    text = re.sub(r"(?m)^\ttls .*\n", "", text)
    certificate = f"\ttls {folder}/cert.pem {folder}/key.pem\n"

    def here(head: re.Match[str]) -> str:
        return ", ".join(f"{host}:{port}" for host in head[1].split(", ")) + f" {{\n{certificate}"

    return GLOBAL.format(folder=folder) + re.sub(r"(?m)^(\S.*) \{\n", here, text)


@contextmanager
def caddy(page: str, upstream: int, folder: Path) -> Iterator[int]:
    """Runs it for a while, with TLS, on loopback, for hub.example and the hosts below it.

    Args:
        page: Of docs/; its first block of a Caddyfile is the configuration.
        upstream: The port of the server.
        folder: For its files; `ca.pem` is the authority of its certificate.

    Yields:
        Its port.
    """
    authority = trustme.CA()
    authority.cert_pem.write_to_path(folder / "ca.pem")
    certificate = authority.issue_cert("hub.example", "*.hub.example")
    certificate.private_key_pem.write_to_path(folder / "key.pem")
    certificate.cert_chain_pems[0].write_to_path(folder / "cert.pem")
    port = free_port()
    (folder / "Caddyfile").write_text(_configuration(page, upstream, port, folder))
    with (folder / "caddy.log").open("wb") as log:
        process = subprocess.Popen(
            ["caddy", "run", "--config", str(folder / "Caddyfile"), "--adapter", "caddyfile"],
            env={**os.environ, "HOME": str(folder), "XDG_DATA_HOME": str(folder)},
            stdout=log,
            stderr=log,
        )
        try:
            wait_until_open(port, process, folder / "caddy.log")
            yield port
        finally:
            process.terminate()
            process.wait(10)
