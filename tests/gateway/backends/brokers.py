"""Real brokers on free ports, which can be killed and started again, or a reason to skip."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.ports import free_port

__all__ = ["RabbitServer", "RedisServer", "rabbit_server", "redis_server"]

_PATIENCE = 45


class Server:
    """A process that listens.

    Attributes:
        port: Of 127.0.0.1; it stays the same.
    """

    def __init__(self) -> None:
        self.port = free_port()
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

    def kill(self) -> None:
        assert self.process is not None
        self.process.kill()
        self.process.wait()


class RedisServer(Server):
    def command(self) -> list[str]:
        binary = shutil.which("redis-server") or shutil.which("valkey-server")
        assert binary is not None
        options = ("--bind", "127.0.0.1", "--save", "", "--requirepass", "secret")
        return [binary, "--port", str(self.port), *options]

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"


class RabbitServer(Server):
    """RabbitMQ, with all that it writes in a folder."""

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self.folder = folder
        self.other_port = free_port()
        self.names_port = free_port()  # of Erlang's port mapper, which would go on for ever

    def command(self) -> list[str]:
        # What the script of Debian runs, which wants to be root, or a user of its own.
        (script,) = Path("/usr/lib/rabbitmq").glob("lib/*/sbin/rabbitmq-server")
        return [str(script)]

    def environment(self) -> dict[str, str]:
        folder = self.folder
        (folder / "rabbitmq.conf").write_text(f"listeners.tcp.1 = 127.0.0.1:{self.port}\n", "utf-8")
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

    def kill(self) -> None:
        # The script is a shell whose child is the broker.
        if self.process is not None and self.process.poll() is None:
            pid = (self.folder / "pid").read_text("ascii").strip()
            os.kill(int(pid), 9)
            self.process.wait()

    def end(self) -> None:
        self.kill()
        epmd = ["epmd", "-port", str(self.names_port), "-kill"]
        subprocess.run(epmd, check=False, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    @property
    def url(self) -> str:
        return f"amqp://127.0.0.1:{self.port}/"


@contextmanager
def redis_server() -> Iterator[RedisServer]:
    if not (shutil.which("redis-server") or shutil.which("valkey-server")):
        pytest.skip("there is no redis-server: apt-get install redis-server")
    server = RedisServer()
    server.start()
    try:
        yield server
    finally:
        server.kill()


@contextmanager
def rabbit_server(folder: Path) -> Iterator[RabbitServer]:
    if not [*Path("/usr/lib/rabbitmq").glob("lib/*/sbin/rabbitmq-server")]:
        pytest.skip("there is no RabbitMQ: apt-get install rabbitmq-server")
    server = RabbitServer(folder)
    try:
        server.start()
        yield server
    finally:
        server.end()
