"""`restsock input` and `restsock output`, with peers that speak StreamKit's envelope."""

from __future__ import annotations

import json
import signal
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from restsock import WebSocketRefused
from restsock.auth import Bearer
from restsock.connectors import Listen, load_input
from restsock.websockets.sync import connect
from tests.heritage.certificates import Files

from .command import Process, Run

Start = Callable[..., Process]

# All that StreamKit's documentation has for the input, and a port of one's own.
_STREAMKIT = {
    "mode": "server",
    "server": {
        "http_port": 0,
        "path": "/ingest",
        "max_connections": 10,
        "read_buffer_size": 4096,
        "write_buffer_size": 4096,
        "enable_compression": True,
        "allowed_origins": [],
    },
    "auth": {"type": "bearer", "bearer_token_env": "INGEST_TOKEN"},
    "bidirectional": {
        "enabled": True,
        "request_timeout": "5s",
        "max_concurrent_requests": 10,
    },
    "backpressure": {"enabled": True, "queue_size": 1000, "on_full": "block"},
}
_TOKEN = "Vq3zYw8RtLmN5xKc"


def _write(path: Path, config: dict[str, Any]) -> str:
    path.write_text(json.dumps(config))
    return str(path)


def _listening(**more: Any) -> dict[str, Any]:
    return {"server": {"host": "127.0.0.1", "http_port": 0, "path": "/ws"}, **more}


def _url_of(process: Process) -> str:
    return process.err.until("listening at").rpartition(" ")[2]


def _data(id: str, payload: Any) -> str:
    return json.dumps({"type": "data", "id": id, "timestamp": 1795752143596, "payload": payload})


@pytest.mark.covers("input --config")
def test_an_input_takes_a_configuration_of_streamkit(start: Start, tmp_path: Path) -> None:
    config = _write(tmp_path / "input.json", _STREAMKIT)
    process = start("input", "--config", config, INGEST_TOKEN=_TOKEN)
    url = _url_of(process).replace("0.0.0.0", "127.0.0.1").replace("[::]", "127.0.0.1")
    with pytest.raises(WebSocketRefused) as refused, connect(url):
        pass
    assert refused.value.status == 401
    with connect(url, auth=Bearer(_TOKEN)) as websocket:
        websocket.send(_data("msg-1", {"t": 21.5, "at": "Ulm \u2603"}))
        ack = json.loads(websocket.receive())
        assert (ack["type"], ack["id"]) == ("ack", "msg-1")
        line = json.loads(process.out.next())  # there before the ack
        assert line.pop("peer")["host"] == "127.0.0.1"
        assert line == {
            "channel": "data",
            "id": "msg-1",
            "timestamp": 1795752143596,
            "body": {"t": 21.5, "at": "Ulm \u2603"},
        }
        websocket.send("no envelope")
        websocket.send(_data("msg-2", [1, None]))
        assert json.loads(websocket.receive())["id"] == "msg-2"
        process.signal(signal.SIGTERM)
        assert process.wait() == 0
    assert json.loads(process.out.next())["body"] == [1, None]
    assert process.out.rest() == []


def test_an_input_in_toml_gives_its_channel_a_name(start: Start, tmp_path: Path) -> None:
    (tmp_path / "input.toml").write_text(
        'channel = "readings"\n[server]\nhost = "127.0.0.1"\nhttp_port = 0\n'
        "[bidirectional]\nenabled = false\nrequest_timeout = 2_000_000_000\n"
    )
    process = start("input", "-c", "input.toml", cwd=tmp_path)
    with connect(_url_of(process)) as websocket:
        websocket.send(_data("a", 1))
        assert json.loads(websocket.receive())["type"] == "ack"
        websocket.send(
            json.dumps(
                {"type": "request", "id": "r", "timestamp": 1, "payload": {"method": "status"}}
            )
        )
        assert json.loads(websocket.receive())["payload"]["status"] == "error"
    assert json.loads(process.out.next())["channel"] == "readings"
    process.signal(signal.SIGINT)
    assert process.wait() == 130


@pytest.mark.covers("output --config")
@pytest.mark.parametrize("delivery", ["at-most-once", "at-least-once"])
def test_an_output_sends_lines_to_an_input(start: Start, tmp_path: Path, delivery: str) -> None:
    receiver = start("input", "-c", _write(tmp_path / "input.json", _listening()))
    config = {
        "mode": "client",
        "client": {
            "url": _url_of(receiver),
            "reconnect": {"initial_interval": 1_000_000_000, "max_interval": "60s"},
        },
        "delivery_mode": delivery,
        "ack_timeout": "5s",
        "passthrough": True,
    }
    lines = "".join(f"{json.dumps({'n': number})}\n" for number in range(300))
    sender = start("output", "-c", _write(tmp_path / "output.json", config), stdin=lines)
    assert sender.wait() == 0
    bodies = [json.loads(receiver.out.next())["body"] for _ in range(300)]
    assert bodies == [{"n": number} for number in range(300)]


def test_an_output_tells_all_who_have_dialed(start: Start, tmp_path: Path) -> None:
    config = {"port": 0, "delivery_mode": "at-least-once", "subject": "semantic.x"}
    process = start(
        *("output", "-c", _write(tmp_path / "output.json", config)), stdin='{"t": 1}\nnot JSON\n'
    )
    url = _url_of(process).replace("0.0.0.0", "127.0.0.1").replace("[::]", "127.0.0.1")
    assert url.endswith("/ws")
    with connect(url) as websocket:
        first, second = (json.loads(websocket.receive()) for _ in range(2))
        assert first["payload"]["t"] == 1
        assert first["payload"]["subject"] == "semantic.x"
        assert first["payload"]["timestamp"] > 1_700_000_000_000
        assert second["payload"]["raw_data"] == "not JSON"
        for envelope in (first, second):
            websocket.send(json.dumps({"type": "ack", "id": envelope["id"], "timestamp": 1}))
        assert process.wait() == 0


def test_an_output_tells_what_it_has_not_sent(start: Start, tmp_path: Path) -> None:
    config = _write(tmp_path / "output.json", _listening(passthrough=True))
    process = start("output", "-c", config, stdin=f'1\nnot JSON\n"{"x" * 70_000}"\n2')
    with connect(_url_of(process)) as websocket:
        for number in (1, 2):
            envelope = json.loads(websocket.receive())
            assert envelope["payload"] == number
            websocket.send(json.dumps({"type": "ack", "id": envelope["id"], "timestamp": 1}))
        assert process.wait() == 1
    assert "2 messages were sent; 2 lines were none, 0 messages were lost" in process.err.rest()[-1]


def test_who_is_dialed_may_refuse(start: Start, tmp_path: Path, run: Run) -> None:
    receiver = start(
        *("input", "-c", _write(tmp_path / "input.json", _listening(auth=_STREAMKIT["auth"]))),
        INGEST_TOKEN=_TOKEN,
    )
    client = {"url": _url_of(receiver), "reconnect": {"enabled": False}}
    config = _write(tmp_path / "output.json", {"mode": "client", "client": client})
    done = run("output", "-c", config)
    assert (done.code, done.out) == (1, "")
    assert "401" in done.err


@pytest.mark.covers("input --health", "output --health")
def test_health_and_metrics(start: Start, tmp_path: Path) -> None:
    config = _write(tmp_path / "config.json", _listening())
    receiver = start("input", "-c", config, "--health", "0")
    health = receiver.err.until("health at").rpartition(" ")[2]
    with connect(_url_of(receiver)) as websocket:
        websocket.send(_data("a", 1))
        websocket.receive()
        with urllib.request.urlopen(health) as answer:
            found = json.load(answer)
        details = found.pop("details")
        assert found == {"healthy": True, "status": "ok"}
        assert details["mode"] == "server"
        assert details["connections"] == {"active": 1, "total": 1}
        assert details["queue"] == {"depth": 0, "utilization": 0.0}
        assert details["throughput"] >= 0
        with urllib.request.urlopen(health.replace("/health", "/metrics")) as answer:
            metrics = answer.read().decode()
    assert 'restsock_messaging_messages_published_total{channel="data"} 1.0' in metrics
    with pytest.raises(urllib.error.HTTPError) as missing:
        urllib.request.urlopen(health.replace("/health", "/other"))
    missing.value.close()
    assert missing.value.code == 404
    sender = start("output", "-c", config, "--health", "127.0.0.1:0", stdin="1\n")
    health = sender.err.until("health at").rpartition(" ")[2]
    with urllib.request.urlopen(health) as answer:
        assert json.load(answer)["details"]["connections"]["active"] == 0


_NATS = {"name": "ws_data", "type": "nats", "subject": "federated.data", "required": True}


@pytest.mark.parametrize(
    ("verb", "config", "words"),
    [
        ("input", {"mode": "both"}, "mode: "),
        ("input", {}, "server: there is no such table"),
        ("input", {"mode": "client"}, "client: there is no such table"),
        ("input", {"servers": {}}, "servers: there is no such key; did you mean 'server'?"),
        ("input", _listening(channel=""), "channel: "),
        ("input", {"server": {"http_port": 70000}}, "server.http_port: "),
        ("input", {"server": {"path": "ws"}}, "server.path: a path begins with a slash"),
        ("input", {"server": {"max_connections": 0}}, "server.max_connections: "),
        ("input", {"server": {"allowed_origins": ["x y"]}}, "server.allowed_origins: "),
        ("input", {"server": {"tls": {"certificate": "none.pem"}}}, "server.tls: "),
        ("input", _listening(backpressure={"on_full": "drop"}), "backpressure.on_full: "),
        ("input", _listening(auth={"type": "digest"}), "auth.type: "),
        (
            "input",
            _listening(auth={"type": "bearer", "bearer_token_env": "NO_SUCH"}),
            "auth: bearer_token_env of auth: the environment variable NO_SUCH is not set",
        ),
        (
            "input",
            _listening(bidirectional={"request_timeout": "5 s"}),
            "bidirectional.request_timeout: a duration is text such as",
        ),
        (
            "input",
            _listening(ports={"outputs": [_NATS]}),
            "nats.servers: ports.outputs[0] is of NATS: name a server here, or with --nats",
        ),
        ("input", {"mode": "client", "client": {"url": "http://x/"}}, "client.url: "),
        (
            "output",
            {"mode": "client", "client": {"url": "ws://x/", "reconnect": {"multiplier": 0.5}}},
            "client.reconnect: ",
        ),
        (
            "output",
            {"mode": "client", "client": {"url": "ws://x/", "tls": {}}},
            "client.tls: the URL begins with ws://",
        ),
        ("output", _listening(delivery_mode="exactly-once"), "delivery_mode: "),
        ("output", _listening(ack_timeout=0), "ack_timeout: "),
        ("output", _listening(port=1), "port: there is a table server, too"),
        ("output", _listening(subjects=["semantic.>"]), "nats.servers: subjects[0] is of NATS"),
    ],
)
def test_a_wrong_configuration_is_refused_with_its_key(
    run: Run, tmp_path: Path, verb: str, config: dict[str, Any], words: str
) -> None:
    path = _write(tmp_path / "wrong.json", config)
    done = run(verb, "-c", path)
    assert (done.code, done.out) == (1, "")
    assert f"restsock: {path}: {words}" in done.err


_OPEN = "all who reach the port may connect: auth in the file says who may"
_AUTH = {"type": "bearer", "bearer_token_env": "INGEST_TOKEN"}


def _ready(process: Process) -> list[str]:
    """What it has said on stderr by the time it ended."""
    process.err.until("listening at")
    process.signal(signal.SIGTERM)
    process.wait()
    return process.err.rest()


@pytest.mark.parametrize("verb", ["input", "output"])
def test_a_port_that_is_open_to_all_is_told(start: Start, tmp_path: Path, verb: str) -> None:
    server = {"http_port": 0, "path": "/ws"}
    path = tmp_path / "open.json"
    assert _OPEN in _ready(start(verb, "-c", _write(path, {"server": server})))
    assert _OPEN not in _ready(start(verb, "-c", _write(path, _listening())))
    config = _write(path, {"server": server, "auth": _AUTH})
    assert _OPEN not in _ready(start(verb, "-c", config, INGEST_TOKEN=_TOKEN))


def test_a_port_that_asks_for_a_certificate_is_not_open_to_all(tmp_path: Path) -> None:
    files = Files(tmp_path)
    certificate, key = files.issue("hub.example")
    tls = {"certificate": str(certificate), "key": str(key)}
    for more, is_open in (({}, True), ({"client_ca": str(files.ca)}, False)):
        server = {"http_port": 0, "path": "/ws", "tls": {**tls, **more}}
        config = load_input(Path(_write(tmp_path / "tls.json", {"server": server})))
        assert isinstance(config.place, Listen)
        assert config.place.open_to_all is is_open


def test_a_file_that_cannot_be_read(run: Run, tmp_path: Path) -> None:
    missing = run("input", "-c", str(tmp_path / "nothing.json"))
    assert (missing.code, missing.err.count("\n")) == (1, 1)
    assert "cannot read" in missing.err
    for name, text, words in (
        ("a.json", "{", "not JSON"),
        ("b.json", "[]", "not an object"),
        ("c.toml", "x", "not TOML"),
    ):
        (tmp_path / name).write_text(text)
        assert words in run("output", "-c", str(tmp_path / name)).err
