"""The code agrees with spec/vectors, byte for byte, and spec/protocol.md with its own example."""

from __future__ import annotations

import base64
import json
import re
from typing import Any

import pytest

from restsock._exceptions import HandshakeError, RemoteProtocolError
from restsock.protocol import (
    SUBPROTOCOL,
    BinaryMessage,
    ClientUpgrade,
    CloseReceived,
    Multiplexer,
    Ping,
    Pong,
    RequestHead,
    ResponseHead,
    ServerUpgrade,
    TextMessage,
    WebSocket,
)
from restsock.protocol._envelopes import MessagingSettings, Settings, decode_envelope
from restsock.protocol._frames import (
    MAX_MESSAGE,
    FrameType,
    decode_frame,
    decode_goaway,
    decode_reset,
    decode_window,
    encode_frame,
    encode_goaway,
    encode_reset,
    encode_window,
)
from restsock.protocol._heads import decode_trailers
from tests.protocol.heads import decode_request, decode_response

from .vectors import (
    SPEC,
    Case,
    Runner,
    as_bytes,
    as_headers,
    drain,
    envelope,
    events,
    load,
    make_multiplexer,
    open_multiplexer,
    params,
)

FRAMES = load("frames.json")
HEADS = load("heads.json")
HANDSHAKE = load("handshake.json")
UPGRADE = load("upgrade.json")
EXAMPLE = load("example.json")


# --- frames -----------------------------------------------------------------------------------


@pytest.mark.parametrize("case", params(FRAMES["good"]))
def test_good_frame(case: Case) -> None:
    message = as_bytes(case["message"])
    type, flags, stream_id, payload = decode_frame(message)
    assert (type, flags, stream_id) == (case["type"], case["flags"], case["stream"])
    encoded = encode_frame(type, flags, stream_id, payload)
    if type == FrameType.RESET:
        code, reason = case["code"], case["reason"]
        assert decode_reset(payload) == (code, reason)
        encoded = encode_reset(stream_id, code, reason)
    elif type == FrameType.WINDOW:
        assert decode_window(payload) == case["credit"]
        encoded = encode_window(stream_id, case["credit"])
    elif type == FrameType.GOAWAY:
        last, code, reason = case["last"], case["code"], case["reason"]
        assert decode_goaway(payload) == (last, code, reason)
        encoded = encode_goaway(last, code, reason)
    elif "payload" in case:
        assert payload == as_bytes(case["payload"])
    if case.get("canonical"):
        assert encoded == message
    if case.get("ignored"):
        multiplexer = open_multiplexer("listener")
        multiplexer.receive_message(message)
        assert (events(multiplexer), drain(multiplexer)) == ([], [])


@pytest.mark.parametrize("role", ["dialer", "listener"])
@pytest.mark.parametrize("case", params(FRAMES["bad"]))
def test_bad_frame(case: Case, role: str) -> None:
    multiplexer = open_multiplexer(role)
    with pytest.raises(RemoteProtocolError) as caught:
        multiplexer.receive_message(as_bytes(case["message"]))
    assert caught.value.close_code == case["close"]


# --- heads ------------------------------------------------------------------------------------


@pytest.mark.parametrize("case", params(HEADS["requests"]["good"]))
def test_good_request_head(case: Case) -> None:
    assert decode_request(as_bytes(case["head"])) == RequestHead(
        case["method"].encode(), case["target"].encode(), as_headers(case["headers"])
    )


@pytest.mark.parametrize("case", params(HEADS["responses"]["good"]))
def test_good_response_head(case: Case) -> None:
    assert decode_response(as_bytes(case["head"])) == ResponseHead(
        case["status"], as_headers(case["headers"]), case["reason"].encode("latin-1")
    )


@pytest.mark.parametrize("case", params(HEADS["trailers"]["good"]))
def test_good_trailers(case: Case) -> None:
    assert list(decode_trailers(as_bytes(case["head"]))) == as_headers(case["headers"])


@pytest.mark.parametrize(
    ("kind", "case"),
    [
        pytest.param(kind, case, id=f"{kind}: {case['name']}")
        for kind in ("requests", "responses", "trailers")
        for case in HEADS[kind]["bad"]
    ],
)
def test_bad_head(kind: str, case: Case) -> None:
    decode = {"requests": decode_request, "responses": decode_response}.get(kind, decode_trailers)
    with pytest.raises(RemoteProtocolError):
        decode(as_bytes(case["head"]))


# --- handshake --------------------------------------------------------------------------------


@pytest.mark.parametrize("case", params(HANDSHAKE["envelopes"]["good"]))
def test_good_envelope(case: Case) -> None:
    got = decode_envelope(case["text"])
    want = (case["type"], case["id"], case["timestamp"], case["payload"])
    assert (got.type, got.id, got.timestamp, got.payload) == want


@pytest.mark.parametrize("case", params(HANDSHAKE["envelopes"]["bad"]))
def test_bad_envelope(case: Case) -> None:
    for role in ("dialer", "listener"):
        with pytest.raises(RemoteProtocolError) as caught:
            open_multiplexer(role).receive_message(case["text"])
        assert caught.value.close_code == 4002
    with pytest.raises(RemoteProtocolError) as caught:
        make_multiplexer("listener").receive_message(case["text"])
    assert caught.value.close_code == 4000


@pytest.mark.parametrize("case", params(HANDSHAKE["settings"]["good"]))
def test_good_settings(case: Case) -> None:
    multiplexer = make_multiplexer("listener")
    multiplexer.receive_message(envelope("hello", {"version": 1, "settings": case["json"]}))
    settings = dict(case["settings"])
    if "messaging" in settings:
        settings["messaging"] = MessagingSettings(**settings["messaging"])
    assert multiplexer.peer == Settings(**settings)
    # What a peer says about itself reads back as the same.
    assert Settings.from_json(multiplexer.peer.to_json()) == multiplexer.peer


@pytest.mark.parametrize("case", params(HANDSHAKE["settings"]["bad"]))
def test_bad_settings(case: Case) -> None:
    multiplexer = make_multiplexer("listener")
    with pytest.raises(RemoteProtocolError) as caught:
        multiplexer.receive_message(envelope("hello", {"version": 1, "settings": case["json"]}))
    assert caught.value.close_code == 4000


# --- cases with steps -------------------------------------------------------------------------


def _stepwise() -> list[Any]:
    found = [("handshake", case) for case in HANDSHAKE["sequences"]]
    for name in ("exchanges", "streams", "credit", "errors"):
        found += [(name, case) for case in load(f"{name}.json")["cases"]]
    ids = [f"{name}: {case['name']}" for name, case in found]
    assert len(set(ids)) == len(ids)
    return [pytest.param(case, id=id) for (_, case), id in zip(found, ids, strict=True)]


@pytest.mark.parametrize("case", _stepwise())
def test_steps(case: Case) -> None:
    Runner(case).run(case["steps"])


# --- WebSocket --------------------------------------------------------------------------------


def _in_words(websocket: WebSocket) -> list[Case]:
    found: list[Case] = []
    while (event := websocket.next_event()) is not None:
        if isinstance(event, TextMessage):
            found.append({"message": "text", "text": event.data})
        elif isinstance(event, BinaryMessage):
            found.append({"message": "binary", "bytes": event.data})
        elif isinstance(event, Ping):
            found.append({"message": "ping", "bytes": event.payload})
        elif isinstance(event, Pong):
            found.append({"message": "pong", "bytes": event.payload})
        else:
            assert isinstance(event, CloseReceived)
            found.append({"message": "close", "code": event.code, "reason": event.reason})
    return found


def _receive(websocket: WebSocket, data: bytes, size: int) -> tuple[list[Case], int | None]:
    found: list[Case] = []
    for at in range(0, len(data), size):
        try:
            websocket.receive_data(data[at : at + size])
        except RemoteProtocolError as exc:
            return found + _in_words(websocket), exc.close_code
        found += _in_words(websocket)
    return found, None


def _websocket_params() -> list[Any]:
    found = []
    for param in params(load("websocket.json")["cases"]):
        size = len(as_bytes(param.values[0]["receive"]))
        # Large messages are about size; a byte at a time would only take long.
        pieces = [1, 2, 7, 2**30] if size < 4096 else [4096, 2**30]
        found += [pytest.param(*param.values, n, id=f"{param.id}, by {n}") for n in pieces]
    return found


@pytest.mark.parametrize(("case", "piece"), _websocket_params())
def test_websocket(case: Case, piece: int) -> None:
    data = as_bytes(case["receive"])
    websocket = WebSocket(client=case["role"] == "dialer", max_message=MAX_MESSAGE)
    found, code = _receive(websocket, data, piece)
    expected = [{**e, "bytes": as_bytes(e["bytes"])} if "bytes" in e else e for e in case["events"]]
    assert found == expected
    wanted = case.get("close")
    assert code in (wanted if isinstance(wanted, list) else [wanted])

    # The other end understands the answer.
    peer = WebSocket(client=case["role"] != "dialer", max_message=MAX_MESSAGE)
    if code is not None:
        websocket.close(code, "why")
    replies, error = _receive(peer, websocket.data_to_send(), 2**30)
    assert error is None
    if code is not None:
        assert replies[-1] == {"message": "close", "code": code, "reason": "why"}
        return
    assert len(replies) == len(case.get("replies", []))
    for got, want in zip(replies, case.get("replies", []), strict=True):
        assert got["message"] == want["message"]
        assert got.get("code") == want.get("code", got.get("code"))
        assert got.get("bytes", b"") == as_bytes(want.get("bytes", ""))


# --- upgrade ----------------------------------------------------------------------------------


@pytest.mark.parametrize("piece", [1, 16384])
@pytest.mark.parametrize("case", params(UPGRADE["requests"]))
def test_upgrade_request(case: Case, piece: int) -> None:
    data = as_bytes(case["request"])
    rest = as_bytes(case.get("rest", ""))
    upgrade = ServerUpgrade()
    asked = None
    pieces = [data[at : at + piece] for at in range(0, len(data), piece)]
    pieces[-1] += rest
    if case["status"] != 101:
        with pytest.raises(HandshakeError) as caught:
            for part in pieces:
                assert upgrade.receive_data(part) is None
        assert caught.value.status == case["status"]
        answer = upgrade.data_to_send
        assert answer.startswith(b"HTTP/1.1 %d " % case["status"])
        assert b"\r\nsec-websocket-protocol: restsock.v1\r\n" in answer.lower()
        if case["status"] == 426:
            assert b"\r\nupgrade: websocket\r\n" in answer.lower()
            assert b"\r\nsec-websocket-version: 13\r\n" in answer.lower()
            body = answer.split(b"\r\n\r\n", 1)[1]
            assert (b"restsock" in body) is not data.startswith(b"HEAD ")
        return
    for part in pieces:
        assert asked is None
        asked = upgrade.receive_data(part)
    assert asked is not None
    assert asked.target == case["target"].encode()
    assert upgrade.trailing_data == rest
    answer = upgrade.accept()
    assert answer.startswith(b"HTTP/1.1 101 ")
    assert f"\r\nsec-websocket-accept: {case['accept']}\r\n".lower().encode() in answer.lower()
    assert b"\r\nsec-websocket-protocol: restsock.v1\r\n" in answer.lower()


@pytest.mark.parametrize("piece", [1, 16384])
@pytest.mark.parametrize("case", params(UPGRADE["responses"]))
def test_upgrade_response(case: Case, piece: int) -> None:
    key = base64.b64decode(UPGRADE["key"])
    upgrade = ClientUpgrade(host="hub.example", target="/tunnel", headers=(), key=key)
    data = as_bytes(case["response"])
    rest = as_bytes(case.get("rest", ""))
    pieces = [data[at : at + piece] for at in range(0, len(data), piece)]
    pieces[-1] += rest
    if case["ok"]:
        assert [upgrade.receive_data(part) for part in pieces] == [False] * (len(pieces) - 1) + [
            True
        ]
        assert upgrade.trailing_data == rest
        return
    with pytest.raises(HandshakeError) as caught:
        for part in [*pieces, b""]:
            assert not upgrade.receive_data(part)
    assert caught.value.status == case.get("status")
    assert caught.value.by_listener is case.get("by_listener", False)


def test_both_ends_of_an_upgrade() -> None:
    key = base64.b64decode(UPGRADE["key"])
    client = ClientUpgrade(
        host="hub.example", target="/tunnel?x=1", headers=[(b"Authorization", b"Bearer t")], key=key
    )
    server = ServerUpgrade()
    asked = server.receive_data(client.request)
    assert asked is not None
    assert asked.target == b"/tunnel?x=1"
    assert (b"Authorization", b"Bearer t") in list(asked.headers)
    assert client.receive_data(server.accept())
    assert SUBPROTOCOL == "restsock.v1"


# --- the worked example -----------------------------------------------------------------------


def test_example_stands_in_the_spec() -> None:
    text = (SPEC / "protocol.md").read_text("utf-8")
    shown = text[text.index("## 19. A worked example") :]
    dumps = re.findall(r"```\n(.*?)```", shown, re.DOTALL)
    octets = [
        "".join(line[3:50].replace(" ", "") for line in dump.rstrip().split("\n")) for dump in dumps
    ]
    for step in EXAMPLE["steps"]:
        assert step["wire"] in octets, step["what"]
        assert step.get("text", "") in shown


def test_example() -> None:
    """Each end, fed with what the other sends in the example, goes on as the example says."""
    for role in ("dialer", "listener"):
        websocket = WebSocket(client=role == "dialer", max_message=MAX_MESSAGE)
        multiplexer = make_multiplexer(role)
        for step in EXAMPLE["steps"]:
            if step["from"] == role:
                _play(multiplexer, step)
                continue
            websocket.receive_data(bytes.fromhex(step["wire"]))
            event = websocket.next_event()
            if "close" in step:
                assert event == CloseReceived(step["close"], "")
            elif "text" in step:
                assert event == TextMessage(step["text"])
                multiplexer.receive_message(step["text"])
            else:
                message = bytes.fromhex(step["message"])
                assert event == BinaryMessage(message)
                multiplexer.receive_message(message)


def _play(multiplexer: Multiplexer, step: Case) -> None:
    """Lets one end send what the example has it send; frames come out as the same bytes."""
    what = step["what"].split(",")[0].split(":")[0]
    if "close" in step:
        return
    if what == "hello":
        multiplexer.send_hello("edge-1", None)
    elif what == "welcome":
        multiplexer.send_welcome(json.loads(step["text"])["payload"]["connection_id"])
    elif "GET /pets" in step["what"]:
        multiplexer.open_stream(RequestHead(b"GET", b"/pets", [(b"Host", b"edge-1")]), end=True)
    elif "200" in step["what"]:
        headers = [(b"Content-Type", b"application/json"), (b"Content-Length", b"2")]
        multiplexer.send_head(2, ResponseHead(200, headers, b"OK"))
        multiplexer.send_data(2, b"[]")
        multiplexer.send_end(2)
    elif what == "GOAWAY":
        multiplexer.send_goaway(1000)
    (message,) = drain(multiplexer)
    events(multiplexer)
    if isinstance(message, str):
        assert json.loads(message)["type"] == json.loads(step["text"])["type"]
    else:
        assert message == bytes.fromhex(step["message"])
