"""Real brokers on free ports, which can be killed and started again, or a reason to skip."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import ssl
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import pytest
import trustme

from tests.ports import free_port

__all__ = ["Certificates", "RabbitServer", "RedisServer", "rabbit_server", "redis_server"]

_PATIENCE = 45


class Certificates(NamedTuple):
    """Files of a CA, and of whom it knows: the server is `broker.test`, the client `gateway`."""

    ca: Path
    server: Path
    client: Path

    @classmethod
    def made(cls, folder: Path) -> Certificates:
        folder.mkdir()
        authority = trustme.CA()
        files = cls(folder / "ca.pem", folder / "server.pem", folder / "client.pem")
        authority.cert_pem.write_to_path(str(files.ca))
        for name, file in (("broker.test", files.server), ("gateway", files.client)):
            pem = authority.issue_cert(name).private_key_and_cert_chain_pem
            pem.write_to_path(str(file))
        return files


class Server:
    """A process that listens.

    Args:
        files: With them it speaks TLS, and asks for a certificate of its CA.

    Attributes:
        port: Of 127.0.0.1; it stays the same.
    """

    def __init__(self, files: Certificates | None = None) -> None:
        self.port = free_port()
        self.files = files
        self.process: subprocess.Popen[bytes] | None = None

    def command(self) -> list[str]:
        raise NotImplementedError

    def environment(self) -> dict[str, str]:
        return {}

    def start(self) -> None:
        self.process = subprocess.Popen(
            self.command(),
            env={**os.environ, **self.environment()},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        until = time.monotonic() + _PATIENCE
        while time.monotonic() < until:
            assert self.process.poll() is None, "the broker has ended"
            try:
                socket.create_connection(("127.0.0.1", self.port)).close()
            except OSError:
                time.sleep(0.05)
            else:
                return
        raise AssertionError("the broker does not listen")

    def context(self) -> ssl.SSLContext | None:
        """What a client of the same machine connects with."""
        if self.files is None:
            return None
        context = ssl.create_default_context(cafile=self.files.ca)
        context.check_hostname = False
        context.load_cert_chain(self.files.client)
        return context

    def pid(self) -> int:
        assert self.process is not None
        return self.process.pid

    def stop(self) -> None:
        """SIGSTOP: it is there, and does nothing until `go_on`."""
        os.kill(self.pid(), signal.SIGSTOP)

    def go_on(self) -> None:
        os.kill(self.pid(), signal.SIGCONT)

    def kill(self) -> None:
        assert self.process is not None
        self.process.kill()
        self.process.wait()


class RedisServer(Server):
    def command(self) -> list[str]:
        binary = shutil.which("redis-server") or shutil.which("valkey-server")
        assert binary is not None
        options = ("--bind", "127.0.0.1", "--save", "", "--requirepass", "secret")
        if self.files is None:
            return [binary, "--port", str(self.port), *options]
        ca, pem, _ = map(str, self.files)
        secure = ("--tls-ca-cert-file", ca, "--tls-cert-file", pem, "--tls-key-file", pem)
        return [binary, "--port", "0", "--tls-port", str(self.port), *secure, *options]

    @property
    def url(self) -> str:
        return f"redis{'s' if self.files else ''}://127.0.0.1:{self.port}/0"


class RabbitServer(Server):
    """RabbitMQ, with all that it writes in a folder."""

    def __init__(self, folder: Path, files: Certificates | None = None) -> None:
        super().__init__(files)
        self.folder = folder
        self.other_port = free_port()
        self.names_port = free_port()  # of Erlang's port mapper, which would go on for ever

    def command(self) -> list[str]:
        # What the script of Debian runs, which wants to be root, or a user of its own.
        (script,) = Path("/usr/lib/rabbitmq").glob("lib/*/sbin/rabbitmq-server")
        return [str(script)]

    def config(self) -> str:
        if self.files is None:
            return f"listeners.tcp.1 = 127.0.0.1:{self.port}\n"
        ca, pem, _ = self.files
        return (
            f"listeners.tcp = none\nlisteners.ssl.1 = 127.0.0.1:{self.port}\n"
            f"ssl_options.cacertfile = {ca}\nssl_options.certfile = {pem}\n"
            f"ssl_options.keyfile = {pem}\nssl_options.verify = verify_peer\n"
            "ssl_options.fail_if_no_peer_cert = true\n"
        )

    def environment(self) -> dict[str, str]:
        folder = self.folder
        (folder / "rabbitmq.conf").write_text(self.config(), "utf-8")
        (folder / "enabled_plugins").write_text("[].\n", "utf-8")
        return {
            "HOME": str(folder),
            "RABBITMQ_NODENAME": f"test{self.port}@localhost",
            "RABBITMQ_CONFIG_FILE": str(folder / "rabbitmq.conf"),
            "RABBITMQ_MNESIA_BASE": str(folder / "mnesia"),
            "RABBITMQ_LOG_BASE": str(folder / "log"),
            "RABBITMQ_ENABLED_PLUGINS_FILE": str(folder / "enabled_plugins"),
            "RABBITMQ_PID_FILE": str(folder / "pid"),
            "RABBITMQ_DIST_PORT": str(self.other_port),
            "ERL_EPMD_PORT": str(self.names_port),
            "ERL_EPMD_ADDRESS": "127.0.0.1",
        }

    def pid(self) -> int:
        # The script is a shell whose child is the broker.
        return int((self.folder / "pid").read_text("ascii"))

    def kill(self) -> None:
        if self.process is not None and self.process.poll() is None:
            os.kill(self.pid(), signal.SIGKILL)
            self.process.wait()

    def end(self) -> None:
        self.kill()
        epmd = ["epmd", "-port", str(self.names_port), "-kill"]
        subprocess.run(epmd, check=False, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    @property
    def url(self) -> str:
        return f"amqp{'s' if self.files else ''}://127.0.0.1:{self.port}/"


@contextmanager
def redis_server(files: Certificates | None = None) -> Iterator[RedisServer]:
    if not (shutil.which("redis-server") or shutil.which("valkey-server")):
        pytest.skip("there is no redis-server: apt-get install redis-server")
    server = RedisServer(files)
    server.start()
    try:
        yield server
    finally:
        server.kill()


@contextmanager
def rabbit_server(folder: Path, files: Certificates | None = None) -> Iterator[RabbitServer]:
    if not [*Path("/usr/lib/rabbitmq").glob("lib/*/sbin/rabbitmq-server")]:
        pytest.skip("there is no RabbitMQ: apt-get install rabbitmq-server")
    server = RabbitServer(folder, files)
    try:
        server.start()
        yield server
    finally:
        server.end()
