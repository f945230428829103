"""Each key of ports of NATS, and of the table `nats`, has an effect."""

from __future__ import annotations

import json
import os
import signal
import time
import urllib.request
from base64 import urlsafe_b64encode
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import nkeys
import pytest
import trustme

from restsock.tls import ClientTLS
from restsock.websockets.sync import connect
from tests.ports import free_port
from tests.waiting import until_blocking

from .command import Process, Run
from .nats import Broker, running, subscribed
from .test_connector_keys import _acknowledged
from .test_connectors import _data, _listening, _url_of, _write
from .test_connectors_nats import _from, _to

Start = Callable[..., Process]

_PASSWORD = "of-the-connector"


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Broker]:
    with running(tmp_path, streams=True) as found:
        yield found


def _start_input(start: Start, broker: Broker, nats: Any = None, **more: Any) -> Process:
    file = _listening(**{**_to("nats"), **more}, nats={"servers": [broker.url], **(nats or {})})
    folder = broker.server.folder
    return start("input", "-c", _write(folder / f"i{time.monotonic_ns()}.json", file))


# --- ports.outputs of an input ------------------------------------------------------------


@pytest.mark.covers("connector.nats.servers", "input.ports.outputs.name")
@pytest.mark.covers("input.ports.outputs.subject", "input.ports.outputs.type")
@pytest.mark.covers("input.ports.outputs.description", "input.ports.outputs.interface")
def test_messages_go_to_all_ports_for_data(start: Start, broker: Broker) -> None:
    ports = [
        {"name": "a", "subject": "plain.a", "description": "all of it", "interface": "any.v1"},
        {"name": "b", "subject": "federated.b", "type": "jetstream"},
        {"name": "c", "type": "stdio"},
    ]
    process = _start_input(start, broker, ports={"outputs": ports})
    with subscribed(broker, "plain.a") as found, connect(_url_of(process)) as websocket:
        assert _acknowledged(websocket, "a", {"t": 1})
        until_blocking(lambda: len(found) == 1)
    assert broker.bodies() == [b'{"t":1}']
    assert json.loads(process.out.next())["body"] == {"t": 1}


def test_ports_of_one_stream_store_a_message_each(start: Start, broker: Broker) -> None:
    """Though a stream stores one message of an id."""
    ports = [
        {"name": name, "subject": f"federated.{name}", "type": "jetstream"} for name in ("a", "b")
    ]
    process = _start_input(start, broker, ports={"outputs": ports})
    with connect(_url_of(process)) as websocket:
        for _ in range(2):
            assert _acknowledged(websocket, "msg-1-1", {"t": 1})
    assert broker.bodies() == [b'{"t":1}'] * 2


@pytest.mark.covers("input.ports.outputs.required")
def test_a_port_that_nobody_waits_for(start: Start, broker: Broker) -> None:
    ports = [
        {"name": "a", "type": "stdio"},
        {"name": "b", "subject": "federated.b", "type": "jetstream", "required": False},
    ]
    process = _start_input(start, broker, ports={"outputs": ports})
    with connect(_url_of(process)) as websocket:
        assert _acknowledged(websocket, "a")
        until_blocking(lambda: len(broker.bodies()) == 1)  # else the next one waits for it
        broker.stop()
        assert _acknowledged(websocket, "b")
        broker.server.go_on()


@pytest.mark.skipif(os.name != "posix", reason="signals of POSIX")
@pytest.mark.parametrize(
    "ordered",
    [True, pytest.param(False, marks=pytest.mark.covers("input.ports.outputs.ordered"))],
)
@pytest.mark.covers(
    *("connector.backpressure.queue_size", "connector.backpressure.on_full"),
)
def test_how_many_are_under_way(start: Start, broker: Broker, ordered: bool) -> None:
    pressure = {"queue_size": 4, "on_full": "drop_newest"}
    process = _start_input(
        start, broker, backpressure=pressure, **_to("jetstream", ordered=ordered)
    )
    with connect(_url_of(process)) as websocket:
        assert _acknowledged(websocket, "msg-0-0")
        broker.stop()
        for number in range(10):
            websocket.send(_data(f"msg-1-{number}", number))
        time.sleep(0.2)
        if ordered:  # one is under way, and four wait
            said = [json.loads(websocket.receive()) for _ in range(6)]
            assert [one["type"] for one in said].count("slow") == 1
            refused = [one for one in said if one["type"] == "nack"]
            assert [one["id"] for one in refused] == [f"msg-1-{number}" for number in range(5, 10)]
            assert {one["payload"]["reason"] for one in refused} == {"overflow"}
        broker.server.go_on()
        count = 5 if ordered else 10
        acks = [json.loads(websocket.receive()) for _ in range(count)]
        assert {ack["id"] for ack in acks} == {f"msg-1-{number}" for number in range(count)}


@pytest.mark.skipif(os.name != "posix", reason="signals of POSIX")
@pytest.mark.covers("connector.backpressure.enabled")
def test_whether_peers_are_told_early(start: Start, broker: Broker) -> None:
    for enabled in (True, False):
        pressure = {"enabled": enabled, "queue_size": 10, "on_full": "block"}
        process = _start_input(start, broker, backpressure=pressure, **_to("jetstream"))
        with connect(_url_of(process)) as websocket:
            assert _acknowledged(websocket, f"msg-{enabled}-0")
            broker.stop()
            for number in range(10):  # one is under way, and nine wait
                websocket.send(_data(f"msg-{enabled}-1{number}", number))
            time.sleep(0.3)
            broker.server.go_on()
            said = [json.loads(websocket.receive())["type"] for _ in range(10 + enabled)]
            assert ("slow" in said) is enabled


@pytest.mark.covers(
    "connector.bidirectional.request_timeout", "connector.bidirectional.max_concurrent_requests"
)
def test_requests_have_a_time_and_a_number(start: Start, broker: Broker) -> None:
    bounds = {"request_timeout": "300ms", "max_concurrent_requests": 1}
    port = {"name": "ws_control", "subject": "control"}
    process = _start_input(start, broker, bidirectional=bounds, ports={"outputs": [port]})
    with subscribed(broker, "control.request"), connect(_url_of(process)) as websocket:
        for id in ("a", "b"):
            asked = {"type": "request", "id": id, "timestamp": 1, "payload": {"method": "x"}}
            websocket.send(json.dumps(asked))
        replies = [json.loads(websocket.receive()) for _ in range(2)]
    assert [(reply["id"], reply["payload"]["error"]) for reply in replies] == [
        ("b", "too many requests at once"),
        ("a", "no answer on 'control.request' within 0.3 s"),
    ]


# --- ports.inputs of an output ------------------------------------------------------------


def _start_output(start: Start, broker: Broker, **more: Any) -> Process:
    file = _listening(**more, passthrough=True, nats={"servers": [broker.url]})
    folder = broker.server.folder
    return start("output", "-c", _write(folder / f"o{time.monotonic_ns()}.json", file))


def _ready(process: Process, websocket: Any) -> None:
    """Waits until the output knows the peer, by a request."""
    asked = {"type": "request", "id": "r", "timestamp": 1, "payload": {"method": "status"}}
    websocket.send(json.dumps(asked))
    assert json.loads(websocket.receive())["type"] == "reply"


@pytest.mark.covers("output.subjects")
def test_subjects_are_those_of_core_nats(start: Start, broker: Broker) -> None:
    process = _start_output(start, broker, subjects=["a.*", "b"])
    with connect(_url_of(process)) as websocket:
        _ready(process, websocket)
        broker.publish("a.x", b"1")
        assert json.loads(websocket.receive())["payload"] == 1
        broker.publish("b", b"2")
        assert json.loads(websocket.receive())["payload"] == 2


@pytest.mark.covers("output.ports.inputs.queue", "output.ports.inputs.subject")
@pytest.mark.covers("output.ports.inputs.description", "output.ports.inputs.interface")
@pytest.mark.covers("output.ports.inputs.required", "output.ports.inputs.name")
def test_members_of_a_queue_group_share_messages(start: Start, broker: Broker) -> None:
    more = {"description": "x", "interface": "y", "required": False}
    ports = _from("nats", "work", queue="outputs", **more)
    one, two = (_start_output(start, broker, **ports) for _ in range(2))
    with connect(_url_of(one)) as first, connect(_url_of(two)) as second:
        _ready(one, first)
        _ready(two, second)
        broker.publish("work", *(str(number).encode() for number in range(40)))
        broker.publish("work", *(b'"end"' for _ in range(40)))
        found: list[Any] = []
        for websocket in (first, second):
            while (payload := json.loads(websocket.receive())["payload"]) != "end":
                found.append(payload)
        assert sorted(found) == [*range(40)]


@pytest.mark.covers("output.ports.inputs.stream_name", "output.ports.inputs.consumer_name")
@pytest.mark.covers("output.ports.inputs.type", "output.ports.inputs.window")
def test_a_consumer_of_a_stream(start: Start, broker: Broker) -> None:
    port = {"stream_name": "DOWN", "consumer_name": "mine", "window": 1}
    more = {**_from("jetstream", "down.a", **port), "delivery_mode": "at-least-once"}
    process = _start_output(start, broker, **more)
    with connect(_url_of(process)) as websocket:
        broker.store("down.b", b"0")
        broker.store("down.a", b"1", b"2")
        first = json.loads(websocket.receive())
        assert first["payload"] == 1
        with pytest.raises(TimeoutError):
            websocket.receive(timeout=0.3)  # one alone may be under way
        assert broker.waiting("DOWN", "mine") == 2
        websocket.send(json.dumps({"type": "ack", "id": first["id"], "timestamp": 1}))
        assert json.loads(websocket.receive())["payload"] == 2


# --- nats ---------------------------------------------------------------------------------


def _claims(*names: str) -> pytest.MarkDecorator:
    return pytest.mark.covers(*(f"connector.nats.{name}" for name in names))


@pytest.mark.parametrize(
    ("config", "nats"),
    [
        pytest.param(*case, marks=_claims(*case[1]))
        for case in (
            ("user: hub, password: PASSWORD", {"user": "hub", "password_env": "NATS_PASSWORD"}),
            ("user: hub, password: PASSWORD", {"user": "hub", "password_file": "password"}),
            ("token: PASSWORD", {"token_env": "NATS_PASSWORD"}),
            ("token: PASSWORD", {"token_file": "password"}),
            ("users: [{ nkey: PUBLIC }]", {"nkey_seed": "seed"}),
        )
    ],
)
def test_who_this_side_is(start: Start, tmp_path: Path, config: str, nats: dict[str, str]) -> None:
    seed = nkeys.encode_seed(os.urandom(32), nkeys.PREFIX_BYTE_USER)
    public = nkeys.from_seed(bytearray(seed)).public_key.decode()
    (tmp_path / "seed").write_bytes(seed)
    (tmp_path / "password").write_text(_PASSWORD)
    config = config.replace("PUBLIC", public).replace("PASSWORD", f'"{_PASSWORD}"')
    file = {**_listening(**_to("nats")), "nats": nats}
    path = _write(tmp_path / "i.json", file)
    with running(tmp_path, f"authorization {{ {config} }}") as broker:
        for right in (True, False):
            if not right:
                file["nats"] = {"ready_timeout": "300ms"}
                path = _write(tmp_path / "j.json", file)
            process = start("input", "-c", path, "--nats", broker.url, NATS_PASSWORD=_PASSWORD)
            if right:
                with connect(_url_of(process)) as websocket:
                    assert _acknowledged(websocket, "a")
            else:
                assert process.wait() == 1
                lines = process.err.rest()
                assert "Authorization" in lines[-1]
                assert _PASSWORD not in "".join(lines)


def _jwt(signer: Any, subject: bytes, kind: str, **claims: Any) -> str:
    def part(value: Any) -> bytes:
        return urlsafe_b64encode(json.dumps(value).encode()).rstrip(b"=")

    body = {
        "jti": os.urandom(8).hex(),
        "iat": 1_700_000_000,
        "name": kind,
        "iss": signer.public_key.decode(),
        "sub": subject.decode(),
        "nats": {"type": kind, "version": 2, **claims},
    }
    said = part({"typ": "JWT", "alg": "ed25519-nkey"}) + b"." + part(body)
    return (said + b"." + urlsafe_b64encode(signer.sign(said)).rstrip(b"=")).decode()


@_claims("credentials")
def test_a_file_with_the_jwt_of_a_user(start: Start, tmp_path: Path) -> None:
    seeds = [
        nkeys.encode_seed(os.urandom(32), prefix)
        for prefix in (
            nkeys.PREFIX_BYTE_OPERATOR,
            nkeys.PREFIX_BYTE_ACCOUNT,
            nkeys.PREFIX_BYTE_ACCOUNT,
            nkeys.PREFIX_BYTE_USER,
        )
    ]
    operator, account, system, user = (nkeys.from_seed(bytearray(seed)) for seed in seeds)
    limits = {"subs": -1, "data": -1, "payload": -1, "conn": -1, "leaf": -1}
    preloaded = "\n".join(
        f"{one.public_key.decode()}: {_jwt(operator, one.public_key, 'account', limits=limits)}"
        for one in (account, system)
    )
    user_jwt = _jwt(account, user.public_key, "user", subs=-1, data=-1, payload=-1)
    (tmp_path / "hub.creds").write_text(
        f"-----BEGIN NATS USER JWT-----\n{user_jwt}\n------END NATS USER JWT------\n\n"
        f"-----BEGIN USER NKEY SEED-----\n{seeds[-1].decode()}\n------END USER NKEY SEED------\n"
    )
    config = (
        f"operator: {_jwt(operator, operator.public_key, 'operator')}\nresolver: MEMORY\n"
        f"system_account: {system.public_key.decode()}\nresolver_preload {{\n{preloaded}\n}}\n"
    )
    with running(tmp_path, config) as broker:
        process = _start_input(start, broker, {"credentials": "hub.creds"})
        with connect(_url_of(process)) as websocket:
            assert _acknowledged(websocket, "a")


@_claims("tls.ca", "tls.certificate", "tls.key", "tls_first")
def test_tls_to_nats(start: Start, run: Run, tmp_path: Path) -> None:
    ca = trustme.CA()
    ca.cert_pem.write_to_path(tmp_path / "ca.pem")
    for name, issued in (
        ("server", ca.issue_cert("127.0.0.1")),
        ("client", ca.issue_cert("client@example.com")),
    ):
        issued.cert_chain_pems[0].write_to_path(tmp_path / f"{name}.pem")
        issued.private_key_pem.write_to_path(tmp_path / f"{name}.key")
    config = (
        f'tls {{ cert_file: "{tmp_path}/server.pem", key_file: "{tmp_path}/server.key"\n'
        f'ca_file: "{tmp_path}/ca.pem", verify: true, handshake_first: true }}'
    )
    tls = {"ca": "ca.pem", "certificate": "client.pem", "key": "client.key"}
    options = ClientTLS(**{key: str(tmp_path / value) for key, value in tls.items()})
    with running(tmp_path, config, greets=False, tls=options, tls_first=True) as broker:
        process = _start_input(start, broker, {"tls": tls, "tls_first": True})
        with connect(_url_of(process)) as websocket:
            assert _acknowledged(websocket, "a")
        file = {**_listening(**_to("nats")), "nats": {"tls": {"ca": "ca.pem"}, "tls_first": True}}
        file["nats"] |= {"servers": [broker.url], "ready_timeout": "500ms"}
        done = run("input", "-c", _write(tmp_path / "x.json", file))
        assert done.code == 1
        assert "certificate" in done.err


@_claims("name")
def test_what_it_is_called_there(start: Start, tmp_path: Path) -> None:
    port = free_port()
    with running(tmp_path, f"http: 127.0.0.1:{port}") as broker:
        process = _start_input(start, broker, {"name": "ingest-7"})
        _url_of(process)
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/connz") as answer:
            assert "ingest-7" in {one.get("name") for one in json.load(answer)["connections"]}


@_claims("ready_timeout")
def test_how_long_it_waits_for_nats(run: Run, tmp_path: Path) -> None:
    nats = {"servers": ["nats://127.0.0.1:1"], "ready_timeout": "100ms"}
    path = _write(tmp_path / "x.json", _listening(**_to("nats"), nats=nats))
    begun = time.monotonic()
    assert run("input", "-c", path).code == 1
    assert time.monotonic() - begun < 10  # the default is 15 s


@pytest.mark.skipif(os.name != "posix", reason="signals of POSIX")
@_claims("ack_timeout")
def test_how_long_nats_may_take(start: Start, broker: Broker) -> None:
    process = _start_input(start, broker, {"ack_timeout": "50ms"}, **_to("jetstream"))
    with connect(_url_of(process)) as websocket:
        assert _acknowledged(websocket, "msg-1-1")
        broker.stop()
        websocket.send(_data("msg-1-2", 2))
        nack = json.loads(websocket.receive(timeout=20))  # 6 times 5 s by default
        assert (nack["type"], nack["payload"]["reason"]) == ("nack", "publish_failed")
        broker.server.go_on()
    process.signal(signal.SIGTERM)
    assert process.wait() == 0
