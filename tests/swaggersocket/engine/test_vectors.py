"""spec/vectors/swaggersocket.json: recorded bytes, read and, where nothing is open, written."""

from __future__ import annotations

import pytest

from restsock.protocol import (
    ClientUpgrade,
    HandshakeCompleted,
    HelloReceived,
    ResponseHead,
    ServerUpgrade,
)
from tests.protocol.vectors import Case, as_bytes, as_headers, params

from .ends import VECTORS, End, shaken


@pytest.mark.parametrize("case", params(VECTORS["upgrade"]))
def test_an_upgrade_is_accepted(case: Case) -> None:
    upgrade = ServerUpgrade(None)
    request = upgrade.receive_data(as_bytes(case["head"]))
    assert request is not None
    assert request.target == b"/"
    answer = upgrade.accept()
    assert answer.startswith(b"HTTP/1.1 101 ")
    assert b"protocol:" not in answer.lower()


def test_an_upgrade_is_written_as_recorded() -> None:
    case = VECTORS["upgrade"][0]
    upgrade = ClientUpgrade(
        host="127.0.0.1:8301", target="/", headers=[], key=b"the sample nonce", subprotocol=None
    )
    assert upgrade.request == as_bytes(case["head"])
    assert upgrade.receive_data(as_bytes(case["answer"]) + b"rest")
    assert upgrade.trailing_data == b"rest"


def test_an_upgrade_is_answered_as_recorded() -> None:
    """But for the order and the case of the fields."""
    case = VECTORS["upgrade"][0]
    upgrade = ServerUpgrade(None)
    upgrade.receive_data(as_bytes(case["head"]))
    assert fields_of(upgrade.accept()) == fields_of(as_bytes(case["answer"]))


def fields_of(head: bytes) -> list[tuple[bytes, bytes]]:
    first, *lines = head.removesuffix(b"\r\n\r\n").split(b"\r\n")
    found = [(first, b"")]
    for line in lines:
        name, _, value = line.partition(b": ")
        found.append((name.lower(), value))
    return sorted(found)


@pytest.mark.parametrize("case", params(VECTORS["handshake"]))
def test_a_handshake(case: Case) -> None:
    listener, dialer = End("listener"), End("dialer")
    first, ack = map(bytes.fromhex, case["dialer"])
    (told,) = map(bytes.fromhex, case["listener"])
    dialer.multiplexer.send_hello(None, case["metadata"])
    assert dialer.taken() == first
    listener.receive(first)
    assert listener.told() == [HelloReceived(None, case["metadata"])]
    listener.multiplexer.send_welcome(case["connection_id"])
    assert listener.taken() == told
    dialer.receive(told)
    assert dialer.told() == [HandshakeCompleted(case["connection_id"])]
    assert dialer.taken() == ack
    listener.receive(ack)
    assert listener.told() == [HandshakeCompleted(case["connection_id"])]
    assert listener.problem is dialer.problem is None


def ends_of(case: Case) -> tuple[End, End]:
    """The end that serves, and the end that asks."""
    server = shaken(case["serves"])
    return server, shaken("listener" if server.dialer else "dialer")


@pytest.mark.parametrize("case", params(VECTORS["exchanges"]))
def test_an_exchange(case: Case) -> None:
    server, client = ends_of(case)
    body = as_bytes(case.get("body", ""))
    client.request(case["method"], case["target"], as_headers(case["headers"]), body)
    assert client.taken() == bytes.fromhex(case["request"])
    server.receive(bytes.fromhex(case["request"]))
    head = ("request", case["method"].encode(), case["target"].encode())
    told = server.told()
    assert told[0] == (*head, as_headers(case["headers"]))
    assert [part[1] for part in told if part[0] == "data"] == ([body] if body else [])
    assert told[-1] == ("end", [])

    # What the app says is what the head has without the fields that the wire adds.
    answer = case["answer"]
    added = ("X-Correlation-Id", "Transfer-Encoding")
    fields = [field for field in answer["headers"] if field[0] not in added]
    frames = list(map(bytes.fromhex, case["responses"]))
    parts = [as_bytes(part) for part in answer["body"]]
    multiplexer = server.multiplexer
    multiplexer.send_head(server.latest, ResponseHead(answer["status"], as_headers(fields), b"OK"))
    sent = []
    for part in parts:
        multiplexer.send_data(server.latest, part)
        if len(frames) == 1:
            multiplexer.send_end(server.latest)
        sent.append(server.taken())
    if len(frames) > 1:
        multiplexer.send_end(server.latest)
        sent.append(server.taken())
    assert payloads(sent) == payloads(frames)  # one message for each flush

    client.receive(*frames)
    status, *rest = client.told()
    without = [field for field in answer["headers"] if field[0] != "Transfer-Encoding"]
    assert status == ("response", answer["status"], as_headers(without))
    assert rest == [("data", b"".join(parts)), ("end", [])]
    assert client.multiplexer.can_open
    assert client.problem is server.problem is None


def payloads(frames: list[bytes]) -> list[bytes]:
    """What is in frames, masked by zeros or not; the order of fields in a head has no meaning."""
    found = []
    for one in frames:
        size, at = one[1] & 0x7F, 2
        if size == 126:
            size, at = int.from_bytes(one[2:4], "big"), 4
        at += 4 if one[1] & 0x80 else 0
        assert len(one) == at + size
        head, blank, body = one[at:].partition(b"\r\n\r\n")
        if head.startswith(b"HTTP/"):
            first, *fields = head.split(b"\r\n")
            found.append(b"\r\n".join([first, *sorted(fields)]) + blank + body)
        else:
            found.append(one[at:])
    return found


def test_what_leaves_nothing_open_is_written_byte_for_byte() -> None:
    case = next(c for c in VECTORS["exchanges"] if c["name"] == "a small response")
    server, _ = ends_of(case)
    server.receive(bytes.fromhex(case["request"]))
    fields = [f for f in case["answer"]["headers"] if f[0] != "X-Correlation-Id"]
    server.respond(200, as_headers(fields), as_bytes(case["answer"]["body"]))
    assert server.taken() == bytes.fromhex(case["responses"][0])


@pytest.mark.parametrize("case", params(VECTORS["faults"]))
def test_a_fault(case: Case) -> None:
    client = shaken("dialer")
    client.request()
    client.receive(bytes.fromhex(case["frame"]))
    if "lost" in case["name"]:
        assert client.told() == [("failed", 7, True)]
        assert client.multiplexer.can_open
    else:
        (close,) = client.others
        assert getattr(close, "code", None) == 1000
