"""The same exchanges with and without TLS, whatever pieces the bytes come in."""

from __future__ import annotations

import ssl
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from restsock._exceptions import RemoteProtocolError
from restsock._options import Limits
from restsock.protocol import (
    HEADER_SIZE,
    TLS,
    CloseReceived,
    DataReceived,
    MultiplexerEvent,
    Ping,
    Pipeline,
    Pong,
    RequestHead,
    RequestReceived,
    WebSocket,
    WebSocketEvent,
)
from restsock.protocol._frames import FrameType, encode_ping, encode_pong
from tests.protocol.test_tls import shake
from tests.protocol.vectors import open_multiplexer
from tests.tls_pair import tls_ends

HEAD = RequestHead(b"POST", b"/", [(b"Host", b"edge-1")])
KEY = b"\x01\x02\x03\x04"


def websocket(*, client: bool) -> WebSocket:
    return WebSocket(client=client, max_message=131080, mask_key=lambda: KEY, split=HEADER_SIZE)


def pipelines(*, tls: bool) -> tuple[Pipeline, Pipeline]:
    ends: tuple[TLS, TLS] | tuple[None, None] = (None, None)
    if tls:
        ends = tls_ends()
        shake(*ends)
    dialer, listener = (open_multiplexer(role, Limits()) for role in ("dialer", "listener"))
    return (
        Pipeline(websocket(client=True), dialer, ends[0]),
        Pipeline(websocket(client=False), listener, ends[1]),
    )


def events_of(pipeline: Pipeline) -> Iterator[MultiplexerEvent]:
    yield from pipeline.multiplexer.events.take()


def take_all(pipeline: Pipeline) -> bytes:
    return b"".join(iter(pipeline.data_to_send, b""))


@pytest.mark.parametrize("tls", [False, True])
@given(sizes=st.lists(st.integers(1, 9000), max_size=30))
def test_any_cut_of_the_bytes_gives_the_same_events(tls: bool, sizes: list[int]) -> None:
    here, there = pipelines(tls=tls)
    stream = here.multiplexer.open_stream(HEAD)
    here.multiplexer.send_data(stream, b"x" * 30_000)
    here.websocket.send_ping(b"alive")
    assert here.has_output
    data = take_all(here)
    assert not here.has_output
    assert (b"POST" in data) is False  # masked, or encrypted
    found: list[MultiplexerEvent] = []
    others: list[WebSocketEvent] = []
    for size in [*sizes, len(data)]:
        piece, data = data[:size], data[size:]
        if piece:
            others += there.receive_data(piece)
            found += events_of(there)
    assert isinstance(found[0], RequestReceived)
    body = b"".join(event.data for event in found if isinstance(event, DataReceived))
    assert body == b"x" * 30_000
    assert [type(event).__name__ for event in others] == ["Ping"]
    others = here.receive_data(take_all(there))
    assert others == [Pong(b"alive")]


@pytest.mark.parametrize("tls", [False, True])
def test_a_close_ends_the_batch(tls: bool) -> None:
    here, there = pipelines(tls=tls)
    here.multiplexer.open_stream(HEAD, end=True)
    others = there.receive_data(here.data_to_send((1001, "bye")))
    assert others == [CloseReceived(1001, "bye")]
    assert any(isinstance(event, RequestReceived) for event in events_of(there))
    here.receive_data(take_all(there))
    take_all(here)
    assert here.websocket.close_received
    assert here.ended == tls  # the answer was the last that the peer had to say


@pytest.mark.parametrize("tls", [False, True])
def test_what_was_whole_before_a_fault_is_there(tls: bool) -> None:
    here, there = pipelines(tls=tls)
    here.multiplexer.open_stream(HEAD, end=True)
    data = take_all(here)
    if tls:
        with pytest.raises(ssl.SSLError):
            there.receive_data(data + b"\x17\x03\x03\x00\x20" + b"?" * 32)
    else:
        with pytest.raises(RemoteProtocolError):
            there.receive_data(data + b"\xff\x80" + KEY)
    assert any(isinstance(event, RequestReceived) for event in events_of(there))


def test_what_the_handshake_left_in_tls_is_read_with_nothing() -> None:
    here, there = pipelines(tls=True)
    here.multiplexer.open_stream(HEAD, end=True)
    assert there.tls is not None
    there.tls.receive_data(take_all(here))
    assert there.receive_data(b"") == []
    assert any(isinstance(event, RequestReceived) for event in events_of(there))


@pytest.mark.parametrize("tls", [False, True])
def test_a_batch_is_bounded(tls: bool) -> None:
    here, there = pipelines(tls=tls)
    for _ in range(4):
        stream = here.multiplexer.open_stream(HEAD)
        here.multiplexer.send_data(stream, b"x" * 60_000)
    sizes = []
    while data := here.data_to_send():
        sizes.append(len(data))
        there.receive_data(data)
    assert len(sizes) > 1
    assert max(sizes) < 64 * 1024 + 64 * 1024 + 1024


def test_pings_go_by_frames_where_there_are_none_of_the_websocket() -> None:
    here, there = pipelines(tls=False)
    there.ping_frames = True
    there.send_ping(b"12345678")
    assert there.can_ping == there.multiplexer.peer.ping_frames
    assert here.receive_data(take_all(there)) == [Ping(b"12345678")]  # and is answered
    assert there.receive_data(take_all(here)) == [Pong(b"12345678")]
    assert list(events_of(here)) == list(events_of(there)) == []


@pytest.mark.parametrize("ping_frames", [False, True])
def test_pong_frames_that_nobody_has_asked_for_take_no_memory(*, ping_frames: bool) -> None:
    here, there = pipelines(tls=False)
    here.ping_frames = ping_frames
    for number in range(1000):
        there.websocket.send_binary(encode_pong(number.to_bytes(8, "big")))
    pongs = here.receive_data(take_all(there))
    assert len(pongs) == (16 if ping_frames else 0)
    assert here.multiplexer.events.beats == ()
    for number in range(1000):
        here.multiplexer.receive_message(encode_pong(number.to_bytes(8, "big")))
    latest = [Pong(number.to_bytes(8, "big")) for number in range(984, 1000)]
    assert list(here.multiplexer.take_beats()) == latest
    assert here.multiplexer.take_beats() == ()


def test_pongs_leave_ahead_of_what_waits() -> None:
    here, there = pipelines(tls=False)
    there.ping_frames = True
    stream = here.multiplexer.open_stream(HEAD)
    here.multiplexer.send_data(stream, b"x" * 30_000)
    there.send_ping(b"12345678")
    here.receive_data(take_all(there))
    message = here.multiplexer.next_message()
    assert isinstance(message, tuple)
    assert message[0][0] == FrameType.PONG


def test_pings_are_answered_in_order_and_ahead_of_what_waits() -> None:
    here, there = pipelines(tls=False)
    there.ping_frames = True
    stream = here.multiplexer.open_stream(HEAD)
    here.multiplexer.send_data(stream, b"x" * 30_000)
    here.multiplexer.send_goaway(0)
    payloads = [b"%08d" % number for number in range(5)]
    for payload in payloads[:3]:
        there.send_ping(payload)
    here.receive_data(take_all(there))
    here.multiplexer.send_ping(b"question")
    for payload in payloads[3:]:
        there.send_ping(payload)
    here.receive_data(take_all(there))
    sent = [here.multiplexer.next_message() for _ in range(8)]
    frames = [b"".join(parts) for parts in sent if isinstance(parts, tuple)]
    assert frames[:6] == [
        *(encode_pong(payload) for payload in payloads[:3]),
        encode_ping(b"question"),
        *(encode_pong(payload) for payload in payloads[3:]),
    ]
    assert [frame[0] for frame in frames[6:]] == [FrameType.GOAWAY, FrameType.HEAD]
    here.receive_data(b"")
    there.send_ping(b"anew....")  # and what was sent is not counted any more
    here.multiplexer.send_data(stream, b"x")
    here.receive_data(take_all(there))
    parts = here.multiplexer.next_message()
    assert isinstance(parts, tuple)
    assert b"".join(parts) == encode_pong(b"anew....")


def test_after_a_close_nothing_is_pinged() -> None:
    here, _ = pipelines(tls=False)
    here.websocket.close(1000)
    take_all(here)
    for here.ping_frames in (False, True):
        here.send_ping(b"12345678")
        assert take_all(here) == b""
