"""Receiver: what frames of the peer do, beyond the vectors."""

from __future__ import annotations

import pytest

from restsock._exceptions import LocalProtocolError, RemoteProtocolError
from restsock._options import Limits
from restsock.protocol import (
    CloseCode,
    DataReceived,
    EndReceived,
    RequestReceived,
    ResetCode,
    ResponseHead,
    ResponseReceived,
    StopSending,
    StreamClosed,
    StreamFailed,
    StreamRejected,
)
from restsock.protocol._frames import (
    END,
    Frame,
    FrameType,
    decode_reset,
    encode_frame,
)
from tests.protocol.by_hand import (
    GET,
    GET_BYTES,
    OK_BYTES,
    POST,
    POST_BYTES,
    SWITCH,
    UPGRADE,
    data,
    head,
    sent,
)
from tests.protocol.vectors import (
    drain,
    events,
    make_multiplexer,
    open_multiplexer,
)


def lines(count: int) -> bytes:
    return b"a:\r\n" * count + b"\r\n"


@pytest.mark.parametrize("size", [b"", b"b: " + b"v" * 5000 + b"\r\n"])
def test_a_request_with_too_many_fields(size: bytes) -> None:
    multiplexer = open_multiplexer("listener", Limits(max_fields=20))
    start = b"GET / HTTP/1.1\r\nHost: a\r\n" + size
    more = 19 - bool(size)
    multiplexer.receive_message(head(1, start + lines(more)))
    multiplexer.receive_message(head(3, start + lines(more + 1), end=False))
    found = events(multiplexer)
    assert [e.stream_id for e in found if isinstance(e, RequestReceived)] == [1]
    assert [e.limit for e in found if isinstance(e, StreamRejected)] == ["max_fields"]
    answer, reset = sent(multiplexer)
    assert answer.payload.startswith(b"HTTP/1.1 431 ")
    assert decode_reset(reset.payload)[0] == ResetCode.NO_ERROR


@pytest.mark.parametrize(
    ("heads", "fits"),
    [
        ([b"HTTP/1.1 200 \r\n" + lines(20)], True),
        ([b"HTTP/1.1 200 \r\n" + lines(21)], False),
        ([b"HTTP/1.1 103 \r\n" + lines(20), b"HTTP/1.1 200 \r\n" + lines(20)], True),
        ([b"HTTP/1.1 103 \r\n" + lines(21)], False),
        ([b"HTTP/1.1 103 \r\n" + lines(20)] * 3, False),
        ([b"HTTP/1.1 103 \r\n" + lines(0)] * 500, True),
        ([b"HTTP/1.1 200 \r\n" + lines(20), lines(20)], True),
        ([b"HTTP/1.1 200 \r\n" + lines(20), lines(21)], False),
        ([b"HTTP/1.1 103 \r\n" + lines(1), OK_BYTES[:-2] + lines(20), lines(20)], False),
    ],
)
def test_a_response_with_too_many_fields(heads: list[bytes], fits: bool) -> None:
    multiplexer = open_multiplexer("dialer", Limits(max_fields=20))
    multiplexer.open_stream(GET, end=True)
    drain(multiplexer)
    for one in heads:
        multiplexer.receive_message(head(1, one, end=one.startswith(b"a:")))
    failures = [e for e in events(multiplexer) if isinstance(e, StreamFailed)]
    if fits:
        assert failures == []
    else:
        assert [(e.code, e.limit) for e in failures] == [(ResetCode.TOO_LARGE, "max_fields")]


def test_a_complete_response_ends_an_incomplete_request() -> None:
    multiplexer = open_multiplexer("listener")
    multiplexer.receive_message(head(1, POST_BYTES, end=False))
    multiplexer.send_head(1, ResponseHead(413, []))
    multiplexer.send_end(1)
    answer, reset = sent(multiplexer)
    assert (answer.type, answer.flags) == (FrameType.HEAD, END)
    assert decode_reset(reset.payload) == (ResetCode.NO_ERROR, "")
    assert multiplexer.open_streams == 0
    multiplexer.receive_message(data(1, b"still under way", end=True))
    assert [type(e) for e in events(multiplexer)] == [RequestReceived, StreamClosed]


def test_stop_sending_drops_what_waits() -> None:
    multiplexer = open_multiplexer("dialer", remote={"initial_window": 16384})
    multiplexer.open_stream(POST)
    multiplexer.send_data(1, bytes(100_000))
    drain(multiplexer)
    multiplexer.receive_message(head(1, OK_BYTES))
    multiplexer.receive_message(encode_frame(FrameType.RESET, 0, 1, b"\0\0"))
    assert [type(e) for e in events(multiplexer)] == [
        ResponseReceived,
        EndReceived,
        StopSending,
        StreamClosed,
    ]
    assert multiplexer.buffered(1) == multiplexer.open_streams == 0
    assert drain(multiplexer) == []


def test_a_refusal_does_not_reach_the_app_and_is_told_to_the_log() -> None:
    multiplexer = open_multiplexer("listener", Limits(max_streams=1))
    multiplexer.receive_message(head(1, GET_BYTES))
    multiplexer.receive_message(head(3, GET_BYTES))
    multiplexer.receive_message(head(5, b"nonsense\r\n\r\n"))
    found = events(multiplexer)
    assert [e for e in found if isinstance(e, RequestReceived)] == [RequestReceived(1, GET)]
    assert [e.stream_id for e in found if isinstance(e, StreamRejected)] == [3, 5]
    assert multiplexer.open_streams == 1
    assert multiplexer.last_peer_stream_id == 5


def test_every_stream_that_was_reported_is_reported_closed_once() -> None:
    multiplexer = open_multiplexer("listener")
    multiplexer.receive_message(head(1, POST_BYTES, end=False))
    multiplexer.receive_message(head(3, GET_BYTES))
    multiplexer.receive_message(head(5, GET_BYTES))
    multiplexer.receive_message(data(1, bytes(65_537)))  # above max_frame
    multiplexer.receive_message(encode_frame(FrameType.RESET, 0, 3, b"\0\1"))
    multiplexer.reset_stream(5, ResetCode.INTERNAL)
    multiplexer.reset_stream(5, ResetCode.INTERNAL)
    found = events(multiplexer)
    assert sorted(e.stream_id for e in found if isinstance(e, StreamClosed)) == [1, 3, 5]
    failed = {e.stream_id: e for e in found if isinstance(e, StreamFailed)}
    assert (failed[1].code, failed[1].by_peer) == (ResetCode.PROTOCOL, False)
    assert (failed[3].code, failed[3].by_peer) == (ResetCode.CANCEL, True)
    assert 5 not in failed
    assert multiplexer.open_streams == 0


def test_goaway_closes_what_was_not_started_and_opening() -> None:
    multiplexer = open_multiplexer("dialer")
    for _ in range(3):
        multiplexer.open_stream(GET, end=True)
    drain(multiplexer)
    multiplexer.receive_message(encode_frame(FrameType.GOAWAY, 0, 0, b"\0\0\0\1\x03\xe9bye"))
    failed = [e for e in events(multiplexer) if isinstance(e, StreamFailed)]
    assert [(e.stream_id, e.code) for e in failed] == [
        (3, ResetCode.REFUSED),
        (5, ResetCode.REFUSED),
    ]
    assert not multiplexer.accepts_streams
    assert not multiplexer.can_open
    with pytest.raises(LocalProtocolError):
        multiplexer.open_stream(GET)
    # The other direction goes on.
    multiplexer.receive_message(head(2, GET_BYTES))
    assert [type(e) for e in events(multiplexer)] == [RequestReceived, EndReceived]


def test_goaway_is_sent_once_with_the_last_stream_that_was_started() -> None:
    multiplexer = open_multiplexer("listener")
    multiplexer.receive_message(head(5, GET_BYTES))
    multiplexer.send_goaway(CloseCode.GOING_AWAY, "restart")
    multiplexer.send_goaway(CloseCode.NORMAL)
    (frame,) = sent(multiplexer)
    assert frame == Frame(FrameType.GOAWAY, 0, 0, b"\0\0\0\5\x03\xe9restart")
    assert not multiplexer.accepts_streams


def test_no_goaway_before_the_handshake_is_done() -> None:
    multiplexer = make_multiplexer("listener")
    multiplexer.send_goaway(CloseCode.GOING_AWAY)
    assert drain(multiplexer) == []


def test_credit_is_not_returned_after_the_end() -> None:
    multiplexer = open_multiplexer("listener")
    multiplexer.receive_message(head(1, POST_BYTES, end=False))
    for _ in range(4):
        multiplexer.receive_message(data(1, bytes(16384)))
    multiplexer.consume(1, 40_000, 0.0)
    assert [f.type for f in sent(multiplexer)] == [FrameType.WINDOW]
    multiplexer.receive_message(data(1, b"", end=True))
    multiplexer.consume(1, 25_536, 0.0)
    assert sent(multiplexer) == []


def test_windows_grow_for_a_reader_that_keeps_up() -> None:
    limits = Limits(initial_window=16384, max_window=65536, receive_budget=49152)
    multiplexer = open_multiplexer("listener", limits)
    multiplexer.round_trip = 1.0
    multiplexer.receive_message(head(1, POST_BYTES, end=False))
    credit, now = 16384, 0.0
    for _ in range(20):
        while credit:
            size = min(credit, 16384)
            multiplexer.receive_message(data(1, bytes(size)))
            credit -= size
            multiplexer.consume(1, size, now)
        now += 0.1
        credit += sum(int.from_bytes(f.payload, "big") for f in sent(multiplexer))
    assert credit == 65536
    assert not [e for e in events(multiplexer) if isinstance(e, StreamFailed)]


def test_a_stream_that_nobody_reads_does_not_hold_up_the_others() -> None:
    limits = Limits(initial_window=16384, max_window=65536, receive_budget=0)
    multiplexer = open_multiplexer("listener", limits)
    for stream_id in (1, 3, 5):
        multiplexer.receive_message(head(stream_id, POST_BYTES, end=False))
        multiplexer.receive_message(data(stream_id, bytes(16384)))
    multiplexer.consume(5, 16384, 0.0)
    assert [(f.type, f.stream_id) for f in sent(multiplexer)] == [(FrameType.WINDOW, 5)]
    multiplexer.receive_message(data(5, bytes(16384), end=True))
    assert not [e for e in events(multiplexer) if isinstance(e, StreamFailed)]


def test_a_peer_that_sends_much_and_reads_nothing_is_cut_off() -> None:
    multiplexer = open_multiplexer("listener", Limits(max_streams=0))
    with pytest.raises(RemoteProtocolError) as caught:
        for number in range(10_000):
            multiplexer.receive_message(head(2 * number + 1, GET_BYTES))
            events(multiplexer)
    assert caught.value.close_code == CloseCode.PROTOCOL_ERROR
    assert len(drain(multiplexer)) < 10_000


def test_a_peer_that_reads_may_continue_indefinitely() -> None:
    multiplexer = open_multiplexer("listener", Limits(max_streams=0))
    for number in range(10_000):
        multiplexer.receive_message(head(2 * number + 1, GET_BYTES))
        events(multiplexer)
        assert len(drain(multiplexer)) == 1


def test_the_budget_comes_back_when_streams_end() -> None:
    limits = Limits(initial_window=16384, max_window=32768, receive_budget=16384)
    multiplexer = open_multiplexer("listener", limits)
    multiplexer.round_trip = 1.0
    for number in range(3):
        stream_id = 2 * number + 1
        multiplexer.receive_message(head(stream_id, POST_BYTES, end=False))
        grown = 0
        for now in (0.0, 0.1):
            multiplexer.receive_message(data(stream_id, bytes(8192)))
            multiplexer.consume(stream_id, 8192, now)
            grown += sum(int.from_bytes(f.payload, "big") for f in sent(multiplexer)) - 8192
        assert grown == 16384, stream_id
        multiplexer.reset_stream(stream_id, ResetCode.CANCEL)
        drain(multiplexer)


def test_an_upgrade_carries_raw_bytes_and_both_ends() -> None:
    dialer, listener = open_multiplexer("dialer"), open_multiplexer("listener")
    dialer.open_stream(UPGRADE)
    for message in drain(dialer):
        listener.receive_message(message)
    listener.send_head(1, SWITCH)
    listener.send_data(1, b"first")
    for message in drain(listener):
        dialer.receive_message(message)
    assert [type(e) for e in events(dialer)] == [ResponseReceived, DataReceived]
    dialer.send_data(1, b"up")
    dialer.send_end(1)
    for message in drain(dialer):
        listener.receive_message(message)
    assert events(listener)[1:] == [DataReceived(1, b"up"), EndReceived(1)]
    # Half closed: the other direction goes on.
    listener.send_data(1, b"down")
    listener.send_end(1)
    for message in drain(listener):
        dialer.receive_message(message)
    assert events(dialer) == [DataReceived(1, b"down"), EndReceived(1), StreamClosed(1)]
    assert dialer.open_streams == listener.open_streams == 0
