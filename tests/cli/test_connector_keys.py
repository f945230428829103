"""Each key of the files of inputs and outputs has an effect; those of NATS are in a file beside."""

from __future__ import annotations

import json
import socket
import ssl
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import trustme

from restsock import WebSocketRefused
from restsock.connectors import load_input, load_output
from restsock.websockets import Reconnect
from restsock.websockets.sync import connect
from tests.covered import note_command
from tests.ports import free_port

from .command import Process, Run
from .test_connectors import _data, _listening, _url_of, _write

Start = Callable[..., Process]
Input = Callable[..., str]

_TOKEN = "Vq3zYw8RtLmN5xKc"


@pytest.fixture
def listening(start: Start, tmp_path: Path) -> Input:
    """Starts an input with these keys in its table `server`, and gives its URL."""

    def start_one(env: dict[str, str] | None = None, **more: Any) -> str:
        server = {"host": "127.0.0.1", "http_port": 0, **more.pop("server", {})}
        config = _write(tmp_path / f"input-{time.monotonic_ns()}.json", {"server": server, **more})
        return _url_of(start("input", "-c", config, **(env or {})))

    return start_one


@pytest.fixture
def dialing(start: Start, tmp_path: Path) -> Callable[..., Process]:
    """Starts an output that dials, and sends some lines."""

    def start_one(client: dict[str, Any], stdin: str = "1\n", **more: Any) -> Process:
        env = more.pop("env", {})
        config = {"mode": "client", "client": client, "passthrough": True, **more}
        return start("output", "-c", _write(tmp_path / "out.json", config), stdin=stdin, **env)

    return start_one


def _upgrade(url: str, *fields: str) -> str:
    """What a listener answers to a handshake with these fields."""
    host, _, rest = url.removeprefix("ws://").partition(":")
    port, _, path = rest.partition("/")
    head = [
        *(f"GET /{path} HTTP/1.1", f"Host: {host}:{port}", "Connection: Upgrade"),
        *("Upgrade: websocket", "Sec-WebSocket-Version: 13"),
        *("Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==", *fields, "", ""),
    ]
    with socket.create_connection((host, int(port)), 20) as sock:
        sock.sendall("\r\n".join(head).encode())
        answer = b""
        while b"\r\n\r\n" not in answer and (piece := sock.recv(4096)):
            answer += piece
    return answer.decode()


def _acknowledged(websocket: Any, id: str, payload: Any = 1) -> bool:
    websocket.send(_data(id, payload))
    answer = json.loads(websocket.receive())
    return bool(answer["type"] == "ack" and answer["id"] == id)


# --- server -------------------------------------------------------------------------------


@pytest.mark.covers("connector.server.host", "connector.server.http_port", "connector.server.path")
def test_where_it_listens(listening: Input) -> None:
    port = free_port()
    url = listening(server={"http_port": port, "path": "/ingest"})
    assert url == f"ws://127.0.0.1:{port}/ingest"
    with connect(url) as websocket:
        assert _acknowledged(websocket, "a")
    assert " 404 " in _upgrade(url.replace("/ingest", "/"))


@pytest.mark.covers("connector.server.max_connections")
def test_how_many_there_may_be(listening: Input) -> None:
    url = listening(server={"max_connections": 1})
    with connect(url) as websocket:
        assert _acknowledged(websocket, "a")
        with pytest.raises(WebSocketRefused) as refused, connect(url):
            pass
    assert refused.value.status == 503


@pytest.mark.covers("connector.server.read_buffer_size", "connector.server.write_buffer_size")
def test_sizes_of_buffers_bound_nothing(listening: Input) -> None:
    url = listening(server={"read_buffer_size": 1, "write_buffer_size": 1})
    with connect(url) as websocket:
        assert _acknowledged(websocket, "a", "x" * 50_000)


@pytest.mark.covers("connector.server.enable_compression")
def test_whether_it_compresses(listening: Input) -> None:
    for enabled in (True, False):
        url = listening(server={"enable_compression": enabled})
        answer = _upgrade(url, "Sec-WebSocket-Extensions: permessage-deflate")
        assert " 101 " in answer
        assert ("permessage-deflate" in answer) is enabled


@pytest.mark.covers("connector.server.allowed_origins")
def test_pages_of_which_origins_may_connect(listening: Input) -> None:
    url = listening(server={"allowed_origins": ["https://ui.example"]})
    assert " 101 " in _upgrade(url, "Origin: https://ui.example")
    assert " 403 " in _upgrade(url, "Origin: https://evil.example")


@pytest.mark.covers(
    *("connector.server.tls.certificate", "connector.server.tls.key"),
    *("connector.server.tls.client_ca", "connector.client.tls.ca"),
    *("connector.client.tls.certificate", "connector.client.tls.key"),
    *("connector.mode", "connector.client.url"),
)
def test_tls_at_both_ends(
    start: Start, listening: Input, dialing: Callable[..., Process], tmp_path: Path
) -> None:
    ca = trustme.CA()
    ca.cert_pem.write_to_path(tmp_path / "ca.pem")
    for name, issued in (
        ("server", ca.issue_cert("127.0.0.1")),
        ("client", ca.issue_cert("client@example.com")),
    ):
        issued.cert_chain_pems[0].write_to_path(tmp_path / f"{name}.pem")
        issued.private_key_pem.write_to_path(tmp_path / f"{name}.key")
    tls = {"certificate": "server.pem", "key": "server.key", "client_ca": "ca.pem"}
    url = listening(server={"tls": tls})
    assert url.startswith("wss://")
    context = ssl.create_default_context(cafile=tmp_path / "ca.pem")
    port = int(url.rpartition(":")[2].rstrip("/"))
    with socket.create_connection(("127.0.0.1", port), 20) as plain:
        with context.wrap_socket(plain, server_hostname="127.0.0.1") as anonymous:
            with pytest.raises(OSError, match="certificate"):
                anonymous.recv(1)  # TLS 1.3 tells of it only now
    once = {"enabled": False}
    known = {"ca": "ca.pem", "certificate": "client.pem", "key": "client.key"}
    assert dialing({"url": url, "tls": known, "reconnect": once}).wait() == 0
    unknown = dialing({"url": url, "reconnect": once})
    assert unknown.wait() == 1
    assert "certificate" in unknown.err.rest()[-1]


# --- client.reconnect ---------------------------------------------------------------------


@pytest.fixture
def hanging_up() -> Iterator[socket.socket]:
    """A port that takes nobody."""
    with socket.create_server(("127.0.0.1", 0)) as sock:
        sock.settimeout(20)
        yield sock


def _attempts(sock: socket.socket, process: Process) -> int:
    """How often somebody has dialed, until the process ends."""
    sock.settimeout(0.05)
    attempts, deadline = 0, time.monotonic() + 20
    ended = False
    while time.monotonic() < deadline:
        try:
            sock.accept()[0].close()
            attempts += 1
        except TimeoutError:
            if ended:
                return attempts
            ended = process.ended
    raise AssertionError(attempts)


@pytest.mark.covers(
    "connector.client.reconnect.max_retries", "connector.client.reconnect.initial_interval"
)
def test_how_often_it_dials(dialing: Callable[..., Process], hanging_up: socket.socket) -> None:
    url = f"ws://127.0.0.1:{hanging_up.getsockname()[1]}/"
    process = dialing({"url": url, "reconnect": {"max_retries": 3, "initial_interval": "10ms"}})
    assert _attempts(hanging_up, process) == 3
    assert process.wait() == 1


@pytest.mark.covers("connector.client.reconnect.enabled")
def test_whether_it_dials_again(dialing: Callable[..., Process], hanging_up: socket.socket) -> None:
    url = f"ws://127.0.0.1:{hanging_up.getsockname()[1]}/"
    process = dialing({"url": url, "reconnect": {"enabled": False}})
    assert _attempts(hanging_up, process) == 1
    assert process.wait() == 1


@pytest.mark.covers(
    *("connector.client.reconnect.initial_interval", "connector.client.reconnect.max_interval"),
    *("connector.client.reconnect.multiplier", "connector.client.reconnect.max_retries"),
)
def test_the_pauses_reach_the_dialer(tmp_path: Path) -> None:
    """What they do there is shown by tests/websockets/test_dialer.py."""
    reconnect = {
        "initial_interval": "250ms",
        "max_interval": 7_000_000_000,
        "multiplier": 3,
        "max_retries": 4,
    }
    client = {"url": "ws://127.0.0.1/", "reconnect": reconnect}
    path = _write(tmp_path / "x.json", {"mode": "client", "client": client})
    note_command(["input", "-c", path])
    for load in (load_input, load_output):
        place: Any = load(Path(path)).place
        assert place.reconnect == Reconnect(initial=0.25, cap=7.0, factor=3.0, tries=4)


# --- auth ---------------------------------------------------------------------------------

_BEARER = {"type": "bearer", "bearer_token_env": "INGEST_TOKEN"}
_BASIC = {
    "type": "basic",
    "basic_username_env": "INGEST_USER",
    "basic_password_env": "INGEST_PASSWORD",
}


def _auth_cases() -> Iterator[Any]:
    for auth in (_BEARER, _BASIC):
        claims = [f"connector.auth.{key}" for key in auth]
        yield pytest.param(auth, marks=pytest.mark.covers(*claims), id=auth["type"])


@pytest.mark.parametrize("auth", [*_auth_cases()])
def test_who_may_connect_and_what_is_shown(
    listening: Input, dialing: Callable[..., Process], auth: dict[str, str]
) -> None:
    env = {"INGEST_TOKEN": _TOKEN, "INGEST_USER": "edge", "INGEST_PASSWORD": _TOKEN}
    client = {"url": listening(env, auth=auth), "reconnect": {"enabled": False}}
    assert dialing(client, auth=auth, env=env).wait() == 0
    wrong = {**env, "INGEST_TOKEN": "another", "INGEST_PASSWORD": "another"}
    for more in ({"auth": auth, "env": wrong}, {}):
        refused = dialing(client, **more)
        assert refused.wait() == 1
        assert "401" in refused.err.rest()[-1]


# --- the others of both -------------------------------------------------------------------


@pytest.mark.covers("connector.bidirectional.enabled")
def test_whether_requests_are_answered(listening: Input) -> None:
    asked = {"type": "request", "id": "r", "timestamp": 1, "payload": {"method": "status"}}
    for more, status in (({}, "ok"), ({"bidirectional": {"enabled": False}}, "error")):
        with connect(listening(**more)) as websocket:
            websocket.send(json.dumps(asked))
            assert json.loads(websocket.receive())["payload"]["status"] == status


# --- those of an input --------------------------------------------------------------------


@pytest.mark.covers("input.channel")
def test_the_name_of_the_channel(start: Start, tmp_path: Path) -> None:
    config = _write(tmp_path / "input.json", _listening(channel="readings"))
    process = start("input", "-c", config)
    with connect(_url_of(process)) as websocket:
        assert _acknowledged(websocket, "a")
    assert json.loads(process.out.next())["channel"] == "readings"


# --- those of an output -------------------------------------------------------------------


@pytest.mark.covers("output.port", "output.path", "output.subject")
def test_where_an_output_listens_and_what_it_says(start: Start, tmp_path: Path) -> None:
    port = free_port()
    config = {"port": port, "path": "/stream", "subject": "semantic.x"}
    process = start("output", "-c", _write(tmp_path / "o.json", config), stdin='{"t": 1}\n')
    assert _url_of(process).endswith(f":{port}/stream")
    with connect(f"ws://127.0.0.1:{port}/stream") as websocket:
        payload = json.loads(websocket.receive())["payload"]
    assert (payload["t"], payload["subject"]) == (1, "semantic.x")


@pytest.mark.covers("output.passthrough")
def test_whether_lines_stay_as_they_are(start: Start, tmp_path: Path) -> None:
    for passthrough, expected in ((True, {"t": 1}), (False, {"t": 1, "subject": "stdin"})):
        config = _write(tmp_path / "o.json", _listening(passthrough=passthrough))
        process = start("output", "-c", config, stdin='{"t": 1}\n')
        with connect(_url_of(process)) as websocket:
            payload = json.loads(websocket.receive())["payload"]
            payload.pop("timestamp", None)
            assert payload == expected


@pytest.mark.covers("output.delivery_mode", "output.ack_timeout")
def test_what_is_not_acknowledged_is_sent_again(start: Start, tmp_path: Path) -> None:
    config = _listening(delivery_mode="at-least-once", ack_timeout="100ms")
    process = start("output", "-c", _write(tmp_path / "o.json", config), stdin="1\n")
    with connect(_url_of(process)) as websocket:
        first, again = (json.loads(websocket.receive()) for _ in range(2))
        assert first["id"] == again["id"]
        websocket.send(json.dumps({"type": "ack", "id": again["id"], "timestamp": 1}))
        assert process.wait() == 0


@pytest.mark.covers("input.ports.inputs", "output.ports.outputs")
def test_ports_of_the_other_side_are_refused(run: Run, tmp_path: Path) -> None:
    for verb, side in (("input", "inputs"), ("output", "outputs")):
        port = {"name": "websocket_server", "type": "network", "subject": "http://0.0.0.0:8081/ws"}
        path = _write(tmp_path / "x.json", _listening(ports={side: [port]}))
        done = run(verb, "-c", path)
        assert (done.code, done.out) == (1, "")
        assert f"ports.{side}: messages" in done.err
