"""`restsock input` and `restsock output` with ports of NATS, and a real server."""

from __future__ import annotations

import json
import signal
import time
import urllib.error
import urllib.request
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from restsock.websockets.sync import connect
from tests.waiting import until_blocking

from .command import Process, Run
from .nats import Broker, running, subscribed
from .test_connectors import _data, _listening, _url_of, _write

Start = Callable[..., Process]


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Broker]:
    with running(tmp_path, streams=True) as found:
        yield found


def _to(type: str, subject: str = "federated.data", **more: Any) -> dict[str, Any]:
    port = {"name": "ws_data", "type": type, "subject": subject, "required": True, **more}
    return {"ports": {"outputs": [port]}}


def _from(type: str, subject: str = "down.>", **more: Any) -> dict[str, Any]:
    port = {"name": "in", "type": type, "subject": subject, **more}
    return {"ports": {"inputs": [port]}}


def _numbers(bodies: list[bytes]) -> list[int]:
    return [json.loads(body)["n"] for body in bodies]


@pytest.mark.covers("input --nats")
def test_an_input_publishes_to_a_stream(start: Start, tmp_path: Path, broker: Broker) -> None:
    config = _write(tmp_path / "input.json", _listening(**_to("jetstream")))
    process = start("input", "-c", config, "--nats", broker.url)
    with connect(_url_of(process)) as websocket:
        for _ in range(2):  # the same ids again
            for number in range(3):
                websocket.send(_data(f"msg-1-{number}", {"n": number}))
            for number in range(3):
                ack = json.loads(websocket.receive())
                assert (ack["type"], ack["id"]) == ("ack", f"msg-1-{number}")
    assert _numbers(broker.bodies()) == [0, 1, 2]
    process.signal(signal.SIGTERM)
    assert process.wait() == 0, process.err.rest()
    assert process.out.rest() == []


def test_an_input_publishes_to_core_nats(start: Start, tmp_path: Path, broker: Broker) -> None:
    file = _listening(**_to("nats", "plain.data"), nats={"servers": [broker.url]})
    process = start("input", "-c", _write(tmp_path / "input.json", file))
    with subscribed(broker, "plain.>") as found, connect(_url_of(process)) as websocket:
        websocket.send(_data("msg-1-1", {"t": 21.5}))
        assert json.loads(websocket.receive())["type"] == "ack"
        [message] = _some(found, 1)
        assert (message.subject, json.loads(message.body)) == ("plain.data", {"t": 21.5})
        assert message.headers["Restsock-Channel"] == "data"
        assert message.headers["Content-Type"] == "application/json"


def _some(found: list[Any], count: int) -> list[Any]:
    until_blocking(lambda: len(found) >= count)
    return found


def test_nothing_acknowledged_is_lost_when_nats_is_killed(
    start: Start, tmp_path: Path, broker: Broker
) -> None:
    file = _listening(**_to("jetstream"), backpressure={"on_full": "block"})
    process = start("input", "-c", _write(tmp_path / "input.json", file), "--nats", broker.url)
    client = {"url": _url_of(process), "reconnect": {"initial_interval": "50ms"}}
    sent = {
        "mode": "client",
        "client": client,
        "delivery_mode": "at-least-once",
        "passthrough": True,
    }
    lines = "".join(f"{json.dumps({'n': number})}\n" for number in range(400))
    sender = start("output", "-c", _write(tmp_path / "output.json", sent), stdin=lines)
    until_blocking(broker.bodies)
    broker.kill()
    time.sleep(0.5)  # what is under way has nowhere to go
    with connect(_url_of_again(process)) as websocket:
        for number in range(400, 420):
            websocket.send(_data(f"msg-1-{number}", {"n": number}))
        broker.start()
        acknowledged = {json.loads(websocket.receive())["id"] for _ in range(20)}
    assert sender.wait() == 0
    stored = _numbers(broker.bodies())
    assert sorted(stored) == [*range(420)]
    assert [number for number in stored if number < 400] == [*range(400)]
    assert acknowledged == {f"msg-1-{number}" for number in range(400, 420)}


def test_health_tells_whether_nats_is_there(start: Start, tmp_path: Path, broker: Broker) -> None:
    config = _write(tmp_path / "input.json", _listening(**_to("jetstream")))
    process = start("input", "-c", config, "--nats", broker.url, "--health", "0")
    url = process.err.until("health at").rpartition(" ")[2]
    _url_of(process)

    def health() -> tuple[int, Any]:
        try:
            with urllib.request.urlopen(url) as answer:
                return answer.status, json.load(answer)
        except urllib.error.HTTPError as exc:
            with exc:
                return exc.code, json.load(exc)

    status, found = health()
    assert (status, found["status"]) == (200, "ok")
    assert found["details"]["nats"] == {"connected": True}
    broker.kill()
    until_blocking(lambda: health()[0] == 503)
    _, found = health()
    assert (found["healthy"], found["status"]) == (False, "NATS is not connected")
    broker.start()
    until_blocking(lambda: health()[0] == 200)


def _url_of_again(process: Process) -> str:
    return next(line for line in process.err.seen if "listening at" in line).rpartition(" ")[2]


def test_what_nats_does_not_take_gets_a_nack(start: Start, tmp_path: Path) -> None:
    with running(tmp_path, "max_payload: 1024", streams=True) as broker:
        config = _write(tmp_path / "input.json", _listening(**_to("jetstream")))
        process = start("input", "-c", config, "--nats", broker.url)
        with connect(_url_of(process)) as websocket:
            websocket.send(_data("msg-1-1", {"t": "x" * 2000}))
            nack = json.loads(websocket.receive())
            assert (nack["type"], nack["id"]) == ("nack", "msg-1-1")
            assert "the server takes 1024" in nack["payload"]["error"]
            websocket.send(_data("msg-1-2", {"n": 2}))
            assert json.loads(websocket.receive())["type"] == "ack"
        assert _numbers(broker.bodies()) == [2]


def test_requests_are_answered_from_nats(start: Start, tmp_path: Path, broker: Broker) -> None:
    port = {"name": "ws_control", "type": "nats", "subject": "control"}
    file = _listening(ports={"outputs": [port]}, bidirectional={"request_timeout": "500ms"})
    process = start("input", "-c", _write(tmp_path / "input.json", file), "--nats", broker.url)

    def ask(websocket: Any, method: str) -> Any:
        payload = {"method": method, "params": {"a": 1}}
        asked = {"type": "request", "id": "r", "timestamp": 1, "payload": payload}
        websocket.send(json.dumps(asked))
        return json.loads(websocket.receive())["payload"]

    with connect(_url_of(process)) as websocket:
        assert "nobody answers on 'control.request'" in ask(websocket, "double")["error"]
        for answer, expected in (
            (b'{"b": 2}', {"status": "ok", "result": {"b": 2}}),
            (b'{"status": "ok", "result": [3]}', {"status": "ok", "result": [3]}),
        ):
            with subscribed(broker, "control.request", answer) as found:
                assert ask(websocket, "double") == expected
                assert json.loads(found[0].data) == {"method": "double", "params": {"a": 1}}
        for answer, words in ((b'{"status": "error", "error": "no"}', "no"), (b"x", "not JSON")):
            with subscribed(broker, "control.request", answer):
                assert words in ask(websocket, "double")["error"]
        assert "healthy" in ask(websocket, "status")["result"]  # which is answered here
        websocket.send(_data("msg-1-1", 1))  # data are lines, with no port of their own
        assert json.loads(process.out.next())["body"] == 1


def test_an_output_sends_what_comes_to_a_subject(
    start: Start, tmp_path: Path, broker: Broker
) -> None:
    file = _listening(subjects=["semantic.>"], nats={"servers": broker.url})
    process = start("output", "-c", _write(tmp_path / "output.json", file))
    with connect(_url_of(process)) as one, connect(_url_of_again(process)) as two:
        health = {"type": "request", "id": "r", "timestamp": 1, "payload": {"method": "status"}}
        for websocket in (one, two):
            websocket.send(json.dumps(health))
            websocket.receive()
        broker.publish("semantic.a", b'{"t": 1}', b"plain", b"\xff")
        for websocket in (one, two):
            payloads = [json.loads(websocket.receive())["payload"] for _ in range(3)]
            assert [payload.pop("subject") for payload in payloads] == ["semantic.a"] * 3
            assert all(payload.pop("timestamp") for payload in payloads)
            assert payloads == [
                {"t": 1},
                {"raw_data": "plain"},
                {"raw_data": "/w==", "encoding": "base64"},
            ]
    process.signal(signal.SIGTERM)
    assert process.wait() == 0, process.err.rest()


def test_a_stream_learns_what_peers_have_handled(
    start: Start, tmp_path: Path, broker: Broker
) -> None:
    file = _listening(
        **_from("jetstream", consumer_name="edge"), delivery_mode="at-least-once", passthrough=True
    )
    process = start("output", "-c", _write(tmp_path / "o.json", file), "--nats", broker.url)
    broker.store("down.a", b"0", b"1")
    with connect(_url_of(process)) as websocket:
        first, second = (json.loads(websocket.receive()) for _ in range(2))
        assert (first["payload"], second["payload"]) == (0, 1)
        websocket.send(json.dumps({"type": "ack", "id": first["id"], "timestamp": 1}))
        until_blocking(lambda: broker.waiting("DOWN", "edge") == 1)
    with connect(_url_of_again(process)) as websocket:  # nobody has handled the other one
        again = json.loads(websocket.receive())
        assert again["payload"] == 1
        broker.kill()
        broker.start()
        websocket.send(json.dumps({"type": "ack", "id": again["id"], "timestamp": 1}))
        broker.store("down.a", b"2")
        last = json.loads(websocket.receive())
        assert last["payload"] == 2
        websocket.send(json.dumps({"type": "ack", "id": last["id"], "timestamp": 1}))
        until_blocking(lambda: broker.waiting("DOWN", "edge") == 0)
    process.signal(signal.SIGTERM)
    assert process.wait() == 0, process.err.rest()


@pytest.mark.covers("output --nats")
def test_an_output_ends_and_gives_back_what_nobody_has_handled(
    start: Start, tmp_path: Path, broker: Broker
) -> None:
    file = {
        "mode": "client",
        "delivery_mode": "at-least-once",
        **_from("jetstream"),
    }
    for kind in ("drop", "take"):
        receiver = start("input", "-c", _write(tmp_path / "input.json", _listening()))
        file["client"] = {"url": _url_of(receiver)}
        config = _write(tmp_path / "output.json", file)
        process = start("output", "-c", config, "--nats", broker.url)
        process.err.until("dialing")
        if kind == "drop":
            receiver.signal(signal.SIGKILL)
            receiver.wait()
            broker.store("down.a", b'{"n": 0}')
            time.sleep(0.3)
        else:
            assert json.loads(receiver.out.next())["body"]["n"] == 0
            until_blocking(lambda: broker.waiting("DOWN", "restsock-in") == 0)
        process.signal(signal.SIGTERM)
        assert process.wait() == 0, process.err.rest()


@pytest.mark.parametrize(
    ("verb", "config", "words"),
    [
        ("input", _to("jetstream", "other"), "ports.outputs[0].subject: no stream of JetStream"),
        ("output", _from("jetstream", "other"), "ports.inputs[0].subject: no stream of JetStream"),
        ("output", _from("jetstream", stream_name="NONE"), "NATS has no stream 'NONE'"),
    ],
)
def test_a_stream_that_is_not_there(
    run: Run, tmp_path: Path, broker: Broker, verb: str, config: dict[str, Any], words: str
) -> None:
    path = _write(tmp_path / "x.json", _listening(**config))
    done = run(verb, "-c", path, "--nats", broker.url)
    assert (done.code, done.out) == (1, "")
    assert words in done.err
    assert "Traceback" not in done.err


def test_a_server_that_is_not_there(start: Start, run: Run, tmp_path: Path) -> None:
    nats = {"servers": ["nats://127.0.0.1:1"], "ready_timeout": "300ms"}
    path = _write(tmp_path / "x.json", _listening(**_to("nats"), nats=nats))
    done = run("input", "-c", path)
    assert (done.code, done.out) == (1, "")
    assert "no server of NATS can be reached" in done.err
    nats["ready_timeout"] = "1h"
    process = start(
        "input", "-c", _write(tmp_path / "y.json", _listening(**_to("nats"), nats=nats))
    )
    process.err.until("no connection to NATS")
    process.signal(signal.SIGINT)
    assert process.wait() == 130


def test_without_the_extra_there_is_a_hint(start: Start, tmp_path: Path) -> None:
    (tmp_path / "nats").mkdir()
    (tmp_path / "nats" / "__init__.py").write_text("raise ImportError('no nats')")
    config = _write(tmp_path / "x.json", _listening(**_to("nats")))
    path = f"{tmp_path}:{Path(__file__).parents[2]}"
    process = start("input", "-c", config, "--nats", "nats://127.0.0.1:1", PYTHONPATH=path)
    assert process.wait() == 1
    [line] = process.err.rest()
    assert "pip install 'restsock[nats]'" in line


_SERVERS = {"servers": ["nats://127.0.0.1:4222"]}


@pytest.mark.parametrize(
    ("verb", "config", "words"),
    [
        ("input", _to("nats", "a.*"), "ports.outputs[0].subject: '*' is no token"),
        ("input", _to("nats", ""), "ports.outputs[0].subject: "),
        ("input", _to("kv"), "ports.outputs[0].type: "),
        ("input", _to("stdio"), "ports.outputs[0].subject: a port of the type"),
        ("input", {"ports": {"inputs": [{"name": "x"}]}}, "ports.inputs: messages come from peers"),
        ("output", {"ports": {"outputs": [{"name": "x"}]}}, "ports.outputs: messages go to peers"),
        ("output", _from("nats", ""), "ports.inputs[0].subject: a subject of NATS is needed"),
        (
            "output",
            {**_from("nats", "a b"), "nats": _SERVERS},
            "ports.inputs[0]: 'a b' is no subject",
        ),
        (
            "output",
            {**_from("nats", queue="a b"), "nats": _SERVERS},
            "ports.inputs[0]: queue: 'a b' is no name in NATS",
        ),
        ("output", _from("nats", stream_name="X"), "ports.inputs[0].stream_name: a port of the"),
        ("output", _from("jetstream", queue="x"), "ports.inputs[0].queue: a port of the type"),
        ("output", _from("jetstream", window=0), "ports.inputs[0].window: "),
        ("output", {**_from("nats"), "subjects": ["a"]}, "subjects: ports.inputs says where"),
        ("input", {"nats": _SERVERS}, "nats: no port is of the type nats or jetstream"),
        ("input", {**_to("nats"), "nats": {"servers": "http://x"}}, "nats.servers: 'http://x'"),
        (
            "input",
            {**_to("nats"), "nats": {"servers": "nats://a:s3cr3t@x"}},
            "nats.servers: no sec",
        ),
        ("input", {**_to("nats"), "nats": {**_SERVERS, "user": "x"}}, "nats: user needs"),
        (
            "input",
            {**_to("nats"), "nats": {**_SERVERS, "token_env": "NO_SUCH"}},
            "nats: the environment variable NO_SUCH is not set",
        ),
        ("input", {**_to("nats"), "nats": {**_SERVERS, "credentials": "missing.creds"}}, "nats: "),
        ("input", {**_to("nats"), "nats": {**_SERVERS, "ack_timeout": 0}}, "nats.ack_timeout: "),
        ("input", {**_to("nats"), "nats": {**_SERVERS, "tls_first": True}}, "nats.tls_first: "),
        (
            "input",
            {**_to("nats"), "nats": {**_SERVERS, "tls": {"ca": "missing.pem"}}},
            "nats.tls: ",
        ),
        ("input", {**_to("nats"), "nats": {"server": "x"}}, "nats.server: there is no such key"),
    ],
)
def test_a_wrong_configuration_of_nats(
    run: Run, tmp_path: Path, verb: str, config: dict[str, Any], words: str
) -> None:
    path = _write(tmp_path / "wrong.json", _listening(**config))
    done = run(verb, "-c", path)
    assert (done.code, done.out) == (1, "")
    assert f"restsock: {path}: {words}" in done.err
    assert "s3cr3t" not in done.err


def test_what_is_sent_again_over_another_connection_is_stored_once(
    start: Start, tmp_path: Path, broker: Broker
) -> None:
    config = _write(tmp_path / "input.json", _listening(**_to("jetstream")))
    process = start("input", "-c", config, "--nats", broker.url)
    url = _url_of(process)
    unique = f"msg-1795752143596-{uuid.uuid4().int | 1 << 127}"
    for number in range(2):
        with connect(url) as websocket:
            # Counters of two peers may be the same, which are two messages.
            for id, value in (("msg-1-1", number), (unique, "once"), (str(uuid.UUID(int=7)), 7)):
                websocket.send(_data(id, value))
                assert json.loads(websocket.receive())["type"] == "ack"
    assert [json.loads(body) for body in broker.bodies()] == [0, "once", 7, 1]
