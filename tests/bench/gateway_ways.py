"""Gateways that are compared, each started here as its own process, with what is behind them."""

from __future__ import annotations

import contextlib
import importlib.util
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

from tests.bench import node
from tests.bench.peers import wait_for_port, which
from tests.bench.processes import hear, python, running, tree
from tests.ports import free_port

OURS, FASTAPI = "restsock.gateway", "FastAPI, uvicorn and httpx"
NODE, PUSHPIN, NGINX = "Node.js, ws and undici", "pushpin", "nginx"


class Behind(NamedTuple):
    """The backend: where it speaks HTTP, and where WebSocket."""

    http: str
    websocket: str
    pid: int


class Started(NamedTuple):
    """A gateway: where clients connect, its processes, and where one publishes by HTTP."""

    url: str
    pids: list[int]
    publish: str | None = None


Start = Callable[[Path, Behind], "contextlib.AbstractContextManager[Started]"]


@contextlib.contextmanager
def behind(folder: Path) -> Iterator[Behind]:
    """The same backend for all."""
    with running(python("gateway_backend"), log=folder / "gateway-backend.log") as process:
        ports = hear(process)
        http, websocket = (f"127.0.0.1:{ports[name]}" for name in ("http", "websocket"))
        yield Behind(f"http://{http}/call", f"ws://{websocket}/ws", process.pid)


@contextlib.contextmanager
def _ours(kind: str, folder: Path, backend: Behind) -> Iterator[Started]:
    url = backend.http if kind == "http" else backend.websocket
    log = folder / f"gateway-restsock-{kind}.log"
    # With the extra `speed`, as uvicorn and nginx have what is in C.
    with running(python("gateway_ends", kind, url), log=log, c_masking=True) as process:
        yield Started(f"ws://127.0.0.1:{hear(process)['port']}/ws", [process.pid])


@contextlib.contextmanager
def _fastapi(folder: Path, backend: Behind) -> Iterator[Started]:
    log = folder / "gateway-fastapi.log"
    with running(python("gateway_fastapi", backend.http), log=log) as process:
        yield Started(f"ws://127.0.0.1:{hear(process)['port']}/ws", [process.pid])


@contextlib.contextmanager
def _node(folder: Path, backend: Behind) -> Iterator[Started]:
    command = [node.program(), str(node.FOLDER / "gateway.mjs"), backend.http]
    with running(command, log=folder / "gateway-node.log") as process:
        yield Started(f"ws://127.0.0.1:{hear(process)['port']}/ws", [process.pid])


_PUSHPIN_INTERNAL = (Path("/usr/lib/pushpin/internal.conf"), "ipc:///var/run/zurl/")
_PUSHPIN = """\
[global]
include={folder}/internal.conf
rundir={folder}
ipc_prefix=p-
[runner]
services=condure,zurl,pushpin-proxy,pushpin-handler
http_port=127.0.0.1:{port}
logdir={folder}
log_level=1
client_maxconn=50000
[proxy]
routesfile={folder}/routes
debug=false
[handler]
push_in_spec=ipc://{{rundir}}/{{ipc_prefix}}push-in
push_in_sub_specs=ipc://{{rundir}}/{{ipc_prefix}}push-in-sub
push_in_http_addr=127.0.0.1
push_in_http_port={publish}
push_in_http_max_headers_size=10000
push_in_http_max_body_size=1000000
stats_spec=ipc://{{rundir}}/{{ipc_prefix}}stats
command_spec=ipc://{{rundir}}/{{ipc_prefix}}command
message_rate=1000000
message_hwm=1000000
connection_subscription_max=20
"""


@contextlib.contextmanager
def _pushpin(folder: Path, backend: Behind) -> Iterator[Started]:
    """With no limit on how much is published, and nothing else changed."""
    port, publish = free_port(), free_port()
    home = folder / f"pushpin-{port}"  # what one leaves here would be taken for the next one's
    home.mkdir()
    internal, system = _PUSHPIN_INTERNAL
    # Debian has one zurl for the system; this one is of its own.
    text = internal.read_text().replace(system, "ipc://{rundir}/{ipc_prefix}")
    (home / "internal.conf").write_text(text)
    host = re.sub(r"^http://|/.*$", "", backend.http)
    (home / "routes").write_text(f"* {host},over_http\n")
    config = home / "pushpin.conf"
    config.write_text(_PUSHPIN.format(folder=home, port=port, publish=publish))
    log = home / "pushpin.log"
    with running([which("pushpin") or "", "--config", str(config)], log=log) as process:
        wait_for_port(port, process, log)
        wait_for_port(publish, process, log)
        url = f"http://127.0.0.1:{publish}/publish/"
        yield Started(f"ws://127.0.0.1:{port}/ws", tree(process.pid), url)


_NGINX = """\
daemon off;
worker_processes 1;
pid {folder}/nginx.pid;
error_log {folder}/nginx-error.log;
events {{ worker_connections 8192; }}
http {{
    access_log off;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    server {{
        listen 127.0.0.1:{port} backlog=2048;
        location / {{
            proxy_pass http://{upstream};
            proxy_http_version 1.1;
            proxy_set_header Upgrade $http_upgrade;
            proxy_set_header Connection "upgrade";
        }}
    }}
}}
"""


@contextlib.contextmanager
def _nginx(folder: Path, backend: Behind) -> Iterator[Started]:
    """It passes bytes on, once a WebSocket is open, and looks at none."""
    port = free_port()
    home = folder / "nginx"
    home.mkdir(exist_ok=True)
    for one in (folder, home):
        one.chmod(0o755)  # its worker is another user when this is root
    upstream = re.sub(r"^ws://|/.*$", "", backend.websocket)
    config = home / "nginx.conf"
    config.write_text(_NGINX.format(folder=home, port=port, upstream=upstream))
    command = [which("nginx") or "nginx", "-p", str(home), "-c", str(config)]
    command += ["-e", str(home / "nginx-error.log")]
    log = home / "nginx.log"
    with running(command, log=log) as process:
        wait_for_port(port, process, log)
        yield Started(f"ws://127.0.0.1:{port}/ws", tree(process.pid))


@contextlib.contextmanager
def _calls(folder: Path, backend: Behind) -> Iterator[Started]:
    with _ours("http", folder, backend) as started:
        yield started


@contextlib.contextmanager
def _passes(folder: Path, backend: Behind) -> Iterator[Started]:
    with _ours("websocket", folder, backend) as started:
        yield started


@contextlib.contextmanager
def _direct(folder: Path, backend: Behind) -> Iterator[Started]:
    yield Started(backend.websocket, [backend.pid])


DIRECT = "no gateway"

# In the order of the tables: those that turn messages into requests, and those that pass on.
CALLS: dict[str, Start] = {PUSHPIN: _pushpin, NODE: _node, FASTAPI: _fastapi, OURS: _calls}
PASSES: dict[str, Start] = {DIRECT: _direct, NGINX: _nginx, OURS: _passes}


def skipped(name: str) -> str | None:
    """Why a gateway cannot run here, and what helps; `None` when it can."""
    if name == PUSHPIN and (which("pushpin") is None or which("zurl") is None):
        return "no pushpin: apt-get install pushpin zurl"
    if name == PUSHPIN and not _PUSHPIN_INTERNAL[0].is_file():
        return f"this pushpin is not Debian's: no {_PUSHPIN_INTERNAL[0]}"
    if name == NGINX and which("nginx") is None:
        return "no nginx: apt-get install nginx-light"
    if name == NODE:
        return node.missing("ws", "undici")
    for module in ("fastapi", "uvicorn", "uvloop", "httptools", "httpx") if name == FASTAPI else ():
        if importlib.util.find_spec(module) is None:
            return f"no module {module}: pip install {module}"
    return None
