"""Whatever the pieces and the fragments, the same bytes give the same events."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from restsock._exceptions import LocalProtocolError
from restsock._options import Limits
from restsock.protocol import RequestHead
from tests.protocol.vectors import Case, params
from tests.strategies import request_heads

from .ends import VECTORS, End, frame, shaken


def payload_of(recorded: bytes) -> bytes:
    size, at = recorded[1] & 0x7F, 2
    if size == 126:
        size, at = int.from_bytes(recorded[2:4], "big"), 4
    return recorded[at + (4 if recorded[1] & 0x80 else 0) :]


def fragmented(payload: bytes, cuts: list[int], to: End) -> bytes:
    """A message in frames that are cut there, with a ping between each two."""
    places = sorted({cut % (len(payload) + 1) for cut in cuts})
    bounds = [0, *places, len(payload)]
    pieces = [payload[a:b] for a, b in itertools.pairwise(bounds)]
    ping = frame(b"p", to=to, opcode=9)
    frames = [
        frame(piece, to=to, opcode=0 if number else 1, fin=number == len(pieces) - 1)
        for number, piece in enumerate(pieces)
    ]
    return ping.join(frames)


def divided(data: bytes, cuts: list[int]) -> list[bytes]:
    places = sorted({cut % (len(data) + 1) for cut in cuts})
    bounds = [0, *places, len(data)]
    return [data[a:b] for a, b in itertools.pairwise(bounds)]


CUTS = st.lists(st.integers(0, 2**16), max_size=8)


@pytest.mark.parametrize("case", params(VECTORS["exchanges"]))
@given(fragments=CUTS, pieces=CUTS)
def test_any_division_of_a_recorded_request(
    case: Case, fragments: list[int], pieces: list[int]
) -> None:
    recorded = bytes.fromhex(case["request"])
    plain, other = shaken(case["serves"]), shaken(case["serves"])
    plain.receive(recorded)
    wire = fragmented(payload_of(recorded), fragments, other)
    other.receive(*divided(wire, pieces))
    assert other.told() == plain.told()
    assert other.problem is None
    for end in (plain, other):
        end.taken()
        end.respond(200, [], b"x")
    assert other.taken() == plain.taken()


@pytest.mark.parametrize("case", params(VECTORS["exchanges"]))
@given(fragments=CUTS, pieces=CUTS)
def test_any_division_of_a_recorded_response(
    case: Case, fragments: list[int], pieces: list[int]
) -> None:
    role = "listener" if case["serves"] == "dialer" else "dialer"
    id = dict(case["headers"])["X-Correlation-Id"].encode()
    frames = list(map(bytes.fromhex, case["responses"]))
    told: list[Any] = []
    for cuts, places in (([], []), (fragments, pieces)):
        end = shaken(role)
        end.request(case["method"], case["target"], [(b"Host", b"x"), (b"X-Correlation-Id", id)])
        wire = b"".join(fragmented(payload_of(one), cuts, end) for one in frames)
        end.receive(*divided(wire, places))
        told.append(end.told())
        assert end.problem is None
        assert end.multiplexer.can_open
    assert told[0] == told[1]


@given(fragments=CUTS, pieces=CUTS)
def test_any_division_of_the_handshake(fragments: list[int], pieces: list[int]) -> None:
    steps = VECTORS["handshake"][1]
    listener = End("listener")
    first, ack = (payload_of(bytes.fromhex(one)) for one in steps["dialer"])
    listener.receive(*divided(fragmented(first, fragments, listener), pieces))
    listener.multiplexer.send_welcome(steps["connection_id"])
    listener.taken()
    listener.receive(*divided(fragmented(ack, fragments, listener), pieces))
    assert listener.problem is None
    assert [type(event).__name__ for event in listener.told()] == [
        "HelloReceived",
        "HandshakeCompleted",
    ]


@given(
    st.sampled_from(["dialer", "listener"]),
    st.lists(st.binary(max_size=60), max_size=6),
    CUTS,
    st.booleans(),
)
def test_arbitrary_messages_raise_only_what_is_documented(
    role: str, messages: list[bytes], pieces: list[int], asks: bool
) -> None:
    end = shaken(role)
    if asks:
        end.request("POST", "/", body=b"x")
    wire = b"".join(frame(message, to=end) for message in messages)
    end.receive(*divided(wire, pieces))
    if end.problem is None and not (end.layer.own.reading or end.layer.peer.answering):
        # And a request in order is served after it.
        end.told()
        end.receive(frame(b"GET /next HTTP/1.1\r\nHost: a\r\n\r\n", to=end))
        assert ("request", b"GET", b"/next", [(b"Host", b"a")]) in end.told()


@given(st.lists(st.binary(max_size=60), max_size=4))
def test_arbitrary_messages_in_place_of_a_handshake(messages: list[bytes]) -> None:
    for role in ("dialer", "listener"):
        end = End(role)
        if end.dialer:
            end.multiplexer.send_hello(None, None)
        end.receive(*(frame(message, to=end) for message in messages))
        assert not end.multiplexer.accepts_streams
        assert end.problem is None or end.problem.close_code == 4000
        assert (end.problem is not None) == bool(messages)


@pytest.mark.parametrize("consume", [True, False])
@given(st.lists(st.binary(min_size=1, max_size=3000), min_size=1, max_size=40))
def test_a_response_never_exceeds_its_credit(consume: bool, chunks: list[bytes]) -> None:
    limits = Limits(initial_window=16 * 1024, max_window=16 * 1024, receive_budget=0)
    end = shaken("dialer", limits=limits, consume=consume)
    end.request()
    end.receive(frame(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", to=end))
    for chunk in chunks:
        end.receive(frame(b"%x\r\n%b\r\n" % (len(chunk), chunk), to=end))
    end.receive(frame(b"0\r\n\r\n", to=end))
    assert end.problem is None
    told = end.told()
    body = b"".join(part[1] for part in told if part[0] == "data")
    whole = b"".join(chunks)
    assert whole.startswith(body)
    assert not any(part[0] == "failed" for part in told)
    if consume:
        assert body == whole
        assert told[-1] == ("end", [])
    elif len(whole) > 16 * 1024:
        assert end.layer.paused
        assert len(body) <= 16 * 1024


FIELDS = st.sampled_from(
    [
        (b"Host", b"other"),
        (b"Content-Length", b"3"),
        (b"Content-Length", b"0"),
        (b"Transfer-Encoding", b"chunked"),
        (b"Connection", b"close, x-a"),
        (b"Expect", b"100-continue"),
        (b"X-Correlation-Id", b""),
        (b"x-correlation-id", b"a b \xff"),
        (b"X-A", b""),
        (b"TE", b"trailers"),
        (b"Upgrade", b"websocket"),
    ]
)


@given(
    request_heads(),
    st.sampled_from([b"", b"CONNECT", b"HEAD", b"POST", b"OPTIONS", b"TRACE"]),
    st.lists(FIELDS, max_size=4),
    st.binary(max_size=5),
    st.booleans(),
)
def test_whatever_is_accepted_can_be_sent_and_is_read_as_it_was(
    head: RequestHead, method: bytes, fields: list[tuple[bytes, bytes]], body: bytes, trails: bool
) -> None:
    end, peer = shaken("dialer"), shaken("listener")
    head = head._replace(method=method or head.method, headers=[*head.headers, *fields])
    try:
        stream_id = end.multiplexer.open_stream(head, end=not body)
        if body:
            end.multiplexer.send_data(stream_id, body)
            end.multiplexer.send_end(stream_id, [(b"X-T", b"1")] if trails else ())
    except LocalProtocolError:
        return
    sent = end.taken()
    peer.receive(sent)
    told = peer.told()
    assert told, (sent, peer.notes)
    if told[0][0] == "request":  # else it is one that no server takes, as a CONNECT
        assert told[0][1] == head.method
        assert b"".join(event[1] for event in told if event[0] == "data") == body
        assert told[-1] == ("end", [])
