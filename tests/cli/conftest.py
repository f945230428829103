"""A hub, a peer behind it, and the command."""

from __future__ import annotations

import os
import ssl
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import trustme

import restsock.sync
from restsock import Principal
from restsock.auth import BearerTokens
from restsock.cli import main
from restsock.cli.demo import app
from restsock.ingress import Ingress
from tests.covered import _claims_are_true as _claims_are_true
from tests.covered import note_command

from .command import Ended, Process, Run

TOKEN = "wLmQ3Yt8vZr5Kp2N"


@dataclass
class Hub:
    """A listener with an ingress, as the command finds one."""

    url: str
    server: restsock.sync.Server


@pytest.fixture(autouse=True)
def _plain(monkeypatch: pytest.MonkeyPatch) -> None:
    """No setting of this machine."""
    for name in [name for name in os.environ if name.startswith("RESTSOCK_")]:
        monkeypatch.delenv(name)


@pytest.fixture(scope="package")
def hub() -> Iterator[Hub]:
    with restsock.sync.listen("127.0.0.1", 0, ingress=Ingress(wait=0.05)) as server:
        yield Hub(server.url, server)


@pytest.fixture(scope="package")
def demo(hub: Hub) -> Iterator[str]:
    """The name of a peer that serves the demo app."""
    with restsock.sync.connect(hub.url, app=app, name="demo"):
        yield "demo"


@pytest.fixture(scope="package")
def guarded() -> Iterator[Hub]:
    """A hub that wants a token."""
    tokens = BearerTokens({TOKEN: Principal("edge-1")})
    ingress = Ingress(access=tokens, wait=0.05)
    with restsock.sync.listen("127.0.0.1", 0, auth=tokens, ingress=ingress) as server:
        yield Hub(server.url, server)


@pytest.fixture(scope="package")
def ca() -> trustme.CA:
    return trustme.CA()


@pytest.fixture(scope="package")
def ca_file(ca: trustme.CA, tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("ca") / "ca.pem"
    ca.cert_pem.write_to_path(str(path))
    return str(path)


@pytest.fixture(scope="package")
def secure(ca: trustme.CA) -> Iterator[Hub]:
    """A hub that speaks TLS."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    ca.issue_cert("127.0.0.1").configure_cert(context)
    with restsock.sync.listen("127.0.0.1", 0, tls=context, ingress=Ingress(wait=0.05)) as server:
        yield Hub(server.url, server)


@pytest.fixture
def token_file(tmp_path: Path) -> str:
    path = tmp_path / "token"
    path.write_text(TOKEN)
    return str(path)


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    """Runs a verb here; gives its exit code and what it has written."""

    def run_here(*args: str) -> Ended:
        capsys.readouterr()
        note_command(args)
        code = main(args)
        out, err = capsys.readouterr()
        return Ended(int(code), out, err)

    return run_here


@pytest.fixture
def start() -> Iterator[Callable[..., Process]]:
    """Starts a verb in a process of its own."""
    processes: list[Process] = []

    def start_one(
        *args: str, cwd: Path | None = None, stdin: str | None = None, **env: str
    ) -> Process:
        process = Process(*args, cwd=cwd, env=env, stdin=stdin)
        processes.append(process)
        return process

    yield start_one
    for process in processes:
        process.close()
